"""Checkpoints of a sharded run, written by several ranks, read by as many or by one; for torchrun.

`folder/one` holds a run of one process (format 1), which the ranks read; `folder/several` is what
they write.
"""

import json
import sys
from pathlib import Path

import torch
from tests.fixtures_models import make_policy

from understudy.models.lora import load_weights, weights_of
from understudy.models.sharding import compute, fill, shard, whole
from understudy.ppo.update import update_average
from understudy.training.checkpoint import (
    latest_checkpoint,
    load_checkpoint,
    read_manifest,
    save_checkpoint,
    tree_hash,
)
from understudy.training.optim import clip_and_step, load_optimizer, make_optimizer
from understudy.training.ranks import ALONE, Ranks, join_ranks, leave_ranks


class Trained:
    """A small model with tied embeddings, its optimiser and an average of its weights."""

    def __init__(self, ranks: Ranks, seed: int) -> None:
        # 385 rows of embeddings do not divide by 2, half of 50 rows neither.
        changes = dict(vocab_size=385, intermediate_size=50)
        self.ranks, self.model = ranks, make_policy("llama_tied", seed, **changes).model
        shard(self.model, ranks.mesh)
        self.optimizer = make_optimizer(self.model, 1e-2)
        self.average = {n: p.detach().clone() for n, p in self.model.named_parameters()}

    def learn(self) -> None:
        """A step on fixed tokens."""
        ids_BT = torch.arange(24).reshape(2, 12) + 40 * self.ranks.data_rank
        compute(self.model, lambda: self.model(input_ids=ids_BT).logits.pow(2).mean()).backward()
        clip_and_step(self.optimizer, list(self.model.parameters()))
        update_average(self.average, self.model, 0.9)

    def trees(self) -> dict:
        return {
            "policy": weights_of(self.model),
            "policy_optimizer": self.optimizer.state_dict(),
            "average": self.average,
        }

    def load(self, path: Path) -> dict:
        """Take over a checkpoint; its state."""
        trees, state = load_checkpoint(path, self.trees(), self.ranks)
        load_weights(self.model, trees["policy"])
        load_optimizer(self.optimizer, trees["policy_optimizer"])
        for name, tensor in self.average.items():
            fill(tensor, trees["average"][name])
        return state

    def hashes(self) -> dict[str, str]:
        """Of all that is saved, whole."""

        def gathered(tree):
            if isinstance(tree, torch.Tensor):
                return whole(tree.detach()).clone()
            if isinstance(tree, dict):
                return {key: gathered(value) for key, value in tree.items()}
            if isinstance(tree, list | tuple):
                return [gathered(value) for value in tree]
            return tree

        return {name: tree_hash(gathered(tree)) for name, tree in self.trees().items()}


def write_as_one(folder: Path) -> dict[str, str]:
    """What a run of one process leaves; the hashes of it."""
    run = Trained(ALONE, seed=5)
    run.learn()
    save_checkpoint(folder / "one", 1, run.trees(), {"step": 1})
    return run.hashes()


def main(folder: Path) -> None:
    ranks = join_ranks()
    run = Trained(ranks, seed=1)
    run.learn()
    save_checkpoint(folder / "several", 1, run.trees(), {"step": 1}, run="a", ranks=ranks)
    first = run.hashes()
    run.learn()
    path = save_checkpoint(folder / "several", 2, run.trees(), {"step": 2}, run="a", ranks=ranks)
    found: dict = {"first": first, "second": run.hashes()}
    found["sizes"] = {name: facts["bytes"] for name, facts in read_manifest(path)["files"].items()}

    other = Trained(ranks, seed=2)
    found["state"] = other.load(path)
    found["loaded"] = other.hashes()
    run.learn(), other.learn()
    found["go on alike"] = run.hashes() == other.hashes()

    third = Trained(ranks, seed=3)
    third.load(latest_checkpoint(folder / "one", ranks=ranks))
    found["of one process"] = third.hashes()

    parts = Trained(join_ranks(tensor=2), seed=4)
    parts.load(path)
    found["parts of several"] = parts.hashes()
    parts.load(latest_checkpoint(folder / "one", ranks=ranks))
    found["parts of one process"] = parts.hashes()
    parts.learn()
    path = save_checkpoint(folder / "parts", 3, parts.trees(), {"step": 3}, ranks=parts.ranks)
    found["parts"] = parts.hashes()
    third.load(path)
    found["of parts"] = third.hashes()

    save_checkpoint(folder / "broken", 1, run.trees(), {"step": 1}, ranks=ranks)
    save_checkpoint(folder / "broken", 2, run.trees(), {"step": 2}, ranks=ranks)
    if ranks.rank == 1:
        (shard_file,) = (folder / "broken/checkpoints/step-2").glob("shard-00002-*")
        data = bytearray(shard_file.read_bytes())
        data[-3] ^= 1
        shard_file.write_bytes(data)
    ranks.wait()
    found["fell back to"] = latest_checkpoint(folder / "broken", ranks=ranks).name
    ranks.wait()
    (folder / f"rank-{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_ranks()
