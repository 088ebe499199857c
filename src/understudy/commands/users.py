"""`understudy users add | key | revoke | list | forget`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from understudy.store.project import open_project

if TYPE_CHECKING:
    from understudy.store.erasure.removal import Removed
    from understudy.store.prompts.records import User


@dataclass(frozen=True, kw_only=True, slots=True)
class AddUserConfig:
    """Add a user, or change a user's consent or organisation."""

    user: Positional[str]
    """The user's id."""
    project: Path = Path()
    """The project's folder."""
    consent: bool = False
    """Whether the user has agreed that prompts are kept and used; without consent none are. Leaving
    it out for a known user withdraws the consent."""
    organization: str | None = None
    """The user's organisation; by default as it is, "" removes it."""

    def __post_init__(self) -> None:
        if not self.user.strip():
            raise ValueError("the user's id is empty")
        if self.user != self.user.strip() or not self.user.isprintable():
            raise ValueError(f"the user's id is {self.user!r}; leave out white space around it")


def add_user(config: AddUserConfig) -> str:
    """Add or change the user."""
    from understudy.store.prompts.records import User

    store = open_project(config.project).open_store()
    old = store.user(config.user)
    organization = config.organization
    if organization is None and old is not None:
        organization = old.organization_id
    new = User(config.user, organization or None, config.consent)
    store.add_user(new)
    if old is not None and old.consent and not new.consent:
        return (
            f"{_user_line(new)}: it was given and is withdrawn now; new prompts of "
            f"{config.user} are not kept (--consent gives it again)"
        )
    return _user_line(new)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyConfig:
    """Make an API key for a user and print it; it is shown only once."""

    user: Positional[str]
    """The user's id."""
    project: Path = Path()
    """The project's folder."""
    requests_per_minute: int | None = None
    """The key's limit; the gateway's by default."""
    tokens_per_day: int | None = None
    """The key's quota per day in UTC; the gateway's by default."""
    expires: str | None = None
    """ISO 8601 time with a time zone at which the key expires; never by default."""

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_day"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be 1 or more")


def make_key(config: KeyConfig) -> str:
    """The key."""
    from understudy.store.accounts.keys import add_key

    return add_key(
        open_project(config.project).open_store(),
        config.user,
        requests_per_minute=config.requests_per_minute,
        tokens_per_day=config.tokens_per_day,
        expires_at=None if config.expires is None else _in_utc(config.expires),
    )


def _in_utc(text: str) -> str:
    from datetime import UTC, datetime

    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expires is {text!r}; it must be like 2027-01-31T00:00+00:00") from None
    if when.tzinfo is None:
        raise ValueError(f"expires is {text!r}; add a time zone, like {text}+00:00")
    if when <= datetime.now(UTC):
        raise ValueError(f"expires is {text!r}, which is over; the key would never work")
    return when.astimezone(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True, kw_only=True, slots=True)
class RevokeConfig:
    """Revoke an API key; a running gateway notices within two seconds."""

    key: Positional[str]
    """The key's public part, as `understudy users list` shows it."""
    project: Path = Path()
    """The project's folder."""


def revoke(config: RevokeConfig) -> str:
    """Revoke the key."""
    from understudy.store.accounts.keys import revoke_key

    revoke_key(open_project(config.project).open_store(), config.key)
    return f"revoked {config.key}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ListUsersConfig:
    """List users, their consent and their keys' public parts."""

    project: Path = Path()
    """The project's folder."""


def list_users(config: ListUsersConfig) -> str:
    """A line per user and per key."""
    from understudy.store.accounts.keys import keys_of

    store = open_project(config.project).open_store()
    lines = {user.id: [_user_line(user)] for user in store.users()}
    for key in keys_of(store):
        ends = f", revoked {key['revoked_at']}" if key["revoked_at"] else ""
        ends += f", expires {key['expires_at']}" if key["expires_at"] else ""
        lines[key["user_id"]].append(f"  key {key['id']} of {key['created_at']}{ends}")
    return "\n".join(line for group in lines.values() for line in group) or "no users"


def _user_line(user: "User") -> str:
    organization = f" ({user.organization_id})" if user.organization_id else ""
    return f"{user.id}{organization}: consent {'given' if user.consent else 'not given'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ForgetConfig:
    """Delete a user with all dependent data, and list the datasets and models made from it."""

    user: Positional[str]
    """The user's id."""
    project: Path = Path()
    """The project's folder."""
    dry_run: bool = False
    """Only list what would be deleted."""


def forget(config: ForgetConfig) -> "Removed":
    """Delete the user; ValueError if neither the store nor the log knows them.

    Running it again for the same user finishes an interrupted removal.
    """
    from understudy.store.erasure.removal import forget_user

    return forget_user(open_project(config.project), config.user, dry_run=config.dry_run)
