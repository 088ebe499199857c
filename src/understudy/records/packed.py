"""Pretraining text as token ids in a folder, packed once for one tokenizer.

    tokens.bin   the ids, little-endian uint16 or uint32, each document followed by EOS
    tokens.json  counts, sha256 of tokens.bin, the tokenizer, the files; written last

A folder without tokens.json is unfinished: `understudy text pack` continues it from what
partial.json says.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.records.convert import RecordError, many
from understudy.records.names import MANIFEST, TOKENS

PARTIAL = "partial.json"
FORMAT = 1
_CHUNK = 1 << 24


@dataclass(frozen=True, slots=True)
class PackedText:
    """The ids of a packed folder, read from the disk as they are needed.

    The file is read, not mapped: mapped pages count as the process's memory, and truncating a
    mapped file kills the process.
    """

    folder: Path
    """The folder."""
    facts: Mapping[str, Any]
    """tokens.json."""
    file: int
    """tokens.bin, open for the life of the process."""

    def __len__(self) -> int:
        return int(self.facts["tokens"])

    def __getitem__(self, part: slice) -> NDArray[Any]:
        """The ids from `part.start` up to `part.stop`."""
        dtype = np.dtype(self.facts["dtype"])
        wanted = (part.stop - part.start) * dtype.itemsize
        found = os.pread(self.file, wanted, part.start * dtype.itemsize)
        if len(found) < wanted:
            raise RecordError(f"{self.folder / TOKENS} ends early; pack the text again")
        return np.frombuffer(found, dtype)


def open_packed(folder: Path) -> PackedText:
    """A finished folder; RecordError if it is of another format or its file has another size."""
    facts = read_facts(folder)
    path = folder / TOKENS
    wanted = facts["tokens"] * np.dtype(facts["dtype"]).itemsize
    found = path.stat().st_size if path.is_file() else 0
    if found != wanted:
        raise RecordError(f"{path} has {found:,} bytes, not {wanted:,}; pack the text again")
    return PackedText(folder, facts, os.open(path, os.O_RDONLY | os.O_CLOEXEC))


def read_facts(folder: Path) -> dict[str, Any]:
    """tokens.json of a finished folder; RecordError if it cannot be read."""
    path = folder / MANIFEST
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = facts["format"] == FORMAT
    except (ValueError, LookupError, TypeError):
        raise RecordError(f"{path} is damaged; pack the text again") from None
    if not known:
        raise RecordError(f"{path} is of another version; pack the text again")
    return facts


def check_packed(folder: Path) -> str:
    """A line on a folder's contents; RecordError if its tokens have changed since packing."""
    facts = open_packed(folder).facts
    if hash_of(folder / TOKENS).hexdigest() != facts["sha256"]:
        raise RecordError(f"{folder / TOKENS} was changed or is damaged; pack the text again")
    return (
        f"{folder}: {facts['tokens']:,} tokens of {many(facts['documents'], 'document')}, for the "
        f"tokenizer of {facts['tokenizer']['model']}; sha256 as packed"
    )


def hash_of(path: Path) -> Any:
    """The sha256 of a file's bytes so far, to which more can be added."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest
