"""Candidates' answers to the items of screening, and their grades and scores."""

import json
from collections.abc import Mapping

from sqlalchemy import RowMapping, select

from understudy.store.accounts.people import account_in
from understudy.store.audit import append
from understudy.store.engine import rows_of, writing
from understudy.store.labeling_tables import accounts, assignments, gold_items, items, trial_answers
from understudy.store.repository import Store
from understudy.store.rows import packed
from understudy.store.tables import labelers, prompts


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
    return rows_of(store.engine, query)


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
    return rows_of(store.engine, query)


def grade_trial(store: Store, assignment_id: str, grade: int, *, by: str, at: str) -> None:
    """Add a grade (1 to 7) to a demonstration of screening. LookupError if there is none."""
    with writing(store.engine) as connection:
        mine = trial_answers.c.assignment_id == assignment_id
        query = (
            select(trial_answers.c.graded)
            .join(items, items.c.id == trial_answers.c.item_id)
            .where(mine, items.c.kind == "demonstrate", trial_answers.c.use == "screening")
        )
        row = connection.execute(query).first()
        if row is None:
            raise LookupError(assignment_id)
        given = json.loads(row.graded)["grades"] if row.graded else []
        kept = [one for one in given if one["by"] != by]
        graded = packed({"grades": [*kept, {"grade": grade, "by": by, "at": at}]})
        connection.execute(trial_answers.update().where(mine).values(graded=graded))
        body = {"grade": grade}
        append(
            connection, at=at, account_id=by, action="trial.graded", object=assignment_id, body=body
        )


def note_scores(store: Store, account_id: str, scores: Mapping[str, float]) -> None:
    """Store screening scores on the account and, once there is a role, on the labeler."""
    with writing(store.engine) as connection:
        account_in(connection, account_id)
        text = packed(dict(scores))
        mine = accounts.c.id == account_id
        connection.execute(accounts.update().where(mine).values(scores=text))
        connection.execute(
            labelers.update().where(labelers.c.id == account_id).values(screening=text)
        )
