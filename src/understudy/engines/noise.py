"""Counter-based sampling: the same draw for the same (seed, key, step), in any batch.

No generator has a state, so a rollout does not depend on its batch, slot or order, and a resumed
run needs no saved generator. A draw inverts the distribution function by descent: one random number
chooses among at most 16 sums of weights, the next among the 16 sums or weights below, four numbers
in all for a vocabulary of 50,000.

Why not one number and one cumulative sum over the vocabulary: a rounding error in the logits would
move every boundary after it, and the many unlikely tokens are narrower than such a shift. Between
SmolLM2's logits computed alone and in a batch of 32, one draw in 500 would differ; by descent, one
in 100,000 does.

Shapes: B rows, V vocabulary, L numbers, F few weights, G groups.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from understudy.numerics.splitmix import MASK, mix, mix_one

GROUP = 16
"""Weights that one number chooses among."""

BLOCK = GROUP**2
"""Width of the sums over the vocabulary: large enough that summing costs no more than one pass."""

_MAX_NUMBERS = 8
"""Numbers per step: enough for 256^4 tokens."""

_GOLDEN = 0x9E3779B97F4A7C15


def stream_states(seed: int, keys: Sequence[Sequence[int]]) -> np.ndarray:
    """64 bits per key, uint64, determined by (seed, *key)."""
    start = mix_one(seed & MASK)
    return np.array([_absorb(start, key) for key in keys], dtype=np.uint64)


def uniforms(states_B: np.ndarray, steps_B: np.ndarray, count: int) -> np.ndarray:
    """Independent numbers (B, L), fp64, strictly between 0 and 1: splitmix64 at the counters
    step * 8 + 1, 2, ...
    """
    assert count <= _MAX_NUMBERS, count
    numbers_L = np.arange(1, count + 1, dtype=np.uint64)
    counters_BL = steps_B.astype(np.uint64)[:, None] * np.uint64(_MAX_NUMBERS) + numbers_L
    words_BL = mix(states_B[:, None] + counters_BL * np.uint64(_GOLDEN))
    # (52 bits + 1/2) / 2^52 is exact in fp64, so the largest does not round to 1.
    return ((words_BL >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def num_numbers(size: int) -> int:
    """Random numbers used by one draw from `size` weights."""
    return 2 if size <= BLOCK else 2 + num_numbers(-(-size // BLOCK))


def draw(weights_BV: Tensor, uniforms_BL: Tensor) -> tuple[Tensor, Tensor]:
    """(token_B, total_B): a token drawn by weight, never one of weight 0, and the weights' sum in
    fp64.

    `uniforms_BL` has `num_numbers(V)` columns; weights are finite, not negative and not all 0.
    """
    size = weights_BV.shape[1]
    if size <= BLOCK:
        return _draw_few(weights_BV, uniforms_BL[:, :2])
    block_B, total_B = draw(_sums(weights_BV, BLOCK), uniforms_BL[:, 2:])
    start_B1 = block_B.unsqueeze(1) * BLOCK
    index_BF = start_B1 + torch.arange(BLOCK, device=weights_BV.device)
    few_BF = weights_BV.gather(1, index_BF.clamp(max=size - 1))
    if size % BLOCK:
        few_BF = few_BF.masked_fill_(index_BF >= size, 0.0)
    child_B, _ = _draw_few(few_BF, uniforms_BL[:, :2])
    return (start_B1.squeeze(1) + child_B).clamp_(max=size - 1), total_B


def _draw_few(weights_BF: Tensor, uniforms_B2: Tensor) -> tuple[Tensor, Tensor]:
    """`draw` from at most 256 weights: a group of 16 by its sum, then one of the group."""
    size = weights_BF.shape[1]
    padded_BGF = nn.functional.pad(weights_BF.double(), (0, -size % GROUP)).unflatten(
        1, (-1, GROUP)
    )
    cumulative_BG = padded_BGF.sum(dim=-1).cumsum(dim=-1)
    group_B1 = _search(cumulative_BG, uniforms_B2[:, 1:])
    rows_B1 = torch.arange(len(weights_BF), device=weights_BF.device).unsqueeze(1)
    cumulative_BF = padded_BGF[rows_B1, group_B1].squeeze(1).cumsum(dim=-1)
    token_B1 = group_B1 * GROUP + _search(cumulative_BF, uniforms_B2[:, :1])
    # Only NaN weights lead past the last column.
    return token_B1.squeeze(1).clamp_(max=size - 1), cumulative_BG[:, -1]


def _search(cumulative_BF: Tensor, uniforms_B1: Tensor) -> Tensor:
    """The first column (B, 1) at which the cumulative weight exceeds the given share of the
    total."""
    goals_B1 = uniforms_B1 * cumulative_BF[:, -1:]
    found_B1 = torch.searchsorted(cumulative_BF, goals_B1, right=True)
    return found_B1.clamp_(max=cumulative_BF.shape[1] - 1)


def _sums(weights_BV: Tensor, width: int) -> Tensor:
    """Sums of `width` neighbours each; the last one covers the remainder."""
    whole = weights_BV.shape[1] // width
    end = whole * width
    sums = weights_BV[:, :end].unflatten(1, (whole, width)).sum(dim=-1)
    if end == weights_BV.shape[1]:
        return sums
    return torch.cat([sums, weights_BV[:, end:].sum(dim=-1, keepdim=True)], dim=1)


def _absorb(state: int, key: Sequence[int]) -> int:
    for part in (len(key), *key):
        state = mix_one((state + _GOLDEN + (part & MASK)) & MASK)
    return state
