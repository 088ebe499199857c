"""Between a record and its JSON row, by the record's own type hints.

`read_field` accepts exactly what the hint says (an int is accepted where a float is meant, a list
where a tuple is) and otherwise raises `RecordError` in the words of the row.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Union

Json = dict[str, Any]


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
    """`value` from JSON as the Python value that `hint` asks for."""
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
        # Parquet gives every row every key of a struct column, null where the row has none.
        items = ((key, item) for key, item in value.items() if item is not None)
        return {str(key): read_field(item, args[1], f"{name}.{key}") for key, item in items}
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise _wrong(value, "an object", name)
        return read_row(typing.cast(type, hint), value, f"{name}.")
    return _read_plain(value, hint, name)


def read_row(kind: type, row: Mapping[str, Any], prefix: str = "") -> Any:
    """A dataclass from a JSON object: missing optional fields take their defaults, extra keys are
    left out."""
    values: Json = {}
    missing = []
    for name, hint in hints_of(kind).items():
        optional = name in defaults_of(kind)
        if row.get(name) is None and (optional or name not in row):
            if not optional:
                missing.append(name)
            continue
        values[name] = read_field(row[name], hint, prefix + name)
    if missing:  # ids are made where all else is there
        name = next((name for name in missing if not name.endswith("id")), missing[0])
        raise RecordError(f"field '{prefix}{name}' is missing")
    return kind(**values)


def write_value(value: Any) -> Any:
    """A field's value as JSON has it: tuples become lists, dataclasses objects."""
    if value is None or isinstance(value, str | int | float):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: write_value(getattr(value, f.name)) for f in dataclasses.fields(value)}
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
            # The list form of a conversation explains itself better than "must be text".
            problem = error if problem is None or isinstance(value, list) else problem
    assert problem is not None
    raise problem


_PLAIN = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _read_plain(value: Any, hint: Any, name: str) -> Any:
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise _wrong(value, _PLAIN.get(hint, str(hint)), name)
    return value


def _wrong(value: Any, expected: str, name: str) -> RecordError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return RecordError(f"field '{name}' is {shown}; it must be {expected}")


def _listed(options: tuple[Any, ...]) -> str:
    return ", ".join(repr(option) for option in options)
