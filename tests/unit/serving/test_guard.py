"""Who sends or reads nothing is cut off."""

import asyncio

import pytest

from understudy.serving.guard import Guard
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
