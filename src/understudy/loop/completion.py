"""Completion of commands, options and file names in bash, zsh and fish, by shtab."""

import argparse
import dataclasses
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

SHELLS = ("bash", "zsh", "fish")


class Named(Protocol):
    """A command: its name of one or two words, one line about it, and its config class."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    def load_config(self) -> type: ...


def completion_script(shell: str, commands: Iterable[Named]) -> str:
    """The script that a shell sources; ValueError for a shell that is not supported.

    A command whose extra is missing completes by name only.
    """
    import shtab

    if shell not in SHELLS:
        raise ValueError(f"completion is for {', '.join(SHELLS)}; got '{shell}'")
    parser = argparse.ArgumentParser(prog="understudy")
    subparsers = parser.add_subparsers()
    groups: dict[str, Any] = {}
    for command in commands:
        first, _, second = command.name.partition(" ")
        if second and first not in groups:
            groups[first] = subparsers.add_parser(first, help=first).add_subparsers()
        owner = groups[first] if second else subparsers
        _add_options(owner.add_parser(second or first, help=_plain(command.summary)), command)
    return shtab.complete(parser, shell)


def _add_options(parser: argparse.ArgumentParser, command: Named) -> None:
    import shtab

    try:
        config_class = command.load_config()
        hints = typing.get_type_hints(config_class)
    except ModuleNotFoundError:
        return
    parser.add_argument("--config", metavar="FILE").complete = shtab.FILE  # type: ignore[attr-defined]
    for field in dataclasses.fields(config_class):
        option = "--" + field.name.replace("_", "-")
        hint = hints[field.name]
        if hint is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction)
            continue
        choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else None
        argument = parser.add_argument(option, choices=choices)
        if hint is Path or Path in typing.get_args(hint):
            argument.complete = shtab.FILE  # type: ignore[attr-defined]


def _plain(text: str) -> str:
    """The text without quotes and percent signs, which a shell or argparse would interpret."""
    return text.replace("'", "").replace("%", " percent")
