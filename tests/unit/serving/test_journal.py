"""Events are committed at once where that is quick, and in the thread where it is not."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from understudy.serving import journal as journal_module
from understudy.serving.journal import LONG, Journal, LogUnavailable
from understudy.store.prompts.log import Event, PromptLog


def event(number: int, text: str = "Hello") -> Event:
    return Event("prompt", f"r{number}", "ann", "2026-11-29T00:00:00", {"prompts": [text]})


def recorded(path: Path) -> list[str]:
    log = PromptLog(path)
    found = [event.request_id for _, event in log.events()]
    log.close()
    return found


async def filled(path: Path, events: list[Event], **options: object) -> dict:
    journal = Journal(path, policy="refuse", **options)
    try:
        assert await asyncio.gather(*map(journal.put, events)) == [True] * len(events)
        return journal.state()
    finally:
        await journal.close()


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("text", ["Hello", "x" * (LONG + 1)])
def test_events_are_written_in_order_and_once(tmp_path: Path, sync: bool, text: str) -> None:
    path = tmp_path / "log.sqlite"
    state = asyncio.run(filled(path, [event(n, text) for n in range(30)], sync=sync))
    assert (state["written"], state["lost"], state["pending"]) == (30, 0, 0)
    assert recorded(path) == [f"r{n}" for n in range(30)]


def test_a_request_is_sent_on_before_its_prompt_is_written(tmp_path: Path) -> None:
    async def go() -> None:
        journal = Journal(tmp_path / "log.sqlite", policy="refuse")
        written = journal.put(event(1))
        sent: list[bool] = []
        asyncio.get_running_loop().call_soon(lambda: sent.append(written.done()))
        await written
        assert sent == [False]
        await journal.close()

    asyncio.run(go())


def test_what_nobody_waits_for_is_written_with_the_next_or_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"

    async def go() -> None:
        journal = Journal(path, policy="refuse")
        journal.note(event(1))
        await journal.put(event(2))
        assert recorded(path) == ["r1", "r2"]
        journal.note(event(3))
        while journal.num_pending:  # for a moment
            await asyncio.sleep(0.01)
        journal.note(event(4))
        await journal.close()

    asyncio.run(go())
    assert recorded(path) == ["r1", "r2", "r3", "r4"]


def test_while_something_else_has_the_log_the_loop_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"

    async def go() -> None:
        journal = Journal(path, policy="refuse")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        first = journal.put(event(1))
        for _ in range(100):
            await asyncio.sleep(0)  # the loop turns, and the event is not written
        assert not first.done()
        second = journal.put(event(2))
        other.execute("COMMIT")
        other.close()
        assert await asyncio.gather(first, second) == [True, True]
        await journal.put(event(3))
        await journal.close()

    asyncio.run(go())
    assert recorded(path) == ["r1", "r2", "r3"]


def test_a_full_queue_and_a_broken_log_refuse(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"

    async def go() -> None:
        journal = Journal(path, policy="refuse", max_pending=2)
        found = await asyncio.gather(
            *map(journal.put, map(event, range(3))), return_exceptions=True
        )
        assert found[:2] == [True, True]
        assert isinstance(found[2], LogUnavailable)
        with sqlite3.connect(path) as broken:
            broken.execute("ALTER TABLE events RENAME TO elsewhere")
        broken.close()
        with pytest.raises(LogUnavailable, match="no such table"):
            await journal.put(event(4))
        assert (journal.state()["state"], journal.state()["lost"]) == ("failing", 2)
        await journal.close()

    asyncio.run(go())


def test_the_write_ahead_log_does_not_grow_for_ever(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(journal_module, "MOVED", 20)
    path, moves = tmp_path / "log.sqlite", []
    move = PromptLog.move_wal

    def counted(log: PromptLog) -> None:
        move(log)
        moves.append(1)

    monkeypatch.setattr(PromptLog, "move_wal", counted)

    async def go() -> int:
        journal = Journal(path, policy="refuse")
        for number in range(1, 401):
            await journal.put(event(number, "x" * 4000))
            while len(moves) < number // 20:
                await asyncio.sleep(0)
        size = path.with_name("log.sqlite-wal").stat().st_size
        await journal.close()
        return size

    assert asyncio.run(go()) < 2_000_000  # 8 MB if it is never begun anew
    assert len(recorded(path)) == 400


@pytest.mark.parametrize("text", ["Hello", '\xe9\u2028\x7f\\ "', "a\0b", "\ud83d", "\ud83d\ude00"])
def test_a_text_is_kept_as_any_other_writer_of_the_log_would_keep_it(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "log.sqlite"
    asyncio.run(filled(path, [event(1, text)]))
    log = PromptLog(path)
    log.append([event(2, text)])
    ours, others = [event.body for _, event in log.events()]
    log.close()
    assert ours == others
