"""The gateway's side of the log: events gather during a turn of the event loop, and one commit
writes them all. A future per event says when it is committed.

Most commits take well under a millisecond, less than it costs to wake a thread, and are made on the
event loop. Whatever could take longer is left to a thread: a commit while something else has the
log, many or long texts, every commit with `sync` (it waits for the disk), and moving the
write-ahead log into the file. If the log cannot be written, the policy decides: "refuse" fails the
request, "serve" answers it and counts the loss.
"""

import asyncio
import sqlite3
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from pydantic_core import to_json

from understudy.serving.shared import Board
from understudy.serving.wire import Json
from understudy.store.prompts.log import Event, LogRow, PromptLog, row_of

BATCH = 100
"""The thread adds no further events to a commit that has this many."""
LONG = 1 << 16
"""Most characters of text that are written on the event loop; more go to the thread."""
MOVED = 1000
"""Events after which the write-ahead log is moved into the file."""
LAZY_SECONDS = 0.05
"""How long an event that nobody awaits may wait to be written."""
Policy = Literal["refuse", "serve"]
Batch = list[tuple[Event, "asyncio.Future[bool] | None"]]


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
        self.writer = PromptLog(path, sync=False)
        self.writer.db.execute("PRAGMA busy_timeout=0")
        self.writer.db.execute("PRAGMA wal_autocheckpoint=0")
        self.num_unmoved = 0
        self.gathered: Batch = []
        self.num_pending, self.num_in_thread = 0, 0
        self.alarm: asyncio.Handle | None = None
        self.is_urgent = False
        self.batches: SimpleQueue[Batch | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="log", daemon=True)
        self.thread.start()

    def put(self, event: Event) -> "asyncio.Future[bool]":
        """Queue an event; the future tells whether it was written, or raises LogUnavailable."""
        future: asyncio.Future[bool] = self.loop.create_future()
        if self._gather(event, future) and not self.is_urgent:
            self.is_urgent = True
            if self.alarm is not None:
                self.alarm.cancel()
            # The loop's next turn sends the request to the upstream, which works during the commit.
            self.alarm = self.loop.call_soon(self._wait_a_turn)
        return future

    def note(self, event: Event) -> None:
        """Queue an event that nobody awaits. It is written with the next awaited one, or after
        LAZY_SECONDS; the health page shows a failure."""
        if self._gather(event, None) and self.alarm is None:
            self.alarm = self.loop.call_later(LAZY_SECONDS, self._hand_over)

    def _gather(self, event: Event, future: "asyncio.Future[bool] | None") -> bool:
        self.board.count("put")
        self.num_pending += 1
        if self.num_pending > self.max_pending:
            self._lose([(event, future)], "the queue is full")
            return False
        self.gathered.append((event, future))
        return True

    def _wait_a_turn(self) -> None:
        self.alarm = self.loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        """Commit what has gathered, here or in the thread."""
        self.alarm, self.is_urgent = None, False
        batch, self.gathered = self.gathered, []
        if not self.num_in_thread and not self.sync and self._write_here(batch):
            self._done(batch)
            return
        self.num_in_thread += len(batch)  # until it is written, later events queue behind it
        self.batches.put(batch)

    def _write_here(self, batch: Batch) -> bool:
        """Commit on the event loop, unless that could take long or fails."""
        rows = [_row(event) for event, _ in batch]
        if sum([len(row[-1]) for row in rows]) > LONG:
            return False
        try:
            self.writer.insert(rows)
        except sqlite3.Error:  # the thread waits for the lock, or reports the error
            return False
        self.num_unmoved += len(batch)
        if self.num_unmoved >= MOVED:
            self.num_unmoved = 0
            self.batches.put([])
        return True

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

    async def close(self) -> None:
        """Write queued events, and close."""
        if self.alarm is not None:
            self.alarm.cancel()
            self._hand_over()
        self.batches.put(None)
        await asyncio.to_thread(self.thread.join)
        self.reader.close()
        self.writer.close()

    def _run(self) -> None:
        log: PromptLog | None = None
        ended = False
        while not ended and (batch := self.batches.get()) is not None:
            while len(batch) < BATCH and not self.batches.empty():
                more = self.batches.get()
                if more is None:
                    ended = True
                    break
                batch += more
            try:
                log = log or PromptLog(self.path, sync=self.sync)
                if batch:
                    log.append([event for event, _ in batch])
                else:
                    log.move_wal()
            except (sqlite3.Error, OSError, ValueError) as error:
                if log is not None:
                    log.close()
                    log = None
                self.loop.call_soon_threadsafe(self._settle, batch, str(error))
            else:
                self.loop.call_soon_threadsafe(self._settle, batch, None)
        if log is not None:
            log.close()

    def _settle(self, batch: Batch, problem: str | None) -> None:
        """The thread is done with a batch."""
        self.num_in_thread -= len(batch)
        if problem is None:
            self._done(batch)
        else:
            self._lose(batch, problem)

    def _done(self, batch: Batch) -> None:
        self.outcome.succeeded()
        self.board.count("written", len(batch))
        self.num_pending -= len(batch)
        for _, future in batch:
            if future is not None and not future.done():
                future.set_result(True)

    def _lose(self, batch: Batch, reason: str) -> None:
        self.outcome.failed(reason)
        self.board.count("lost", len(batch))
        self.num_pending -= len(batch)
        for _, future in batch:
            if future is None or future.done():
                continue
            if self.policy == "serve":
                future.set_result(False)
            else:
                future.set_exception(LogUnavailable(reason))
                future.exception()  # marks it as retrieved: the request may be over


def _row(event: Event) -> LogRow:
    """A row of the log. Its JSON has the content of `row_of`'s, with the keys in another order."""
    try:
        body = to_json(event.body)
    except ValueError:  # an unpaired surrogate
        return row_of(event)
    if b"\\u0000" in body:
        return row_of(event)
    return (event.kind, event.request_id, event.user_id, event.created_at, body.decode())
