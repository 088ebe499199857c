"""Every command and every setting is documented, and every command that a page shows can be run."""

import ast
import dataclasses
import importlib
import re
import shlex
from itertools import chain

import pytest
from tests.docs.generate import strings_of_fields
from tests.docs.pages import DOCS, ROOT, code_blocks, commands, pages

from understudy.cli import _find, main, parse
from understudy.loop.commands import COMMANDS, Command

TEXTS = {page.name: page.read_text(encoding="utf-8") for page in pages()}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_command_is_in_the_docs_and_in_the_list(command: Command) -> None:
    words = f"understudy {command.name}"
    pages = [page for page in DOCS.glob("*.md") if words in page.read_text(encoding="utf-8")]
    assert DOCS / "commands.md" in pages
    assert len(pages) > 1


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_names_and_explains_every_setting(command: Command, capsys) -> None:
    config = command.load_config()
    strings = strings_of_fields(config)
    names = [field.name for field in dataclasses.fields(config)]
    assert set(names) <= set(strings), "a setting has no string under it"
    assert main([*command.name.split(), "--help"]) == 0
    page = squeezed(capsys.readouterr().out)
    missing = [name for name in names if squeezed(strings[name]) not in page]
    assert not missing, f"--help does not explain {missing}"


def squeezed(text: str) -> str:
    """Letters and digits only: what wrapping into a box leaves of a text."""
    return re.sub(r"[\W_]+", "", text)


def shown(word: str) -> list[tuple[str, str]]:
    return [(name, line) for name, text in TEXTS.items() for line in commands(text, word)]


@pytest.mark.parametrize(("page", "line"), shown("understudy"))
def test_a_command_that_a_page_shows_can_be_read(page: str, line: str) -> None:
    command, rest = _find(shlex.split(line)[1:])
    if command is None or {"-h", "--help"} & set(rest):
        return
    config = command.load_config()
    parse(config, rest, prog=line)


@pytest.mark.parametrize(
    "line", re.findall(r"^\t\$\(BIN\)/(understudy .*)$", MAKEFILE, re.MULTILINE)
)
def test_a_command_in_the_makefile_can_be_read(line: str) -> None:
    test_a_command_that_a_page_shows_can_be_read("Makefile", line)


@pytest.mark.parametrize(("page", "line"), shown("make"))
def test_a_target_that_a_page_shows_is_in_the_makefile(page: str, line: str) -> None:
    targets = re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE)
    assert set(shlex.split(line)[1:2]) <= set(targets)


def test_python_that_a_page_shows_compiles_and_imports_what_exists() -> None:
    for block in chain.from_iterable(code_blocks(text, "python") for text in TEXTS.values()):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("understudy"):
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
