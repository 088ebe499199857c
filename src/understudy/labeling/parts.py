"""What the routes of the labelers' pages share: `Call.app`."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from understudy.labeling.clock import Clock, stamp, utc_now
from understudy.labeling.tokens import Length
from understudy.records import EVALUATION_PRIORITIES
from understudy.store import Project, Store
from understudy.store.accounts.sessions import session_of, touch_session
from understudy.store.prompts.views import note_views
from understudy.store.rubrics import newest_version, rubric_of
from understudy.web.access import Account
from understudy.web.sessions import Lifetimes, session_id

SWEEP = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelApp:
    """The parts: `call.app.store`."""

    store: Store
    project: Project
    clock: Clock = utc_now
    lifetimes: Lifetimes = field(default_factory=Lifetimes)
    length: Length = field(default_factory=Length)
    lease: timedelta = timedelta(minutes=30)
    """How long an item is reserved for somebody whose page sends no heartbeat."""
    goal_today: int | None = None
    """Daily goal of items per labeler."""
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Cache of instructions by version."""
    swept: list[datetime] = field(default_factory=list)
    """When expired leases were last looked for."""

    def now(self) -> str:
        """The current time, in the store's format."""
        return stamp(self.clock())

    def until(self, duration: timedelta) -> str:
        """A future time, in the store's format."""
        return stamp(self.clock() + duration)

    def account_of(self, token: str) -> Account | None:
        """The account signed in with a cookie; None once the session has expired."""
        name = session_id(token)
        row = session_of(self.store, name)
        if row is None or row["disabled_at"] is not None:
            return None
        created, seen = (
            datetime.fromisoformat(row[key]) for key in ("session_created_at", "seen_at")
        )
        now = self.clock()
        if self.lifetimes.over(created, seen, now):
            return None
        if now - seen >= self.lifetimes.touch:
            touch_session(self.store, name, stamp(now))
        given = (row["id"], row["name"], row["role"], bool(row["owner"]))
        return Account(*given, _stage(row), row["rubric"])

    def version(self) -> str:
        """The current version of the instructions."""
        found = newest_version(self.store)
        assert found is not None, "the server adds one if there is none"
        return found

    def rubric(self, version: str | None = None) -> dict[str, Any]:
        """The current instructions, or an older version; a version never changes."""
        version = version or self.version()
        if version not in self.known:
            row = rubric_of(self.store, version)
            evaluation = row["evaluation_priorities"]
            self.known[version] = {
                "version": row["version"],
                "instructions": row["instructions"],
                "training": json.loads(row["priorities"]),
                "evaluation": json.loads(evaluation) if evaluation else list(EVALUATION_PRIORITIES),
            }
        return self.known[version]

    def note_views(self, account: Account, page: str, prompt_ids: Iterable[str | None]) -> None:
        """Record that a page is about to show prompts to an account."""
        note_views(self.store, account.id, prompt_ids, page, self.now())

    def sweep_is_due(self) -> bool:
        """Whether to look for expired leases; at most once a second."""
        now = self.clock()
        due = not self.swept or abs(now - self.swept[-1]) >= SWEEP
        if due:
            self.swept[:] = [now]
        return due


def _stage(row: Any) -> str:
    """The account's next step: a new version of the instructions is read first."""
    stage: str = row["stage"]
    reads = stage in ("practice", "screening") or (stage == "active" and row["role"] is not None)
    return "instructions" if reads and not row["has_read"] else stage
