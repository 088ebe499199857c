"""Reports bugs without exception messages, which may quote what a person wrote."""

import logging
import sys
import traceback
from typing import Any


def frames(error: BaseException) -> str:
    """The types and locations of an exception and its causes, without messages."""
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
    """Report a bug on stderr."""
    print(f"understudy: a bug\n{frames(error)}", end="", file=sys.stderr, flush=True)


class WordlessFormatter(logging.Formatter):
    """Formats libraries' log records without the messages in their tracebacks."""

    def formatException(self, ei: Any) -> str:
        """The traceback's locations and types."""
        return frames(ei[1]).rstrip()


def log_without_words() -> None:
    """Send the logs of all libraries to stderr through the formatter."""
    handler = logging.StreamHandler()
    handler.setFormatter(WordlessFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
