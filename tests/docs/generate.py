"""`make docs`: writes into docs/ what the code knows better than a page.

docs/metrics.md, docs/settings.md and docs/record_chain.svg are written whole. In every other page,
what stands between `<!-- generated: KIND NAME -->` and `<!-- end -->` is written:

settings COMMAND   a row per field of the command's config dataclass
commands           a row per command
extras             a row per extra of the package
template           what a model that judges is asked
ways               a row per state of a labeler, an item, ... and the way on from it
"""

import ast
import dataclasses
import inspect
import re
import textwrap
import typing
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.docs.chain_picture import picture
from tests.docs.metrics_page import metrics_page
from tests.docs.pages import DOCS

from understudy.evaluation.judge_prompt import DEFAULT
from understudy.labeling.ways import WAYS as LABELING_WAYS
from understudy.loop.commands import COMMANDS
from understudy.loop.installation import EXTRAS
from understudy.serving.ways import WAYS as SERVING_WAYS
from understudy.web.ways import ways_table

BLOCK = re.compile(r"(<!-- generated: (\w+) ?([^\n]*?) -->\n)(.*?)(<!-- end -->\n)", re.DOTALL)

SETTINGS_HEAD = """# Settings

The settings of every command that has no page of its own, then where the others are. They are
options (`valid_data` is `--valid-data`), keys of a TOML file (`--config FILE`) and fields of the
dataclass that the command's function takes. s3.5 is a section and C.1 an appendix of
[the paper](paper.md). `make docs` writes this page from the dataclasses.
"""


def strings_of_fields(config: type) -> dict[str, str]:
    """The string right under each field, in the class and its bases."""
    found = {}
    for cls in reversed(config.__mro__):
        if not dataclasses.is_dataclass(cls):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[field.target.id] = ast.literal_eval(text.value)
    return found


def settings_table(command: str) -> str:
    """A row per setting of a command: name, default, meaning."""
    (found,) = [one for one in COMMANDS if one.name == command]
    config = found.load_config()
    strings, hints = strings_of_fields(config), typing.get_type_hints(config, include_extras=True)
    rows = [
        f"| `{f.name}`{' (positional)' if 'Positional' in str(hints[f.name]) else ''} "
        f"| {shown_default(f)} | {cell(strings[f.name])} |"
        for f in own_first(config)
    ]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def own_first(config: type) -> list[dataclasses.Field[Any]]:
    """A command's own settings, then those that it shares with others."""
    shared = {f.name for b in config.__mro__[1:] if dataclasses.is_dataclass(b) for f in
              dataclasses.fields(b)}  # fmt: skip
    return sorted(dataclasses.fields(config), key=lambda field: field.name in shared)


def shown_default(field: dataclasses.Field[Any]) -> str:
    """The default as one writes it on the command line; empty for a setting that must be given."""
    if field.default is field.default_factory is dataclasses.MISSING:
        return ""
    factory = field.default_factory
    value = field.default if factory is dataclasses.MISSING else factory()
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(f"`{one}`" for one in value)
    text = str(value) if not isinstance(value, float) else f"{value:g}"
    return text if isinstance(value, int | float) else f"`{text}`"


def cell(text: str) -> str:
    """A text in one line of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def commands_table(_: str) -> str:
    """A row per command, with the place of its settings."""
    places = places_of_settings()
    rows = [
        f"| `understudy {c.name}` | {cell(c.summary)} | [{page.stem}]({link}) |"
        for c in COMMANDS
        for page, link in [places[c.name]]
    ]
    return "\n".join(["| command | what it does | settings |", "|---|---|---|", *rows])


def extras_table(_: str) -> str:
    """A row per extra."""
    rows = [f"| `{extra}` | {purpose} |" for extra, purpose in EXTRAS.items()]
    return "\n".join(["| extra | what for |", "|---|---|", *rows, "| `all` | all of them |"])


BLOCKS: dict[str, Callable[[str], str]] = {
    "settings": settings_table,
    "commands": commands_table,
    "extras": extras_table,
    "template": lambda _: f"```text\n{DEFAULT.read_text(encoding='utf-8')}```",
    "ways": lambda _: ways_table((*LABELING_WAYS, *SERVING_WAYS)),
}


def places_of_settings() -> dict[str, tuple[Path, str]]:
    """Command -> (page, link) of its table: a page that has a block for it, or settings.md."""
    found = {}
    for command in COMMANDS:
        page = DOCS / "settings.md"
        found[command.name] = (page, f"settings.md#{command.name.replace(' ', '-')}")
        for page in stage_pages():
            text = page.read_text(encoding="utf-8")
            if f"<!-- generated: settings {command.name} -->" in text:
                before = text[: text.index(f"<!-- generated: settings {command.name} -->")]
                title = re.findall(r"^#+ +(.+?) *$", before, re.MULTILINE)[-1]
                anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
                found[command.name] = (page, f"{page.name}#{anchor}")
    return found


def stage_pages() -> list[Path]:
    """Every page but those that are written whole."""
    return [p for p in sorted(DOCS.rglob("*.md")) if p.name not in ("metrics.md", "settings.md")]


def settings_page() -> str:
    """The text of docs/settings.md."""
    places = places_of_settings()
    parts = [SETTINGS_HEAD]
    for command in COMMANDS:
        if places[command.name][0].name == "settings.md":
            table = settings_table(command.name)
            parts.append(f"\n## {command.name}\n\n{command.summary.capitalize()}.\n\n{table}\n")
    others = [f"* [{n}]({link})\n" for n, (p, link) in places.items() if p.name != "settings.md"]
    parts.append("\n## Elsewhere\n\n" + "".join(others))
    return "".join(parts)


def with_blocks(text: str) -> str:
    """A page with its generated blocks written anew."""
    return BLOCK.sub(lambda m: f"{m[1]}\n{BLOCKS[m[2]](m[3])}\n\n{m[5]}", text)


def generated() -> dict[Path, str]:
    """Every file with something generated in it -> what it should hold."""
    pages = {page: with_blocks(page.read_text(encoding="utf-8")) for page in stage_pages()}
    return {
        **pages,
        DOCS / "metrics.md": metrics_page(),
        DOCS / "settings.md": settings_page(),
        DOCS / "record_chain.svg": picture(),
    }


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
