"""The gateway's side of the log: events queue up, and one thread commits them in batches.

While one batch is written, the next one gathers, so a commit holds many events under load, and
otherwise one, immediately. A future per event says when it is committed. If the log cannot be
written, the policy decides: "refuse" fails the request, "serve" answers it and counts the loss.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from pathlib import Path
from typing import Literal

from understudy.serving.shared import Board
from understudy.serving.wire import Json
from understudy.store.log import Event, PromptLog

BATCH = 100
"""Events in one commit."""
LAZY_SECONDS = 0.05
"""How long an event that nobody awaits may wait to be written."""
Policy = Literal["refuse", "serve"]


class LogUnavailable(Exception):
    """The log cannot be written and the policy is to refuse."""


class Journal:
    """An open log with its writing thread. Made and used on the event loop."""

    def __init__(
        self,
        path: Path,
        *,
        policy: Policy,
        sync: bool = False,
        max_pending: int = 10_000,
        board: Board | None = None,
    ) -> None:
        self.path, self.policy, self.max_pending = path, policy, max_pending
        self.sync, self.board = sync, board or Board()
        self.outcome = self.board.outcomes["log"]
        self.loop = asyncio.get_running_loop()
        self.reader = PromptLog(path)  # for look-ups; also reports a broken file immediately
        self.pending: deque[tuple[Event, asyncio.Future[bool]]] = deque()
        self.wake = threading.Condition()
        self.stopping, self.urgent = False, False
        self.thread = threading.Thread(target=self._run, name="log", daemon=True)
        self.thread.start()

    def put(self, event: Event, *, urgent: bool = True) -> "asyncio.Future[bool]":
        """Queue an event; the future tells whether it was written, or raises LogUnavailable.

        An event that is not urgent is written with the next urgent one, or after a moment.
        """
        future: asyncio.Future[bool] = self.loop.create_future()
        future.add_done_callback(_retrieve)
        self.board.count("put")
        if len(self.pending) >= self.max_pending:
            self._lose([(event, future)], "the queue is full")
            return future
        with self.wake:
            self.pending.append((event, future))
            self.urgent = self.urgent or urgent
            if urgent or len(self.pending) == 1:
                self.wake.notify()
        return future

    def owner(self, request_id: str) -> str | None:
        """The user of a recorded request."""
        return self.reader.owner(request_id)

    def state(self) -> Json:
        """For the health page, of all workers."""
        put, written, lost = map(self.board.total, ("put", "written", "lost"))
        return {
            "state": self.outcome.state,
            "on_failure": self.policy,
            "written": written,
            "lost": lost,
            "pending": put - written - lost,
            "error": self.outcome.error,
        }

    def close(self) -> None:
        """Write queued events, and close."""
        with self.wake:
            self.stopping = True
            self.wake.notify()
        self.thread.join()
        self.reader.close()

    def _run(self) -> None:
        log: PromptLog | None = None
        while True:
            with self.wake:
                while not self.urgent and not self.stopping:
                    if not self.wake.wait(LAZY_SECONDS if self.pending else None):
                        break
                if not self.pending:
                    if self.stopping:
                        break
                    continue
                self.urgent = len(self.pending) > BATCH
                batch = [self.pending.popleft() for _ in range(min(BATCH, len(self.pending)))]
            try:
                log = log or PromptLog(self.path, sync=self.sync)
                log.append([event for event, _ in batch])
            except (sqlite3.Error, OSError, ValueError) as error:
                if log is not None:
                    log.close()
                    log = None
                self.loop.call_soon_threadsafe(self._lose, batch, str(error))
            else:
                self.loop.call_soon_threadsafe(self._done, batch)
        if log is not None:
            log.close()

    def _done(self, batch: list[tuple[Event, "asyncio.Future[bool]"]]) -> None:
        self.outcome.succeeded()
        self.board.count("written", len(batch))
        for _, future in batch:
            if not future.done():
                future.set_result(True)

    def _lose(self, batch: list[tuple[Event, "asyncio.Future[bool]"]], reason: str) -> None:
        self.outcome.failed(reason)
        self.board.count("lost", len(batch))
        for _, future in batch:
            if future.done():
                continue
            if self.policy == "serve":
                future.set_result(False)
            else:
                future.set_exception(LogUnavailable(reason))


def _retrieve(future: "asyncio.Future[bool]") -> None:
    """Nobody awaits a response's event; the health page shows its failure."""
    if not future.cancelled():
        future.exception()
