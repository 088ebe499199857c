"""The finaliser of splitmix64: a bijection that maps similar words to unrelated ones."""

import numpy as np
import numpy.typing as npt

MASK = (1 << 64) - 1
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mix each word of an array."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(_FIRST)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(_SECOND)
    return words ^ (words >> np.uint64(31))


def mix_one(word: int) -> int:
    """`mix` of one word, a Python number."""
    word = ((word ^ (word >> 30)) * _FIRST) & MASK
    word = ((word ^ (word >> 27)) * _SECOND) & MASK
    return word ^ (word >> 31)
