"""Every architecture trained in one process and on all ranks, in fp64; run by torchrun.

Each rank does both, on the same rows, so that what it writes down are differences.
"""

import copy
import json
import sys
from pathlib import Path

import torch
from tests.fixtures_models import config_of, make_policy
from torch.nn import functional as F

from understudy.models.sharding import (
    blocks_of,
    compute,
    fill,
    global_norm,
    is_sharded,
    local_part,
    shard,
    whole,
)
from understudy.training.optim import _step as step
from understudy.training.ranks import ALONE, join_ranks, leave_ranks

KINDS = ("llama", "llama_tied", "qwen2", "gpt_neox", "opt", "gpt2")
STEPS, LENGTHS = 3, (9, 4, 12, 5, 7)


def passes():
    """Rows of different lengths, each a pass: one more than two ranks can share evenly."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(2, 384, (1, n), generator=generator) for n in LENGTHS]


def nll(model, ids_BT):
    logits_BTV = model(input_ids=ids_BT, use_cache=False).logits[:, :-1]
    return F.cross_entropy(logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten(), reduction="sum")


def train(model, ranks, mutate=""):
    """(losses, gradient norms) of STEPS steps with clipping."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    rows = passes()
    num_tokens = sum(n - 1 for n in LENGTHS)
    losses, norms = [], []
    for _ in range(STEPS):
        total = 0.0
        for share in ranks.deal(len(rows)):
            loss = compute(model, nll, model, rows[share.number]) / num_tokens
            (loss if share.counts or mutate == "idle" else 0.0 * loss).backward()
            total += float(loss) * share.counts
        grads = [p.grad for p in model.parameters()]
        norm = (
            global_norm(grads) if is_sharded(model) else float(torch.nn.utils.get_total_norm(grads))
        )
        torch._foreach_mul_([local_part(g) for g in grads], min(1.0, 0.5 / norm))
        step(optimizer)
        optimizer.zero_grad()
        losses += ranks.sum([total])
        norms.append(norm)
    return losses, norms


def difference(first, second):
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def compare(kind, ranks, mutate="", replicas=1):
    model = make_policy(kind).model.double()
    plain = copy.deepcopy(model)
    shard(model, ranks.mesh)
    if mutate == "average":
        for unit in model.modules():
            if hasattr(unit, "set_gradient_divide_factor"):
                unit.set_gradient_divide_factor(float(ranks.world))
    alone, apart = train(plain, ALONE), train(model, ranks, mutate)
    tied = config_of(kind).tie_word_embeddings
    with torch.no_grad():
        ids = passes()[0]
        together = compute(model, nll, model, ids)
    here = dict(model.named_parameters())
    return {
        "loss": difference(alone[0], apart[0]),
        "norm": difference(alone[1], apart[1]),
        "weights": max(
            float((whole(here[name]) - p).abs().max()) for name, p in plain.named_parameters()
        ),
        "evaluated": abs(float(together) - float(nll(plain, ids))),
        "tied": (model.get_output_embeddings().weight is model.get_input_embeddings().weight)
        == bool(tied),
        "groups": len(list(blocks_of(model))),
        "local": sum(p.to_local().numel() for p in model.parameters())
        / sum(p.numel() for p in model.parameters()),
    }


def filled(ranks):
    """Whether another model's weights, put into the shards, come out whole again."""
    model, other = make_policy("llama").model, make_policy("llama", seed=1).model
    shard(model, ranks.mesh)
    for name, parameter in model.named_parameters():
        fill(parameter, other.get_parameter(name))
    return all(
        torch.equal(whole(p), other.get_parameter(name)) for name, p in model.named_parameters()
    )


def main(folder: Path, replicas: int, kinds: tuple[str, ...] = KINDS, tensor: int = 1) -> None:
    ranks = join_ranks(replicas=replicas, tensor=tensor)
    found = {kind: compare(kind, ranks) for kind in kinds}
    if replicas == tensor == 1:
        found["average"] = compare("llama", ranks, "average")
        found["idle"] = compare("llama", ranks, "idle")
        found["filled"] = filled(ranks)
    ranks.wait()
    (folder / f"rank-{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    number = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    kinds = [kind for kind in KINDS if number == 1 or kind != "gpt2"]
    main(Path(sys.argv[1]), int(sys.argv[2]), tuple(kinds), number)
    leave_ranks()
