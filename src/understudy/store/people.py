"""Commands about people: users with their keys, labelers with their labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from understudy.records import (
    Demonstration,
    LabelerInfo,
    Ranking,
    Rating,
    Response,
    iter_records,
)
from understudy.store.project import open_project

if TYPE_CHECKING:
    from understudy.store.repository import Added, User

EVALUATION_PRIORITIES = ("truthful", "harmless", "helpful")
"""Priorities in the final evaluation, most important first, where a rubric sets none (B.2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AddUserConfig:
    """Add a user, or change the consent or organisation of one."""

    user: Positional[str]
    """The user's id."""
    project: Path = Path()
    """The project's folder."""
    consent: bool = False
    """Whether the user has agreed that prompts are kept and used; without it none are."""
    organization: str | None = None
    """The user's organisation."""

    def __post_init__(self) -> None:
        if not self.user.strip():
            raise ValueError("the user's id is empty")


def add_user(config: AddUserConfig) -> str:
    """Add or change."""
    from understudy.store.repository import User

    store = open_project(config.project).open_store()
    store.add_user(User(config.user, config.organization, config.consent))
    return f"{config.user}: consent {'given' if config.consent else 'not given'}"


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
    return when.astimezone(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True, kw_only=True, slots=True)
class RevokeConfig:
    """Revoke an API key; a running gateway notices within two seconds."""

    key: Positional[str]
    """The key's public part, as `understudy users list` shows it."""
    project: Path = Path()
    """The project's folder."""


def revoke(config: RevokeConfig) -> str:
    """Revoke."""
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
class AddLabelsConfig:
    """Add labelers, responses and labels from files of records to the store."""

    project: Path = Path()
    """The project's folder."""
    labelers: Path | None = None
    """Labelers, .jsonl or .parquet; a labeler's role never changes."""
    responses: Path | None = None
    """Responses, where they were not sampled into the store."""
    demonstrations: Path | None = None
    """Demonstrations; their prompts and labelers must be in the store."""
    rankings: Path | None = None
    """Rankings; their prompts and labelers must be in the store."""
    ratings: Path | None = None
    """Ratings; their prompts, labelers and responses must be in the store."""


def add_labels(config: AddLabelsConfig) -> str:
    """Add them in order of dependency."""
    store = open_project(config.project).open_store()
    added: dict[str, Added] = {}
    if config.labelers is not None:
        added["labelers"] = store.add_labelers(iter_records(config.labelers, LabelerInfo))
    if config.responses is not None:
        added["responses"] = store.add_responses(iter_records(config.responses, Response))
    if config.demonstrations is not None:
        records = iter_records(config.demonstrations, Demonstration)
        added["demonstrations"] = store.add_labels(records)
    if config.rankings is not None:
        added["rankings"] = store.add_labels(iter_records(config.rankings, Ranking))
    if config.ratings is not None:
        added["ratings"] = store.add_labels(iter_records(config.ratings, Rating))
    if not added:
        raise ValueError("name at least one file: --labelers, --demonstrations, --rankings ...")
    return "\n".join(f"{name}: {one.new:,} new, {one.known:,} known" for name, one in added.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class RubricConfig:
    """Add a version of the labelers' instructions; a version never changes."""

    version: Positional[str]
    """Name of the version, which labels record."""
    instructions: Path
    """Text file with the instructions."""
    priorities: tuple[str, ...]
    """Priorities when labeling to train, most important first, like helpful truthful harmless
    (B.2)."""
    evaluation_priorities: tuple[str, ...] = EVALUATION_PRIORITIES
    """Priorities when labeling to evaluate, most important first (B.2)."""
    project: Path = Path()
    """The project's folder."""


def add_rubric(config: RubricConfig) -> str:
    """Add."""
    try:
        text = config.instructions.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{config.instructions} is not UTF-8 text") from None
    store = open_project(config.project).open_store()
    added = store.add_rubric(config.version, text, config.priorities, config.evaluation_priorities)
    return f"rubric {config.version}: {'added' if added.new else 'known'}"
