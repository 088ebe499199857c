"""The link to the pages that a stage serves: the stage writes it, the demo's display shows it.

A stage can only write to its log, where a one-time link must not stay. The link is therefore in a
file that only its owner can read, and only while the pages are served.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from understudy.loop.runner import Display, StageState

LINK_FILE = "link"


class Saying(Display, Protocol):
    """A display that can print a lasting line."""

    def say(self, line: str) -> None:
        """Show the line unwrapped."""


def write_link(folder: Path, link: str) -> None:
    """Write a link atomically to a file that only its owner can read."""
    temporary = folder / f".{LINK_FILE}"
    temporary.unlink(missing_ok=True)
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w") as out:
        out.write(link)
    temporary.replace(folder / LINK_FILE)


def read_link(folder: Path) -> str:
    """The link; empty if there is none."""
    try:
        return (folder / LINK_FILE).read_text()
    except FileNotFoundError:
        return ""


class WithLink:
    """A display that also prints a stage's link, once: `WithLink(display, folder, "rank at")`."""

    def __init__(self, display: Saying, folder: Path, words: str) -> None:
        self.display, self.folder, self.words = display, folder, words
        self.said = read_link(folder)  # left by a killed demo

    def changed(self, state: StageState) -> None:
        """Called when a stage starts, ends or is found fresh."""
        self.display.changed(state)

    def update(self, states: Sequence[StageState], seconds_left: float) -> None:
        """Called a few times a second."""
        self.display.update(states, seconds_left)
        link = read_link(self.folder)
        if link and link != self.said:
            self.said = link
            self.display.say(f"{self.words} {link}")
