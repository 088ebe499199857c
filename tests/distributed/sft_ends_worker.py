"""How SFT ends on several ranks: a signal, a bad gradient or a mistake on one; run by torchrun.

Every run is of one model in one set of processes, so that starting them costs once.
"""

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

import understudy.sft.train as sft
import understudy.training.policy as policy
from understudy.models.sharding import is_sharded
from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft
from understudy.training.checkpoint import list_checkpoints
from understudy.training.ranks import join_ranks, leave_ranks
from understudy.training.run import read_lines


def ending(config: SFTConfig) -> list:
    """How a run ends on this rank."""
    try:
        train_sft(config)
    except (Exception, SystemExit) as error:
        return [type(error).__name__, str(error)]
    return ["done", ""]


def at_step(number: int, act) -> None:
    """Let `act(model)` happen before the optimiser step `number` of the next run, on rank 1."""
    gradient, calls = sft._gradient, []

    def acting(config, model, *rest):
        found = gradient(config, model, *rest)
        calls.append(1)
        if len(calls) == number and torch.distributed.get_rank() == 1:
            act(model)
        return found

    sft._gradient = acting


def poison(model) -> None:
    assert is_sharded(model)
    next(model.parameters()).grad.to_local().view(-1)[0] = float("nan")


def main(folder: Path) -> None:
    ranks = join_ranks()
    config = SFTConfig(
        model=str(folder / "base"),
        data=folder / "demos.jsonl",
        out=folder / "straight",
        epochs=1,
        lr=1e-3,
        batch_size=5,
        micro_batch_tokens=64,
        save_every=2,
        keep_checkpoints=True,
    )
    gradient, found = sft._gradient, {}
    found["straight"] = ending(config)
    stopped = replace(config, out=folder / "stopped")
    at_step(1, lambda model: signal.raise_signal(signal.SIGTERM))
    found["stopped"] = ending(stopped)
    found["saved"] = [path.name for path in list_checkpoints(folder / "stopped")]
    sft._gradient = gradient
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    found["resumed"] = ending(replace(stopped, resume=True))
    at_step(2, poison)
    found["poisoned"] = ending(replace(config, out=folder / "poisoned"))
    sft._gradient = gradient
    ranks.wait()
    rows = read_lines(folder / "poisoned" / "metrics.jsonl")
    found["skipped"] = [row["sft/skipped_steps"] for row in rows]
    mine = replace(config, lr=1e-3 if ranks.is_first else 2e-3, out=folder / "differs")
    found["another lr"] = ending(mine)
    found["adapter"] = ending(replace(config, lora_rank=2, out=folder / "adapter"))
    found["judge"] = ending(
        replace(config, valid_data=config.data, reward_model=folder / "base", out=folder / "judge")
    )
    lost = folder / "base" if ranks.is_first else folder / "nowhere"
    with patch.object(
        policy, "load_policy", lambda path, mesh, load=policy.load_policy: load(lost, mesh=mesh)
    ):
        found["lost model"] = ending(replace(config, out=folder / "lost"))
    ranks.wait()
    (folder / f"rank-{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_ranks()
