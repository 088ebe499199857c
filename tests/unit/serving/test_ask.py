"""Asking a server many questions: what it repeats, what it gives up, and what it keeps."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from tests.judges import ScriptedJudge, serving

from understudy.serving.ask import Asker, Limits, chat, read_replies, seconds_of

TEXT = (
    "[Request]\n{}\n[End of request]\n\n[Response A]\na\n[End of response A]\n\n"
    "[Response B]\nb\n[End of response B]"
)


def ask(folder: Path, scripted: ScriptedJudge, number: int = 3, **limits) -> tuple[Asker, list]:
    """The asker after it has asked, and the waits."""
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    with serving(scripted) as url:
        options = Limits(concurrency=1, **limits)
        asker = Asker(url, kept=folder / "replies.jsonl", limits=options, wait=wait)
        asyncio.run(asker.ask([chat("m", TEXT.format(i)) for i in range(number)]))
    return asker, waits


def says_a(*_: str) -> str:
    return "A"


def test_what_passes_is_waited_for(tmp_path) -> None:
    manners = [(429, {"retry-after": "7"}), (500, {}), (503, {"retry-after": "soon"})]
    asker, waits = ask(tmp_path, ScriptedJudge(says_a, manners=manners))
    assert len(asker.replies) == 3
    assert (asker.spent.requests, asker.spent.repeated, asker.spent.tokens) == (6, 3, 300)
    assert waits[0] == 7
    assert 1.5 <= waits[1] <= 2.5
    assert 3 <= waits[2] <= 5


def test_a_server_that_keeps_failing_costs_no_reply(tmp_path) -> None:
    ask(tmp_path, ScriptedJudge(says_a), 2)
    with pytest.raises(
        ConnectionError, match=r"failed 6 times \(HTTP 500 not now\); .* keeps 2 replies"
    ):
        ask(tmp_path, ScriptedJudge(says_a, manners=[(500, {})] * 6), 3)
    assert len(read_replies(tmp_path / "replies.jsonl")) == 2
    with pytest.raises(ConnectionError, match="asks to wait 86,400 s"):
        ask(tmp_path, ScriptedJudge(says_a, manners=[(429, {"retry-after": "86400"})]), 3)


def test_a_budget_that_failures_have_spent_says_what_failed(tmp_path) -> None:
    with pytest.raises(ConnectionError, match=r"none of 2 requests, all that max_requests allows "
                       r"\(HTTP 500 not now\)"):  # fmt: skip
        ask(tmp_path, ScriptedJudge(says_a, manners=[(500, {})] * 2), max_requests=2)
    asker, _ = ask(tmp_path, ScriptedJudge(says_a, manners=[(500, {})]), max_requests=2)
    assert (len(asker.replies), asker.spent.stopped_by) == (1, "max_requests")


def test_nobody_there(tmp_path) -> None:
    async def wait(_: float) -> None:
        pass

    asker = Asker("http://127.0.0.1:9/v1", kept=tmp_path / "r", limits=Limits(), wait=wait)
    with pytest.raises(ConnectionError, match="cannot be reached"):
        asyncio.run(asker.ask([chat("m", "?")]))


def test_a_refused_request_leaves_the_others(tmp_path) -> None:
    asker, _ = ask(tmp_path, ScriptedJudge(says_a, manners=[(400, {})]))
    assert len(asker.replies) == 2
    assert asker.spent.refused == ["HTTP 400 not now"]
    with pytest.raises(ValueError, match="refused 10 requests in a row"):
        ask(tmp_path / "all", ScriptedJudge(says_a, manners=[(400, {})] * 10), 20)


@pytest.mark.parametrize(
    ("status", "why"),
    [(401, "the key is not accepted"), (404, "no such path or model"), (307, "it redirects")],
)
def test_what_no_request_can_mend_ends_it_at_once(tmp_path, status, why) -> None:
    scripted = ScriptedJudge(says_a, manners=[(status, {})])
    with pytest.raises(ValueError, match=f"{why}.*HTTP {status} not now"):
        ask(tmp_path, scripted)
    assert len(scripted.seen) == 1


def test_a_budget_of_tokens_needs_their_count(tmp_path) -> None:
    with pytest.raises(ValueError, match="set max_requests instead"):
        ask(tmp_path, ScriptedJudge(says_a, counts=False), max_tokens=100)


def test_retry_after_is_a_number_or_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=90)
    assert seconds_of("3") == 3
    assert 80 < seconds_of(format_datetime(soon, usegmt=True)) <= 90
    assert seconds_of("") == seconds_of("soon") == 0


def test_a_file_that_holds_something_else_is_not_written_to(tmp_path) -> None:
    (tmp_path / "replies.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="line 1 is not a reply"):
        read_replies(tmp_path / "replies.jsonl")
