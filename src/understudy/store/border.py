"""Cleans every text and time on its way into a store.

Text from people and models may hold characters that a database cannot store: PostgreSQL refuses
NUL, and an unpaired surrogate has no UTF-8. Both become U+FFFD, only here, so both backends store
the same text.
"""

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Text, TypeDecorator

_IMPOSSIBLE = re.compile("[\0\ud800-\udfff]")
_PARTIAL = re.compile(r"\d{4}(-\d{2})?")


def clean(text: str) -> str:
    """The text without NUL and unpaired surrogates; a split pair is joined into its character."""
    if not _IMPOSSIBLE.search(text):
        return text
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return joined.replace("\0", "\ufffd")


def clean_json(value: Any) -> Any:
    """A JSON value with every text cleaned."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(name)): clean_json(one) for name, one in value.items()}
    return [clean_json(one) for one in value] if isinstance(value, list | tuple) else value


class CleanText(TypeDecorator[str]):
    """A column type: text that is cleaned on insertion."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Any) -> Any:
        """Clean it. SQLAlchemy calls this function itself for every text of every statement."""
        return _cleaned


def _cleaned(value: str | None) -> str | None:
    return value if value is None or not _IMPOSSIBLE.search(value) else clean(value)


def stamp(text: str) -> str:
    """A time in the store's format, UTC with microseconds; a time without a zone is taken as UTC.

    A bare year or month stays as it is and counts as undated. ValueError if it is not a time.

    >>> stamp("2026-03-01T01:00+02:00")
    '2026-02-28T23:00:00.000000+00:00'
    """
    if _PARTIAL.fullmatch(text):
        return text
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        raise ValueError(
            f"created_at is {text[:40]!r}; write the time as ISO 8601, like 2026-03-04T12:00:00Z"
        ) from None
