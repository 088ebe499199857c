"""Command-line options from a config dataclass's fields, their docstrings, and a TOML file."""

import contextlib
import dataclasses
import difflib
import io
import math
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.loop.examples import EXAMPLES

ELSEWHERE = {
    "--dataset": "--data",
    "--dataset-name": "--data",
    "--learning-rate": "--lr",
    "--max-new-tokens": "--max-response-tokens",
    "--model-name-or-path": "--model",
    "--num-train-epochs": "--epochs",
    "--output-dir": "--out",
    "--per-device-train-batch-size": "--batch-size",
    "--train-file": "--data",
}
"""Names of options in transformers and TRL, with our names for them."""


def parse(config_class: type, arguments: list[str], *, prog: str) -> Any:
    """An instance of `config_class` from `--config FILE`, if given, and the options after it.

    The arguments after `--` are another command: the value of the field `command`, if there is one.
    """
    import tyro

    command: list[str] = []
    if "--" in arguments and any(f.name == "command" for f in dataclasses.fields(config_class)):
        at = arguments.index("--")
        arguments, command = arguments[:at], arguments[at + 1 :]
    if "-h" in arguments or "--help" in arguments:
        try:
            tyro.cli(_shadow(config_class, {}), args=["--help"], prog=prog)
        except SystemExit:
            print(_below_help(config_class, prog))
            raise
    from_file, arguments = _read_config_option(config_class, arguments, prog.split()[-1])
    _check_options(config_class, arguments, from_file, prog)
    arguments = _with_none(config_class, arguments)
    with _errors_in_one_line():
        parsed: Any
        parsed, unknown = tyro.cli(
            _shadow(config_class, from_file),
            args=arguments,
            prog=prog,
            description="",  # only --help shows one
            return_unknown_args=True,
        )
    if unknown:
        raise ValueError(f"{prog} does not know what to do with '{unknown[0]}'; see {prog} --help")
    values = {f.name: getattr(parsed, f.name) for f in dataclasses.fields(config_class)}
    if command:
        values["command"] = tuple(command)
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{prog}: {name} is {value}; give a finite number")
    return config_class(**values)


def _read_config_option(
    config_class: type, arguments: list[str], command: str
) -> tuple[dict, list[str]]:
    """Take `--config FILE` out of the arguments: (its values, the other arguments).

    FILE may also be one of the paper's sizes. FILE#SECTION reads that section; otherwise the
    command's own section is read if the file has one, or else the whole file.
    """
    if "--config" not in arguments:
        return {}, arguments
    from understudy.loop.recipe import paper_recipe
    from understudy.training.config import build_values, read_toml

    at = arguments.index("--config")
    if at + 1 == len(arguments):
        raise ValueError("--config needs the name of a TOML file")
    source = arguments[at + 1]
    path, _, section = source.partition("#")
    table = read_toml(paper_recipe(path) or path)
    if section and not isinstance(table.get(section), dict):
        raise ValueError(f"config file {path} has no section [{section}]")
    if section or isinstance(table.get(command), dict):
        table = table[section or command]
    values = build_values(config_class, table, source=source)
    return values, arguments[:at] + arguments[at + 2 :]


def _shadow(config_class: type, defaults: Mapping[str, Any]) -> type:
    """The class with other defaults and without its checks, which need all values at once."""
    hints = typing.get_type_hints(config_class, include_extras=True)
    fields = [
        (f.name, _shown(hints[f.name]), dataclasses.field(default=defaults.get(f.name, f.default)))
        for f in dataclasses.fields(config_class)
        if f.name in defaults or _takes_none(hints[f.name])
    ]
    shadow: Any = dataclasses.make_dataclass(
        config_class.__name__,
        fields,
        bases=(config_class,),
        namespace={"__post_init__": lambda self: None, "__doc__": config_class.__doc__},
        frozen=True,
        kw_only=True,
    )
    # Help lists the command's own settings before the shared ones.
    own = config_class.__annotations__
    every = shadow.__dataclass_fields__
    shadow.__dataclass_fields__ = dict(sorted(every.items(), key=lambda item: item[0] not in own))
    kind: type = shadow
    return kind


def _below_help(config_class: type, prog: str) -> str:
    """The text below the options."""
    lines = [
        "Options may also come from a TOML file, --config FILE; those given here win. It may have "
        "a section\nper command (FILE#SECTION names one) or be 1.3b, 6b or 175b.",
    ]
    hints = typing.get_type_hints(config_class, include_extras=True)
    if any(_takes_none(hint) for hint in hints.values()):
        lines.append("Where an option accepts none, that word unsets it: --max-grad-norm none.")
    lines.append(
        "In brackets: s3.5 is a section and C.1 an appendix of the paper, Ouyang et al. 2022, "
        "Training language\nmodels to follow instructions with human feedback (arXiv 2203.02155)."
    )
    example = EXAMPLES.get(prog.removeprefix("understudy "))
    return "\n".join(
        [*lines, *([f"\nexample: {prog} {example}".rstrip()] if example is not None else [])]
    )


def _takes_none(hint: Any) -> bool:
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return union and type(None) in typing.get_args(hint)


_WORDS = {str: "STR", int: "INT", float: "FLOAT", Path: "PATH"}


def _shown(hint: Any) -> Any:
    """The type; if it also takes none, with the placeholder that help shows for its values."""
    from tyro.conf import arg

    if typing.get_origin(hint) is typing.Annotated:
        inner, *marks = typing.get_args(hint)
        inner = _as_typing_writes(inner)
        kinds = [kind for kind in typing.get_args(inner) if kind is not type(None)]
        # Brackets mark a positional argument that may be omitted.
        if _takes_none(inner) and len(kinds) == 1 and kinds[0] in _WORDS:
            marks.append(arg(metavar=f"[{_WORDS[kinds[0]]}]"))
        return typing.Annotated[(inner, *marks)]
    hint = _as_typing_writes(hint)
    rest = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    if not _takes_none(hint) or not all(kind in _WORDS for kind in rest):
        return hint
    word = "|".join([*(_WORDS[kind] for kind in rest), "none"])
    return typing.Annotated[hint, arg(metavar=word)]


def _as_typing_writes(hint: Any) -> Any:
    """`str | None` as `Union[str, None]`, which tyro checks without loading typeguard."""
    if not isinstance(hint, types.UnionType):
        return hint
    return typing.Union[typing.get_args(hint)]  # noqa: UP007 - the other form is what it was


def _with_none(config_class: type, arguments: list[str]) -> list[str]:
    """The arguments, with "none" spelled as the parser wants it where an option takes it."""
    hints = typing.get_type_hints(config_class, include_extras=True)
    takers = {"--" + name.replace("_", "-") for name, hint in hints.items() if _takes_none(hint)}
    found: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and _option(name) in takers and value.lower() == "none":
            argument = f"{name}=None"
        elif found and _option(found[-1]) in takers and argument.lower() == "none":
            argument = "None"
        found.append(argument)
    return found


def _option(argument: str) -> str:
    return argument.replace("_", "-")


def _check_options(
    config_class: type, arguments: list[str], from_file: Mapping[str, Any], prog: str
) -> None:
    """ValueError for an unknown option, naming the nearest valid one, and for missing ones."""
    fields = dataclasses.fields(config_class)
    valid = {"--" + f.name.replace("_", "-"): f for f in fields}
    given = {a.partition("=")[0].replace("_", "-") for a in arguments if a.startswith("--")}
    known = {*valid, *(f"--no-{name[2:]}" for name, f in valid.items() if f.type in (bool, "bool"))}
    for option in sorted(given - known):
        close = difflib.get_close_matches(option, list(valid), n=1)
        if ELSEWHERE.get(option) in valid:
            close = [ELSEWHERE[option]]
        advice = f"the nearest is {close[0]}" if close else f"see {prog} --help"
        raise ValueError(f"{prog} has no option {option}; {advice}")
    missing = [name for name, f in valid.items() if _is_required(f) and name not in given]
    missing = [name for name in missing if valid[name].name not in from_file]
    own = config_class.__annotations__
    missing.sort(key=lambda name: valid[name].name not in own)  # the order of --help
    if missing:
        raise ValueError(f"{prog} needs {' and '.join(missing)}; see {prog} --help")


def _is_required(field: dataclasses.Field) -> bool:
    no_default = field.default is field.default_factory is dataclasses.MISSING
    return no_default and "Positional" not in str(field.type)


@contextlib.contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """Turn the box that tyro draws around an error into a ValueError with its sentence."""
    box = io.StringIO()
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "9999"
    try:
        with contextlib.redirect_stderr(box):
            yield
    except SystemExit as error:
        raise ValueError(_sentence(box.getvalue())) from error
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns


def _sentence(box: str) -> str:
    """The text between the frame's first line and "For full helptext ..."."""
    frame = " |+\u2500\u2502\u256d\u256e\u256f\u2570"  # or in ASCII, with lines of "-"
    lines = [re.sub(r"\s{2,}", " ", line.strip(frame)) for line in box.splitlines()]
    text = [line for line in lines[1:] if line.strip("-")]
    end = next((i for i, line in enumerate(text) if "elptext" in line), len(text))
    said = " ".join(text[:end]).removeprefix("Error parsing ")
    said = re.sub(r"invalid literal for int\(\) with base 10: (.*)", r"\1 is not an integer", said)
    said = re.sub(r"could not convert string to float: (.*)", r"\1 is not a number", said)
    said = re.sub(r"no type matching .*: ('.*' is not an? \w+)$", r"\1 or none", said)
    return said.replace("'None'", "'none'")  # as users spell it


def nearest(word: str, choices: Sequence[str]) -> str:
    return difflib.get_close_matches(word, choices, n=1, cutoff=0.0)[0]
