"""Accounts for the labelers' pages: one-time links, passwords, roles, instructions read."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from unicodedata import normalize

from sqlalchemy import Connection, RowMapping, case, func, select, true

from understudy.records import LabelerInfo
from understudy.records.schema import Role
from understudy.store.adding import add_rows
from understudy.store.audit import append
from understudy.store.engine import reading, rows_of, writing
from understudy.store.labeling_tables import accounts, assignments, invitations, sessions
from understudy.store.repository import Store
from understudy.store.rows import labeler_row
from understudy.store.tables import labelers

MAX_NAME = 80
_JOINERS = dict.fromkeys((0x200C, 0x200D))
"""Parts of Persian and Indian spelling and of emoji; nobody sees whether they are there."""
_MARKS = dict.fromkeys((0xAD, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF))
"""Invisible marks that come along when a name is copied from a page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewAccount:
    """An account to invite."""

    name: str | None = None
    """Display and sign-in name; None until they choose one."""
    role: Role | None = None
    """None leaves the role to screening."""
    owner: bool = False
    """Whether the account owns the project."""
    screen: bool = True
    """Whether practice and screening come before work."""
    group: str | None = None
    """A group of labelers."""


def name_key(name: str) -> str:
    """The form in which names are compared: case, spacing, joiners and Unicode variants are
    ignored."""
    seen = name.translate(_MARKS | _JOINERS)
    return " ".join(normalize("NFKC", normalize("NFKC", seen).casefold()).split())


def check_name(name: str) -> str:
    """The name in its stored form; ValueError if it is not valid."""
    name = " ".join(normalize("NFC", name).translate(_MARKS).split())
    if not 1 <= len(name) <= MAX_NAME:
        raise ValueError(f"the name has {len(name)} characters; it must have 1 to {MAX_NAME}")
    if not name.translate(_JOINERS).isprintable() or not name.translate(_JOINERS).strip():
        raise ValueError(f"the name {name!r} has characters that cannot be seen; leave them out")
    return name


def token_id(token: str) -> str:
    """The hash that the store keeps of a one-time link."""
    return sha256(token.encode("utf-8", "replace")).hexdigest()


def invite(store: Store, new: NewAccount, *, by: str | None, at: str, expires_at: str) -> str:
    """Make an account without a password; returns the token of its one-time link, shown only now.

    ValueError for a name that is taken.
    """
    token = secrets.token_urlsafe(32)
    account_id = f"lab-{secrets.token_hex(8)}"
    name = check_name(f"invited {account_id[-6:]}" if new.name is None else new.name)
    active = not new.screen and (new.role is not None or new.owner)
    row = {
        "id": account_id,
        "name": name,
        "name_key": name_key(name),
        "owner": new.owner,
        "role": new.role,
        "stage": "active" if active else "practice" if new.screen else "waiting",
        "screen": new.screen,
        "labeler_group": new.group,
        "scores": "{}",
        "created_at": at,
    }
    with writing(store.engine) as connection:
        _check_free(connection, name)
        connection.execute(accounts.insert(), row)
        if new.role is not None:
            _make_labeler(connection, account_id, new.role, new.group)
        _link(connection, account_id, "invitation", token, by=by, at=at, expires_at=expires_at)
        body = {"role": new.role, "owner": new.owner, "screen": new.screen}
        append(
            connection, at=at, account_id=by, action="account.invited", object=account_id, body=body
        )
    return token


def reset_link(store: Store, account_id: str, *, by: str | None, at: str, expires_at: str) -> str:
    """A one-time link for choosing a new password; older links stop working. ValueError for a
    disabled account, whose links do not work."""
    token = secrets.token_urlsafe(32)
    with writing(store.engine) as connection:
        account = account_in(connection, account_id)
        if account["disabled_at"] is not None:
            raise ValueError(f"the account of {account['name']} is disabled; enable it first")
        unused = (invitations.c.account_id == account_id) & invitations.c.used_at.is_(None)
        connection.execute(invitations.update().where(unused).values(used_at=at))
        _link(connection, account_id, "reset", token, by=by, at=at, expires_at=expires_at)
        append(connection, at=at, account_id=by, action="account.reset", object=account_id)
    return token


def invitation_of(store: Store, token: str, at: str) -> RowMapping | None:
    """The link with this token and its account's name; None if it does not work any more."""
    with reading(store.engine) as connection:
        return _usable(connection, token, at)


def accept(store: Store, token: str, name: str, password: str, at: str) -> str | None:
    """Redeem a link: set the password hash and, the first time, the name; all sessions of the
    account end. Returns the account's id, or None for a link that does not work any more.

    ValueError for a name that is taken.
    """
    with writing(store.engine) as connection:
        link = _usable(connection, token, at)
        if link is None:
            return None
        values = {"password": password, "password_at": at}
        if link["kind"] == "invitation":
            _check_free(connection, name, but=link["account_id"])
            values |= {"name": check_name(name), "name_key": name_key(name)}
        mine = accounts.c.id == link["account_id"]
        connection.execute(accounts.update().where(mine).values(values))
        used = invitations.c.id == link["id"]
        connection.execute(invitations.update().where(used).values(used_at=at))
        _end_sessions(connection, link["account_id"], at)
        account_id: str = link["account_id"]
        action = f"{link['kind']}.used"
        append(connection, at=at, account_id=account_id, action=action, object=account_id)
        return account_id


def set_password(store: Store, account_id: str, password: str, at: str) -> None:
    """Replace the password hash; all sessions end."""
    with writing(store.engine) as connection:
        values = {"password": password, "password_at": at}
        mine = accounts.c.id == account_id
        connection.execute(accounts.update().where(mine).values(values))
        _end_sessions(connection, account_id, at)
        append(connection, at=at, account_id=account_id, action="password.set", object=account_id)


def replace_hash(store: Store, account_id: str, password: str) -> None:
    """Store the same password hashed with new parameters; sessions continue."""
    with writing(store.engine) as connection:
        mine = accounts.c.id == account_id
        connection.execute(accounts.update().where(mine).values(password=password))


def set_disabled(store: Store, account_id: str, disabled: bool, *, by: str | None, at: str) -> None:
    """Disable an account, which ends its sessions at once, or enable it."""
    with writing(store.engine) as connection:
        mine = accounts.c.id == account_id
        values = {"disabled_at": at if disabled else None}
        connection.execute(accounts.update().where(mine).values(values))
        if disabled:
            _end_sessions(connection, account_id, at)
        action = "account.disabled" if disabled else "account.enabled"
        append(connection, at=at, account_id=by, action=action, object=account_id)


def decide(
    store: Store, account_id: str, role: Role | None, *, by: str | None, at: str, reason: str = ""
) -> None:
    """Give a screened candidate a role, or reject them (None).

    ValueError if the account has labeled in another role: a role never changes.
    """
    with writing(store.engine) as connection:
        account = account_in(connection, account_id)
        if account["role"] is not None and role not in (None, account["role"]):
            raise ValueError(
                f"{account['name']} is {account['role']}, and a role never changes; invite "
                "another account"
            )
        values = {"decided_by": by, "decided_at": at}
        values["stage"] = "rejected" if role is None else "active"
        if role is not None:
            values["role"] = role
            if account["role"] is None:
                _make_labeler(connection, account_id, role, account["labeler_group"])
        mine = accounts.c.id == account_id
        connection.execute(accounts.update().where(mine).values(values))
        action = "role.refused" if role is None else "role.given"
        body = {"role": role, "reason": reason}
        append(connection, at=at, account_id=by, action=action, object=account_id, body=body)


def set_stage(connection: Connection, account_id: str, stage: str) -> None:
    """Set the account's stage."""
    mine = accounts.c.id == account_id
    connection.execute(accounts.update().where(mine).values(stage=stage))


def account_named(store: Store, name: str) -> RowMapping | None:
    """The account with a sign-in name."""
    query = select(accounts).where(accounts.c.name_key == name_key(name))
    with reading(store.engine) as connection:
        return connection.execute(query).mappings().first()


def account_in(connection: Connection, account_id: str) -> RowMapping:
    """An account by id; ValueError if there is none."""
    query = select(accounts).where(accounts.c.id == account_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise ValueError(f"there is no account {account_id!r}")
    return row


def all_accounts(store: Store) -> Sequence[RowMapping]:
    """Every account, by name."""
    with reading(store.engine) as connection:
        return connection.execute(select(accounts).order_by(accounts.c.name_key)).mappings().all()


def _usable(connection: Connection, token: str, at: str) -> RowMapping | None:
    query = (
        select(invitations, accounts.c.name)
        .join(accounts)
        .where(
            invitations.c.id == token_id(token),
            invitations.c.used_at.is_(None),
            invitations.c.expires_at > at,
            accounts.c.disabled_at.is_(None),
        )
    )
    return connection.execute(query).mappings().first()


def _link(
    connection: Connection,
    account_id: str,
    kind: str,
    token: str,
    *,
    by: str | None,
    at: str,
    expires_at: str,
) -> None:
    row = {
        "id": token_id(token),
        "account_id": account_id,
        "kind": kind,
        "created_by": by,
        "created_at": at,
        "expires_at": expires_at,
    }
    connection.execute(invitations.insert(), row)


def _check_free(connection: Connection, name: str, but: str | None = None) -> None:
    query = select(accounts.c.id).where(accounts.c.name_key == name_key(name))
    found = connection.execute(query).scalar()
    if found is not None and found != but:
        raise ValueError(f"the name {check_name(name)} is taken; choose another")


def _end_sessions(connection: Connection, account_id: str, at: str) -> None:
    mine = (sessions.c.account_id == account_id) & sessions.c.revoked_at.is_(None)
    connection.execute(sessions.update().where(mine).values(revoked_at=at))


def _make_labeler(connection: Connection, account_id: str, role: Role, group: str | None) -> None:
    row = labeler_row(LabelerInfo(id=account_id, role=role, group=group))
    add_rows(connection, labelers, [row], ("role",))


def account_rows(store: Store, account_id: str | None = None) -> list[RowMapping]:
    """Every account (or one) with its numbers of done and skipped items and its last activity."""
    mine = true() if account_id is None else accounts.c.id == account_id
    counts = (
        select(
            assignments.c.account_id,
            _count_of("done").label("done"),
            _count_of("skipped").label("skipped"),
            func.max(assignments.c.beat_at).label("last_at"),
        )
        .where(true() if account_id is None else assignments.c.account_id == account_id)
        .group_by(assignments.c.account_id)
        .subquery()
    )
    query = (
        select(
            accounts,
            func.coalesce(counts.c.done, 0).label("done"),
            func.coalesce(counts.c.skipped, 0).label("skipped"),
            counts.c.last_at,
        )
        .outerjoin(counts, counts.c.account_id == accounts.c.id)
        .where(mine)
        .order_by(accounts.c.name_key)
    )
    return rows_of(store.engine, query)


def _count_of(state: str) -> Any:
    counted = (assignments.c.stage == "work") & (assignments.c.state == state)
    return func.sum(case((counted, 1), else_=0))


def names(store: Store) -> dict[str, str]:
    """Account -> name."""
    with reading(store.engine) as connection:
        rows = connection.execute(select(accounts.c.id, accounts.c.name))
        return {row.id: row.name for row in rows}


def labeler_ids(store: Store, given: Sequence[str]) -> tuple[str, ...]:
    """Labelers' ids, from ids or accounts' names; what is neither stays as it is."""
    known = {one.id for one in store.labelers()}
    found = {one: account_named(store, one) for one in given if one not in known}
    rows = {one: row["id"] for one, row in found.items() if row is not None}
    return tuple(rows.get(one, one) for one in given)


def set_group(store: Store, account_id: str, group: str | None) -> None:
    """Set the group of an account that has no role yet."""
    with writing(store.engine) as connection:
        mine = (accounts.c.id == account_id) & accounts.c.role.is_(None)
        connection.execute(accounts.update().where(mine).values(labeler_group=group))
