"""This moment, as the store writes it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


def stamp(at: datetime) -> str:
    """A moment as the store writes it."""
    return at.isoformat(timespec="microseconds")
