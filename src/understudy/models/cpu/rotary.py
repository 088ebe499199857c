"""Rotary embedding of whole heads by complex numbers, with gradients.

Shapes: N tokens, H heads, R head size.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True, slots=True)
class Rotation:
    """Rotary embedding as a product of complex numbers, for heads with adjacent pairs.

    The library rotates element i of a head together with element i + R/2. Attention is invariant to
    the order of a head's elements as long as queries and keys agree.
    """

    turn_NHR: Tensor
    """A complex number for every pair in every head, so that no product broadcasts."""
    back_NHR: Tensor
    """Its conjugate, for gradients."""

    @classmethod
    def of(cls, trunk: Any, hidden_ND: Tensor, column_N: Tensor) -> "Rotation":
        """The rotation of tokens at positions `column_N`."""
        attention = trunk.layers[0].self_attn
        num_heads = attention.q_proj.out_features // attention.head_dim
        half = attention.head_dim // 2
        cos_NHR, sin_NHR = (
            x_1NR[0, :, None, :half].expand(-1, num_heads, -1).contiguous()
            for x_1NR in trunk.rotary_emb(hidden_ND, position_ids=column_N.unsqueeze(0))
        )
        return cls(torch.complex(cos_NHR, sin_NHR), torch.complex(cos_NHR, -sin_NHR))

    def turn(self, x_NHR: Tensor) -> Tensor:
        """Queries or keys, rotated by their positions."""
        num_heads = x_NHR.shape[1]
        turned: Tensor = _Turn.apply(
            x_NHR, self.turn_NHR[:, :num_heads], self.back_NHR[:, :num_heads]
        )
        return turned


def paired(weight: Tensor, head_size: int) -> Tensor:
    """Rows of heads reordered so that rotated pairs are adjacent."""
    return weight.unflatten(0, (-1, 2, head_size // 2)).transpose(1, 2).flatten(0, 2)


class _Turn(torch.autograd.Function):
    """A product with complex numbers; its gradient uses the conjugate."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, turn: Tensor, back: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(back)
        return _times_complex(x, turn)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return _times_complex(grad, *ctx.saved_tensors), None, None


def _times_complex(x: Tensor, turn: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turn).flatten(-2)
