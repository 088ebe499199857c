"""A whole copy of a sharded policy, and what is seen when it is stale; run by torchrun."""

import json
import sys
from pathlib import Path

import torch
from tests.fixtures_models import make_policy

from understudy.engines.generation import generate
from understudy.engines.replica import Replica, checksum, copy_weights
from understudy.models.sharding import shard, whole
from understudy.models.splitting import split_weights
from understudy.training.ranks import join_ranks, leave_ranks


def answers(model) -> list[list[int]]:
    prompts = [[5, 9, 200], [7], [300, 4, 4, 8]]
    found = generate(
        model, prompts, max_new_tokens=12, temperature=0.9, seed=3, stop_ids={0}, pad_id=1
    )
    return [answer.ids for answer in found]


def moved(policy) -> None:
    """Other weights, on all ranks alike."""
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.25)


CASES = (
    *(("gpt2", 1), ("llama_tied", 1), ("llama_tied", 2)),
    *(("gpt2", 2), ("qwen2", 2), ("gpt_neox", 2), ("opt", 2), ("mistral", 2)),
)
"""Architectures, and the ranks that share a copy."""
IDS_BT = torch.tensor([[5, 9, 200, 7], [6, 8, 1, 1]])
MASK_BT = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


def copied(kind: str, sharing: int, ranks, bf16: bool = False) -> dict:
    """A copy of a policy whose weights have moved since it was made, beside one process's."""
    policy, plain = make_policy(kind), make_policy(kind)
    policy.bf16 = plain.bf16 = bf16
    shard(policy.model, ranks.mesh)
    replica = Replica(policy, ranks.group(sharing))
    moved(policy), moved(plain)
    with replica.synced(policy, IDS_BT, MASK_BT) as model:
        here = dict(model.named_parameters())
        parts = {name: (owner, own) for name, owner, own in split_weights(model.model)}
        equal = all(
            torch.equal(_part(whole(p), *parts.get(n, (None, ""))).to(here[n].dtype), here[n])
            for n, p in policy.named_parameters()
        )
        found = {
            "equal": equal,
            "checksum": bf16 or checksum(model) == checksum(policy) == checksum(plain),
            "answers": answers(model) == answers(plain),
            "tied": model.head.weight_VD is model.model.get_input_embeddings().weight,
            "share": sum(p.nbytes for p in here.values())
            / sum(p.nbytes for p in plain.parameters()),
        }
    found["held"] = sum(p.untyped_storage().nbytes() for p in here.values())
    return found | {"version": replica.version}


def _part(tensor, owner, own):
    return tensor if owner is None else owner.part(own, tensor)


def main(folder: Path, cases=CASES) -> None:
    ranks = join_ranks()
    found: dict = {f"{kind}-{sharing}": copied(kind, sharing, ranks) for kind, sharing in cases}
    found |= {f"bf16-{n}": copied("llama", n, ranks, bf16=True) for n in {n for _, n in cases}}
    policy = make_policy("llama")
    shard(policy.model, ranks.mesh)

    def forgetful(policy, model):
        copy_weights(policy, model)
        if ranks.rank == 1:  # one bit of one weight
            next(model.parameters()).view(-1)[:1].view(torch.int32).add_(1)

    import understudy.engines.replica as module

    module.copy_weights = forgetful
    for sharing in (1, 2):
        try:
            with Replica(policy, ranks.group(sharing)).synced(policy, IDS_BT, MASK_BT):
                pass
        except RuntimeError as error:
            found[f"flipped-{sharing}"] = str(error)
    module.copy_weights = copy_weights
    ranks.wait()
    (folder / f"rank-{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_ranks()
