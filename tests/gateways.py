"""Running gateways for tests, and an upstream that answers at once."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx2
import uvicorn

from understudy.store.accounts.keys import add_key
from understudy.store.project import Project
from understudy.store.prompts.records import User
from understudy.web.protocol import listen

plain_client = partial(httpx2.Client, trust_env=False, verify=False)
"""A client of a server of this machine, without TLS: reading the authorities' certificates would
take most of a short test's time."""


def in_a_process(command: str, *options: str) -> tuple[subprocess.Popen, str]:
    """(process, address) of `understudy label` or `serve`, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    words = [sys.executable, "-m", "understudy.cli", command, *options, "--port", str(port)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline().split()[0] in (b"labeling", b"serving")
    url = f"http://127.0.0.1:{port}"
    with plain_client() as http:
        while True:
            try:
                http.get(f"{url}/health")
            except httpx2.TransportError:
                assert process.poll() is None
            else:
                return process, url


@contextmanager
def running(app: Any, *, stall_s: float = 60, **options: Any) -> Iterator[str]:
    """Serve an ASGI application on a free port of this machine: its address."""
    listener = listen("127.0.0.1", 0, backlog=100, stall_s=stall_s)
    config = uvicorn.Config(app, log_level="critical", lifespan="on", **options)
    server = uvicorn.Server(config)
    started = threading.Event()
    startup = server.startup

    async def tell(sockets: Any = None) -> None:
        await startup(sockets)
        started.set()

    server.startup = tell
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert started.wait(60)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def make_key(project: Project, user: str, consent: bool = True, **limits: Any) -> str:
    """A user with a key."""
    store = project.open_store()
    store.add_user(User(user, "acme", consent))
    key = add_key(store, user, **limits)
    store.engine.dispose()
    return key


class FakeUpstream:
    """An OpenAI-compatible server as plain ASGI: says "You said: ...", and keeps what it was sent.

    The words "be slow" in the last message make it wait, "fail" makes it fail, "say much" gives
    8 MB and in a stream no end, "say nothing" makes it wait until the asker has gone; `ended`
    is set when it was left so.
    """

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[bytes, bytes]] = []
        self.ended = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        asked = json.loads(body)
        self.seen.append(asked)
        self.headers.append(dict(scope["headers"]))
        said = asked["messages"][-1]["content"] if "messages" in asked else asked["prompt"]
        if "say nothing" in said:
            if asked.get("stream") and "say nothing more" in said:
                await self._stream(send, said, whole=False)
            await receive()
            self.ended.set()
            return
        if "be slow" in said:
            await asyncio.sleep(5)
        if "fail" in said:
            await self._send(send, 500, {"error": {"message": "boom " + said}})
        elif "too long" in said:
            await self._send(send, 400, {"error": {"message": "the prompt is too long"}})
        elif "go away" in said:
            await self._send(send, 302, {}, [(b"location", b"http://127.0.0.1:1/")])
        elif asked.get("stream") and "say much" in said:
            await self._stream_for_ever(receive, send)
        elif asked.get("stream"):
            await self._stream(send, said)
        else:
            await self._send(send, 200, self.answer(asked, said))

    def answer(self, asked: dict[str, Any], said: str) -> dict[str, Any]:
        """The answer's JSON."""
        text = f"You said: {said}" + "much " * (1_600_000 if "say much" in said else 0)
        chat = "messages" in asked
        choice = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choices = [
            {"index": k, "finish_reason": "stop", "logprobs": None, **choice}
            for k in range(asked.get("n", 1))
        ]
        used = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        kind = "chat.completion" if chat else "text_completion"
        head = {"id": "theirs", "object": kind, "created": 1, "model": "theirs"}
        return {**head, "choices": choices, "usage": used}

    async def _stream_for_ever(self, receive: Any, send: Any) -> None:
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        delta = {"choices": [{"index": 0, "delta": {"content": "much " * 1000}}]}
        line = f"data: {json.dumps(delta)}\n\n".encode()
        gone = asyncio.ensure_future(receive())  # tells of nothing but the connection's end
        while not gone.done():
            await send({"type": "http.response.body", "body": line, "more_body": True})
            await asyncio.sleep(0)
        self.ended.set()

    async def _stream(self, send: Any, said: str, whole: bool = True) -> None:
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        base = {"id": "theirs", "object": "chat.completion.chunk", "created": 1, "model": "theirs"}
        used = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        parts = ["You said: ", said]
        chunks = [
            {**base, "choices": [{"index": 0, "delta": {"content": p}, "finish_reason": None}]}
            for p in parts
        ]
        chunks.append({**base, "choices": [], "usage": used})
        for chunk in chunks:
            line = f"data: {json.dumps(chunk)}\n\n".encode()
            await send({"type": "http.response.body", "body": line, "more_body": True})
        if whole:
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _send(self, send: Any, status: int, body: Any, extra: Any = ()) -> None:
        head = [(b"content-type", b"application/json"), *extra]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})


class Scripted:
    """A server that gives each connection the next of its answers, then closes it."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve)

    def __enter__(self) -> str:
        self.thread.start()
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def __exit__(self, *args: object) -> None:
        self.thread.join()
        self.listener.close()

    def _serve(self) -> None:
        for answer in self.answers:
            connection, _ = self.listener.accept()
            self.asked.append(connection.recv(1 << 16))
            connection.sendall(answer)
            connection.close()
