"""Finds prompts that two sets of records share, such as training and validation data."""

import sys
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

from understudy.records.schema import Conversation, as_messages

Placed = Sequence[tuple[str, Any]]
"""(place, record) of each record."""


def prompt_key(prompt: Conversation) -> Hashable:
    """A key that is equal for prompts with the same content, as text or as turns."""
    return tuple((turn.role, turn.content.strip()) for turn in as_messages(prompt))


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
    shared = overlap([("", record) for record in valid], train)
    if shared:
        print(
            f"note: {len(shared):,} of the {len(valid):,} rows of {source} have a prompt that is "
            "also in the training data, so results on them are better than on new prompts",
            file=sys.stderr,
        )
