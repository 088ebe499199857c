"""Who sends or reads nothing is cut off."""

import asyncio

import pytest

from understudy.serving.guard import ClientGone, Guard, attended
from understudy.serving.wire import ApiError

SCOPE = {"type": "http", "headers": []}


async def _endless(scope, receive, send) -> None:
    """An application that reads the whole body and then never stops talking."""
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200})
    while True:
        await send({"type": "http.response.body", "body": b"x", "more_body": True})


async def _never(*args) -> None:
    await asyncio.Event().wait()


def test_a_reader_that_stalls_ends_the_answer() -> None:
    sent = []

    async def whole() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def two_then_none(message) -> None:
        sent.append(message)
        if len(sent) > 2:
            await _never()

    asyncio.run(Guard(_endless, max_body_bytes=9, stall_s=0.05)(SCOPE, whole, two_then_none))
    assert len(sent) == 3
    assert (b"x-content-type-options", b"nosniff") in sent[0]["headers"]


def test_a_reader_that_has_gone_ends_the_answer() -> None:
    """Even an answer that never waits for anything."""
    told = [
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.disconnect"},
    ]
    sent = []

    async def receive() -> dict:
        return told.pop(0)

    async def send(message) -> None:
        sent.append(message)

    async def talks_and_listens(scope, receive, send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200})
        await receive()
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    asyncio.run(Guard(talks_and_listens, max_body_bytes=9, stall_s=1)(SCOPE, receive, send))
    assert len(sent) == 1


def test_a_sender_that_stalls_is_told() -> None:
    with pytest.raises(ApiError) as caught:
        asyncio.run(Guard(_endless, max_body_bytes=9, stall_s=0.05)(SCOPE, _never, _never))
    assert caught.value.status_code == 408


def test_a_body_without_a_length_is_counted() -> None:
    async def more() -> dict:
        return {"type": "http.request", "body": b"1234", "more_body": True}

    with pytest.raises(ApiError) as caught:
        asyncio.run(Guard(_endless, max_body_bytes=9, stall_s=1)(SCOPE, more, _never))
    assert caught.value.status_code == 413


# Work under a watch


async def _until_cancelled(ended: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ended.append("cancelled")


async def _leaves() -> dict:
    return {"type": "http.disconnect"}


def _in_a_moment() -> float:
    return asyncio.get_running_loop().time() + 0.05


def test_work_in_time_gives_its_result_and_leaves_nothing_behind() -> None:
    async def go() -> str:
        work = asyncio.sleep(0.15, "done")  # longer than the gateway waits before it looks
        found = await attended(work, until=_in_a_moment() + 60, receive=_never)
        await asyncio.sleep(0)  # for the end of what watched
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return found

    assert asyncio.run(go()) == "done"


@pytest.mark.parametrize("receive", [None, _never])
def test_work_that_takes_too_long_is_cancelled(receive) -> None:
    async def go() -> list[str]:
        ended: list[str] = []
        with pytest.raises(TimeoutError):
            await attended(_until_cancelled(ended), until=_in_a_moment(), receive=receive)
        assert asyncio.current_task().cancelling() == 0
        return ended

    assert asyncio.run(go()) == ["cancelled"]


def test_work_for_a_client_that_has_left_is_cancelled() -> None:
    async def go() -> list[str]:
        ended: list[str] = []
        with pytest.raises(ClientGone):
            await attended(_until_cancelled(ended), receive=_leaves)
        assert asyncio.current_task().cancelling() == 0
        return ended

    assert asyncio.run(go()) == ["cancelled"]


def test_a_cancellation_from_outside_stays_one() -> None:
    """Also beside one's own: a server that ends its tasks must not be told that they took long."""

    async def go(together: bool) -> list[str]:
        ended: list[str] = []
        loop = asyncio.get_running_loop()
        when = _in_a_moment()
        until = when if together else when + 60
        task = asyncio.create_task(attended(_until_cancelled(ended), until=until, receive=_never))
        loop.call_at(when, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        return ended

    assert asyncio.run(go(False)) == ["cancelled"]
    assert asyncio.run(go(True)) == ["cancelled"]
