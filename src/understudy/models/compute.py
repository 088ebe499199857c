"""Where and in which precision a model computes: device, bf16, activation checkpointing.

With bf16 the weights, gradients and optimizer states stay in fp32 (the master weights) and are
rounded for each product of the trunk and of the head; losses, log-probabilities and softmaxes are
in fp32.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from understudy.models.cpu.allocator import keep_freed_memory
from understudy.models.trunk import TrunkModel


class PlaceOptions(Protocol):
    """Device and precision."""

    @property
    def device(self) -> str:
        """Where to compute."""

    @property
    def bf16(self) -> bool:
        """Whether products are in bf16."""


class ComputeOptions(PlaceOptions, Protocol):
    """The settings that the three trainers share."""

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


def place(model: TrunkModel, options: PlaceOptions) -> None:
    """Move `model` to its device and let its trunk compute in the chosen precision."""
    device = pick_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    model.to(device)
    model.bf16 = options.bf16


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
