"""Networks that each rank reads its slices of, and folders that are broken on one rank; run by
torchrun."""

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tests.fixtures_models import make_tokenizer, save_model_folder
from torch import Tensor, nn

from understudy.models.compute import place
from understudy.models.policies import check_computes, load_policy, save_policy
from understudy.models.scalar import ScalarModel, load_scalar, scalar_from
from understudy.models.sharding import compute, local_part, whole
from understudy.training.ranks import join_ranks, leave_ranks

KINDS = ("llama", "llama_tied", "qwen2", "gpt_neox", "opt", "gpt2", "mistral", "gemma2")


@dataclass(frozen=True)
class Half:
    device: str = "cpu"
    bf16: bool = True


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers, whole."""
    held = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: whole(tensor.detach()) for name, tensor in held.items()}


def same(model: nn.Module, expected: nn.Module) -> bool:
    found, wanted = tensors(model), tensors(expected)
    return list(found) == list(wanted) and all(torch.equal(found[n], wanted[n]) for n in wanted)


def prepare(folder: Path, kinds: tuple[str, ...]) -> None:
    """The folders that rank 0 writes for all."""
    for kind in kinds:
        path = save_model_folder(folder / kind, kind)
        policy, tokenizer = load_policy(path)
        policy.model.save_pretrained(folder / f"{kind}-files", max_shard_size="50KB")
        tokenizer.save_pretrained(folder / f"{kind}-files")
        ScalarModel.from_policy(policy, seed=4).save(folder / f"{kind}-scalar", tokenizer)


def equal_to_whole(folder: Path, kind: str, ranks) -> dict[str, bool]:
    policy, _ = load_policy(folder / kind, mesh=ranks.mesh)
    alone, _ = load_policy(folder / kind)
    check_computes(folder / kind, policy)
    save_policy(policy, make_tokenizer(), folder / f"{kind}-saved")
    again, _ = load_policy(folder / f"{kind}-saved", mesh=ranks.mesh)
    files, _ = load_policy(folder / f"{kind}-files", mesh=ranks.mesh)
    new, _ = scalar_from(folder / kind, 3, mesh=ranks.mesh)
    old, _ = load_scalar(folder / f"{kind}-scalar", mesh=ranks.mesh)
    heads = [m.model.get_output_embeddings().weight for m in (policy, alone)]
    embeddings = [m.model.get_input_embeddings().weight for m in (policy, alone)]
    frozen, _ = load_policy(folder / kind, mesh=ranks.mesh)
    place(frozen.requires_grad_(False), Half(), frozen=True)
    policy.bf16 = True
    inputs = (torch.tensor([[5, 9, 200, 7]]), torch.ones(1, 4, dtype=torch.long))
    with torch.no_grad():
        rounded, expected = (compute(m.model, m.logprobs, *inputs)[0] for m in (frozen, policy))
    sizes = [sum(local_part(w).nbytes for w in m.parameters()) for m in (frozen, policy)]
    local = sum(local_part(weight).numel() for weight in policy.parameters())
    return {
        "policy": same(policy, alone),
        "saved and read again": same(again, alone),
        "several files": same(files, alone),
        "new head": same(new, scalar_from(folder / kind, 3)[0]),
        "scalar model": same(old, load_scalar(folder / f"{kind}-scalar")[0]),
        "frozen in bf16": torch.equal(rounded, expected) and sizes[0] < 0.9 * sizes[1],
        "ties": (heads[0] is embeddings[0]) == (heads[1] is embeddings[1]),
        "half": local
        < (0.55 if ranks.tensor == 1 else 0.85)
        * sum(weight.numel() for weight in policy.parameters()),
        "generation": policy.model.generation_config == alone.model.generation_config,
    }


def broken(folder: Path, kind: str, change) -> None:
    """A copy of a model for rank 0, and one with changed weights for the others."""
    save_model_folder(folder / f"{change.__name__}-0", kind)
    file = save_model_folder(folder / f"{change.__name__}-1", kind) / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def lacks(weights: dict[str, Tensor]) -> None:
    del weights["model.layers.1.mlp.up_proj.weight"]


def is_larger(weights: dict[str, Tensor]) -> None:
    weights["model.norm.weight"] = torch.ones(33)


def has_nan(weights: dict[str, Tensor]) -> None:
    weights["model.embed_tokens.weight"][-1, 0] = torch.nan


def unties(weights: dict[str, Tensor]) -> None:
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] + 1


def ties_twice(weights: dict[str, Tensor]) -> None:
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()


CHANGES = (
    *(("llama", lacks), ("llama", is_larger), ("llama", has_nan)),
    *(("llama_tied", unties), ("llama_tied", ties_twice)),
)


def message_of(path: Path, ranks) -> str:
    """What a rank is told; nothing if the model can be read."""
    try:
        with ranks.together():
            policy, _ = load_policy(path, mesh=ranks.mesh)
        check_computes(path, policy)
    except (ValueError, SystemExit) as error:
        return str(error)
    return ""


def main(folder: Path, replicas: int = 1, kinds: tuple[str, ...] = KINDS, tensor: int = 1) -> None:
    ranks = join_ranks(replicas, tensor)
    ranks.on_first(lambda: prepare(folder, kinds))
    found = {"equal": {kind: equal_to_whole(folder, kind, ranks) for kind in kinds}, "said": {}}
    if tensor > 1:
        ranks.on_first(partial(prepare, folder, ("gpt2",)))
        found["said"]["gpt2"] = message_of(folder / "gpt2", ranks)
    for kind, change in CHANGES if tensor == 1 else ():
        ranks.on_first(partial(broken, folder, kind, change))
        path = folder / f"{change.__name__}-{min(ranks.rank, 1)}"
        found["said"][change.__name__] = message_of(path, ranks)
    ranks.wait()
    (folder / f"rank-{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
    leave_ranks()
