"""Stage configs: frozen dataclasses read from TOML and written back, resolved.

A config is an ordinary `@dataclass(frozen=True, kw_only=True, slots=True)` beside its reader. This
file builds one from a TOML table or a mapping of overrides, with a one-line error for an unknown
key or a wrong type.

    config = load_config(PPOConfig, "recipes/tiny/ppo.toml", {"seed": 3, "lr": "3e-4"})
    Path("config.toml").write_text(dump_toml(config))
"""

import dataclasses
import difflib
import json
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

C = TypeVar("C")


def load_config(
    cls: type[C],
    toml_path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> C:
    """`cls` from its defaults, then the file's keys, then `overrides` (text is parsed by type)."""
    values: dict[str, Any] = {}
    if toml_path is not None:
        values |= build_values(cls, read_toml(toml_path), source=str(toml_path))
    values |= build_values(cls, overrides or {}, source="overrides")
    missing = [name for name in required_fields(cls) if name not in values]
    if missing:
        where = f"{toml_path}: " if toml_path else ""
        raise ValueError(f"{where}{cls.__name__} needs a value for {', '.join(missing)}")
    return cls(**values)


def read_toml(path: str | Path) -> dict[str, Any]:
    """The file's table, or a ValueError that names the file."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"config file {path} does not exist") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"config file {path} is not valid TOML: {error}") from None


def required_fields(cls: type) -> list[str]:
    """Names of the fields without a default."""
    none = dataclasses.MISSING
    fields = dataclasses.fields(cls)
    return [f.name for f in fields if f.default is none and f.default_factory is none]


def build_values(cls: type, table: Mapping[str, Any], source: str) -> dict[str, Any]:
    """`table` with each value as its field's type; unknown keys and bad values are errors."""
    hints = get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
            raise ValueError(
                f"{source}: unknown key '{key}' for {cls.__name__}; "
                f"the nearest valid key is '{near[0]}'"
            )
    return {key: convert(value, hints[key], f"{source}: '{key}'") for key, value in table.items()}


def convert(value: Any, kind: Any, where: str) -> Any:
    """`value` as type `kind`: a scalar, Path, Literal, sequence, mapping, optional or dataclass."""
    origin = get_origin(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, get_args(kind), where)
    if origin is Literal:
        if value not in get_args(kind):
            choices = ", ".join(map(str, get_args(kind)))
            raise ValueError(f"{where} is {value!r}; choose one of: {choices}")
        return value
    if origin in (tuple, list):
        return _convert_sequence(value, origin, get_args(kind), where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, kind):
            return value
        return kind(**build_values(kind, value, where))
    if origin is not None and issubclass(origin, Mapping):
        return {k: convert(v, get_args(kind)[1], f"{where}.{k}") for k, v in value.items()}
    return _convert_scalar(value, kind, where)


def _convert_union(value: Any, kinds: tuple[Any, ...], where: str) -> Any:
    """The first alternative that accepts the value; the text "none" is None."""
    if type(None) in kinds and (value is None or value in ("none", "None")):
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if type(value) in kinds:
        return value
    failure = ValueError(f"{where} is {value!r}, which has none of the allowed types")
    for kind in kinds:
        try:
            return convert(value, kind, where)
        except ValueError as error:
            failure = error
    raise failure


def _convert_sequence(value: Any, origin: type, args: tuple[Any, ...], where: str) -> Any:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} is {value!r}; it must be a list")
    item = args[0] if args else Any
    return origin(convert(one, item, f"{where}[{i}]") for i, one in enumerate(value))


def _convert_scalar(value: Any, kind: Any, where: str) -> Any:
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (int, float) and isinstance(value, str):
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"{where} is {value!r}; it must be {_noun(kind)}") from None
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{where} is {value!r}; it must be {_noun(kind)}")


def _noun(kind: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        Path: "a path",
    }
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def to_plain(value: Any) -> Any:
    """A config (or any part of one) as JSON-able data: paths are text, tuples are lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def dump_toml(config: Any) -> str:
    """The whole config as TOML; a field that is None becomes a comment, as TOML has no null."""
    plain, tables = to_plain(config), []
    lines = []
    for key, value in plain.items():
        if value is None:
            lines.append(f"# {key} is not set")
        elif isinstance(value, dict):
            rows = [f"{_toml_key(k)} = {_toml_value(v)}" for k, v in value.items() if v is not None]
            tables.append("\n".join([f"\n[{key}]", *rows]))
        else:
            lines.append(f"{key} = {_toml_value(value)}")
    return "\n".join(lines + tables) + "\n"


def _toml_key(key: str) -> str:
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else json.dumps(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _toml_float(value)
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(one) for one in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(k)} = {_toml_value(v)}" for k, v in value.items()) + "}"
    return str(value) if isinstance(value, int) else json.dumps(value)


def _toml_float(value: float) -> str:
    text = repr(value)
    return text if any(c in text for c in ".ein") else text + ".0"
