"""The trainers on tiny models, each in a child process that can be killed.

Children are forked from a process that has imported everything, so that an attempt costs a fraction
of a second and not the imports. When to strike is counted in the child's own CPU time (Linux), so
that a busy machine does not move the moments.
"""

import os
import random
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.fixtures_data import write_demonstrations, write_rankings
from tests.fixtures_models import save_model_folder
from tests.fixtures_ppo import tiny_config, write_world

from understudy.dpo.config import DPOConfig
from understudy.dpo.train import train_dpo
from understudy.grpo.config import GRPOConfig
from understudy.grpo.train import train_grpo
from understudy.kto.config import KTOConfig
from understudy.kto.train import train_kto
from understudy.ppo.train import train_ppo
from understudy.records import file_hash
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward
from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft
from understudy.training import checkpoint
from understudy.training.checkpoint import (
    CRASH_VARIABLE,
    latest_checkpoint,
    load_checkpoint,
    tree_hash,
)
from understudy.training.origin import code_version

STAGES = ("sft", "reward", "dpo", "kto", "ppo", "ppo_ptx", "grpo")
FAILED = 3
"""Exit code of a child whose training raised."""


def prepare(folder: Path) -> Path:
    """Models and data of all stages."""
    code_version()  # asked of git once, here, and not in every child
    save_model_folder(folder / "base")
    write_demonstrations(folder / "demos.jsonl")
    write_rankings(folder / "rankings.jsonl")
    write_world(folder)
    return folder


def train(stage: str, folder: Path, out: Path, *, resume: bool) -> None:
    """One whole run of a stage, with a checkpoint every step or two."""
    common = dict(
        model=str(folder / "base"),
        out=out,
        resume=resume,
        lr=1e-3,
        save_every=2,
        keep_checkpoints=True,
    )
    demos = folder / "demos.jsonl"
    if stage == "sft":
        train_sft(SFTConfig(data=demos, valid_data=demos, epochs=3, batch_size=4, **common))
    elif stage == "dpo":
        train_dpo(DPOConfig(data=folder / "rankings.jsonl", batch_size=2, epochs=2, **common))
    elif stage == "kto":
        train_kto(KTOConfig(data=folder / "rankings.jsonl", batch_size=4, epochs=2, **common))
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
        if stage == "grpo":
            del world["pretrain_data"]
            groups = dict(episodes=32, batch_size=8, responses_per_prompt=4, max_response_tokens=6)
            train_grpo(GRPOConfig(**(common | world | groups | dict(save_every=1))))
            return
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
    return wait_and_measure(child)[0]


def wait_and_measure(child: int) -> tuple[int, float]:
    """(exit code, seconds of CPU that the child used)."""
    _, status, usage = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def run(stage: str, folder: Path, out: Path, **options: object) -> int:
    """Start a child and wait for it."""
    return wait(start(stage, folder, out, **options))  # type: ignore[arg-type]


def kill_after(cpu_seconds: float, child: int, number: int = signal.SIGKILL) -> int:
    """Send a signal once a child has used so much CPU time, or ended; its exit code."""
    clock = (~child << 3) | 2  # what clock_getcpuclockid(3) gives for a process
    while not _ended(child) and time.clock_gettime(clock) < cpu_seconds:
        time.sleep(0.0005)
    os.kill(child, number)  # a child that has ended waits to be asked for its code
    return wait(child)


def _ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def outcome(out: Path) -> dict[str, str]:
    """Hashes of all that a run leaves: every tensor of its last checkpoint, logs, model."""
    newest = latest_checkpoint(out)
    assert newest is not None
    trees, state = load_checkpoint(newest)
    hashes = {f"{newest.name}/{name}": tree_hash(tree) for name, tree in trees.items()}
    names = ("metrics.jsonl", "results.json", "model")
    return hashes | {"state": str(state)} | {name: file_hash(out / name) for name in names}


def moments(name: str, longest: float) -> Iterator[float]:
    """Random moments between 0 and `longest`, the same for a name each time, without end."""
    rng = random.Random(name)
    while True:
        yield rng.uniform(0.0, longest)
