"""API keys of the gateway: 256 random bits, shown once, stored as a hash, revocable.

A key is `us-ID-SECRET`; ID finds its row, and the hash of the whole key is compared in constant
time.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import RowMapping, select

from understudy.store.adding import insert_new
from understudy.store.engine import reading, writing
from understudy.store.repository import Store
from understudy.store.rows import now
from understudy.store.tables import api_keys, daily_usage, users

PREFIX = "us"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a key belongs to, and what they may do."""

    key_id: str
    """The public part of the key."""
    user_id: str
    """The user."""
    organization_id: str | None
    """The user's organisation."""
    consent: bool
    """Whether the user agreed that prompts are kept and used."""
    requests_per_minute: int | None
    """The key's own limit; None for the gateway's."""
    tokens_per_day: int | None
    """The user's quota with this key; None for the gateway's."""


def add_key(
    store: Store,
    user_id: str,
    *,
    requests_per_minute: int | None = None,
    tokens_per_day: int | None = None,
    expires_at: str | None = None,
) -> str:
    """Make a key and return it; it is never shown again."""
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    plain = f"{PREFIX}-{key_id}-{secret}"
    row = {
        "id": key_id,
        "user_id": user_id,
        "sha256": sha256(plain.encode()).hexdigest(),
        "requests_per_minute": requests_per_minute,
        "tokens_per_day": tokens_per_day,
        "created_at": now(),
        "expires_at": expires_at,
    }
    with writing(store.engine) as connection:
        if not connection.execute(select(users.c.id).where(users.c.id == user_id)).first():
            raise ValueError(f"there is no user {user_id!r}; add one (understudy users add)")
        connection.execute(api_keys.insert(), row)
    return plain


def revoke_key(store: Store, key_id: str) -> None:
    """Revoke a key."""
    with writing(store.engine) as connection:
        known = api_keys.c.id == key_id
        if not connection.execute(select(api_keys.c.id).where(known)).first():
            raise ValueError(f"there is no key {key_id!r}; see `understudy users list`")
        connection.execute(api_keys.update().where(known).values(revoked_at=now()))


def keys_of(store: Store) -> list[RowMapping]:
    """All keys without their hashes, by user."""
    columns = [column for column in api_keys.c if column.name != "sha256"]
    with reading(store.engine) as connection:
        query = select(*columns).order_by(api_keys.c.user_id, api_keys.c.created_at)
        return list(connection.execute(query).mappings())


def caller_of(store: Store, plain: str) -> Caller | None:
    """The owner of a valid key, or None: unknown, wrong, revoked and expired look alike."""
    parts = plain.split("-", 2)
    if len(parts) != 3 or parts[0] != PREFIX:
        return None
    query = select(api_keys, users.c.organization_id, users.c.consent).join(users)
    with reading(store.engine) as connection:
        row = connection.execute(query.where(api_keys.c.id == parts[1])).mappings().first()
    given = sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()
    right = hmac.compare_digest(given, row["sha256"] if row else "0" * 64)
    if row is None or not right or row["revoked_at"] is not None:
        return None
    if row["expires_at"] is not None and row["expires_at"] <= now():
        return None
    return Caller(
        key_id=row["id"],
        user_id=row["user_id"],
        organization_id=row["organization_id"],
        consent=row["consent"],
        requests_per_minute=row["requests_per_minute"],
        tokens_per_day=row["tokens_per_day"],
    )


def tokens_used(store: Store, user_id: str, day: str) -> int:
    """Tokens that a user has used on a day."""
    query = select(daily_usage.c.tokens).where(
        daily_usage.c.user_id == user_id, daily_usage.c.day == day
    )
    with reading(store.engine) as connection:
        return connection.execute(query).scalar() or 0


def add_usage(store: Store, day: str, used: Mapping[str, tuple[int, int]]) -> None:
    """Add (requests, tokens) per user to a day's counts; skips deleted users."""
    with writing(store.engine) as connection:
        query = select(users.c.id).where(users.c.id.in_(list(used)))
        known = sorted(connection.execute(query).scalars())
        rows = [{"user_id": name, "day": day, "requests": 0, "tokens": 0} for name in known]
        insert_new(connection, daily_usage, rows)
        for name in known:
            requests, tokens = used[name]
            key = (daily_usage.c.user_id == name) & (daily_usage.c.day == day)
            values = {
                daily_usage.c.requests: daily_usage.c.requests + requests,
                daily_usage.c.tokens: daily_usage.c.tokens + tokens,
            }
            connection.execute(daily_usage.update().where(key).values(values))
