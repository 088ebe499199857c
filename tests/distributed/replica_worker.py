"""A whole copy of a sharded policy, and what is seen when it is stale; run by torchrun."""

import json
import sys
from pathlib import Path

import torch
from tests.fixtures_models import make_policy

from understudy.engines.generation import generate
from understudy.engines.replica import Replica, checksum, copy_weights
from understudy.models.sharding import shard, whole
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


def main(folder: Path) -> None:
    ranks = join_ranks()
    found = {}
    ids_BT = torch.tensor([[5, 9, 200, 7], [6, 8, 1, 1]])
    mask_BT = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    for kind in ("gpt2", "llama_tied"):
        policy, plain = make_policy(kind), make_policy(kind)
        shard(policy.model, ranks.mesh)
        replica = Replica(policy)
        moved(policy), moved(plain)
        stale = checksum(replica.model) == checksum(policy)
        replica.sync(policy, ids_BT, mask_BT)
        here = dict(replica.model.named_parameters())
        equal = all(torch.equal(whole(p), here[n]) for n, p in policy.named_parameters())
        same = answers(replica.model) == answers(plain)
        found[kind] = [stale, equal, checksum(policy) == checksum(plain), same, replica.version]
        tied = replica.model.model.get_output_embeddings().weight
        found[kind].append(tied is replica.model.model.get_input_embeddings().weight)

    def forgetful(policy, model):
        copy_weights(policy, model)
        if ranks.rank == 1:  # one bit of one weight
            next(model.parameters()).view(-1)[:1].view(torch.int32).add_(1)

    import understudy.engines.replica as module

    module.copy_weights = forgetful
    try:
        replica.sync(policy, ids_BT, mask_BT)
    except RuntimeError as error:
        found["flipped"] = str(error)
    finally:
        module.copy_weights = copy_weights
    ranks.wait()
    (folder / f"rank-{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave_ranks()
