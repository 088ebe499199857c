"""Finds which files of a folder still contain any of many texts.

A user, or a year of a gateway's log, may have hundreds of thousands of texts, so each file is read
once for all of them: the hash of every 24 bytes of a file is looked up among the hashes of the
texts' first 24 bytes, and the rest is compared only on a hit (also by hash, so that the texts need
not stay in memory). Files of weights are skipped: they contain no text.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

WIDTH = 24
"""Minimum length of texts that are searched for, and number of bytes hashed: anybody may have
written a shorter text."""
PIECE = 1 << 20
"""Bytes of a file searched at a time."""
WEIGHTS = (".safetensors", ".distcp")
"""Suffixes of files of numbers."""
_TABLE_BITS = 22
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)


class Texts:
    """Texts to look for, as hashes: `Texts(["a secret of 24 letters or more"])`."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.longest = 0
        self._rest: dict[int, set[tuple[int, bytes]]] = {}
        for text in texts:
            self.add(text)

    def __bool__(self) -> bool:
        return bool(self._rest)

    def add(self, text: str) -> None:
        """Add a text to the search: as it is, and as escaped in JSON."""
        if len(text) < WIDTH:
            return
        for form in {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}:
            data = form.encode("utf-8", "replace")
            key = int(_hashes(data[:WIDTH])[0])
            self._rest.setdefault(key, set()).add((len(data), _digest(data)))
            self.longest = max(self.longest, len(data))

    def in_file(self, path: Path) -> bool:
        """Whether the file contains one of the texts."""
        keys = np.fromiter(self._rest, np.uint64, len(self._rest))
        table = np.zeros(1 << _TABLE_BITS, bool)
        table[_places(keys)] = True
        kept = b""
        with path.open("rb") as stream:
            while piece := stream.read(PIECE):
                data = kept + piece
                found = _hashes(data)
                for start in np.flatnonzero(table[_places(found)]):
                    if self._is_at(data, int(start), int(found[start])):
                        return True
                kept = data[-self.longest :]
        return False

    def _is_at(self, data: bytes, start: int, key: int) -> bool:
        return any(
            _digest(data[start : start + length]) == digest
            for length, digest in self._rest.get(key, ())
        )


def files_with(folder: Path, texts: Texts, but: Collection[Path] = ()) -> Iterator[Path]:
    """Files below a folder, except `but` (resolved), that contain one of the texts."""
    if not texts:
        return
    for path in sorted(folder.rglob("*")):
        searched = path.is_file() and path.suffix not in WEIGHTS and path.resolve() not in but
        if searched and texts.in_file(path):
            yield path


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _hashes(data: bytes) -> npt.NDArray[np.uint64]:
    """A hash of the WIDTH bytes that start at each position; none where fewer are left."""
    count = len(data) - WIDTH + 1
    if count < 1:
        return np.empty(0, np.uint64)
    words = np.empty(len(data) - 7, np.uint64)  # the 8 bytes that start at each position
    for offset in range(8):
        every_8th = words[offset::8]
        every_8th[:] = np.frombuffer(data, "<u8", len(every_8th), offset)
    parts = (words[8 * i : 8 * i + count] * factor for i, factor in enumerate(_FACTORS))
    first, second, third = parts
    mixed: npt.NDArray[np.uint64] = first ^ (second >> np.uint64(7)) ^ (third << np.uint64(5))
    return mixed


def _places(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The slots of hashes in a table of 2 ** _TABLE_BITS."""
    return hashes >> np.uint64(64 - _TABLE_BITS)
