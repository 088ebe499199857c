"""Converts between a record and its JSON row, following the record's type hints.

`read_field` accepts exactly what the hint says and otherwise raises `RecordError`, worded for the
row. Three conversions are implicit: int to float, list to tuple, number to id. Numbers must be
finite and text must be valid Unicode.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal, Union

Json = dict[str, Any]
UNLESS_DEFAULT = "unless_default"
"""Metadata key of a field that is written only if it differs from its default."""


class RecordError(ValueError):
    """A row that is not a valid record; the message names the field and what is expected."""


@cache
def hints_of(kind: type) -> Mapping[str, Any]:
    """The resolved type hint of each field of a dataclass, in field order."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@cache
def defaults_of(kind: type) -> frozenset[str]:
    """Names of the fields that may be left out."""
    missing = dataclasses.MISSING
    return frozenset(
        field.name
        for field in dataclasses.fields(kind)
        if field.default is not missing or field.default_factory is not missing
    )


def read_field(value: Any, hint: Any, name: str) -> Any:
    """`value` from JSON as the Python type that `hint` requires."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _read_union(value, args, name)
    if origin is Literal:
        if value not in args:
            raise RecordError(f"field '{name}' is {value!r}; it must be one of {_listed(args)}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong(value, "a list", name)
        return tuple(read_field(item, args[0], f"{name}[{i}]") for i, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(value, "an object", name)
        # Parquet gives every row all keys of a struct column, null where the row lacks one.
        items = ((key, item) for key, item in value.items() if item is not None)
        return {str(key): read_field(item, args[1], f"{name}.{key}") for key, item in items}
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise _wrong(value, "an object", name)
        return read_row(typing.cast(type, hint), value, f"{name}.")
    return _read_plain(value, hint, name)


def read_row(kind: type, row: Mapping[str, Any], prefix: str = "") -> Any:
    """A dataclass from a JSON object: missing optional fields take their defaults; extra keys are
    ignored."""
    values: Json = {}
    missing = []
    for name, hint in hints_of(kind).items():
        optional = name in defaults_of(kind)
        if row.get(name) is None and (optional or name not in row):
            if not optional:
                missing.append(name)
            continue
        values[name] = read_field(row[name], hint, prefix + name)
    if missing:  # name an id last: ids are derived once all else is present
        name = next((name for name in missing if not name.endswith("id")), missing[0])
        raise RecordError(f"field '{prefix}{name}' is missing")
    return kind(**values)


def write_value(value: Any) -> Any:
    """A field's value as JSON has it: tuples become lists, dataclasses objects."""
    if value is None or isinstance(value, str | int | float):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: write_value(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if not (f.metadata.get(UNLESS_DEFAULT) and getattr(value, f.name) == f.default)
        }
    if isinstance(value, list | tuple):
        return [write_value(item) for item in value]
    if isinstance(value, Mapping):
        return {key: write_value(item) for key, item in value.items()}
    return value


def _read_union(value: Any, options: tuple[Any, ...], name: str) -> Any:
    if value is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    problem: RecordError | None = None
    for option in options:
        try:
            return read_field(value, option, name)
        except RecordError as error:
            # For a list, the error about turns says more than "it must be text".
            problem = error if problem is None or isinstance(value, list) else problem
    assert problem is not None
    raise problem


_PLAIN = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _read_plain(value: Any, hint: Any, name: str) -> Any:
    if hint is Any:
        check_text(value, name)
        return value
    if hint is float and type(value) is int and abs(value) < 2**1023:
        value = float(value)
    if hint is str and type(value) in (int, float) and name.endswith("id") and value - value == 0:
        value = str(int(value) if value % 1 == 0 else value)
    if type(value) is not hint:
        raise _wrong(value, _PLAIN.get(hint, str(hint)), name)
    if hint is float and not math.isfinite(value):
        raise _wrong(value, "a finite number", name)
    if hint is str:
        check_text(value, name)
    return value


def read_yes(value: Any, name: str) -> bool:
    """A yes or no in any of the usual spellings; blank means no.

    >>> read_yes("Yes", "consent"), read_yes(0, "consent"), read_yes(" ", "consent")
    (True, False, False)
    """
    word = "" if value is None else str(value).strip().lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise RecordError(f"field '{name}' is {shortened(value)}; it must be true or false")


_YES = frozenset(("true", "yes", "y", "1", "1.0", "on"))
_NO = frozenset(("false", "no", "n", "0", "0.0", "off", ""))


def read_time(value: Any, name: str) -> str | None:
    """ISO 8601 text of ISO text or of Unix time in seconds, milli-, micro- or nanoseconds."""
    text = str(value).strip()
    if not text or re.fullmatch(r"\d{4}(-\d\d)?", text):
        return text or None
    try:
        if re.fullmatch(r"\d{9,19}(\.\d+)?", text):
            seconds = float(text)
            while seconds >= 1e11:
                seconds /= 1000
            return datetime.fromtimestamp(seconds, UTC).isoformat()
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise RecordError(
            f"field '{name}' is {shortened(value)}; write the time as ISO 8601, like "
            "2026-03-04T12:00:00Z"
        ) from None
    offset = moment.utcoffset()
    return moment.astimezone(UTC).isoformat() if offset else text


def check_text(value: Any, name: str) -> None:
    """RecordError if a text in a JSON value contains half of a surrogate pair, which no file can
    store."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RecordError(
                f"field '{name}' has half of a surrogate pair at character {error.start + 1} "
                f"(\\u{ord(value[error.start]):04x}), which is not text; repair or delete the row"
            ) from None
    elif isinstance(value, Mapping):
        for key, item in value.items():
            check_text(str(key), name)
            check_text(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            check_text(item, f"{name}[{place}]")


def _wrong(value: Any, expected: str, name: str) -> RecordError:
    return RecordError(f"field '{name}' is {shortened(value)}; it must be {expected}")


def shortened(value: Any) -> str:
    """A value for an error message: at most 60 characters, control characters escaped."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def many(number: int, thing: str, plural: str | None = None) -> str:
    """A number with its noun.

    >>> many(1, "row"), many(1200, "row"), many(2, "reply", "replies")
    ('1 row', '1,200 rows', '2 replies')
    """
    return f"{number:,} {thing if number == 1 else plural or thing + 's'}"


def complaint_in(said: Any) -> str:
    """What a server's JSON says of a failure; "" if nothing. Servers write it as OpenAI does, as a
    text, flat, as FastAPI's `detail`, or in a list.

    >>> complaint_in({"error": {"message": "too long"}}), complaint_in({"detail": "too long"})
    ('too long', 'too long')
    """
    if isinstance(said, list):
        said = said[0] if said else None
    if not isinstance(said, dict):
        return ""
    found = said.get("error") or said.get("message") or said.get("detail")
    if isinstance(found, dict):
        found = found.get("message")
    if isinstance(found, list):
        found = "; ".join(
            f"{'.'.join(map(str, one.get('loc') or ()))}: {one.get('msg')}"
            for one in found
            if isinstance(one, dict)
        )
    return found if isinstance(found, str) else ""


def visible(text: str) -> str:
    r"""Text safe for a terminal: control and direction characters and line ends are escaped.

    >>> print(visible("a\x1b[2Jb\n"))
    a\x1b[2Jb\n
    """
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _listed(options: tuple[Any, ...]) -> str:
    return ", ".join(repr(option) for option in options)
