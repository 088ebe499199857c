"""The queue: who labels which item, as leases that expire.

Handing out an item is one writing transaction: it looks for an item with a free slot, and the
database refuses to give a slot or an item twice. Leases expire unless renewed; expired items return
to the queue. Locks are taken in one order, account before item before assignment, to avoid
deadlocks (SQLite ignores FOR UPDATE: its one writer excludes all others).

Statements are built once, here: building them takes longer than running them.
"""

import json
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, bindparam, exists, func, or_, select

from understudy.records.written import WRITER
from understudy.store.accounts.alarms import raise_flag
from understudy.store.engine import glancing, is_sqlite, reading, writing, writing_once
from understudy.store.labeling_tables import (
    accounts,
    assignments,
    drafts,
    gold_items,
    item_responses,
    items,
    settings,
    submissions,
)
from understudy.store.queue.pace import count_work, skips_in_a_row
from understudy.store.repository import Store
from understudy.store.rows import Row, packed
from understudy.store.settings import GOLD_RATE, MARKDOWN
from understudy.store.tables import labels, prompts, responses

PURPOSES = {
    "training": ("training",),
    "held_out": ("evaluation",),
    "researcher": ("training", "evaluation"),
}
"""The purposes of items that each role labels."""


KINDS = ("rank", "demonstrate", "write")
"""Kinds of items, in the order in which labelers who choose none get them."""


SET_ASIDE_AFTER = 3
"""Skips after which an item is set aside until the owner has looked at it."""


SKIPS_IN_A_ROW = 5
"""Skips in a row that raise a flag, and again after each further such number."""


GoldDue = Callable[[int, int, float], bool]
"""Whether the next item should be gold, given the items done, the gold ones among them, and the
rate that the owner set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Taker:
    """The account that asks for an item."""

    account_id: str
    role: str | None
    """None until a role is given, before any work."""
    stage: str
    """practice, screening or active."""
    rubric: str | None = None
    """The version of the instructions that the account has read."""


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
    gold_due: GoldDue | None = None,
) -> str | None:
    """The id of the assignment to work on: the current one, an expired one of this labeler's, or a
    new one; None if there is nothing to do.

    If `gold_due` says so, a gold item comes first, if there is one for this labeler.
    """
    lease = {"at": at, "expires_at": expires_at}
    with writing(store.engine) as connection:
        # Locks the account, so that two tabs of one labeler take turns.
        set_rate = connection.execute(_LOCK_ACCOUNT, {"account": taker.account_id}).scalar()
        mine = connection.execute(_MINE, {"account": taker.account_id, "stage": _stage_of(taker)})
        own = [row for row in mine.mappings() if kind in (None, row["kind"])]
        for row in own:
            if row["state"] == "leased":
                return str(row["id"])
        if taker.stage != "active":
            return _take_trial(connection, taker, **lease)
        for row in own:  # an expired lease, which may have a draft, if a slot is free
            if row["has_room"]:
                again = lock_assignment(connection, row["id"], taker.account_id)
                if _lease_again(connection, again, **lease):
                    return str(row["id"])
        item = None
        rate = float(json.loads(set_rate)) if set_rate else 0.0
        if rate and gold_due and gold_due(*count_work(connection, taker.account_id), rate):
            item = _candidate(connection, taker, kind, gold=True)
        item = item or _candidate(connection, taker, kind, gold=False)
        if item is None:
            return None
        slot = free_slot(connection, item.id) if item.taken else 0
        change_live(connection, item.id, +1)
        return _insert(connection, taker, item.id, slot=slot, **lease)


def end_expired(store: Store, at: str) -> None:
    """End leases that were not renewed, which frees their slots."""
    with reading(store.engine) as connection:
        item_ids = connection.execute(_EXPIRED_ITEMS, {"at": at}).scalars().all()
    for item_id in item_ids:
        with writing(store.engine) as connection:
            connection.execute(_LOCK_ITEM, {"item": item_id})
            ended = (assignments.c.state == "leased") & (assignments.c.expires_at <= at)
            mine = ended & (assignments.c.item_id == item_id)
            rows = connection.execute(select(assignments.c.stage).where(mine)).scalars().all()
            connection.execute(assignments.update().where(mine).values(state="expired", slot=None))
            change_live(connection, item_id, -rows.count("work"))


def beat(store: Store, assignment_id: str, account_id: str, *, at: str, expires_at: str) -> str:
    """Renew a lease; returns its state. LookupError if it is not this account's."""
    given = {"id_": assignment_id, "account": account_id}
    with writing_once(store.engine) as connection:
        if connection.execute(_BEAT, {**given, "at": at, "until": expires_at}).rowcount:
            return "leased"
    with glancing(store.engine) as connection:
        state = connection.execute(_STATE, given).scalar()
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
    """Give an item back; returns the skips in a row. LookupError if it is not this account's.

    ValueError if it is done. Sets aside an item that many have skipped.
    """
    with writing(store.engine) as connection:
        row = lock_assignment(connection, assignment_id, account_id)
        if row["state"] == "done":
            raise ValueError("this task is already done; change what you sent instead")
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
    """Take a skipped item back unless somebody else has it; returns whether that worked."""
    with writing(store.engine) as connection:
        row = lock_assignment(connection, assignment_id, account_id)
        if row["state"] == "leased":
            return True
        if row["state"] != "skipped":
            return False
        well = _lease_again(connection, row, at=at, expires_at=expires_at)
        if well and row["stage"] == "work":
            _count_skip(connection, row["item_id"], -1)
        return well


def lock_assignment(connection: Connection, assignment_id: str, account_id: str) -> RowMapping:
    """An account's own assignment with its item, both locked; LookupError if there is none."""
    given = {"id_": assignment_id, "account": account_id}
    if not is_sqlite(connection):
        connection.execute(_LOCK_ITEM_OF, given)
    row = connection.execute(_OWN, given).mappings().first()
    if row is None:
        raise LookupError(assignment_id)
    return row


def view(store: Store, assignment_id: str, account_id: str) -> tuple[RowMapping, dict[str, str]]:
    """An account's own assignment as a page shows it, and its responses: id -> text.

    LookupError if there is none.
    """
    with glancing(store.engine) as connection:
        given = {"id_": assignment_id, "account": account_id}
        row = connection.execute(_VIEW, given).mappings().first()
        if row is None:
            raise LookupError(assignment_id)
        texts = connection.execute(_TEXTS, {"item": row["item_id"]})
        return row, {one.id: one.response for one in texts}


def left_for(store: Store, taker: Taker) -> dict[str, int]:
    """Kind -> number of items that the labeler could still get."""
    with reading(store.engine) as connection:
        return {row.kind: row.number for row in connection.execute(_LEFT, _asked(taker))}


def change_live(connection: Connection, item_id: str, change: int) -> None:
    """Update the number of live leases."""
    if change:
        connection.execute(_CHANGE_LIVE, {"item": item_id, "change": change})


def free_slot(connection: Connection, item_id: str) -> int:
    """The lowest free slot of an item."""
    taken = set(connection.execute(_SLOTS, {"item": item_id}).scalars())
    return next(slot for slot in range(len(taken) + 1) if slot not in taken)


def state_after_skips(state: str, num_skips: int) -> str:
    """An item's state by its skips: set aside from SET_ASIDE_AFTER on, open again below."""
    if state == "open" and num_skips >= SET_ASIDE_AFTER:
        return "set_aside"
    if state == "set_aside" and num_skips < SET_ASIDE_AFTER:
        return "open"
    return state


# Parts of `take`
def _lease_again(connection: Connection, row: RowMapping, *, at: str, expires_at: str) -> bool:
    """Lease an expired assignment again, if a slot is free; its item is locked."""
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
    """The next gold item of practice or screening; everybody gets all of them in the same order."""
    given = {"account": taker.account_id, "stage": taker.stage}
    item_id = connection.execute(_TRIAL, given).scalar()
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


def _candidate(connection: Connection, taker: Taker, kind: str | None, *, gold: bool) -> Any:
    """The next item, locked: its id and how many have `taken` it; None if there is none."""
    query = _GOLD if gold else _CANDIDATES
    for one in (kind,) if kind else KINDS:
        found = connection.execute(query, {**_asked(taker), "kind": one}).first()
        if found is not None:
            return found
    return None


def _asked(taker: Taker) -> Row:
    return {
        "account": taker.account_id,
        "author": author_of(taker.account_id),
        "purposes": PURPOSES.get(taker.role or "", ()),
    }


def _insert(
    connection: Connection,
    taker: Taker,
    item_id: str,
    *,
    slot: int | None,
    at: str,
    expires_at: str,
) -> str:
    shown = list(connection.execute(_RESPONSES, {"item": item_id}).scalars())
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
    connection.execute(_INSERT, row)
    return assignment_id


def _stage_of(taker: Taker) -> str:
    return "work" if taker.stage == "active" else taker.stage


def _count_skip(connection: Connection, item_id: str, change: int) -> None:
    """Count a skip or its undoing; set aside an item that many have skipped."""
    row = connection.execute(_LOCK_ITEM, {"item": item_id}).mappings().one()
    num_skips = row["num_skips"] + change
    state = state_after_skips(row["state"], num_skips)
    mine = items.c.id == item_id
    connection.execute(items.update().where(mine).values(num_skips=num_skips, state=state))


# Statements
def _setting(name: str) -> Any:
    return select(settings.c.value).where(settings.c.name == name).scalar_subquery()


_ROOM = (items.c.state == "open") & (items.c.num_done + items.c.num_live < items.c.wanted)


_THIS = (assignments.c.id == bindparam("id_")) & (assignments.c.account_id == bindparam("account"))


_ACCOUNTS = assignments.c.account_id == bindparam("account")


_LOCK_ACCOUNT = (
    select(_setting(GOLD_RATE))
    .where(accounts.c.id == bindparam("account"))
    .with_for_update(of=accounts)
)
"""Also returns the rate of gold items, which saves a round trip."""


_LOCK_ITEM = (
    select(items.c.id, items.c.state, items.c.num_skips)
    .where(items.c.id == bindparam("item"))
    .with_for_update()
)


_MINE = (
    select(assignments.c.id, assignments.c.state, items.c.kind, _ROOM.label("has_room"))
    .join(items)
    .where(
        _ACCOUNTS,
        assignments.c.stage == bindparam("stage"),
        assignments.c.state.in_(("leased", "expired")),
    )
    .order_by(assignments.c.beat_at.desc())
)


_EXPIRED_ITEMS = (
    select(assignments.c.item_id)
    .where(assignments.c.state == "leased", assignments.c.expires_at <= bindparam("at"))
    .distinct()
    .order_by(assignments.c.item_id)
    .limit(100)
)


_BEAT = (
    assignments.update()
    .where(_THIS, assignments.c.state == "leased", assignments.c.expires_at > bindparam("at"))
    .values(beat_at=bindparam("at"), expires_at=bindparam("until"))
)


_STATE = select(assignments.c.state).where(_THIS)


_LOCK_ITEM_OF = (
    select(items.c.id)
    .where(items.c.id == select(assignments.c.item_id).where(_THIS).scalar_subquery())
    .with_for_update()
)


_OWN = (
    select(
        assignments,
        items.c.kind,
        items.c.purpose,
        items.c.pool,
        items.c.prompt_id,
        items.c.wanted,
        items.c.max_wanted,
        items.c.num_done,
        items.c.num_live,
        items.c.num_skips,
        items.c.state.label("item_state"),
    )
    .join(items)
    .where(_THIS)
)


_VIEW = (
    select(
        assignments,
        items.c.kind,
        items.c.purpose,
        items.c.prompt_id,
        items.c.brief,
        prompts.c.body.label("prompt_body"),
        drafts.c.version.label("draft_version"),
        drafts.c.body.label("draft_body"),
        drafts.c.saved_at,
        submissions.c.body.label("submitted_body"),
        submissions.c.created_at.label("submitted_at"),
        submissions.c.reply,
        _setting(MARKDOWN).label("markdown"),
    )
    .join_from(assignments, items)
    .outerjoin(prompts, prompts.c.id == items.c.prompt_id)
    .outerjoin(drafts, drafts.c.assignment_id == assignments.c.id)
    .outerjoin(submissions, submissions.c.id == assignments.c.submission_id)
    .where(_THIS)
)


_TEXTS = (
    select(responses.c.id, responses.c.response)
    .join(item_responses, item_responses.c.response_id == responses.c.id)
    .where(item_responses.c.item_id == bindparam("item"))
)


_RESPONSES = (
    select(item_responses.c.response_id)
    .where(item_responses.c.item_id == bindparam("item"))
    .order_by(item_responses.c.place)
)


_CHANGE_LIVE = (
    items.update()
    .where(items.c.id == bindparam("item"))
    .values(num_live=items.c.num_live + bindparam("change"))
)


_SLOTS = select(assignments.c.slot).where(
    assignments.c.item_id == bindparam("item"),
    assignments.c.stage == "work",
    assignments.c.state.in_(("leased", "done")),
    assignments.c.slot.is_not(None),
)


_INSERT = assignments.insert()


_TRIAL = (
    select(gold_items.c.item_id)
    .where(
        gold_items.c.use == bindparam("stage"),
        gold_items.c.retired_at.is_(None),
        ~exists().where(
            assignments.c.item_id == gold_items.c.item_id,
            _ACCOUNTS,
            assignments.c.state.in_(("done", "skipped")),
        ),
    )
    .order_by(gold_items.c.created_at, gold_items.c.item_id)
    .limit(1)
)


def _open_to_taker(*columns: Any) -> Select[Any]:
    """Items with a free slot that a labeler of this role has not had and did not write."""
    wrote = (
        (labels.c.prompt_id == items.c.prompt_id)
        & (labels.c.kind == "demonstration")
        & (labels.c.labeler_id == bindparam("account"))
    )
    asked = (prompts.c.id == items.c.prompt_id) & (prompts.c.user_id == bindparam("author"))
    return select(*columns).where(
        _ROOM,
        items.c.purpose.in_(bindparam("purposes", expanding=True)),
        ~exists().where(assignments.c.item_id == items.c.id, _ACCOUNTS),
        or_(items.c.kind != "rank", ~exists().where(wrote)),
        ~exists().where(asked),
    )


_ONE = (
    _open_to_taker(items.c.id, (items.c.num_done + items.c.num_live).label("taken"))
    .where(items.c.kind == bindparam("kind"))
    .order_by(items.c.priority, items.c.id)
    .limit(1)
    .with_for_update(of=items, skip_locked=True)
)


_CANDIDATES = _ONE.where(items.c.pool.in_(("single", "calibration")))


_MIXED = (
    (gold_items.c.item_id == items.c.id)
    & (gold_items.c.use == "mixed")
    & gold_items.c.retired_at.is_(None)
)


_GOLD = _ONE.where(items.c.pool == "gold", exists().where(_MIXED))


_LEFT = (
    _open_to_taker(items.c.kind, func.count().label("number"))
    .where(items.c.pool != "gold")
    .group_by(items.c.kind)
)
