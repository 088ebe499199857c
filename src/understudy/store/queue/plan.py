"""Fills the queue: which prompts need a demonstration, which responses need ranking."""

import random
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, func, select

from understudy.store.adding import BATCH, insert_new
from understudy.store.engine import reading, writing
from understudy.store.labeling_tables import item_responses, items
from understudy.store.repository import Store
from understudy.store.rows import Row, packed
from understudy.store.tables import labels, prompts, responses

PURPOSES_OF_SPLIT = {
    "train": ("training",),
    "valid": ("training", "evaluation"),
    "test": ("evaluation",),
}
"""Which labelers a prompt is for; validation prompts compare both kinds."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many people label an item: `Overlap(share=0.15, wanted=3, most=5)`."""

    share: float
    """Share of items that several people label."""
    wanted: int
    """Labelers per such item."""
    most: int
    """Most labelers of an item on which they disagree."""


@dataclass(frozen=True, slots=True)
class NewItem:
    """A planned item."""

    kind: str
    prompt_id: str | None
    purpose: str
    response_ids: tuple[str, ...] = ()
    brief: Mapping[str, Any] | None = None


def to_demonstrate(store: Store, *, answered: bool = False) -> list[NewItem]:
    """Prompts that intake kept and that have no demonstration and, unless `answered`, fewer than
    two distinct responses.

    Leaves out the test split, on which nothing is trained.
    """
    different = (
        select(func.count(func.distinct(func.trim(responses.c.response))))
        .where(responses.c.prompt_id == prompts.c.id)
        .scalar_subquery()
    )
    demonstrated = exists().where(
        labels.c.prompt_id == prompts.c.id, labels.c.kind == "demonstration"
    )
    query = (
        select(prompts.c.id)
        .where(prompts.c.split.in_(("train", "valid")), ~demonstrated)
        .order_by(prompts.c.id)
    )
    if not answered:
        query = query.where(different < 2)
    with reading(store.engine) as connection:
        ids = connection.execute(query).scalars().all()
    return [NewItem("demonstrate", name, "training") for name in ids]


def to_rank(store: Store, *, most: int) -> list[NewItem]:
    """Prompts with two or more distinct responses, of which at most `most` are taken."""
    query = (
        select(prompts.c.id, prompts.c.split, responses.c.id.label("response"))
        .add_columns(responses.c.response.label("text"))
        .join_from(prompts, responses)
        .where(prompts.c.split.is_not(None))
        .order_by(prompts.c.id, responses.c.id)
    )
    different: dict[tuple[str, str], dict[str, str]] = {}
    with reading(store.engine) as connection:
        for name, split, response, text in connection.execute(query):
            different.setdefault((name, split), {}).setdefault(text.strip(), response)
    return [
        NewItem("rank", name, purpose, tuple(found.values())[:most])
        for (name, split), found in different.items()
        if len(found) >= 2
        for purpose in PURPOSES_OF_SPLIT[split]
    ]


def add_items(store: Store, new: Iterable[NewItem], *, overlap: Overlap, seed: int, at: str) -> int:
    """Add missing items to the queue in random order; returns how many."""
    rng = random.Random(f"plan/{seed}")
    fresh = _unknown(store, list(new))
    rng.shuffle(fresh)
    rows = [item_row(item, overlap, rng, place, at) for place, item in enumerate(fresh)]
    shown = [
        {"item_id": row["id"], "place": place, "response_id": response_id}
        for row, item in zip(rows, fresh, strict=True)
        for place, response_id in enumerate(item.response_ids)
    ]
    with writing(store.engine) as connection:
        for start in range(0, len(rows), BATCH):
            insert_new(connection, items, rows[start : start + BATCH])
        for start in range(0, len(shown), BATCH):
            connection.execute(item_responses.insert(), shown[start : start + BATCH])
    return len(rows)


def _unknown(store: Store, new: Sequence[NewItem]) -> list[NewItem]:
    query = select(items.c.kind, items.c.prompt_id, items.c.purpose)
    with reading(store.engine) as connection:
        known = {tuple(row) for row in connection.execute(query)}
    return [
        item
        for item in new
        if item.prompt_id is None or (item.kind, item.prompt_id, item.purpose) not in known
    ]


def item_row(item: NewItem, overlap: Overlap, rng: random.Random, place: int, at: str) -> Row:
    """A row of `items`; chance decides whether several people label it."""
    shared = item.kind == "rank" and rng.random() < overlap.share
    wanted = overlap.wanted if shared else 1
    return {
        "id": f"it-{secrets.token_hex(10)}",
        "kind": item.kind,
        "prompt_id": item.prompt_id,
        "purpose": item.purpose,
        "round": 0,
        "pool": "calibration" if shared else "single",
        "wanted": wanted,
        "max_wanted": max(wanted, overlap.most) if item.kind == "rank" else wanted,
        "num_done": 0,
        "num_live": 0,
        "num_skips": 0,
        "state": "open",
        "priority": place,
        "brief": None if item.brief is None else packed(dict(item.brief)),
        "created_at": at,
    }
