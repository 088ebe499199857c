"""Reports of bugs without anybody's words: an exception's message may quote what a person wrote."""

import logging
import sys
import traceback
from typing import Any


def frames(error: BaseException) -> str:
    """Where it was raised and of which type, with all that led to it, and no message."""
    lines: list[str] = []
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        parts = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        inner = "".join(frames(part) for part in parts)
        lines[:0] = [*traceback.format_tb(one.__traceback__), f"{type(one).__qualname__}\n", inner]
        one = one.__cause__ or one.__context__
    return "".join(lines)


def report(error: BaseException) -> None:
    """Write it down on stderr."""
    print(f"understudy: a bug\n{frames(error)}", end="", file=sys.stderr, flush=True)


class WordlessFormatter(logging.Formatter):
    """Formats log records of libraries, whose tracebacks would hold messages too."""

    def formatException(self, ei: Any) -> str:
        """The traceback's places and types."""
        return frames(ei[1]).rstrip()


def log_without_words() -> None:
    """Let every library's log of this process go to stderr through the formatter."""
    handler = logging.StreamHandler()
    handler.setFormatter(WordlessFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
