"""`python -m tests.docs.plans`: runs the plans of the paper's sizes in docs/scale.md, and writes
their outputs below them. It takes a minute or two, so `make docs` leaves it out."""

import contextlib
import io
import re
import shlex

from tests.docs.pages import DOCS

from understudy.cli import main

PAGE = DOCS / "scale.md"
SHOWN = re.compile(r"```sh\n(understudy plan [^`]*?)```\n\n```text\n(.*?)```\n", re.DOTALL)


def output_of(command: str) -> str:
    """What a command prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(shlex.split(command.replace("\\\n", " "))[1:]) == 0, command
    return said.getvalue()


def written() -> str:
    """The page with its outputs written anew."""
    text = PAGE.read_text(encoding="utf-8")
    return SHOWN.sub(lambda m: f"```sh\n{m[1]}```\n\n```text\n{output_of(m[1])}```\n", text)


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
