"""Where and in which precision a model computes: device, bf16, activation checkpointing.

With bf16 the weights, gradients and optimizer states of a network that learns stay in fp32 (the
master weights) and are rounded for each product of the trunk and of the head; losses,
log-probabilities and softmaxes are in fp32. A network that is frozen, or learns only through an
adapter, stores its layers' weights already rounded: the results are the same, in half the memory.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from understudy.models.cpu.allocator import keep_freed_memory
from understudy.models.lora import has_adapter
from understudy.models.sharding import blocks_of
from understudy.models.splitting import SplitLinear
from understudy.models.trunk import TrunkModel

T = TypeVar("T", bound=TrunkModel)


class PlaceOptions(Protocol):
    """Device and precision."""

    @property
    def device(self) -> str:
        """Where to compute."""

    @property
    def bf16(self) -> bool:
        """Whether products are in bf16."""


class ComputeOptions(PlaceOptions, Protocol):
    """The settings of computing that all trainers share."""

    @property
    def activation_checkpointing(self) -> bool:
        """Whether activations are recomputed in the backward pass."""


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" is CUDA if available. ValueError for an unavailable one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device is {name!r}, which cannot be used: {reason}") from None
    return device


def place(model: TrunkModel, options: PlaceOptions, *, frozen: bool = False) -> None:
    """Move `model` to its device and let its trunk compute in the chosen precision. With bf16, a
    model that is `frozen` (never trained or saved) or has an adapter also stores its layers'
    weights in bf16."""
    device = pick_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    if options.bf16 and (frozen or has_adapter(model)):
        round_products(model)
    model.to(device)
    model.bf16 = options.bf16


def frozen_copy(model: T) -> T:
    """A frozen copy of a network that `place` has placed, stored as `place` stores a `frozen`
    one."""
    memo: dict[int, Any] = {}
    if model.bf16:
        rounded = [w for one in products_of(model) for w in one.parameters(recurse=False)]
        memo = {id(w): nn.Parameter(w.detach().to(torch.bfloat16)) for w in rounded}
    return copy.deepcopy(model, memo).requires_grad_(False)


def round_products(model: nn.Module) -> None:
    """Store the weights of the layers' products in bf16."""
    for module in products_of(model):
        module.to(torch.bfloat16)


def products_of(model: nn.Module) -> Iterator[nn.Module]:
    """The decoder layers' linear maps, without adapters; autocast rounds their weights for each
    product."""
    for name, module in (one for block in blocks_of(model) for one in block.named_modules()):
        if isinstance(module, nn.Linear | Conv1D | SplitLinear) and ".lora_" not in name:
            yield module


def checkpoint_activations(model: nn.Module) -> None:
    """Keep only each layer's input, and recompute the layer in the backward pass.

    Do not copy the model afterwards: a copy's layers would run the original's.
    """
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            for layer in module:
                if len(list(layer.children())) > 1:
                    layer.forward = _recomputed(layer.forward)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
