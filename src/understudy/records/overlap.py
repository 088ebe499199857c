"""Finds prompts that two sets of records share, such as training and validation data, and training
records of another split."""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from understudy.records.schema import Conversation, as_messages

Placed = Sequence[tuple[str, Any]]
"""(place, record) of each record."""


def prompt_key(prompt: Conversation) -> bytes:
    """A hash that is equal for prompts with the same content, as text or as turns."""
    turns = [(turn.role, turn.content.strip()) for turn in as_messages(prompt)]
    return blake2b(repr(turns).encode(), digest_size=16).digest()


def overlap(placed: Placed, others: Iterable[Any]) -> list[str]:
    """Places of the records whose prompt is also among the other records' prompts."""
    known = {prompt_key(record.prompt) for record in others if not isinstance(record, str)}
    return [
        place
        for place, record in placed
        if not isinstance(record, str) and prompt_key(record.prompt) in known
    ]


def note_overlap(train: Sequence[Any], valid: Sequence[Any], source: Path) -> None:
    """Report on standard error how many validation records share a prompt with the training set."""
    keys = Counter(prompt_key(record.prompt) for record in valid)
    shared = sum(keys.pop(prompt_key(record.prompt), 0) for record in train)
    if shared:
        print(
            f"note: {shared:,} of the {len(valid):,} rows of {source} have a prompt that is "
            "also in the training data, so results on them are better than on new prompts",
            file=sys.stderr,
        )


def of_other_splits(records: Iterable[Any]) -> int:
    """How many records belong to the validation or test split."""
    return sum(getattr(record, "split", None) in ("valid", "test") for record in records)


def note_splits(train: Sequence[Any], source: Path) -> None:
    """Report on standard error how many training records belong to another split."""
    if number := of_other_splits(train):
        print(
            f"note: {number:,} of the {len(train):,} rows of {source} belong to the split valid or "
            "test and are learned all the same: results on these splits are too good",
            file=sys.stderr,
        )
