"""Labels that can be compared: those on prompts and responses that several people labeled.

Reads only current labels: neither revised nor withdrawn.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, func, select

from understudy.store.engine import reading
from understudy.store.labeling_tables import adjudications, assignments, gold_items, submissions
from understudy.store.labels.records import current
from understudy.store.repository import Store
from understudy.store.tables import labelers, labels, prompts, ranked_responses


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedRanking:
    """A ranking of a prompt that somebody else ranked too."""

    prompt_id: str
    labeler_id: str
    rubric: str | None
    at: str
    tier_of: Mapping[str, int]
    """Response id -> tier, 0 the best."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedRating:
    """A rating of a response that somebody else rated too."""

    response_id: str
    prompt_id: str
    labeler_id: str
    rubric: str | None
    at: str
    likert: int
    flags: Mapping[str, bool]


def state_of_labels(store: Store) -> tuple[Any, ...]:
    """A value that changes with every label, submission, skip, gold item or decision, so that
    results can be cached until it does. Its first part is the number of labels."""
    latest = (
        select(func.max(labels.c.created_at))
        .where(labels.c.labeler_id == labelers.c.id)
        .correlate(labelers)
        .scalar_subquery()
    )
    finished = assignments.c.state.in_(("done", "skipped"))
    queries = (
        select(func.count()).select_from(labels),
        select(func.count(), func.max(latest)).select_from(labelers),
        select(func.count()).select_from(submissions),
        select(func.count()).select_from(assignments).where(finished),
        select(func.count()).select_from(adjudications),
        select(func.count(), func.count(gold_items.c.retired_at)).select_from(gold_items),
    )
    with reading(store.engine) as connection:
        return tuple(value for query in queries for value in connection.execute(query).one())


def shared_rankings(store: Store) -> list[SharedRanking]:
    """Rankings of prompts that several people ranked, by prompt and time."""
    several = (
        select(labels.c.prompt_id)
        .where(labels.c.kind == "ranking")
        .group_by(labels.c.prompt_id)
        .having(func.count(func.distinct(labels.c.labeler_id)) > 1)
    )
    query = (
        current(
            select(
                labels.c.id,
                labels.c.prompt_id,
                labels.c.labeler_id,
                labels.c.rubric,
                labels.c.created_at,
                ranked_responses.c.response_id,
                ranked_responses.c.tier,
            ).join(ranked_responses, ranked_responses.c.label_id == labels.c.id)
        )
        .where(labels.c.prompt_id.in_(several))
        .order_by(labels.c.prompt_id, labels.c.created_at, labels.c.id)
    )
    found: dict[str, tuple[RowMapping, dict[str, int]]] = {}
    with reading(store.engine) as connection:
        for row in connection.execute(query).mappings():
            found.setdefault(row["id"], (row, {}))[1][row["response_id"]] = row["tier"]
    return [
        SharedRanking(
            prompt_id=row["prompt_id"],
            labeler_id=row["labeler_id"],
            rubric=row["rubric"],
            at=row["created_at"],
            tier_of=tier_of,
        )
        for row, tier_of in found.values()
    ]


def shared_ratings(store: Store) -> Iterator[SharedRating]:
    """Ratings of responses that several people rated, by response and time."""
    several = (
        select(labels.c.response_id)
        .where(labels.c.kind == "rating")
        .group_by(labels.c.response_id)
        .having(func.count(func.distinct(labels.c.labeler_id)) > 1)
    )
    columns = [labels.c[name] for name in ("id", "response_id", "prompt_id", "labeler_id")]
    columns += [labels.c[name] for name in ("rubric", "created_at", "body")]
    query = (
        current(select(*columns).where(labels.c.kind == "rating"))
        .where(labels.c.response_id.in_(several))
        .order_by(labels.c.response_id, labels.c.created_at, labels.c.id)
    )
    with reading(store.engine) as connection:
        rows = connection.execute(query).all()
    for row in rows:
        body = json.loads(row.body)
        yield SharedRating(
            response_id=row.response_id,
            prompt_id=row.prompt_id,
            labeler_id=row.labeler_id,
            rubric=row.rubric,
            at=row.created_at,
            likert=body["likert"],
            flags=body["flags"],
        )


def roles(store: Store) -> dict[str, str]:
    """Labeler -> role."""
    with reading(store.engine) as connection:
        rows = connection.execute(select(labelers.c.id, labelers.c.role).order_by(labelers.c.id))
        return {row.id: row.role for row in rows}


def use_cases(store: Store) -> dict[str, str | None]:
    """Prompt -> use case, for labeled prompts."""
    labeled = select(labels.c.prompt_id).where(labels.c.prompt_id == prompts.c.id).exists()
    with reading(store.engine) as connection:
        rows = connection.execute(select(prompts.c.id, prompts.c.use_case).where(labeled))
        return {row.id: row.use_case for row in rows}
