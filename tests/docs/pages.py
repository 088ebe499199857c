"""Reading the repository's Markdown pages: files, links, code blocks, tables."""

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"


@cache
def tracked_files() -> tuple[Path, ...]:
    """Files that git knows, relative to the root; all below it where there is no git."""
    git = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if git.returncode == 0 and git.stdout:
        return tuple(Path(name) for name in git.stdout.split("\0") if name)
    return tuple(path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())


def pages() -> list[Path]:
    """README, the docs and the log."""
    return [README, *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "dev").glob("*.md"))]


def code_blocks(text: str, language: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def without_code(text: str) -> str:
    """A page's prose: fenced blocks, comments and code spans left out."""
    text = re.sub(r"^```.*?^```|<!--.*?-->", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def links(text: str) -> list[str]:
    """Targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", without_code(text))


def anchors(text: str) -> set[str]:
    """The fragments that a page's headings answer to."""
    titles = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def table_rows(text: str) -> list[list[str]]:
    """Cells of every table row of a page, header and rule lines left out."""
    rows = []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        is_header = number + 1 < len(lines) and re.match(r"^\|[ :|-]+\|$", lines[number + 1])
        if line.startswith("|") and not is_header and not re.match(r"^\|[ :|-]+\|$", line):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def commands(text: str, word: str) -> list[str]:
    """Commands in a page's shell blocks that start with `word`, continued lines joined."""
    joined = "\n".join(code_blocks(text, "sh")).replace("\\\n", " ")
    lines = (line.split("  #")[0].strip() for line in joined.splitlines())
    return [line for line in lines if line.split()[:1] == [word]]
