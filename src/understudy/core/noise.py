"""Counter-based sampling noise: the same numbers for the same (seed, key, t, token), whatever
else runs.

No generator has a state, so a rollout does not depend on its batch, slot or order, and a resumed
run needs no saved generator. Two steps: `stream_words` hashes (seed, key, t) to 64 bits per
position on the host; `exponential` mixes them with the vocabulary index on the device (a 32-bit
finaliser keyed twice). Tests hold the result to chi-square, Kolmogorov-Smirnov and correlation
checks.

Shapes: N sequences, T steps, B rows, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def stream_words(seed: int, keys: Sequence[Sequence[int]], num_steps: int) -> tuple[Tensor, Tensor]:
    """Two int32 tensors (N, T): 64 bits that depend on (seed, *key, t) only."""
    start = _mix(seed & _MASK)
    states = np.array([_absorb(start, key) for key in keys], dtype=np.uint64)
    steps = np.arange(1, num_steps + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    words_NT = _mix_array(states[:, None] + steps[None, :])
    low = (words_NT & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.int32)
    high = (words_NT >> np.uint64(32)).astype(np.uint32).view(np.int32)
    return torch.from_numpy(low), torch.from_numpy(high)


def exponential(low_B: Tensor, high_B: Tensor, index_V: Tensor) -> Tensor:
    """Independent Exp(1) noise (B, V) in fp32: the smallest noise / weight draws a token by weight.

    `index_V` is `vocabulary_words`. -log of the result is Gumbel noise.
    """
    x = index_V.unsqueeze(0) + low_B.unsqueeze(1)
    spare = torch.empty_like(x)
    _xor_shift(x, 16, spare).mul_(0x7FEB352D).bitwise_xor_(high_B.unsqueeze(1))
    _xor_shift(x, 15, spare).mul_(_signed(0x846CA68B))
    _xor_shift(x, 16, spare).bitwise_and_(0x7FFFFFFF)
    # Uniform on (0, 1], finest near 0, where the smallest of many exponentials lies.
    return x.float().add_(0.5).mul_(-(2.0**-31)).log1p_().neg_()


def vocabulary_words(size: int, device: torch.device | str = "cpu") -> Tensor:
    """int32 words, one per vocabulary index, far apart: index times the golden ratio, modulo
    2^32.
    """
    words = (torch.arange(size, dtype=torch.int64) * 0x9E3779B1) & 0xFFFFFFFF
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32).to(device)


def _xor_shift(x: Tensor, bits: int, spare: Tensor) -> Tensor:
    """x ^= x >> bits, the shift without sign, in place."""
    torch.bitwise_right_shift(x, bits, out=spare)
    return x.bitwise_xor_(spare.bitwise_and_((1 << (32 - bits)) - 1))


def _signed(word: int) -> int:
    return word - (1 << 32) if word >= 1 << 31 else word


def _mix(word: int) -> int:
    """The finaliser of splitmix64."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)


def _absorb(state: int, key: Sequence[int]) -> int:
    for part in (len(key), *key):
        state = _mix((state + _GOLDEN + (part & _MASK)) & _MASK)
    return state


def _mix_array(words: np.ndarray) -> np.ndarray:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
