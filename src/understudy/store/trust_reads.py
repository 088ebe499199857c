"""Reads the data behind measures of trust: shared labels, answers to gold items, disagreements.

Reads only current labels (neither revised nor withdrawn) and, for agreement, only those on prompts
or responses that several labelers labeled.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, Select, func, select

from understudy.store.engine import reading
from understudy.store.labeling_tables import (
    accounts,
    adjudications,
    assignments,
    audit_log,
    gold_items,
    items,
    submissions,
    trial_answers,
)
from understudy.store.repository import Store, current
from understudy.store.tables import labelers, labels, prompts, ranked_responses, rubrics

Tiers = tuple[tuple[str, ...], ...]
"""Response ids, best tier first."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldAnswer:
    """A labeler's answer to a gold item in work."""

    item_id: str
    prompt_id: str
    account_id: str
    at: str
    answer: Mapping[str, Any]
    """`tiers` and `ratings` by response id."""
    key: Mapping[str, Any]
    """The researcher's own answer, likewise."""


def state_of_labels(store: Store) -> tuple[Any, ...]:
    """A value that changes with every label, submission, skip, gold item or decision, so that
    results can be cached until it does. Its first part is the number of labels."""
    last = func.coalesce(func.max(labels.c.created_at), "")
    finished = assignments.c.state.in_(("done", "skipped"))
    queries = (
        select(func.count(), last).select_from(labels),
        select(func.count()).select_from(submissions),
        select(func.count()).select_from(assignments).where(finished),
        select(func.count()).select_from(adjudications),
        select(func.count(), func.count(gold_items.c.retired_at)).select_from(gold_items),
        select(func.count()).select_from(labelers),
    )
    with reading(store.engine) as connection:
        return tuple(value for query in queries for value in connection.execute(query).one())


def shared_rankings(store: Store) -> list[SharedRanking]:
    """Ordered by prompt and time."""
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
    """Ordered by response and time."""
    several = (
        select(labels.c.response_id)
        .where(labels.c.kind == "rating")
        .group_by(labels.c.response_id)
        .having(func.count(func.distinct(labels.c.labeler_id)) > 1)
    )
    query = (
        current(select(labels).where(labels.c.kind == "rating"))
        .where(labels.c.response_id.in_(several))
        .order_by(labels.c.response_id, labels.c.created_at, labels.c.id)
    )
    with reading(store.engine) as connection:
        rows = list(connection.execute(query).mappings())
    for row in rows:
        body = json.loads(row["body"])
        yield SharedRating(
            response_id=row["response_id"],
            prompt_id=row["prompt_id"],
            labeler_id=row["labeler_id"],
            rubric=row["rubric"],
            at=row["created_at"],
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


def gold_answers(store: Store) -> list[GoldAnswer]:
    """Answers to gold items mixed into work, oldest first, without their authors' own."""
    query = (
        select(
            assignments.c.item_id,
            assignments.c.account_id,
            assignments.c.done_at,
            assignments.c.shown,
            items.c.prompt_id,
            gold_items.c.answer,
            submissions.c.body,
        )
        .join_from(assignments, gold_items, gold_items.c.item_id == assignments.c.item_id)
        .join(items, items.c.id == assignments.c.item_id)
        .join(submissions, submissions.c.id == assignments.c.submission_id)
        .where(
            gold_items.c.use == "mixed",
            items.c.kind == "rank",
            assignments.c.state == "done",
            assignments.c.stage == "work",
            func.coalesce(gold_items.c.author_id, "") != assignments.c.account_id,
        )
        .order_by(assignments.c.done_at, assignments.c.id)
    )
    with reading(store.engine) as connection:
        rows = list(connection.execute(query).mappings())
    return [
        GoldAnswer(
            item_id=row["item_id"],
            prompt_id=row["prompt_id"],
            account_id=row["account_id"],
            at=row["done_at"],
            answer=by_response(json.loads(row["body"]), json.loads(row["shown"])),
            key=json.loads(row["answer"]),
        )
        for row in rows
    ]


def by_response(body: Mapping[str, Any], shown: Sequence[str]) -> dict[str, Any]:
    """A submission's body with response ids in place of the page's names."""
    names = {f"a{place}": response_id for place, response_id in enumerate(shown, start=1)}
    return {
        **body,
        "tiers": [[names[name] for name in tier] for tier in body.get("tiers") or []],
        "ratings": {names[name]: one for name, one in (body.get("ratings") or {}).items()},
    }


def gold_list(store: Store) -> list[RowMapping]:
    """Every gold item with its prompt and how many labelers got it, newest first."""
    answered = (
        select(func.count())
        .select_from(assignments)
        .where(assignments.c.item_id == gold_items.c.item_id, assignments.c.state == "done")
        .correlate(gold_items)
        .scalar_subquery()
    )
    query = (
        select(
            gold_items,
            items.c.kind,
            items.c.prompt_id,
            prompts.c.body.label("prompt_body"),
            answered.label("answered"),
        )
        .join(items, items.c.id == gold_items.c.item_id)
        .outerjoin(prompts, prompts.c.id == items.c.prompt_id)
        .order_by(gold_items.c.created_at.desc(), gold_items.c.item_id)
    )
    with reading(store.engine) as connection:
        return list(connection.execute(query).mappings())


def could_be_gold(store: Store, limit: int = 100) -> list[RowMapping]:
    """Items that a researcher has answered and that are not gold, newest first."""
    is_gold = (
        select(gold_items.c.item_id)
        .where(gold_items.c.item_id == items.c.id, gold_items.c.retired_at.is_(None))
        .exists()
    )
    query = (
        select(
            assignments.c.item_id,
            assignments.c.done_at,
            items.c.kind,
            items.c.prompt_id,
            prompts.c.body.label("prompt_body"),
            accounts.c.name,
        )
        .join_from(assignments, items)
        .join(prompts, prompts.c.id == items.c.prompt_id)
        .join(accounts, accounts.c.id == assignments.c.account_id)
        .where(
            accounts.c.role == "researcher",
            assignments.c.state == "done",
            assignments.c.outcome.in_(("ranked", "demonstrated")),
            ~is_gold,
        )
        .order_by(assignments.c.done_at.desc(), assignments.c.id)
        .limit(limit)
    )
    with reading(store.engine) as connection:
        return list(connection.execute(query).mappings())


def trials(store: Store, account_id: str) -> list[RowMapping]:
    """An account's screening items with the answer, if any, and the key; includes skipped ones."""
    query = (
        select(
            assignments.c.id,
            assignments.c.state,
            assignments.c.done_at,
            items.c.kind,
            items.c.prompt_id,
            prompts.c.body.label("prompt_body"),
            gold_items.c.answer,
            trial_answers.c.body,
            trial_answers.c.graded,
        )
        .join_from(assignments, items)
        .join(gold_items, gold_items.c.item_id == items.c.id)
        .outerjoin(prompts, prompts.c.id == items.c.prompt_id)
        .outerjoin(trial_answers, trial_answers.c.assignment_id == assignments.c.id)
        .where(
            assignments.c.account_id == account_id,
            assignments.c.stage == "screening",
            assignments.c.state.in_(("done", "skipped")),
        )
        .order_by(assignments.c.done_at, assignments.c.id)
    )
    with reading(store.engine) as connection:
        return list(connection.execute(query).mappings())


def ungraded(store: Store) -> list[RowMapping]:
    """Ungraded demonstrations of screening, oldest first, without their authors."""
    query = (
        select(
            trial_answers.c.assignment_id,
            trial_answers.c.body,
            gold_items.c.answer,
            items.c.prompt_id,
            prompts.c.body.label("prompt_body"),
        )
        .join_from(trial_answers, items)
        .join(gold_items, gold_items.c.item_id == items.c.id)
        .join(prompts, prompts.c.id == items.c.prompt_id)
        .where(
            trial_answers.c.use == "screening",
            items.c.kind == "demonstrate",
            trial_answers.c.graded.is_(None),
        )
        .order_by(trial_answers.c.created_at, trial_answers.c.assignment_id)
    )
    with reading(store.engine) as connection:
        return list(connection.execute(query).mappings())


@dataclass(frozen=True, kw_only=True, slots=True)
class Contested:
    """One item with what its labelers sent."""

    item: RowMapping
    """The item's columns, its prompt's `prompt_body`, `use_case`."""
    opinions: tuple[RowMapping, ...]
    """account_id, outcome, note, shown and the body sent, in an arbitrary order."""
    decision: RowMapping | None
    """The last adjudication with the account's `name`."""


def contested(store: Store, item_id: str | None = None) -> list[Contested]:
    """Ranking items with several submissions, or with one that has no ranking."""
    whole = _items_to_rank()
    answers = _opinions()
    decided = (
        select(adjudications, accounts.c.name)
        .join(accounts)
        .order_by(adjudications.c.created_at, adjudications.c.id)
    )
    if item_id is not None:
        whole = whole.where(items.c.id == item_id)
        answers = answers.where(assignments.c.item_id == item_id)
        decided = decided.where(adjudications.c.item_id == item_id)
    with reading(store.engine) as connection:
        found = list(connection.execute(whole).mappings())
        opinions: dict[str, list[RowMapping]] = {}
        for row in connection.execute(answers).mappings():
            opinions.setdefault(row["item_id"], []).append(row)
        decisions = {row["item_id"]: row for row in connection.execute(decided).mappings()}
    return [
        Contested(
            item=row,
            opinions=tuple(opinions.get(row["id"], ())),
            decision=decisions.get(row["id"]),
        )
        for row in found
    ]


def _items_to_rank() -> Select[Any]:
    unsure = (
        select(assignments.c.id)
        .where(
            assignments.c.item_id == items.c.id,
            assignments.c.stage == "work",
            assignments.c.outcome.in_(("cannot_rank", "unsure")),
        )
        .exists()
    )
    return (
        select(items, prompts.c.body.label("prompt_body"), prompts.c.use_case)
        .join(prompts, prompts.c.id == items.c.prompt_id)
        .where(items.c.kind == "rank", (items.c.num_done > 1) | unsure)
        .order_by(items.c.id)
    )


def _opinions() -> Select[Any]:
    return (
        select(
            assignments.c.id,
            assignments.c.item_id,
            assignments.c.account_id,
            assignments.c.outcome,
            assignments.c.note,
            assignments.c.shown,
            submissions.c.body,
        )
        .join(submissions, submissions.c.id == assignments.c.submission_id)
        .join(items, items.c.id == assignments.c.item_id)
        .where(items.c.kind == "rank", assignments.c.state == "done", assignments.c.stage == "work")
        .order_by(assignments.c.id)  # random ids: an arbitrary order
    )


def decided_truths(store: Store) -> list[tuple[str, Tiers]]:
    """Prompts with a decided ranking or a researcher's key of a gold item."""
    decided = (
        select(items.c.prompt_id, adjudications.c.body)
        .join(items, items.c.id == adjudications.c.item_id)
        .order_by(adjudications.c.created_at, adjudications.c.id)
    )
    keys = select(items.c.prompt_id, gold_items.c.answer).join(
        items, items.c.id == gold_items.c.item_id
    )
    found: list[tuple[str, Tiers]] = []
    with reading(store.engine) as connection:
        for query in (keys, decided):
            for prompt_id, body in connection.execute(query):
                tiers = json.loads(body).get("tiers") or []
                if tiers and prompt_id:
                    found.append((prompt_id, tuple(tuple(tier) for tier in tiers)))
    return found


def labels_by_rubric(store: Store) -> dict[str, int]:
    """Rubric version -> number of labels that followed it."""
    query = (
        select(labels.c.rubric, func.count())
        .where(labels.c.rubric.is_not(None))
        .group_by(labels.c.rubric)
    )
    with reading(store.engine) as connection:
        return {str(version): number for version, number in connection.execute(query)}


def rubric_rows(store: Store) -> list[RowMapping]:
    """Every version of the instructions, newest first."""
    query = select(rubrics).order_by(rubrics.c.created_at.desc(), rubrics.c.version.desc())
    with reading(store.engine) as connection:
        return list(connection.execute(query).mappings())


def audit_page(
    store: Store, *, before: int | None = None, action: str = "", limit: int = 100
) -> list[RowMapping]:
    """Rows of the audit log whose action has this prefix, newest first."""
    query = select(audit_log).order_by(audit_log.c.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(audit_log.c.seq < before)
    if action:
        query = query.where(audit_log.c.action.startswith(action, autoescape=True))
    with reading(store.engine) as connection:
        return list(connection.execute(query).mappings())
