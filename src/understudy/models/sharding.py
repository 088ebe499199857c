"""A model shared out over ranks by FSDP2 (`fully_shard`): each rank holds a part of every weight.

Every decoder layer is a group that is gathered when it computes and given back afterwards; what is
left (embeddings, the last norm, the head) is the root's, so tied weights need no special case.
Gradients are summed over the ranks, not averaged: losses are divided by the tokens of the whole
batch before.

A sharded model computes inside its root only: `compute(model, function, ...)` gathers what belongs
to the root, calls the function, and sees to the backward pass. On a model that is not sharded it is
the call itself. What is said to be collective here must be called by all ranks.
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
from torch.distributed.tensor import DTensor, distribute_tensor

T = TypeVar("T")


class Share(Protocol):
    """A pass that this process computes."""

    @property
    def number(self) -> int:
        """Its place in the plan."""

    @property
    def counts(self) -> bool:
        """False for a pass whose results are thrown away."""


class Dealer(Protocol):
    """Shares passes out over processes (`training.ranks.Ranks`)."""

    def deal(self, num_passes: int) -> Iterator[Share]:
        """This process's passes."""

    def sum(self, values: Sequence[float]) -> list[float]:
        """Values of all processes added up."""


def blocks_of(model: nn.Module) -> Iterator[nn.Module]:
    """The decoder layers: members of a list of modules that have modules of their own."""
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            yield from (layer for layer in module if len(list(layer.children())) > 1)


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` was here; of a part of a model too."""
    return dist.is_initialized() and any(isinstance(m, FSDPModule) for m in model.modules())


def shard(model: nn.Module, mesh: DeviceMesh | None) -> None:
    """Keep this rank's part of every weight; without a mesh (one process) the model stays as it is.

    `mesh` has the dimensions "replicate" and "shard" (`training.ranks.join_ranks`). All ranks hold
    the same whole weights before.
    """
    if mesh is None:
        return
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
            # The factor alone would become a scaled sum, which NCCL gets wrong in bf16.
            unit.set_force_sum_reduction_for_comms(True)


def compute(model: nn.Module, function: Callable[..., T], *args: Any) -> T:
    """`function(*args)` with the model's weights at hand; tensors that it returns can be
    differentiated. Collective."""
    if not is_sharded(model):
        return function(*args)
    root: Any = model
    result: T = root.compute(function, *args)
    if not torch.is_grad_enabled():
        root.reshard()  # no backward pass will do it
    return result


def within(model: nn.Module, function: Callable[..., T]) -> Callable[..., T]:
    """`function`, to be called often, as `compute` calls it; itself on a model not sharded."""
    return partial(compute, model, function) if is_sharded(model) else function


def global_norm(gradients: Iterable[Tensor]) -> float:
    """Norm of all gradients of a sharded model together, the same on each rank. Collective."""
    total = torch.zeros((), dtype=torch.float64)
    for gradient in gradients:
        assert isinstance(gradient, DTensor), "a gradient that is not sharded"
        mesh = gradient.device_mesh
        copies = dist.get_world_size() // mesh.size()
        for size, placement in zip(mesh.shape, gradient.placements, strict=True):
            copies *= size if placement.is_replicate() else 1
        local = gradient.to_local()
        total = total.to(local.device) + local.double().square().sum() / copies
    dist.all_reduce(total)
    return float(total.sqrt())


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all its parts; one that is not sharded, itself. Collective."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def parts_of(source: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, the same on all ranks, shared out as `like` is; one that is, as it is."""
    if not isinstance(like, DTensor) or isinstance(source, DTensor):
        return source
    source = source.to(like.device)
    return distribute_tensor(source, like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def fill(target: Tensor, source: Tensor) -> None:
    """Copy a whole tensor into `target`: into this rank's part of it where it is sharded."""
    assert target.shape == source.shape, (target.shape, source.shape)
    target.copy_(parts_of(source.to(target.dtype), target))


def whole_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights of a sharded model, one whole tensor at a time; tied ones once, by their first
    name. Collective: all ranks must run it to its end."""
    names = list(model.state_dict())  # this also gives back what a forward pass gathered
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
    """Until the files are there; nothing for a model that is not sharded. Collective."""
    if is_sharded(model):
        dist.barrier()


def class_name(model: nn.Module) -> str:
    """The name of the model's class; FSDP2 gives a sharded model a class of its own."""
    kind = type(model)
    return next(c for c in kind.__mro__ if not issubclass(c, FSDPModule)).__name__
