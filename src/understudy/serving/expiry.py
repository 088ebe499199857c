"""Retention of the gateway's own log: once a day, deletes rows older than
`[privacy] retention_days` in project.toml."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from understudy.serving.shared import Board
from understudy.serving.wire import Json
from understudy.store.erasure.expiry import cutoff
from understudy.store.prompts.log import PromptLog, before

DAY_SECONDS = 86_400


def _now() -> datetime:
    return datetime.now(UTC)


class Expiry:
    """Deletes old rows of a log on a separate connection, a few at a time, so that recording
    continues."""

    def __init__(
        self,
        log: Path,
        days: int,
        *,
        clock: Callable[[], datetime] = _now,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        board: Board | None = None,
    ) -> None:
        self.log, self.days, self.clock, self.pause = log, days, clock, pause
        self.board = board or Board()
        self.outcome = self.board.outcomes["retention"]

    def state(self) -> Json:
        """For the health page."""
        deleted = self.board.total("deleted")
        return {"days": self.days, "deleted": deleted, "error": self.outcome.error}

    async def keep(self) -> None:
        """Delete now and once a day from now on; `state` shows a failure."""
        while True:
            try:
                self.board.count("deleted", await asyncio.to_thread(self._delete))
                self.outcome.succeeded()
            except (sqlite3.Error, OSError, ValueError) as error:
                self.outcome.failed(str(error))
            await self.pause(DAY_SECONDS)

    def _delete(self) -> int:
        log = PromptLog(self.log)
        try:
            number = log.delete(before(cutoff(self.days, self.clock())))
            if number:
                log.empty_wal()
            return number
        finally:
            log.close()
