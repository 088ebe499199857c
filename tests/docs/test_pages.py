"""Links lead somewhere, the README's tree names every folder, generated parts are up to date."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from tests.docs.generate import BLOCK, generated
from tests.docs.pages import DOCS, README, ROOT, anchors, code_blocks, links, pages, tracked_files

from understudy.loop.commands import COMMANDS
from understudy.records import Demonstration, Prompt, Ranking


@pytest.fixture(scope="module")
def written_anew() -> dict[Path, str]:
    """What is generated, by page."""
    return generated()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in links(text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, fragment = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links to {link}"
        if fragment:
            assert fragment in anchors(target.read_text(encoding="utf-8")), f"{page.name}: {link}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    names = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} - {"index.md"}
    assert names <= set(links(index))


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    settings = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    named = re.findall(r"[\w/-]+\.md", json.dumps(settings["project"]["nav"]))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert sorted(named) == sorted(pages)


@pytest.mark.parametrize("page", [README, *DOCS.rglob("*.md")], ids=lambda page: page.name)
def test_prose_wraps_at_100_columns(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    long = [
        line
        for line in text.splitlines()
        if len(line) > 100 and not line.startswith(("|", "    ", "![", "#"))
        if len(re.sub(r"\]\([^)]*\)|`[^`]{60,}`", "]", line)) > 100  # neither can be wrapped
    ]
    assert not long, f"{page.name}: wrap {long[0][:60]}..."


def tree_folders(text: str) -> set[str]:
    """Folders of the README's tree: a line each, "name/" indented by two spaces per level."""
    (block,) = (block for block in code_blocks(text, "text") if "src/" in block)
    folders, parents = set(), []
    for line in block.splitlines():
        match = re.match(r"( *)(\S+)/(?= |$)", line)
        if match:
            depth = len(match[1]) // 2
            parents = [*parents[:depth], match[2]]
            folders.add("/".join(parents))
    return folders


def folders_of_the_repository() -> set[str]:
    return {folder.as_posix() for file in tracked_files() for folder in file.parents if folder.name}


def in_tree(folder: str, tree: set[str]) -> bool:
    """Whether the tree has the folder; "<package>" there stands for any one name."""
    return any(
        re.fullmatch(re.sub(r"<\w+>", "[^/]+", entry.replace(".", r"\.")), folder) for entry in tree
    )


def test_the_tree_has_a_line_for_every_folder() -> None:
    tree = tree_folders(README.read_text(encoding="utf-8"))
    missing = sorted(f for f in folders_of_the_repository() if not in_tree(f, tree))
    assert not missing, f"the README's tree has no line for {', '.join(missing)}"


def test_every_line_of_the_tree_is_a_folder() -> None:
    for entry in tree_folders(README.read_text(encoding="utf-8")):
        found = ROOT.glob(re.sub(r"<\w+>", "*", entry))
        assert any(path.is_dir() for path in found), f"there is no folder {entry}"


def test_the_records_that_the_readme_shows_are_records() -> None:
    (block,) = code_blocks(README.read_text(encoding="utf-8"), "json")
    kinds = (Prompt, Demonstration, Ranking)
    for line, kind in zip(block.splitlines(), kinds, strict=True):
        kind.from_json(json.loads(line))


def test_what_is_generated_is_up_to_date(written_anew: dict[Path, str]) -> None:
    for path, text in written_anew.items():
        written = path.read_text(encoding="utf-8") if path.exists() else ""
        assert written == text, f"{path.name}: run `make docs` (python -m tests.docs.generate)"
        ends = text.count("<!-- end -->")
        assert ends == len(BLOCK.findall(text)), f"{path.name}: a generated part has two ends"


def test_every_command_has_its_settings_in_one_place(written_anew: dict[Path, str]) -> None:
    blocks = [f"{m[2]} {m[3]}" for text in written_anew.values() for m in BLOCK.finditer(text)]
    titles = re.findall(r"^## (.+)$", written_anew[DOCS / "settings.md"], re.MULTILINE)
    for command in COMMANDS:
        found = blocks.count(f"settings {command.name}") + titles.count(command.name)
        assert found == 1, command.name


def test_no_table_of_settings_is_written_by_hand(written_anew: dict[Path, str]) -> None:
    for path, text in written_anew.items():
        if path.name != "settings.md":
            by_hand = BLOCK.sub("", text)
            assert not re.search(r"^\| (setting|option|field) \| default", by_hand, re.MULTILINE)
