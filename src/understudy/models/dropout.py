"""Residual dropout for any decoder: the paper's SFT uses 0.2 (C.1); many architectures have none.

A hook on each attention and feed-forward block drops from its addition to the residual stream. The
architecture's own dropouts (on attention weights, embeddings or residuals) are set to 0, so that
one number means the same for all models.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from understudy.models.trunk import TrunkModel

_ATTENTION = ("self_attn", "attn", "attention", "self_attention", "temporal_block")
_FEED_FORWARD = ("mlp", "feed_forward", "ffn", "fc2", "block_sparse_moe", "mlp_block")


def set_dropout(model: TrunkModel, p: float) -> None:
    """Use residual dropout `p` in training mode and no other dropout; 0 turns all dropout off."""
    if not 0 <= p < 1:
        raise ValueError(f"dropout is {p}; it must be at least 0 and below 1")
    for handle in model.dropout:
        handle.remove()
    _zero_builtin(model)
    handles = []
    if p > 0:
        blocks = list(residual_blocks(model))
        if not blocks:
            name = type(model.trunk).__name__
            raise ValueError(f"{name} has no blocks for residual dropout; use dropout=0")
        handles = [block.register_forward_hook(_Drop(p)) for block in blocks]
    model.dropout = handles


def residual_blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The attention and feed-forward blocks of every layer whose output is added to the residual
    stream."""
    for layer in _layers(model):
        children = dict(layer.named_children())
        found = [
            next((children[name] for name in names if name in children), None)
            for names in (_ATTENTION, _FEED_FORWARD)
        ]
        yield from (block for block in found if block is not None and not _adds_residual(block))


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            for layer in module:
                names = {name for name, _ in layer.named_children()}
                if names.intersection(_ATTENTION):
                    yield layer


def _adds_residual(block: nn.Module) -> bool:
    """Whether a block adds the residual itself, as BLOOM's do: dropping its output would drop the
    residual stream."""
    return "residual" in block.forward.__code__.co_varnames[: block.forward.__code__.co_argcount]


def _zero_builtin(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in (
            "dropout",
            "attention_dropout",
            "activation_dropout",
            "hidden_dropout",
            "dropout_p",
        ):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


class _Drop:
    """A forward hook that drops from a block's output, in training mode only."""

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, block: nn.Module, inputs: Any, output: Any) -> Any:
        if not block.training:
            return output
        if isinstance(output, Tensor):
            return F.dropout(output, self.p)
        return (F.dropout(output[0], self.p), *output[1:])
