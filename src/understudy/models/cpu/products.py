"""Products of activations with weights, by the faster of the two libraries that PyTorch ships.

On the measured processor, an AMD EPYC, oneDNN's kernel is up to 1.2 times as fast as the library
behind `torch.mm` at a small model's shapes, and more at a large one's (benchmarks/products.py): 32
rows by SmolLM2's head, 49,152 x 576, take 20 ms instead of 34 on two cores. It prepares a kernel
for each new shape, which takes as long as a small product, so it runs only on recurring numbers of
rows: multiples of `ROW_STEP`, and any number up to `_FEW` by a large weight. Callers round up where
the extra rows cost less than they save. The kernel has no public name (PyTorch's compiler calls
it); in builds without it all products use `torch.mm`.

Shapes: N rows, K inputs, M outputs.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

ROW_STEP = 32
"""oneDNN runs on numbers of rows that are multiples of it."""
_FEW = 64
"""Rows up to which, as in a decode step, oneDNN runs on any number by a `_LARGE` weight."""
_LARGE = 2**19
"""Elements of a large weight."""
_MANY = 1024
"""Least number of rows for which rounding up pays."""


def product(x_NK: Tensor, weight_MK: Tensor, bias_M: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias of fp32 tensors on a CPU, with gradients."""
    found: Tensor = _Product.apply(x_NK, weight_MK, bias_M, None)
    return found


def product_onto(
    sum_NM: Tensor, x_NK: Tensor, weight_MK: Tensor, bias_M: Tensor | None = None
) -> Tensor:
    """sum + x @ weight.T + bias, with gradients."""
    found: Tensor = _Product.apply(x_NK, weight_MK, bias_M, sum_NM)
    return found


def times(
    x_NK: Tensor, weight_MK: Tensor, bias_M: Tensor | None = None, onto_NM: Tensor | None = None
) -> Tensor:
    """x @ weight.T + bias, added to `onto`; without gradients."""
    linear = _onednn()
    few = len(x_NK) <= _FEW and weight_MK.numel() >= _LARGE
    if linear is None or not (few or len(x_NK) % ROW_STEP == 0):
        found_NM = F.linear(x_NK, weight_MK, bias_M)
        return found_NM if onto_NM is None else found_NM.add_(onto_NM)
    if onto_NM is None:
        found_NM = linear(x_NK, weight_MK, bias_M, "none", [], "")
    else:
        found_NM = linear.binary(x_NK, onto_NM, weight_MK, bias_M, "add")
    return found_NM


def applies_to(weight: Tensor) -> bool:
    """Whether `times` computes what a linear map with this weight would here."""
    plain = weight.dtype == torch.float32 and weight.device.type == "cpu"
    return plain and not torch.is_autocast_enabled("cpu")


def rows_to_spare(count: int) -> int:
    """Rows to add to `count` to reach a recurring number: a multiple of its own 16th to 32nd part;
    0 if too few for it to pay.
    """
    step = max(ROW_STEP, 2 ** (count.bit_length() - 5))
    return -count % step if count >= _MANY else 0


@cache
def _onednn() -> Any:
    """oneDNN's linear map, or None in a build without it."""
    if not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


class _Product(torch.autograd.Function):
    """x @ weight.T + bias + onto."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x_NK: Tensor,
        weight_MK: Tensor,
        bias_M: Tensor | None,
        onto_NM: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(x_NK, weight_MK)
        return times(x_NK, weight_MK, bias_M, onto_NM)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NM: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x_NK, weight_MK = ctx.saved_tensors
        _, _, has_bias, has_onto = ctx.needs_input_grad
        return (
            times(grad_NM, weight_MK.T),
            grad_NM.T @ x_NK,
            grad_NM.sum(0) if has_bias else None,
            grad_NM if has_onto else None,
        )
