"""Writes the owner's decisions about labels and labelers' self-descriptions, each in one
transaction.

The same transaction records each decision in the audit log. Self-descriptions are not recorded
there, since the owner can read the log.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, select

from understudy.store.accounts.people import account_in
from understudy.store.audit import append
from understudy.store.engine import reading, writing
from understudy.store.labeling_tables import (
    accounts,
    adjudications,
    assignments,
    gold_items,
    items,
    self_descriptions,
    submissions,
    topic_coverage,
    trial_answers,
    worker_flags,
)
from understudy.store.repository import Store
from understudy.store.rows import packed
from understudy.store.tables import labelers, rubrics
from understudy.store.trust_reads import by_response

EVERYBODY = 1_000_000
"""Everybody is to label a gold item."""


def adjudicate(
    store: Store, item_id: str, account_id: str, decision: Mapping[str, Any], *, at: str
) -> None:
    """Decide a disagreement; `decision["verdict"]` is ranked, cannot_rank, more_labels, set_aside.

    more_labels asks one more labeler, set_aside takes the item out of the queue; the others close
    it. LookupError if there is no such item.
    """
    with writing(store.engine) as connection:
        item = _item(connection, item_id)
        row = {
            "id": f"adj-{secrets.token_hex(8)}",
            "item_id": item_id,
            "account_id": account_id,
            "body": packed(dict(decision)),
            "created_at": at,
        }
        connection.execute(adjudications.insert(), row)
        verdict = decision["verdict"]
        if item["pool"] != "gold":
            change = _changed_by(verdict, item)
            connection.execute(items.update().where(items.c.id == item_id).values(change))
        action, body = "disagreement.decided", {"verdict": verdict}
        append(connection, at=at, account_id=account_id, action=action, object=item_id, body=body)


def _changed_by(verdict: str, item: RowMapping) -> dict[str, Any]:
    if verdict == "more_labels":
        wanted = max(item["wanted"], item["num_done"] + 1)
        return {"wanted": wanted, "max_wanted": max(item["max_wanted"], wanted), "state": "open"}
    return {"state": "set_aside" if verdict == "set_aside" else "closed"}


def set_item_state(store: Store, item_id: str, state: str, *, by: str, at: str) -> None:
    """Reopen an item, with its skips reset, or close it. LookupError if there is no such item."""
    with writing(store.engine) as connection:
        item = _item(connection, item_id)
        values: dict[str, Any] = {"state": state}
        if state == "open":
            values["num_skips"] = 0
            values["wanted"] = max(item["wanted"], item["num_done"] + 1)
        connection.execute(items.update().where(items.c.id == item_id).values(values))
        action = "item.reopened" if state == "open" else "item.closed"
        append(connection, at=at, account_id=by, action=action, object=item_id)


def researcher_answer(store: Store, item_id: str) -> tuple[str, dict[str, Any]] | None:
    """(account, answer by response id) of the researcher who last answered an item, or None."""
    query = (
        select(assignments.c.account_id, assignments.c.shown, submissions.c.body)
        .join(accounts, accounts.c.id == assignments.c.account_id)
        .join(submissions, submissions.c.id == assignments.c.submission_id)
        .where(
            assignments.c.item_id == item_id,
            assignments.c.state == "done",
            assignments.c.outcome.in_(("ranked", "demonstrated")),
            accounts.c.role == "researcher",
        )
        .order_by(assignments.c.done_at.desc())
        .limit(1)
    )
    with reading(store.engine) as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        return None
    sent = by_response(json.loads(row["body"]), json.loads(row["shown"]))
    answer = {"tiers": sent["tiers"], "ratings": sent["ratings"], "text": sent.get("text") or None}
    return row["account_id"], answer


def make_gold(
    store: Store,
    item_id: str,
    *,
    use: str,
    answer: Mapping[str, Any],
    why: str,
    author_id: str,
    by: str,
    at: str,
) -> None:
    """Use an item for practice, for screening or mixed into work; ValueError if it is gold already.

    LookupError if there is no such item. The queue no longer hands it out as ordinary work.
    """
    with writing(store.engine) as connection:
        item = _item(connection, item_id)
        if item["kind"] == "write":
            raise ValueError("an item of kind write cannot have a key; choose another item")
        if item["kind"] == "demonstrate" and use == "mixed":
            raise ValueError("a demonstration cannot be scored by itself; use it for screening")
        mine = gold_items.c.item_id == item_id
        old = connection.execute(select(gold_items.c.retired_at).where(mine)).first()
        if old is not None and old.retired_at is None:
            raise ValueError("this item is gold already; retire it first")
        connection.execute(delete(gold_items).where(mine))
        row = {
            "item_id": item_id,
            "use": use,
            "author_id": author_id,
            "answer": packed(dict(answer)),
            "why": why,
            "created_at": at,
        }
        connection.execute(gold_items.insert(), row)
        values = {"pool": "gold", "wanted": EVERYBODY, "max_wanted": EVERYBODY}
        values["state"] = "open" if use == "mixed" else "closed"  # trials read gold_items only
        connection.execute(items.update().where(items.c.id == item_id).values(values))
        body = {"use": use}
        append(connection, at=at, account_id=by, action="gold.added", object=item_id, body=body)


def retire_gold(store: Store, item_id: str, *, by: str, at: str) -> None:
    """Retire a gold item. LookupError if it is not gold."""
    with writing(store.engine) as connection:
        mine = (gold_items.c.item_id == item_id) & gold_items.c.retired_at.is_(None)
        if not connection.execute(gold_items.update().where(mine).values(retired_at=at)).rowcount:
            raise LookupError(item_id)
        connection.execute(items.update().where(items.c.id == item_id).values(state="closed"))
        append(connection, at=at, account_id=by, action="gold.retired", object=item_id)


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


def set_group(store: Store, account_id: str, group: str | None) -> None:
    """Set the group of an account that has no role yet."""
    with writing(store.engine) as connection:
        mine = (accounts.c.id == account_id) & accounts.c.role.is_(None)
        connection.execute(accounts.update().where(mine).values(labeler_group=group))


def clear_flag(store: Store, flag_id: str, *, by: str, at: str, note: str) -> None:
    """Clear a flag that a person has looked at. LookupError if there is none or it is cleared."""
    with writing(store.engine) as connection:
        mine = (worker_flags.c.id == flag_id) & worker_flags.c.cleared_at.is_(None)
        values = {"cleared_by": by, "cleared_at": at}
        if not connection.execute(worker_flags.update().where(mine).values(values)).rowcount:
            raise LookupError(flag_id)
        body = {"note": note}
        append(connection, at=at, account_id=by, action="alarm.cleared", object=flag_id, body=body)


def dismiss_alarm(store: Store, account_id: str, kind: str, *, by: str, at: str, note: str) -> None:
    """Clear a computed alarm: store it as a cleared flag."""
    with writing(store.engine) as connection:
        row = {
            "id": f"flag-{secrets.token_hex(8)}",
            "account_id": account_in(connection, account_id)["id"],
            "kind": kind,
            "body": "{}",
            "created_at": at,
            "cleared_by": by,
            "cleared_at": at,
        }
        connection.execute(worker_flags.insert(), row)
        body = {"kind": kind, "note": note}
        append(
            connection, at=at, account_id=by, action="alarm.cleared", object=account_id, body=body
        )


def dismissed(store: Store, since: str) -> set[tuple[str, str]]:
    """(account, kind) of alarms cleared since a given time."""
    query = select(worker_flags.c.account_id, worker_flags.c.kind).where(
        worker_flags.c.cleared_at >= since
    )
    with reading(store.engine) as connection:
        return {(row.account_id, row.kind) for row in connection.execute(query)}


def describe_oneself(
    store: Store, account_id: str, values: Mapping[str, Any] | None, at: str
) -> None:
    """Store a self-description, or delete it (None)."""
    with writing(store.engine) as connection:
        mine = self_descriptions.c.account_id == account_id
        connection.execute(delete(self_descriptions).where(mine))
        if values:
            row = {"account_id": account_id, "body": packed(dict(values)), "updated_at": at}
            connection.execute(self_descriptions.insert(), row)


def cover_topics(store: Store, account_id: str, values: Mapping[str, bool]) -> None:
    """Store which topics somebody can judge, replacing what they said before."""
    with writing(store.engine) as connection:
        mine = topic_coverage.c.account_id == account_id
        connection.execute(delete(topic_coverage).where(mine))
        rows = [
            {"account_id": account_id, "topic": topic, "can_judge": value}
            for topic, value in values.items()
        ]
        if rows:
            connection.execute(topic_coverage.insert(), rows)


def publish_rubric(
    store: Store,
    version: str,
    instructions: str,
    priorities: Sequence[str],
    evaluation_priorities: Sequence[str],
    *,
    by: str,
    at: str,
) -> None:
    """Add a version of the instructions and make it current. ValueError for a known name."""
    row = {
        "version": version,
        "instructions": instructions,
        "priorities": packed(list(priorities)),
        "evaluation_priorities": packed(list(evaluation_priorities)),
        "created_at": at,
    }
    with writing(store.engine) as connection:
        known = select(rubrics.c.version).where(rubrics.c.version == version)
        if connection.execute(known).first() is not None:
            raise ValueError(f"version {version!r} exists and cannot change; choose another name")
        connection.execute(rubrics.insert(), row)
        append(connection, at=at, account_id=by, action="rubric.published", object=version)


def _item(connection: Connection, item_id: str) -> RowMapping:
    query = select(items).where(items.c.id == item_id)
    if connection.dialect.name != "sqlite":
        query = query.with_for_update()
    row = connection.execute(query).mappings().first()
    if row is None:
        raise LookupError(item_id)
    return row
