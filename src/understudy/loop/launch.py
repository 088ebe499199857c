"""Start a training command once per card, through torchrun's own launcher.

    understudy launch --cards 8 -- sft --model BASE --data demonstrations.jsonl --out runs/sft

Differences from `torchrun`: the exit code is the ranks' own (75 when all have saved and stopped, 2
for a mistake in the settings), a signal to the launcher reaches all ranks, and only the ranks' own
messages are printed.
"""

import logging
import os
import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import tyro

from understudy.loop.commands import TRAINERS
from understudy.training.stop import EXIT_STOPPED, LAUNCHED_BY

EXIT_CODES = "UNDERSTUDY_EXIT_CODES"
"""Environment variable: the folder in which each rank leaves its exit code for the launcher."""
SIGNALS = "SIGTERM,SIGINT,SIGUSR1,SIGHUP"


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchConfig:
    """Start a training command on several cards or machines."""

    command: tyro.conf.Positional[tuple[str, ...]] = ()
    """The command to start, after --: a trainer such as sft or ppo, with its options."""
    cards: int = 0
    """Processes on this machine, one per card; 0: as many as it has cards, at least one."""
    nodes: int = 1
    """Number of machines; run the same line on each."""
    head: str = ""
    """HOST:PORT of one of the machines, where all connect; needed with more than one."""
    job: str = "understudy"
    """Name of this job, to distinguish it from others at the same HOST:PORT."""
    stop_seconds: int = 300
    """How long the ranks may take to save and stop after a signal before they are killed."""

    def __post_init__(self) -> None:
        if self.cards < 0 or self.nodes < 1 or self.stop_seconds < 1:
            raise ValueError("cards must be at least 0, nodes and stop_seconds at least 1")
        if self.nodes > 1 and not self.head:
            raise ValueError(
                f"nodes is {self.nodes}, so head must name the machine where they connect, such as "
                "--head node0:29400"
            )


def launch(config: LaunchConfig) -> NoReturn:
    """Run the command on all ranks; raises SystemExit with their exit code."""
    if not config.command or config.command[0] not in TRAINERS:
        given = f"; got {config.command[0]!r}" if config.command else ""
        raise ValueError(
            f"launch starts {', '.join(TRAINERS)}{given}: "
            "understudy launch --cards 2 -- sft --model ..."
        )
    import torch

    cards = config.cards or max(torch.cuda.device_count(), 1)
    if torch.cuda.is_available() and cards > torch.cuda.device_count():
        raise ValueError(f"cards is {cards}; this machine has {torch.cuda.device_count()}")
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // cards, 1)))
    with tempfile.TemporaryDirectory(prefix="understudy-launch-") as folder:
        os.environ[EXIT_CODES] = folder
        os.environ[LAUNCHED_BY] = _said(config, cards)
        try:
            killed = _run(config, cards)
        finally:
            del os.environ[EXIT_CODES], os.environ[LAUNCHED_BY]
        codes = {int(path.name): int(path.read_text()) for path in Path(folder).iterdir()}
    raise SystemExit(_exit_code(codes, cards, killed))


def _said(config: LaunchConfig, cards: int) -> str:
    """The launcher's part of the command line, for the message that says how to continue."""
    words = ["launch", "--cards", str(cards)]
    if config.nodes > 1:
        words += ["--nodes", str(config.nodes), "--head", config.head, "--job", config.job]
    return shlex.join([*words, "--"])


def _run(config: LaunchConfig, cards: int) -> dict[int, int]:
    """Start the ranks and wait for them; returns the killed ranks with their signals."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser, run

    logging.disable(logging.ERROR)  # the ranks print their own messages
    where = ["--standalone"]
    if config.nodes > 1:
        where = ["--rdzv-backend=c10d", f"--rdzv-endpoint={config.head}", f"--rdzv-id={config.job}"]
    arguments = get_args_parser().parse_args(
        [
            *where,
            f"--nnodes={config.nodes}",
            f"--nproc-per-node={cards}",
            f"--signals-to-handle={SIGNALS}",
            f"--shutdown-timeout={config.stop_seconds}",
            "--module",
            "understudy.cli",
            *config.command,
        ]
    )
    try:
        run(arguments)
    except ChildFailedError as error:
        return {rank: -f.exitcode for rank, f in error.failures.items() if f.exitcode < 0}
    except SignalException:
        pass
    return {}


def _exit_code(codes: dict[int, int], cards: int, killed: dict[int, int]) -> int:
    """The launcher's exit code, from those of the ranks on this machine."""
    missing = cards - len(codes)
    found = set(codes.values())
    if not missing and found == {0}:
        return 0
    if not missing and found <= {0, EXIT_STOPPED}:
        return EXIT_STOPPED
    failed = [codes[rank] for rank in sorted(codes) if codes[rank] not in (0, EXIT_STOPPED)]
    if failed:
        return failed[0]
    by = "".join(f"; rank {rank} died by signal {number}" for rank, number in killed.items())
    print(f"understudy: error: {missing} of {cards} ranks ended early{by}", file=sys.stderr)
    return 1
