"""What labelers send: drafts, and submissions that are stored exactly once.

The browser generates a submission's id and may resend it any number of times: the same id and body
give the same reply; the same id with another body is refused. A submission, its labels and its
place in the queue are one transaction, so an acknowledged submission is complete. A late submission
is kept: in its slot if that is still free, else beside the others.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Integer, RowMapping, bindparam, exists, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from understudy.records import Prompt, Ranking, sha256_of
from understudy.store.adding import add_rows, insert_new
from understudy.store.engine import glancing, is_sqlite, writing, writing_once
from understudy.store.labeling_tables import (
    assignments,
    drafts,
    items,
    prompt_tags,
    submission_labels,
    submissions,
    trial_answers,
    withdrawals,
)
from understudy.store.queue.leases import free_slot, lock_assignment, state_after_skips
from understudy.store.repository import Store
from understudy.store.rows import Label, Row, kind_of, label_row, packed, prompt_row
from understudy.store.tables import labels, prompts, ranked_responses, users


class Refused(Exception):
    """A submission that cannot be accepted; `code` and `more` say why."""

    def __init__(self, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.more = code, message, more


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A submission for an assignment, checked and converted to records."""

    id: str
    """The id that the browser generated."""
    body: Mapping[str, Any]
    """The whole body, as received."""
    outcome: str
    """ranked, cannot_rank, unsure, demonstrated or written."""
    labels: Sequence[Label] = ()
    """Records for the record chain; none in practice and screening."""
    role: str | None = None
    """The labeler's role, which the database checks; None in practice and screening."""
    response_ids: Sequence[str] = ()
    """The ids of the responses in the order shown: a ranking's rows."""
    prompts: Sequence[Prompt] = ()
    """Prompts that the labeler wrote."""
    trial: Mapping[str, Any] | None = None
    """The submission by response id, in practice and screening."""
    feedback: Mapping[str, Any] | None = None
    """Feedback to show in practice."""
    tags: Mapping[str, Any] = field(default_factory=dict)
    """The labeler's tags of the prompt."""
    note: str = ""
    seconds: float | None = None
    ui: str | None = None
    revises: str | None = None
    """The submission that this one replaces."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """One labeler's submission for a ranking item: `Opinion("ranked", {"r1": 0, "r2": 1})`."""

    outcome: str
    tier_of: Mapping[str, int]
    """Response id -> tier, 0 the best; empty unless ranked."""


More = Callable[[Sequence[Opinion]], bool]
"""Whether an item with these opinions needs one more."""


def save_draft(
    store: Store, assignment_id: str, account_id: str, *, version: int, body: Any, at: str
) -> int:
    """Save a draft; returns its new version.

    LookupError if the assignment is not this account's; Refused if it is done or another tab has
    saved since `version`.
    """
    given = {"id_": assignment_id, "account": account_id}
    row = {"seen": version, "version": version + 1, "body": packed(body), "saved_at": at}
    with writing_once(store.engine) as connection:
        keep = _SAVE_DRAFT[is_sqlite(connection)]
        if connection.execute(keep, {**given, **row}).rowcount == 1:
            return version + 1
    with glancing(store.engine) as connection:
        state = connection.execute(_STATE, given).scalar()
        other = connection.execute(_DRAFT, given).mappings().first()
    if state is None:
        raise LookupError(assignment_id)
    if state == "done":
        raise Refused("already_submitted", "This task was already submitted.")
    raise Refused(
        "draft_stale",
        "Another window has saved this task since; choose which draft to keep.",
        draft=draft_json(other) if other is not None else None,
    )


def draft_json(row: RowMapping) -> Row:
    """A draft as the browser sees it."""
    return {
        "version": row["version"],
        "body": json.loads(row["body"]),
        "saved_at": row["saved_at"],
    }


def submit(
    store: Store, assignment_id: str, account_id: str, answer: Answer, *, at: str, more: More
) -> Row:
    """Store a submission and acknowledge it. LookupError if the assignment is not this account's.

    Refused if the id is known with another body, the task is done, or `revises` is not current.
    """
    with writing(store.engine) as connection:
        row = lock_assignment(connection, assignment_id, account_id)
        late = row["state"] in ("expired", "skipped") and row["stage"] == "work"
        reply = {  # in the order in which it will be read back, so a resend gets an identical reply
            "assignment": assignment_id,
            "feedback": answer.feedback,
            "go": "/work",
            "id": answer.id,
            "late": late,
            "state": "done",
        }
        if not _insert_submission(connection, row, answer, reply, at):
            known = _known(connection, answer.id, account_id, answer.body)
            if known is not None:
                return known
        _check_standing(connection, row, answer)
        if row["stage"] == "work":
            _insert_labels(connection, row, answer, at)
        else:
            _insert_trial(connection, row, answer, at)
        _finish(connection, row, answer, at)
        connection.execute(_DELETE_DRAFT, {"id_": assignment_id})
        if row["stage"] == "work":
            _count(connection, row, answer.outcome, more)
        return reply


def standing(connection: Connection, submission_id: str) -> Row:
    """A submission as the browser sees it."""
    row = connection.execute(_SUBMISSION, {"id_": submission_id}).mappings().one()
    return {"id": row["id"], "body": json.loads(row["body"]), "at": row["created_at"]}


def opinions(connection: Connection, item_id: str) -> list[Opinion]:
    """The current submissions for a ranking item."""
    outcome_of: dict[str, str] = {}
    tiers: dict[str, dict[str, int]] = {}
    for name, outcome, response_id, tier in connection.execute(_OPINIONS, {"item": item_id}):
        outcome_of[name] = outcome
        tiers.setdefault(name, {})
        if response_id is not None:
            tiers[name][response_id] = tier
    return [Opinion(outcome_of[name], tiers[name]) for name in outcome_of]


def _known(connection: Connection, answer_id: str, account_id: str, body: Any) -> Row | None:
    row = connection.execute(_SUBMISSION, {"id_": answer_id}).mappings().first()
    if row is None:
        return None
    if row["account_id"] != account_id or row["digest"] != sha256_of(packed(body)):
        raise Refused("submission_conflict", "This id was used for a different submission.")
    reply: Row = json.loads(row["reply"])
    return reply


def _check_standing(connection: Connection, row: RowMapping, answer: Answer) -> None:
    """Only one submission is current; another one must name it to replace it."""
    if row["state"] != "done":
        if answer.revises is not None:
            raise Refused(
                "already_submitted",
                "You have not submitted this task yet, so there is nothing to change.",
            )
        return
    if row["stage"] != "work" or row["kind"] == "write":
        raise Refused("final", "This task was already sent, and what was sent cannot be changed.")
    if answer.revises != row["submission_id"]:
        raise Refused(
            "already_submitted",
            "This task was already submitted.",
            submitted=standing(connection, row["submission_id"]),
        )


def _insert_submission(
    connection: Connection, row: RowMapping, answer: Answer, reply: Row, at: str
) -> bool:
    """Insert the submission; returns whether it is new. A later error rolls this back."""
    body = packed(answer.body)
    new = {
        "id": answer.id,
        "assignment_id": row["id"],
        "account_id": row["account_id"],
        "digest": sha256_of(body),
        "body": body,
        "reply": packed(reply),
        "revises": answer.revises,
        "created_at": at,
    }
    return connection.execute(_INSERT_SUBMISSION[is_sqlite(connection)], new).rowcount == 1


def _insert_labels(connection: Connection, row: RowMapping, answer: Answer, at: str) -> None:
    """Add the records to the record chain; withdraws labels that the earlier submission had and
    this one lacks."""
    _insert_prompts(connection, row, answer, at)
    earlier = _labels_of(connection, answer.revises) if answer.revises else {}
    rows = []
    for label in answer.labels:
        place = (kind_of(label), getattr(label, "response_id", None))
        rows.append(label_row(label, str(answer.role), earlier.pop(place, None)))
    if rows:
        connection.execute(_INSERT_LABELS, rows)
        members = [{"submission_id": answer.id, "label_id": new["id"]} for new in rows]
        connection.execute(_INSERT_MEMBERS, members)
    for label in answer.labels:
        if isinstance(label, Ranking):
            connection.execute(_INSERT_RANKED, _ranked(label, answer.response_ids))
    if earlier:
        gone = [
            {"label_id": old["id"], "submission_id": answer.id, "at": at}
            for old in earlier.values()
        ]
        connection.execute(withdrawals.insert(), gone)
    if answer.tags:
        _insert_tags(connection, row, answer, at)


def _ranked(ranking: Ranking, response_ids: Sequence[str]) -> list[Row]:
    return [
        {"label_id": ranking.id, "place": place, "tier": tier, "response_id": response_id}
        for place, (response_id, tier) in enumerate(zip(response_ids, ranking.ranks, strict=True))
    ]


def _labels_of(
    connection: Connection, submission_id: str
) -> dict[tuple[str, str | None], RowMapping]:
    query = select(labels).join(submission_labels)
    query = query.where(submission_labels.c.submission_id == submission_id)
    rows = connection.execute(query).mappings()
    return {(row["kind"], row["response_id"]): row for row in rows}


def _insert_prompts(connection: Connection, row: RowMapping, answer: Answer, at: str) -> None:
    """Add a labeler's prompts, under a user of the labeler's own."""
    if answer.prompts:
        user = {"id": answer.prompts[0].user_id, "organization_id": None, "consent": True}
        insert_new(connection, users, [{**user, "created_at": at}])
        add_rows(connection, prompts, map(prompt_row, answer.prompts), ("user_id", "digest"))


def _insert_tags(connection: Connection, row: RowMapping, answer: Answer, at: str) -> None:
    """Store the tags, and copy them to the prompt: a labeler's use case overrides the rules'."""
    ids = [prompt.id for prompt in answer.prompts] or [row["prompt_id"]]
    for prompt_id in ids:
        new = {
            "submission_id": answer.id,
            "prompt_id": prompt_id,
            "account_id": row["account_id"],
            "body": packed(dict(answer.tags)),
            "created_at": at,
        }
        connection.execute(prompt_tags.insert(), new)
        this = prompts.c.id == prompt_id
        old = connection.execute(select(prompts.c.tags).where(this)).scalar_one()
        said = {name: value for name, value in answer.tags.items() if name != "use_case"}
        values: Row = {"tags": packed({**json.loads(old), **said})}
        if answer.tags.get("use_case"):
            values["use_case"] = answer.tags["use_case"]
        connection.execute(prompts.update().where(this).values(values))


def _insert_trial(connection: Connection, row: RowMapping, answer: Answer, at: str) -> None:
    new = {
        "assignment_id": row["id"],
        "account_id": row["account_id"],
        "use": row["stage"],
        "item_id": row["item_id"],
        "body": packed(dict(answer.trial or {})),
        "created_at": at,
    }
    connection.execute(trial_answers.insert(), new)


def _finish(connection: Connection, row: RowMapping, answer: Answer, at: str) -> None:
    """Mark the assignment as done, in its slot or, if that is taken, beside the others."""
    slot = row["slot"]
    if row["stage"] == "work" and row["state"] in ("expired", "skipped"):
        full = row["num_done"] + row["num_live"] >= row["wanted"]
        slot = None if full else free_slot(connection, row["item_id"])
    values: Row = {
        "id_": row["id"],
        "state": "done",
        "slot": slot,
        "outcome": answer.outcome,
        "note": answer.note,
        "reason": None,
        "seconds": answer.seconds,
        "ui": answer.ui,
        "submission_id": answer.id,
        "done_at": row["done_at"] if row["state"] == "done" else at,
    }
    connection.execute(_FINISH, values)


def _count(connection: Connection, row: RowMapping, outcome: str, more: More) -> None:
    """Count a label of the item, and ask for one more where labelers disagree."""
    num_done = row["num_done"] + (row["state"] != "done")
    num_live = row["num_live"] - (row["state"] == "leased")
    wanted = row["wanted"]
    # The only ranking of an item: there is nobody to disagree with.
    alone = num_done == 1 and outcome == "ranked"
    if row["kind"] == "rank" and not alone and wanted <= num_done and wanted < row["max_wanted"]:
        wanted += more(opinions(connection, row["item_id"]))
    num_skips = row["num_skips"] - (row["state"] == "skipped")
    state = state_after_skips(row["item_state"], num_skips)
    if state in ("open", "done"):
        state = "done" if num_done >= wanted else "open"
    counts = {"num_done": num_done, "num_live": num_live, "num_skips": num_skips}
    values = {"item": row["item_id"], "wanted": wanted, "state": state}
    connection.execute(_COUNT, {**counts, **values})


# Statements, built once

_STATE = select(assignments.c.state).where(
    assignments.c.id == bindparam("id_"), assignments.c.account_id == bindparam("account")
)
_DRAFT = select(drafts).where(drafts.c.assignment_id == bindparam("id_"))
_DIALECTS: dict[bool, Any] = {True: sqlite, False: postgresql}
"""By whether it is SQLite."""
_COUNTED = {"preserve_rowcount": True}
"""Makes SQLAlchemy keep the number of rows that an INSERT added."""
_NEW_DRAFT = ("version", "body", "saved_at")
_SEEN = bindparam("seen", type_=Integer)
_DRAFT_TO_SAVE = select(
    assignments.c.id, *(bindparam(name, type_=drafts.c[name].type) for name in _NEW_DRAFT)
).where(
    assignments.c.id == bindparam("id_"),
    assignments.c.account_id == bindparam("account"),
    assignments.c.state != "done",
    or_(_SEEN == 0, exists().where(drafts.c.assignment_id == assignments.c.id)),
)


def _save_draft(dialect: Any) -> Any:
    """One statement that saves a draft of the account's own assignment, unless that is done or
    another tab has saved since `seen`."""
    new = dialect.insert(drafts).from_select(("assignment_id", *_NEW_DRAFT), _DRAFT_TO_SAVE)
    return new.on_conflict_do_update(
        index_elements=["assignment_id"],
        set_={name: new.excluded[name] for name in _NEW_DRAFT},
        where=drafts.c.version == _SEEN,
    ).execution_options(**_COUNTED)


_SAVE_DRAFT = {is_sqlite: _save_draft(dialect) for is_sqlite, dialect in _DIALECTS.items()}
_DELETE_DRAFT = drafts.delete().where(drafts.c.assignment_id == bindparam("id_"))
_SUBMISSION = select(submissions).where(submissions.c.id == bindparam("id_"))
_INSERT_SUBMISSION = {
    is_sqlite: dialect.insert(submissions).on_conflict_do_nothing().execution_options(**_COUNTED)
    for is_sqlite, dialect in _DIALECTS.items()
}
_INSERT_LABELS = labels.insert()
_INSERT_MEMBERS = submission_labels.insert()
_INSERT_RANKED = ranked_responses.insert()
_FINISH = (
    assignments.update()
    .where(assignments.c.id == bindparam("id_"))
    .values(
        {
            name: bindparam(name)
            for name in (
                "state",
                "slot",
                "outcome",
                "note",
                "reason",
                "seconds",
                "ui",
                "submission_id",
                "done_at",
            )
        }
    )
)
_COUNT = (
    items.update()
    .where(items.c.id == bindparam("item"))
    .values(
        {name: bindparam(name) for name in ("num_done", "num_live", "num_skips", "wanted", "state")}
    )
)
_OPINIONS = (
    select(
        assignments.c.id,
        assignments.c.outcome,
        ranked_responses.c.response_id,
        ranked_responses.c.tier,
    )
    .outerjoin(submission_labels, submission_labels.c.submission_id == assignments.c.submission_id)
    .outerjoin(ranked_responses, ranked_responses.c.label_id == submission_labels.c.label_id)
    .where(
        assignments.c.item_id == bindparam("item"),
        assignments.c.stage == "work",
        assignments.c.state == "done",
    )
)
