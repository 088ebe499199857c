"""What no JSON body may hold, whatever its fields.

Numbers that other programs read differently, and characters that a database refuses.
"""

import math
import re
from typing import Any

from pydantic_core import from_json

_SUSPECT = re.compile(rb"\d{16}|NaN|Infinity|[eE]\+?\d{3}")
_NUL = b"\\u0000"
LARGEST = 2**63 - 1
"""Largest integer: what databases and most programs hold."""


def check_body(raw: bytes, *, nul: bool = False) -> None:
    """ValueError for NaN, infinities and integers of more than 64 bits, and unless `nul` for NUL.

    Broken JSON is left to whoever reads it.
    """
    if not _SUSPECT.search(raw) and (nul or _NUL not in raw):
        return
    try:
        value = from_json(raw)
    except ValueError:
        return
    _check(value, nul)


def _check(value: Any, nul: bool) -> None:
    if isinstance(value, int) and not -LARGEST - 1 <= value <= LARGEST:
        raise ValueError("a number has more than 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("NaN and infinities are no JSON numbers")
    if isinstance(value, str) and not nul and "\0" in value:
        raise ValueError("A text holds a NUL character; take it out.")
    if isinstance(value, dict):
        for pair in value.items():
            _check(pair[0], nul)
            _check(pair[1], nul)
    if isinstance(value, list):
        for one in value:
            _check(one, nul)
