"""Layers split among ranks (tensor parallelism, Shoeybi et al. 2019).

Each rank of a group has some heads of every attention block and some hidden units of every
feed-forward block. All get the same input; what they add to the residual stream is summed.
Embeddings, norms and heads are whole on every rank.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

_LLAMA = (("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"), ("o_proj", "down_proj"))
_PLANS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2"), _LLAMA),
    "gpt_neox": (("query_key_value", "dense_h_to_4h"), ("dense", "dense_4h_to_h")),
    "opt": (("q_proj", "k_proj", "v_proj", "fc1"), ("out_proj", "fc2")),
    "gpt2": (("c_attn", "c_fc"), ("c_proj",)),
}
"""The linear maps whose outputs are split, and those whose inputs are, by architecture."""
_ROLLOUTS_ONLY = ("gpt2",)
"""Architectures that can be split for rollouts, but not in training: a rank's part of their joint
tensor of queries, keys and values is not contiguous, as a shard must be."""
_COUNTS = ("num_heads", "split_size")
"""Attributes of attention blocks that must count only a rank's part: OPT's and GPT-2's."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How a tensor is divided along a dimension: whole, or each of its equal pieces by itself."""

    dim: int
    """The dimension."""
    pieces: int = 1
    """Number of pieces: 3 where queries, keys and values are one tensor."""

    def part(self, tensor: Tensor, rank: int, size: int) -> Tensor:
        """The part of `rank` out of `size` ranks."""
        parts = [piece.chunk(size, self.dim)[rank] for piece in tensor.chunk(self.pieces, self.dim)]
        return torch.cat(parts, self.dim) if self.pieces > 1 else parts[0]


class SplitLinear(nn.Module):
    """This rank's part of a linear map: of its outputs, or of its inputs (`rows`)."""

    def __init__(self, whole: Any, rows: bool, pieces: int, where: "Where") -> None:
        super().__init__()
        self.rows = rows
        self.group = where.get_group() if isinstance(where, DeviceMesh) else where
        self.transposed = isinstance(whole, Conv1D)
        self.cut = Cut(int(rows != self.transposed), pieces)
        """How the weight is divided."""
        for name in ("weight", "bias"):
            held = getattr(whole, name)
            if held is not None:
                part = self.part(name, held.detach()).clone()
                if isinstance(where, DeviceMesh) and self.divides(name):
                    part = self._placed(name, part, held, where)
                held = nn.Parameter(part, held.requires_grad)
            self.register_parameter(name, held)

    def _placed(self, name: str, part: Tensor, whole: Tensor, mesh: DeviceMesh) -> Tensor:
        """The part as a shard of the whole tensor, as checkpoints and files need it."""
        dim = self.cut.dim if name == "weight" else 0
        return DTensor.from_local(
            part.contiguous(),
            mesh,
            [Shard(dim)],
            run_check=False,
            shape=whole.shape,
            stride=whole.stride(),
        )

    def part(self, name: str, tensor: Tensor) -> Tensor:
        """This rank's part of the whole weight or bias."""
        if not self.divides(name):
            return tensor
        cut = self.cut if name == "weight" else Cut(0, self.cut.pieces)
        return cut.part(tensor, self.group.rank(), self.group.size())

    def divides(self, name: str) -> bool:
        """Whether ranks have different parts of the weight or bias."""
        return name == "weight" or not self.rows

    def forward(self, x: Tensor) -> Tensor:
        """The map's outputs that this rank has, or their sum over the ranks."""
        weight: Tensor = _here(self.weight)
        bias = None if self.bias is None else _here(self.bias)
        weight = weight.T if self.transposed else weight
        if not self.rows:
            return F.linear(_Copied.apply(x, self.group), weight, bias)  # type: ignore[no-untyped-call]
        summed: Tensor = _Summed.apply(F.linear(x, weight), self.group)  # type: ignore[no-untyped-call]
        return summed if bias is None else summed + bias.to(summed.dtype)


def _here(weight: Any) -> Any:
    return weight.to_local() if isinstance(weight, DTensor) else weight


class _Copied(torch.autograd.Function):
    """The same tensor on all ranks; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:  # type: ignore[override]
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient, group=ctx.group)
        return gradient, None


class _Summed(torch.autograd.Function):
    """The sum over the ranks; each rank's gradient is that of the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:  # type: ignore[override]
        ctx.mark_dirty(x)
        dist.all_reduce(x, group=group)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient, None


def check_split(config: Any, size: int, setting: str) -> None:
    """ValueError if the layers of an architecture cannot be split among `size` ranks as `setting`,
    rollout_ranks or tensor_parallel, asks."""
    can = [one for one in _PLANS if setting == "rollout_ranks" or one not in _ROLLOUTS_ONLY]
    if config.model_type not in can:
        raise ValueError(
            f"{setting} is {size}, but layers of {config.model_type} cannot be split among ranks, "
            f"only those of {', '.join(can)}; leave {setting} out"
        )
    heads = int(config.num_attention_heads)
    counts = {
        "attention heads": heads,
        "key-value heads": int(getattr(config, "num_key_value_heads", None) or heads),
        "hidden units of the feed-forward blocks": _feed_forward_size(config),
    }
    for name, count in counts.items():
        if count % size:
            raise ValueError(
                f"{setting} is {size}, which does not divide the {count:,} {name} of the model; "
                "choose a divisor"
            )


def _feed_forward_size(config: Any) -> int:
    names = ("intermediate_size", "ffn_dim", "n_inner")
    found = next((size for name in names if (size := getattr(config, name, None))), None)
    return int(found or 4 * config.hidden_size)


Where = dist.ProcessGroup | DeviceMesh
"""The ranks that split layers; with a mesh the weights become `DTensor`s, which know that they are
parts."""


def split(model: nn.Module, model_type: str, where: Where) -> None:
    """Keep this rank's part of every layer, in place; `check_split` has passed."""
    size = where.size()
    parents = set()
    for path, rows in list(_maps_of(model, model_type)):
        owner, _, name = path.rpartition(".")
        parent = model.get_submodule(owner)
        pieces = 3 if name == "c_attn" else 1
        setattr(parent, name, SplitLinear(getattr(parent, name), rows, pieces, where))
        parents.add(parent)
    for parent in parents:
        for count in _COUNTS:
            if hasattr(parent, count):
                setattr(parent, count, getattr(parent, count) // size)


def divided_weights(model: nn.Module, model_type: str) -> Iterator[tuple[str, int]]:
    """The names of the weights that `split` divides, and the dimension of each."""
    for path, rows in _maps_of(model, model_type):
        transposed = isinstance(model.get_submodule(path), Conv1D)
        yield f"{path}.weight", int(rows != transposed)
        if not rows:
            yield f"{path}.bias", 0


def _maps_of(model: nn.Module, model_type: str) -> Iterator[tuple[str, bool]]:
    """The linear maps to split, and whether their inputs are."""
    columns, rows = _PLANS[model_type]
    inside = {
        id(module)
        for layers in model.modules()
        if isinstance(layers, nn.ModuleList)
        for module in layers.modules()
    }
    for path, module in model.named_modules():
        name = path.rpartition(".")[2]
        if id(module) in inside and name in (*columns, *rows):
            yield path, name in rows


def split_weights(model: nn.Module) -> Iterator[tuple[str, SplitLinear, str]]:
    """(full name, its map, name in the map) of every weight that is divided among ranks."""
    for prefix, module in model.named_modules():
        if isinstance(module, SplitLinear):
            for name, _ in module.named_parameters():
                if module.divides(name):
                    yield f"{prefix}.{name}", module, name
