"""The four trainers on tiny models, each in a child process that can be killed.

Children are forked from a process that has imported everything, so that an attempt costs a second
and not the imports.
"""

import os
import random
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from tests.fixtures_data import write_demonstrations, write_rankings
from tests.fixtures_models import save_model_folder
from tests.fixtures_ppo import tiny_config, write_world

from understudy.core import checkpoint
from understudy.core.checkpoint import (
    CRASH_VARIABLE,
    latest_checkpoint,
    load_checkpoint,
    tree_hash,
)
from understudy.ppo.train import train_ppo
from understudy.records import file_hash
from understudy.reward.train import RewardConfig, train_reward
from understudy.sft.train import SFTConfig, train_sft

STAGES = ("sft", "reward", "ppo", "ppo_ptx")
FAILED = 3
"""Exit code of a child whose training raised."""


def prepare(folder: Path) -> Path:
    """Models and data of all stages."""
    save_model_folder(folder / "base")
    write_demonstrations(folder / "demos.jsonl")
    write_rankings(folder / "rankings.jsonl")
    write_world(folder)
    return folder


def train(stage: str, folder: Path, out: Path, *, resume: bool) -> None:
    """One whole run of a stage, with a checkpoint every step or two."""
    common = dict(model=str(folder / "base"), out=out, resume=resume, lr=1e-3, save_every=2)
    demos = folder / "demos.jsonl"
    if stage == "sft":
        train_sft(SFTConfig(data=demos, valid_data=demos, epochs=3, batch_size=4, **common))
    elif stage == "reward":
        train_reward(
            RewardConfig(
                data=folder / "rankings.jsonl", demonstrations=demos, batch_size=2, **common
            )
        )
    else:
        world = {
            "model": str(folder / "policy"),
            "reward_model": folder / "reward",
            "prompts": folder / "prompts.jsonl",
            "pretrain_data": folder / "text.txt",
        }
        coef = 0.5 if stage == "ppo_ptx" else 0.0
        train_ppo(tiny_config(world, out, ptx_coef=coef, adaptive_kl_target=2.0, resume=resume))


def start(
    stage: str,
    folder: Path,
    out: Path,
    *,
    resume: bool = False,
    crash: str = "",
    before: Callable[[], None] = lambda: None,
) -> int:
    """Fork a child that trains (`before` runs first in it); its process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
        child = os.fork()
    if child:
        return child
    code = FAILED
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 2)
        checkpoint._visits.clear()
        os.environ[CRASH_VARIABLE] = crash
        before()
        train(stage, folder, out, resume=resume)
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        (out.parent / f"{out.name}.trace").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def wait(child: int) -> int:
    """Exit code of a child; minus the signal that killed it."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def run(stage: str, folder: Path, out: Path, **options: object) -> int:
    """Start a child and wait for it."""
    return wait(start(stage, folder, out, **options))  # type: ignore[arg-type]


def kill_after(seconds: float, child: int, number: int = signal.SIGKILL) -> int:
    """Send a signal after some time, unless the child has ended; its exit code."""
    time.sleep(seconds)
    os.kill(child, number)  # a child that has ended waits to be asked for its code
    return wait(child)


def outcome(out: Path) -> dict[str, str]:
    """Hashes of all that a run leaves: every tensor of its last checkpoint, logs, model."""
    newest = latest_checkpoint(out)
    assert newest is not None
    trees, state = load_checkpoint(newest)
    hashes = {f"{newest.name}/{name}": tree_hash(tree) for name, tree in trees.items()}
    names = ("metrics.jsonl", "results.json", "model")
    return hashes | {"state": str(state)} | {name: file_hash(out / name) for name in names}


def moments(stage: str, longest: float, count: int) -> list[float]:
    """Random times at which to strike, the same each time."""
    rng = random.Random(stage)
    return [rng.uniform(0.0, longest) for _ in range(count)]
