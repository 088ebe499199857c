"""The command line: one command per stage, each described by the config dataclass of its stage.

A command's module is imported when the command runs, so that `understudy --help` needs no torch.
Options come from the dataclass's fields (`loop/options.py`). Errors print one line on stderr. The
exit code is 2 for a user's mistake, 1 for a failure of the work itself, 75 for a stop by a signal
with everything saved, and 130 for an interruption from the keyboard.
"""

import os
import re
import signal
import sys
import traceback
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.loop.commands import COMMANDS, OTHER_RUNS, TRAINERS, Command
from understudy.loop.options import nearest, parse

USER_ERROR, FAILURE, SAVED_AND_STOPPED, INTERRUPTED = 2, 1, 75, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. Expected exceptions become a line on stderr."""
    code = _main(list(sys.argv[1:] if argv is None else argv))
    if _is_one_of_several():
        _leave(code)
    return code


def _is_one_of_several() -> bool:
    """Whether a launcher started this process as one rank of several."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def _leave(code: int) -> None:
    """Close the process group, and exit with `code` for the launcher."""
    from understudy.training.ranks import leave_ranks

    if code in (0, SAVED_AND_STOPPED):
        leave_ranks()
    if folder := os.environ.get("UNDERSTUDY_EXIT_CODES"):
        (Path(folder) / os.environ["LOCAL_RANK"]).write_text(str(code))


def _main(arguments: list[str]) -> int:
    try:
        return run(arguments)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else FAILURE
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - stays open until the process ends
        return FAILURE
    except ModuleNotFoundError as error:
        extra = extra_with(error.name or "")
        if not extra:
            raise
        advice = f"pip install 'understudy[{extra}]'"
        return _complain(f"this needs {error.name}, which is not installed: {advice}", USER_ERROR)
    except RuntimeError as error:
        if not _is_one_of_several() or not _said_by_another(str(error)):
            raise
        return FAILURE  # this rank was waiting for one that failed first and reports the error
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("UNDERSTUDY_TRACEBACK"):
            traceback.print_exc()
        return _complain(_in_words(error), USER_ERROR if isinstance(error, ValueError) else FAILURE)


def _in_words(error: Exception) -> str:
    """An error's text; for the system's errors "FILE: reason", without the error number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        advice = {
            FileExistsError: "exists and is not a folder",
            NotADirectoryError: "lies below a file, not below a folder",
        }.get(type(error), error.strerror)
        return f"{os.fsdecode(error.filename)}: {advice}"
    return str(error)


def run(arguments: list[str]) -> int:
    """Find the command, parse its options and call it; returns the exit code."""
    if not arguments:
        from understudy.loop.next_step import overview

        print(overview(Path()))
        return 0
    if arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] == "completion":
        from understudy.loop.completion import completion_script

        print(completion_script(" ".join(arguments[1:]), COMMANDS))
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("understudy"))
        return 0
    command, rest = _find(arguments)
    if command is None:
        print(_overview(arguments[0]))
        return 0
    if _is_one_of_several() and command.name not in TRAINERS:
        raise ValueError(
            f"{command.name} runs in one process, not under a launcher; {', '.join(TRAINERS)} "
            "can run on several cards"
        )
    config = parse(command.load_config(), rest, prog=f"understudy {command.name}")
    if command.name in (*TRAINERS, *OTHER_RUNS):
        from understudy.training.settings import check_files, check_out

        if command.name in TRAINERS:
            check_files(config)
        if not _is_one_of_several():  # with several ranks, another may already have made `out`
            check_out(OTHER_RUNS.get(command.name, command.name), config)
    if command.name == "sample":
        from understudy.loop.sample_config import check_sample_files

        check_sample_files(config)
    code = _call(command.load_function(), config)
    if code == 0 and _is_rank_0():
        from understudy.loop.next_step import say_next

        say_next(command.name, config)
    return code


def _call(function: typing.Callable[[Any], Any], config: Any) -> int:
    try:
        result = function(config)
    except RuntimeError as error:
        from understudy.loop.runner import PlanFailed, PlanInterrupted

        if isinstance(error, PlanFailed):
            return _complain(str(error), FAILURE)
        if isinstance(error, PlanInterrupted):
            by_hand = error.signum == signal.SIGINT
            return _complain(str(error), INTERRUPTED if by_hand else SAVED_AND_STOPPED)
        raise
    if result is not None and _is_rank_0():
        print(result.table() if hasattr(result, "table") else result)
    return 0


def extra_with(module: str) -> str:
    """The first of this package's extras that installs a module; "" if none."""
    from importlib.metadata import requires

    top = module.partition(".")[0]
    for requirement in requires("understudy") or ():
        found = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", requirement)
        # A distribution's name may extend the module's: argon2-cffi installs argon2.
        if found and found[2] != "all" and found[1].replace("-", "_").lower().startswith(top):
            return found[2]
    return ""


def _complain(message: str, code: int) -> int:
    from understudy.records.convert import visible

    line = visible(" ".join(message.split()))
    if _is_one_of_several():
        if _said_by_another(message):
            return code
        if not _is_rank_0():
            line = f"rank {os.environ['RANK']}: {line}"
    print(f"understudy: error: {line}", file=sys.stderr)
    return code


def _is_rank_0() -> bool:
    """Whether this process reports for the job: it runs alone, or is the first of several."""
    return os.environ.get("RANK", "0") == "0"


def _said_by_another(message: str) -> bool:
    """Whether another rank failed first and reports the error."""
    from understudy.training.ranks import is_first_to_fail

    return not is_first_to_fail(message)


def _find(arguments: list[str]) -> tuple[Command | None, list[str]]:
    """The command and its arguments; None for a bare group ("prompts"), whose commands are then
    listed."""
    by_name = {command.name: command for command in COMMANDS}
    first, *rest = arguments
    if first in by_name:
        return by_name[first], rest
    group = [name.split()[1] for name in by_name if name.startswith(f"{first} ")]
    if not group:
        close = nearest(first, [name.split()[0] for name in by_name])
        raise ValueError(f"unknown command '{first}'; did you mean '{close}'? See understudy -h")
    if rest and rest[0] not in ("-h", "--help"):
        if rest[0] not in group:
            close = nearest(rest[0], group)
            raise ValueError(f"unknown command '{first} {rest[0]}'; did you mean '{close}'?")
        return by_name[f"{first} {rest[0]}"], rest[1:]
    return None, []


def _overview(group: str = "") -> str:
    commands = [c for c in COMMANDS if not group or c.name.startswith(f"{group} ")]
    width = max(len(c.name) for c in commands)
    lines = [f"  {c.name:<{width}}  {c.summary}" for c in commands]
    return "\n".join(
        [
            "usage: understudy COMMAND [OPTIONS]",
            "",
            "The whole InstructGPT loop: users' prompts to demonstrations, SFT, rankings, a reward",
            "model, PPO-ptx, and evaluation by people who did not train it.",
            "",
            *lines,
            "",
            "understudy COMMAND --help lists its options: defaults, units, the paper's section.",
            "understudy completion bash|zsh|fish prints a script for tab completion.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
