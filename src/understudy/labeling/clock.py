"""The current time, in the store's format."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current time."""
    return datetime.now(UTC)


def stamp(at: datetime) -> str:
    """A time in the store's format."""
    return at.isoformat(timespec="microseconds")
