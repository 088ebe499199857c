"""Checks that apply to every JSON body.

They refuse numbers that programs read differently, and characters that a database refuses.
"""

import math
import re
from typing import Any

from pydantic_core import from_json

_SUSPECT = re.compile(rb"\d(?:\d{15}|(?<=[eE+].)\d\d)")
"""Many digits, or a large exponent; it begins with a digit, so that the search skips all else."""
_WORDS = (b"NaN", b"Infinity")
_NUL = b"\\u0000"
LARGEST = 2**63 - 1
"""Largest integer that databases and most programs support."""


def check_body(raw: bytes, *, nul: bool = False) -> None:
    """ValueError for NaN, infinities, integers of more than 64 bits and, unless `nul`, NUL.

    Invalid JSON is left to the parser.
    """
    signs = _WORDS if nul else (*_WORDS, _NUL)
    if not _SUSPECT.search(raw) and not any(sign in raw for sign in signs):
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
        raise ValueError("NaN and infinities are not JSON numbers")
    if isinstance(value, str) and not nul and "\0" in value:
        raise ValueError("A text contains a NUL character; remove it.")
    if isinstance(value, dict):
        for pair in value.items():
            _check(pair[0], nul)
            _check(pair[1], nul)
    if isinstance(value, list):
        for one in value:
            _check(one, nul)
