"""Stop requests: signals that ask for a save, and the command that continues."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

EXIT_STOPPED = 75
"""Exit code after SIGINT (Ctrl-C), SIGTERM or SIGUSR1: all is saved, `--resume` continues
(EX_TEMPFAIL)."""

LAUNCHED_BY = "UNDERSTUDY_LAUNCHED_BY"
"""Environment variable with the launcher's part of the command line, if a launcher started this
process."""


class Stop:
    """Whether a stop was requested."""

    requested: bool = False
    """Set by a signal."""
    final: bool = False
    """Set when all ranks have saved; later signals are ignored, so that the run ends cleanly."""


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """SIGINT, SIGTERM or SIGUSR1 sets `requested`, for a save at the next step; a second one
    kills."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python delivers signals to the main thread only
        return

    def ask(number: int, frame: Any) -> None:
        stop.requested = True
        signal.signal(number, signal.SIG_DFL)

    names = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    previous = {name: signal.signal(name, ask) for name in names}
    try:
        yield stop
    finally:
        for name, handler in previous.items():
            signal.signal(name, signal.SIG_IGN if stop.final else handler)


def command_to_resume() -> str:
    """The shell command that continues this process's run."""
    program, *arguments = sys.argv
    if "understudy" not in Path(program).parts[-2:]:
        return "the same settings with resume=True"
    launcher = shlex.split(os.environ.get(LAUNCHED_BY, ""))
    handled = ("--resume", "--no-resume", "--overwrite", "--no-overwrite")
    kept = [argument for argument in arguments if argument not in handled]
    return shlex.join(["understudy", *launcher, *kept, "--resume"])
