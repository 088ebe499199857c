"""Keeps freed memory in the process, for passes on a CPU under glibc.

A pass frees tensors of some megabytes, and the next one allocates the same sizes again. By default
the C library returns such blocks to the system at once, and the system zeroes every page again on
first use: 4,096 tokens through a 1M-parameter trunk spent a third of their time on that.
"""

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # malloc.h
_KEPT = 2**30
"""Freed memory kept at the end of the heap, in bytes."""
_LARGEST = (2**28, 2**25)
"""Blocks up to this size come from the heap, in bytes: the preferred value, then one that every
glibc accepts."""


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep up to a gigabyte of freed blocks; False if it cannot."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    mallopt(_ARENA_MAX, 1)  # per-thread heaps would return it all
    taken = any(mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST)
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT)) and taken
