"""Accounts of the labelers' pages: one-time links, passwords, roles, who has read what."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from unicodedata import normalize

from sqlalchemy import Connection, RowMapping, select

from understudy.records import LabelerInfo
from understudy.records.schema import Role
from understudy.store.audit import append
from understudy.store.engine import reading, writing
from understudy.store.labeling_tables import accounts, acknowledgements, invitations, sessions
from understudy.store.repository import Store, add_rows, insert_new
from understudy.store.rows import labeler_row
from understudy.store.sessions import newest_rubric
from understudy.store.tables import labelers, rubrics

MAX_NAME = 80
_NEWEST = select(newest_rubric)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewAccount:
    """Who is invited."""

    name: str | None = None
    """What they are called and sign in with; None until they say."""
    role: Role | None = None
    """None: screening decides."""
    owner: bool = False
    """Whether they run the project."""
    screen: bool = True
    """Whether practice and screening come before work."""
    group: str | None = None
    """A group of labelers."""


def name_key(name: str) -> str:
    """What makes two names the same: case, spaces, and ways to write a character do not."""
    return " ".join(normalize("NFKC", normalize("NFKC", name).casefold()).split())


def check_name(name: str) -> str:
    """The name as it is kept; ValueError for one that cannot be."""
    name = " ".join(normalize("NFC", name).split())
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise ValueError(f"the name is {name[:MAX_NAME]!r}; it must be 1 to {MAX_NAME} characters")
    return name


def token_id(token: str) -> str:
    """What the store keeps of a one-time link."""
    return sha256(token.encode("utf-8", "replace")).hexdigest()


def invite(store: Store, new: NewAccount, *, by: str | None, at: str, expires_at: str) -> str:
    """Make an account that has no password yet: the token of its one-time link, seen this once.

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
    """A one-time link with which an account chooses a new password; older links end."""
    token = secrets.token_urlsafe(32)
    with writing(store.engine) as connection:
        unused = (invitations.c.account_id == account_id) & invitations.c.used_at.is_(None)
        connection.execute(invitations.update().where(unused).values(used_at=at))
        _link(connection, account_id, "reset", token, by=by, at=at, expires_at=expires_at)
        append(connection, at=at, account_id=by, action="account.reset", object=account_id)
    return token


def invitation_of(store: Store, token: str, at: str) -> RowMapping | None:
    """A link that can still be used, with its account's name."""
    with reading(store.engine) as connection:
        return _usable(connection, token, at)


def accept(store: Store, token: str, name: str, password: str, at: str) -> str | None:
    """Use a link: set the password hash, and the name for a first time. The account's id, or None.

    All sessions of the account end. ValueError for a name that is taken.
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
    """Another password hash; all sessions end."""
    with writing(store.engine) as connection:
        values = {"password": password, "password_at": at}
        mine = accounts.c.id == account_id
        connection.execute(accounts.update().where(mine).values(values))
        _end_sessions(connection, account_id, at)
        append(connection, at=at, account_id=account_id, action="password.set", object=account_id)


def replace_hash(store: Store, account_id: str, password: str) -> None:
    """The same password under other parameters; sessions go on."""
    with writing(store.engine) as connection:
        mine = accounts.c.id == account_id
        connection.execute(accounts.update().where(mine).values(password=password))


def set_disabled(store: Store, account_id: str, disabled: bool, *, by: str | None, at: str) -> None:
    """Let an account sign in no more, or again; its sessions end at once."""
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
    """Give a role to somebody who was screened, or (None) turn them down.

    ValueError when labels were given in another role: a role is for good.
    """
    with writing(store.engine) as connection:
        account = account_in(connection, account_id)
        if account["role"] is not None and role not in (None, account["role"]):
            raise ValueError(
                f"{account['name']} is {account['role']} for good; invite another account"
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
    """Where the account is on its way to work."""
    mine = accounts.c.id == account_id
    connection.execute(accounts.update().where(mine).values(stage=stage))


def acknowledge(store: Store, account_id: str, version: str, at: str) -> bool:
    """Write down that somebody has read the instructions; False when there are newer ones."""
    with writing(store.engine) as connection:
        if connection.execute(_NEWEST).scalar() != version:
            return False
        row = {"account_id": account_id, "rubric": version, "at": at}
        insert_new(connection, acknowledgements, [row])
        return True


def newest_version(store: Store) -> str | None:
    """The version of the instructions that holds now."""
    with reading(store.engine) as connection:
        return connection.execute(_NEWEST).scalar()


def rubric_of(store: Store, version: str) -> RowMapping:
    """A version of the instructions; ValueError for none."""
    query = select(rubrics).where(rubrics.c.version == version)
    with reading(store.engine) as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        raise ValueError(f"there is no version {version!r} of the instructions")
    return row


def last_read(store: Store, account_id: str) -> str | None:
    """The version that an account has read last."""
    query = select(acknowledgements.c.rubric).where(acknowledgements.c.account_id == account_id)
    query = query.order_by(acknowledgements.c.at.desc()).limit(1)
    with reading(store.engine) as connection:
        return connection.execute(query).scalar()


def account_named(store: Store, name: str) -> RowMapping | None:
    """The account that signs in with a name."""
    query = select(accounts).where(accounts.c.name_key == name_key(name))
    with reading(store.engine) as connection:
        return connection.execute(query).mappings().first()


def account_in(connection: Connection, account_id: str) -> RowMapping:
    """An account by id; ValueError for none."""
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
        raise ValueError(f"somebody is called {check_name(name)} already; choose another name")


def _end_sessions(connection: Connection, account_id: str, at: str) -> None:
    mine = (sessions.c.account_id == account_id) & sessions.c.revoked_at.is_(None)
    connection.execute(sessions.update().where(mine).values(revoked_at=at))


def _make_labeler(connection: Connection, account_id: str, role: Role, group: str | None) -> None:
    row = labeler_row(LabelerInfo(id=account_id, role=role, group=group))
    add_rows(connection, labelers, [row], ("role",))
