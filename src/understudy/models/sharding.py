"""A model sharded over ranks by FSDP2 (`fully_shard`): each rank holds a part of every weight.

Every decoder layer is a group that is gathered to compute and released afterwards; the rest
(embeddings, the last norm, the head) belongs to the root, so tied weights need no special case.
Gradients are summed over the ranks, not averaged: losses are already divided by the tokens of the
whole batch.

A sharded model computes inside its root only: `compute(model, function, ...)` gathers the root's
weights, calls the function, and handles the backward pass. On an unsharded model it just calls the
function. All ranks must call the functions marked "Collective".
"""

import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from understudy.models.splitting import split

T = TypeVar("T")


class Share(Protocol):
    """A pass dealt to this process."""

    @property
    def number(self) -> int:
        """Its index in the plan that all processes share."""

    @property
    def counts(self) -> bool:
        """False for a pass whose results are discarded."""


class Dealer(Protocol):
    """Divides passes among processes (`training.ranks.Ranks`)."""

    def deal(self, num_passes: int) -> Iterator[Share]:
        """This process's passes."""

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over all processes."""


def blocks_of(model: nn.Module) -> Iterator[nn.Module]:
    """The decoder layers: members of a module list that have submodules."""
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            yield from (layer for layer in module if len(list(layer.children())) > 1)


def is_sharded(model: nn.Module) -> bool:
    """Whether a model, or a part of one, is sharded."""
    return dist.is_initialized() and any(isinstance(m, FSDPModule) for m in model.modules())


def shard(model: Any, mesh: DeviceMesh | None) -> None:
    """Keep this rank's part of every weight; a no-op without a mesh (one process).

    `mesh` has the dimensions "replicate", "shard" and "tensor" (`training.ranks.join_ranks`); the
    ranks of the last one split each layer (`splitting.check_split` has passed). The weights may
    have no storage yet (`loading.read_network`); otherwise all ranks must hold the same full ones.
    """
    if mesh is None:
        return
    if mesh["tensor"].size() > 1:
        split(model, model.config.model_type, mesh["tensor"])
    mesh = mesh["shard"] if mesh["replicate"].size() == 1 else mesh["replicate", "shard"]
    for block in blocks_of(model):
        fully_shard(block, mesh=mesh)
    root: Any = model
    root.compute = types.MethodType(lambda self, function, *args: function(*args), model)
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    register_fsdp_forward_method(model, "compute")
    for unit in model.modules():
        if isinstance(unit, FSDPModule):
            unit.set_gradient_divide_factor(1.0)
            # The factor alone would become a scaled sum, which NCCL computes wrongly in bf16.
            unit.set_force_sum_reduction_for_comms(True)


def compute(model: nn.Module, function: Callable[..., T], *args: Any) -> T:
    """`function(*args)` with the model's weights gathered; its results can be differentiated.
    Collective."""
    if not is_sharded(model):
        return function(*args)
    root: Any = model
    result: T = root.compute(function, *args)
    if not torch.is_grad_enabled():
        root.reshard()  # no backward pass will release the weights
    return result


def within(model: nn.Module, function: Callable[..., T]) -> Callable[..., T]:
    """`function` wrapped in `compute`; for an unsharded model, `function` itself."""
    return partial(compute, model, function) if is_sharded(model) else function


def global_norm(gradients: Iterable[Tensor]) -> float:
    """Norm of all gradients of a sharded model together, the same on each rank. Collective."""
    total = torch.zeros((), dtype=torch.float64)
    for gradient in gradients:
        assert isinstance(gradient, DTensor), "the gradient is not sharded"
        mesh = gradient.device_mesh
        copies = dist.get_world_size() // mesh.size()
        for size, placement in zip(mesh.shape, gradient.placements, strict=True):
            copies *= size if placement.is_replicate() else 1
        local = gradient.to_local()
        total = total.to(local.device) + local.double().square().sum() / copies
    dist.all_reduce(total)
    return float(total.sqrt())


def meshes_of(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Tensors grouped by the mesh that they are sharded over: PyTorch accepts one mesh per call."""
    found: dict[DeviceMesh | None, list[Tensor]] = {}
    for tensor in tensors:
        mesh = tensor.device_mesh if isinstance(tensor, DTensor) else None
        found.setdefault(mesh, []).append(tensor)
    return list(found.values())


def local_part(tensor: Tensor) -> Tensor:
    """This rank's part of a sharded tensor; an unsharded tensor itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The full tensor of a sharded one; an unsharded tensor itself. Collective."""
    if not isinstance(tensor, DTensor):
        return tensor
    placements = list(tensor.placements)
    for dim in range(len(placements)):  # one at a time: PyTorch warns of several at once
        placements[dim] = Replicate()
        tensor = tensor.redistribute(placements=placements)
    return tensor.to_local()


@torch.no_grad()
def parts_of(source: Tensor, like: Tensor) -> Tensor:
    """A full tensor, the same on all ranks, sharded like `like`; a sharded one unchanged."""
    if not isinstance(like, DTensor) or isinstance(source, DTensor):
        return source
    part, mesh, placements = source.to(like.device), like.device_mesh, like.placements
    sizes, starts = compute_local_shape_and_global_offset(like.shape, mesh, placements)
    for dim, (size, start) in enumerate(zip(sizes, starts, strict=True)):
        part = part.narrow(dim, min(start, part.shape[dim]), size)
    return DTensor.from_local(
        part.contiguous(), mesh, placements, run_check=False, shape=like.shape, stride=like.stride()
    )


@torch.no_grad()
def fill(target: Tensor, source: Tensor) -> None:
    """Copy a full tensor into `target`, or into this rank's part of it if it is sharded."""
    assert target.shape == source.shape, (target.shape, source.shape)
    target.copy_(parts_of(source.to(target.dtype), target))


def whole_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights of a sharded model, one full tensor at a time; tied ones once, by their first
    name. Collective: all ranks must exhaust it."""
    names = list(model.state_dict())  # also releases what a forward pass gathered
    here = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    done: set[int] = set()
    for name in names:
        if id(here[name]) not in done:
            done.add(id(here[name]))
            yield name, whole(here[name].detach())


def is_writer(model: nn.Module) -> bool:
    """Whether this process writes the model's files."""
    return not is_sharded(model) or dist.get_rank() == 0


def wait_for_writer(model: nn.Module) -> None:
    """Wait until the files are written; a no-op for an unsharded model. Collective."""
    if is_sharded(model):
        dist.barrier()


def class_name(model: nn.Module) -> str:
    """The name of the model's class before FSDP2 replaced it."""
    kind = type(model)
    return next(c for c in kind.__mro__ if not issubclass(c, FSDPModule)).__name__
