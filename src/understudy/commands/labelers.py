"""`understudy labelers invite | list | decide | disable | enable | reset`."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from understudy.labeling.clock import stamp, utc_now
from understudy.labeling.serve import ADDRESS
from understudy.records.schema import Role
from understudy.store import open_project
from understudy.store.project import MAX_DAYS

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

    from understudy.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class InviteConfig:
    """Invite a labeler or the owner: prints a one-time link, with which they choose a password.

    Without --role, screening and a person decide the role (s3.4, B.1).
    """

    name: Positional[str]
    """Display and sign-in name; the person can change it when opening the link."""
    project: Path = Path()
    """The project's folder."""
    role: Role | None = None
    """training, held_out (only evaluates; not screened in the paper) or researcher."""
    owner: bool = False
    """Make the person an owner, who sees the queue and agreement, gives roles and exports."""
    screen: Literal["yes", "no", "by_role"] = "by_role"
    """Whether practice and screening come before work; by default for everybody but held-out
    labelers, researchers and owners."""
    group: str | None = None
    """A group of labelers."""
    days: float = 7.0
    """How long the link works."""
    address: str = ADDRESS
    """Address of the pages, for the link."""

    def __post_init__(self) -> None:
        _check_link(self.days, self.address)


def invite_labeler(config: InviteConfig) -> str:
    """The link."""
    from understudy.store.accounts.people import NewAccount, invite

    store = open_project(config.project).open_store()
    trusted = config.owner or config.role in ("held_out", "researcher")
    new = NewAccount(
        name=config.name,
        role=config.role,
        owner=config.owner,
        screen=not trusted if config.screen == "by_role" else config.screen == "yes",
        group=config.group,
    )
    now = utc_now()
    expires_at = stamp(now + timedelta(days=config.days))
    token = invite(store, new, by=None, at=stamp(now), expires_at=expires_at)
    return f"{config.address.rstrip('/')}/invitation#{token}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ListConfig:
    """List the accounts of labelers and owners."""

    project: Path = Path()
    """The project's folder."""


def list_labelers(config: ListConfig) -> str:
    """A line per account."""
    from understudy.store.accounts.people import all_accounts

    rows = all_accounts(open_project(config.project).open_store())
    lines = []
    for row in rows:
        role = row["role"] or ("no role yet" if not row["owner"] else "")
        what = ", ".join(filter(None, ("owner" if row["owner"] else "", role, row["stage"])))
        state = ", disabled" if row["disabled_at"] else ""
        state += "" if row["password"] else ", link not used yet"
        lines.append(f"{row['name']} ({row['id']}): {what}{state}")
    return "\n".join(lines) or "no accounts; understudy labelers invite NAME"


@dataclass(frozen=True, kw_only=True, slots=True)
class DecideConfig:
    """Accept or reject a candidate after screening, which a person decides (B.1)."""

    name: Positional[str]
    """The account's name."""
    project: Path = Path()
    """The project's folder."""
    role: Role | None = None
    """The candidate's role; by default the one in the invitation."""
    refuse: bool = False
    """Reject the candidate."""
    reason: str = ""
    """The reason, kept in the audit log."""

    def __post_init__(self) -> None:
        if self.refuse and self.role is not None:
            raise ValueError("give --role or --refuse, not both")


def decide_labeler(config: DecideConfig) -> str:
    """Accept or reject the candidate."""
    from understudy.store.accounts.people import decide

    store = open_project(config.project).open_store()
    row = _account(store, config.name)
    role = None if config.refuse else config.role or row["role"]
    if role is None and not config.refuse:
        raise ValueError(f"{config.name} has no role yet; give --role or --refuse")
    decide(store, row["id"], role, by=None, at=stamp(utc_now()), reason=config.reason)
    return f"{config.name} is rejected" if role is None else f"{config.name} may work as {role}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _OneAccount:
    name: Positional[str]
    """The account's name."""
    project: Path = Path()
    """The project's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DisableConfig(_OneAccount):
    """Disable an account; its work stays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnableConfig(_OneAccount):
    """Enable a disabled account."""


def disable_labeler(config: DisableConfig) -> str:
    """Disable the account."""
    _set_disabled(config, True)
    return f"{config.name} can no longer sign in"


def enable_labeler(config: EnableConfig) -> str:
    """Enable the account."""
    _set_disabled(config, False)
    return f"{config.name} can sign in again"


def _set_disabled(config: _OneAccount, disabled: bool) -> None:
    from understudy.store.accounts.people import set_disabled

    store = open_project(config.project).open_store()
    account_id = _account(store, config.name)["id"]
    set_disabled(store, account_id, disabled, by=None, at=stamp(utc_now()))


@dataclass(frozen=True, kw_only=True, slots=True)
class ResetConfig:
    """Print a one-time link for choosing a new password."""

    name: Positional[str]
    """The account's name."""
    project: Path = Path()
    """The project's folder."""
    days: float = 1.0
    """How long the link works."""
    address: str = ADDRESS
    """Address of the pages, for the link."""

    def __post_init__(self) -> None:
        _check_link(self.days, self.address)


def reset_labeler(config: ResetConfig) -> str:
    """The one-time link."""
    from understudy.store.accounts.people import reset_link

    store = open_project(config.project).open_store()
    now = utc_now()
    token = reset_link(
        store,
        _account(store, config.name)["id"],
        by=None,
        at=stamp(now),
        expires_at=stamp(now + timedelta(days=config.days)),
    )
    return f"{config.address.rstrip('/')}/invitation#{token}"


def _check_link(days: float, address: str) -> None:
    if not 0 < days <= MAX_DAYS:
        raise ValueError(f"days is {days}; it must be above 0 and at most {MAX_DAYS}")
    if not address.startswith(("http://", "https://")):
        raise ValueError(f"address is {address!r}; it must begin with http:// or https://")


def _account(store: "Store", name: str) -> "RowMapping":
    from understudy.store.accounts.people import account_named

    row = account_named(store, name)
    if row is None:
        raise ValueError(f"no account is named {name!r}; see understudy labelers list")
    return row
