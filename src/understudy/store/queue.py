"""The queue: who labels which item, as leases that expire.

Handing out is one writing transaction: it looks for an item with a free slot, and the database
refuses a slot or an item that is taken twice. Nothing is reserved for anybody who is not there; a
lease that is not kept alive ends, and the item goes to somebody else. Locks are taken in one
order, account before item before assignment, so that nobody waits in a circle.
"""

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, exists, func, or_, select, true

from understudy.records.written import WRITER
from understudy.store.engine import reading, writing
from understudy.store.labeling_tables import (
    accounts,
    assignments,
    drafts,
    gold_items,
    item_responses,
    items,
    submissions,
    worker_flags,
)
from understudy.store.repository import Store
from understudy.store.rows import Row, packed
from understudy.store.tables import labels, prompts, responses

PURPOSES = {
    "training": ("training",),
    "held_out": ("evaluation",),
    "researcher": ("training", "evaluation"),
}
"""Purposes of items that a role labels."""
SET_ASIDE_AFTER = 3
"""So many people have skipped an item: a person looks at it before anybody else gets it."""
SKIPS_IN_A_ROW = 5
"""Skips in a row that raise a flag, and every so many after."""
_HOLDING = ("leased", "done")


@dataclass(frozen=True, kw_only=True, slots=True)
class Taker:
    """Who asks for an item."""

    account_id: str
    role: str | None
    """None before a role was given, which is before any work."""
    stage: str
    """practice, screening or active."""
    rubric: str | None = None
    """The version of the instructions that they have read."""


def author_of(account_id: str) -> str:
    """The user under whom a labeler's own prompts are kept."""
    return WRITER + account_id


def take(
    store: Store,
    taker: Taker,
    *,
    at: str,
    expires_at: str,
    kind: str | None = None,
    gold: bool = False,
) -> str | None:
    """The id of the assignment to work on: the one at hand, an own one that expired, or a new one.

    `gold`: a gold item, if there is one for this labeler, before any other. None: nothing to do.
    """
    end_expired(store, at)
    lease = {"at": at, "expires_at": expires_at}
    with writing(store.engine) as connection:
        _lock_account(connection, taker.account_id)
        at_hand = _at_hand(connection, taker, kind)
        if at_hand is not None:
            return at_hand
        if taker.stage != "active":
            return _take_trial(connection, taker, **lease)
        again = _take_again(connection, taker, kind, **lease)
        if again is not None:
            return again
        found = _candidate(connection, taker, kind, gold=True) if gold else None
        found = found or _candidate(connection, taker, kind, gold=False)
        if found is None:
            return None
        connection.execute(
            items.update().where(items.c.id == found["id"]).values(num_live=items.c.num_live + 1)
        )
        slot = free_slot(connection, found["id"])
        return _insert(connection, taker, found["id"], slot=slot, **lease)


def end_expired(store: Store, at: str) -> None:
    """Leases that were not kept alive end: their slots are free again."""
    ended = (assignments.c.state == "leased") & (assignments.c.expires_at <= at)
    with reading(store.engine) as connection:
        query = select(assignments.c.item_id).where(ended).distinct().order_by("item_id").limit(100)
        item_ids = connection.execute(query).scalars().all()
    for item_id in item_ids:
        with writing(store.engine) as connection:
            locked(connection, select(items.c.id).where(items.c.id == item_id))
            mine = ended & (assignments.c.item_id == item_id)
            found = connection.execute(select(assignments.c.id, assignments.c.stage).where(mine))
            rows = found.all()
            connection.execute(assignments.update().where(mine).values(state="expired", slot=None))
            change_live(connection, item_id, -sum(row.stage == "work" for row in rows))


def beat(store: Store, assignment_id: str, account_id: str, *, at: str, expires_at: str) -> str:
    """Keep a lease alive: its state now. LookupError if it is not this account's."""
    mine = (assignments.c.id == assignment_id) & (assignments.c.account_id == account_id)
    live = mine & (assignments.c.state == "leased") & (assignments.c.expires_at > at)
    with writing(store.engine) as connection:
        values = {"beat_at": at, "expires_at": expires_at}
        if connection.execute(assignments.update().where(live).values(values)).rowcount:
            return "leased"
        state = connection.execute(select(assignments.c.state).where(mine)).scalar()
    if state is None:
        raise LookupError(assignment_id)
    return "expired" if state == "leased" else str(state)


def skip(
    store: Store,
    assignment_id: str,
    account_id: str,
    *,
    at: str,
    reason: str,
    note: str,
) -> int:
    """Give an item back: how many were skipped in a row. LookupError if it is not this account's.

    ValueError if it is done. An item that was skipped by many is set aside.
    """
    with writing(store.engine) as connection:
        row = lock_assignment(connection, assignment_id, account_id)
        if row["state"] == "done":
            raise ValueError("this was answered already; change the answer instead")
        if row["state"] != "skipped":
            values = {"state": "skipped", "slot": None, "done_at": at, "reason": reason}
            mine = assignments.c.id == assignment_id
            connection.execute(assignments.update().where(mine).values({**values, "note": note}))
            if row["stage"] == "work":
                if row["state"] == "leased":
                    change_live(connection, row["item_id"], -1)
                _count_skip(connection, row["item_id"], +1)
        streak = skips_in_a_row(connection, account_id)
        if row["state"] != "skipped" and streak and streak % SKIPS_IN_A_ROW == 0:
            raise_flag(connection, account_id, "skips", {"in_a_row": streak}, at)
        return streak


def unskip(store: Store, assignment_id: str, account_id: str, *, at: str, expires_at: str) -> bool:
    """Take a skipped item back while nobody else has it; whether that went well."""
    with writing(store.engine) as connection:
        row = lock_assignment(connection, assignment_id, account_id)
        if row["state"] == "leased":
            return True
        if row["state"] != "skipped":
            return False
        if row["stage"] == "work":
            _count_skip(connection, row["item_id"], -1)
        return _lease_again(connection, row, at=at, expires_at=expires_at)


def raise_flag(
    connection: Connection, account_id: str, kind: str, body: dict[str, Any], at: str
) -> None:
    """Something that a person should look at."""
    row = {
        "id": f"flag-{secrets.token_hex(8)}",
        "account_id": account_id,
        "kind": kind,
        "body": packed(body),
        "created_at": at,
    }
    connection.execute(worker_flags.insert(), row)


def skips_in_a_row(connection: Connection, account_id: str) -> int:
    """How many of an account's last items were skipped, counted from the last."""
    query = (
        select(assignments.c.state)
        .where(assignments.c.account_id == account_id, assignments.c.state.in_(("done", "skipped")))
        .order_by(assignments.c.done_at.desc())
        .limit(100)
    )
    streak = 0
    for state in connection.execute(query).scalars():
        if state == "done":
            break
        streak += 1
    return streak


def lock_assignment(connection: Connection, assignment_id: str, account_id: str) -> RowMapping:
    """An account's own assignment with its item, both locked; LookupError if it is none."""
    mine = (assignments.c.id == assignment_id) & (assignments.c.account_id == account_id)
    item_id = connection.execute(select(assignments.c.item_id).where(mine)).scalar()
    if item_id is None:
        raise LookupError(assignment_id)
    locked(connection, select(items.c.id).where(items.c.id == item_id))
    query = select(
        assignments,
        items.c.kind,
        items.c.purpose,
        items.c.pool,
        items.c.prompt_id,
        items.c.wanted,
        items.c.max_wanted,
        items.c.num_done,
        items.c.num_live,
        items.c.state.label("item_state"),
    ).join(items)
    return connection.execute(query.where(mine)).mappings().one()


def view(store: Store, assignment_id: str, account_id: str) -> RowMapping:
    """What a page shows of an account's own assignment; LookupError if it is none."""
    query = (
        select(
            assignments,
            items.c.kind,
            items.c.purpose,
            items.c.prompt_id,
            items.c.brief,
            prompts.c.body.label("prompt_body"),
            prompts.c.split,
            drafts.c.version.label("draft_version"),
            drafts.c.body.label("draft_body"),
            drafts.c.saved_at,
            submissions.c.body.label("submitted_body"),
            submissions.c.created_at.label("submitted_at"),
        )
        .join_from(assignments, items)
        .outerjoin(prompts, prompts.c.id == items.c.prompt_id)
        .outerjoin(drafts, drafts.c.assignment_id == assignments.c.id)
        .outerjoin(submissions, submissions.c.id == assignments.c.submission_id)
        .where(assignments.c.id == assignment_id, assignments.c.account_id == account_id)
    )
    with reading(store.engine) as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        raise LookupError(assignment_id)
    return row


def texts_of(store: Store, response_ids: Sequence[str]) -> dict[str, str]:
    """Response id -> text."""
    query = select(responses.c.id, responses.c.response)
    with reading(store.engine) as connection:
        rows = connection.execute(query.where(responses.c.id.in_(list(response_ids))))
        return {row.id: row.response for row in rows}


def left_for(store: Store, taker: Taker) -> dict[str, int]:
    """Kind -> items that the labeler could still be given."""
    query = _open_to(taker).add_columns(items.c.kind, func.count()).group_by(items.c.kind)
    query = query.where(items.c.pool != "gold")
    with reading(store.engine) as connection:
        return dict(connection.execute(query).tuples().all())


def locked(connection: Connection, query: Select[Any]) -> RowMapping | None:
    """The first row of a query, kept from others until the transaction ends.

    SQLite's writing transaction keeps others out anyway.
    """
    if connection.dialect.name != "sqlite":
        query = query.with_for_update()
    return connection.execute(query).mappings().first()


def change_live(connection: Connection, item_id: str, change: int) -> None:
    """Count leases given or ended."""
    if change:
        mine = items.c.id == item_id
        connection.execute(items.update().where(mine).values(num_live=items.c.num_live + change))


def free_slot(connection: Connection, item_id: str) -> int:
    """The lowest slot of an item that nobody holds."""
    held = (
        select(assignments.c.slot)
        .where(assignments.c.item_id == item_id, assignments.c.stage == "work")
        .where(assignments.c.state.in_(_HOLDING), assignments.c.slot.is_not(None))
    )
    taken = set(connection.execute(held).scalars())
    return next(slot for slot in range(len(taken) + 1) if slot not in taken)


# Parts of `take`


def _lock_account(connection: Connection, account_id: str) -> None:
    """Two tabs of one labeler ask one after the other."""
    locked(connection, select(accounts.c.id).where(accounts.c.id == account_id))


def _at_hand(connection: Connection, taker: Taker, kind: str | None) -> str | None:
    query = (
        select(assignments.c.id)
        .join(items)
        .where(
            assignments.c.account_id == taker.account_id,
            assignments.c.stage == _stage_of(taker),
            assignments.c.state == "leased",
            items.c.kind == kind if kind else true(),
        )
    )
    query = query.order_by(assignments.c.leased_at.desc()).limit(1)
    return connection.execute(query).scalar()


def _take_again(
    connection: Connection, taker: Taker, kind: str | None, *, at: str, expires_at: str
) -> str | None:
    """An own lease that ended while its slot is still free: the draft is there."""
    query = (
        select(assignments.c.id)
        .join(items)
        .where(
            assignments.c.account_id == taker.account_id,
            assignments.c.state == "expired",
            assignments.c.stage == "work",
            _has_room(),
            items.c.kind == kind if kind else true(),
        )
        .order_by(assignments.c.beat_at.desc())
        .limit(1)
    )
    found = connection.execute(query).scalar()
    if found is None:
        return None
    row = lock_assignment(connection, found, taker.account_id)
    return found if _lease_again(connection, row, at=at, expires_at=expires_at) else None


def _lease_again(connection: Connection, row: RowMapping, *, at: str, expires_at: str) -> bool:
    """Lease an assignment that has ended, if a slot is free; its item is locked."""
    slot = None
    if row["stage"] == "work":
        if row["num_done"] + row["num_live"] >= row["wanted"] or row["item_state"] == "closed":
            return False
        slot = free_slot(connection, row["item_id"])
        change_live(connection, row["item_id"], +1)
    values: Row = {"state": "leased", "slot": slot, "expires_at": expires_at, "beat_at": at}
    values |= {"done_at": None, "reason": None, "note": None}
    mine = assignments.c.id == row["id"]
    connection.execute(assignments.update().where(mine).values(values))
    return True


def _take_trial(connection: Connection, taker: Taker, *, at: str, expires_at: str) -> str | None:
    """The next gold item of practice or screening; everybody gets all of them, in one order."""
    had = exists().where(
        assignments.c.item_id == gold_items.c.item_id,
        assignments.c.account_id == taker.account_id,
        assignments.c.state.in_(("done", "skipped")),
    )
    query = (
        select(gold_items.c.item_id)
        .where(gold_items.c.use == taker.stage, gold_items.c.retired_at.is_(None), ~had)
        .order_by(gold_items.c.created_at, gold_items.c.item_id)
        .limit(1)
    )
    item_id = connection.execute(query).scalar()
    if item_id is None:
        return None
    query = select(assignments.c.id).where(
        assignments.c.item_id == item_id, assignments.c.account_id == taker.account_id
    )
    old = connection.execute(query).scalar()
    if old is None:
        return _insert(connection, taker, item_id, slot=None, at=at, expires_at=expires_at)
    row = lock_assignment(connection, old, taker.account_id)
    _lease_again(connection, row, at=at, expires_at=expires_at)
    return str(old)


def _has_room() -> Any:
    return (items.c.state == "open") & (items.c.num_done + items.c.num_live < items.c.wanted)


def _open_to(taker: Taker) -> Select[Any]:
    """Items with room that a labeler of this role has not had, and is not the author of."""
    mine = (assignments.c.item_id == items.c.id) & (assignments.c.account_id == taker.account_id)
    wrote = (
        (labels.c.prompt_id == items.c.prompt_id)
        & (labels.c.kind == "demonstration")
        & (labels.c.labeler_id == taker.account_id)
    )
    asked = (prompts.c.id == items.c.prompt_id) & (prompts.c.user_id == author_of(taker.account_id))
    return select().where(
        _has_room(),
        items.c.purpose.in_(PURPOSES.get(taker.role or "", ())),
        ~exists().where(mine),
        or_(items.c.kind != "rank", ~exists().where(wrote)),
        ~exists().where(asked),
    )


def _candidate(
    connection: Connection, taker: Taker, kind: str | None, *, gold: bool
) -> RowMapping | None:
    query = _open_to(taker).add_columns(items.c.id)
    if gold:
        marked = (gold_items.c.item_id == items.c.id) & (gold_items.c.use == "mixed")
        query = query.where(items.c.pool == "gold")
        query = query.where(exists().where(marked & gold_items.c.retired_at.is_(None)))
    else:
        query = query.where(items.c.pool.in_(("single", "calibration")))
    if kind is not None:
        query = query.where(items.c.kind == kind)
    query = query.order_by(items.c.priority, items.c.id).limit(1)
    if connection.dialect.name != "sqlite":
        query = query.with_for_update(of=items, skip_locked=True)
    return connection.execute(query).mappings().first()


def _insert(
    connection: Connection,
    taker: Taker,
    item_id: str,
    *,
    slot: int | None,
    at: str,
    expires_at: str,
) -> str:
    query = select(item_responses.c.response_id).where(item_responses.c.item_id == item_id)
    shown = list(connection.execute(query.order_by(item_responses.c.place)).scalars())
    random.Random(f"order/{item_id}/{taker.account_id}").shuffle(shown)
    assignment_id = f"as-{secrets.token_hex(12)}"
    row = {
        "id": assignment_id,
        "item_id": item_id,
        "account_id": taker.account_id,
        "stage": _stage_of(taker),
        "slot": slot,
        "state": "leased",
        "shown": packed(shown),
        "rubric": taker.rubric,
        "leased_at": at,
        "expires_at": expires_at,
        "beat_at": at,
    }
    connection.execute(assignments.insert(), row)
    return assignment_id


def _stage_of(taker: Taker) -> str:
    return "work" if taker.stage == "active" else taker.stage


def _count_skip(connection: Connection, item_id: str, change: int) -> None:
    """Count a skip or one taken back; set an item aside that many have skipped."""
    mine = items.c.id == item_id
    row = locked(connection, select(items.c.num_skips, items.c.state).where(mine))
    assert row is not None
    num_skips, state = row["num_skips"] + change, row["state"]
    if state == "open" and num_skips >= SET_ASIDE_AFTER:
        state = "set_aside"
    elif state == "set_aside" and num_skips < SET_ASIDE_AFTER:
        state = "open"
    connection.execute(items.update().where(mine).values(num_skips=num_skips, state=state))
