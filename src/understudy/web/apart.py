"""Answers slow routes in a separate process, so that no labeler waits for them.

The first such request starts the process; it runs one call at a time at a lower priority, ends with
the server, and is restarted if it dies. It caches results as the server would. It communicates over
pipes: a line of JSON per call, a line of JSON and a body per reply. The server passes replies to
the browser without parsing them.

A browser that would have to wait gets 202 with `{"pending": true}` and polls.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from typing import Any, BinaryIO

from starlette.responses import JSONResponse, Response

from understudy.web.access import Account, ApiError, Call, Content, Reply, Route
from understudy.web.bugs import report

PATIENCE_S = 2.0
"""How long a browser waits before it is told to poll."""
KEPT_S = 30.0
"""How long a reply is kept for a browser that polls."""
NICE = 5


class Apart:
    """The process and its calls, one at a time."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="apart")
        self.asked: dict[str, Future[Response]] = {}

    async def answer(self, route: Route, call: Call, *, patient: bool) -> Response:
        """The response or, unless `patient`, a reply that it is pending.

        Identical concurrent calls by one account are merged. OSError if the process died during the
        call.
        """
        line = _call_line(route, call)
        asked = self.asked.get(line)
        if asked is None:
            asked = self.asked[line] = self.thread.submit(self._ask, line)
            self._forget_later(line, asked)
        waiting = asyncio.wrap_future(asked)
        found, _ = await asyncio.wait({waiting}, timeout=None if patient else PATIENCE_S)
        if not found:
            waiting.add_done_callback(lambda done: done.exception())  # whoever polls sees it
            return JSONResponse({"pending": True}, status_code=202)
        self._forget(line, asked)
        return waiting.result()

    def close(self) -> None:
        """End the process, even during a call."""
        self.thread.shutdown(wait=False, cancel_futures=True)
        if self.process is not None:
            self.process.kill()
            self.thread.shutdown()
            self._bury(self.process)

    def _ask(self, line: str) -> Response:
        """Runs in the thread."""
        if self.process is not None and self.process.poll() is not None:
            self._bury(self.process)
            self.process = None
        if self.process is None:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        calls, answers = self.process.stdin, self.process.stdout
        assert calls is not None
        assert answers is not None
        try:
            calls.write(line.encode() + b"\n")
            calls.flush()
            head = json.loads(answers.readline() or b"null")
        except (BrokenPipeError, ValueError):  # ended, perhaps in the middle of a line
            head = None
        body = answers.read(head["length"]) if head else b""
        if head is None or len(body) < head["length"]:
            code = self._bury(self.process)
            raise OSError(f"the process that computes the numbers has ended ({code})")
        return Response(body, head["status"], head["headers"], head["media_type"])

    def _bury(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for its end; returns its exit status."""
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        return process.wait()

    def _forget_later(self, line: str, asked: Future[Response]) -> None:
        """Drop replies that nobody came back for."""

        def look() -> None:
            if asked.done():
                self._forget(line, asked)
            elif self.asked.get(line) is asked:
                self._forget_later(line, asked)

        asyncio.get_running_loop().call_later(KEPT_S, look)

    def _forget(self, line: str, asked: Future[Response]) -> None:
        if self.asked.get(line) is asked:
            del self.asked[line]


def _call_line(route: Route, call: Call) -> str:
    """A call as a line of JSON: the account and the request."""
    account = None if call.account is None else asdict(call.account)
    said = {"route": route.path, "path": dict(call.path), "query": dict(call.query)}
    return json.dumps({**said, "account": account}, sort_keys=True)


def answer_calls(routes: Sequence[Route], parts: Any) -> None:
    """Run in the process: answer calls on its pipes until they close."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends this process
    os.nice(NICE)
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a handler's prints must not mix with replies
    known = {route.path: route for route in routes if route.apart}
    while line := calls.readline():
        said = json.loads(line)
        _write(answers, _respond(known[said["route"]], said, parts))


def _respond(route: Route, said: Mapping[str, Any], parts: Any) -> Response:
    account = Account(**said["account"]) if said["account"] else None
    call = Call(parts, account, said["path"], said["query"], body=None, token="", address="")
    try:
        return _response(route.handler(call))
    except ApiError as error:
        return JSONResponse(error.body, error.status, error.headers)
    except OSError as error:
        failure = unavailable(error)
        return JSONResponse(failure.body, failure.status, failure.headers)
    except Exception as error:
        report(error)
        failure = internal()
        return JSONResponse(failure.body, failure.status)


def _response(reply: Reply) -> Response:
    if isinstance(reply, Content):
        return Response(reply.data, media_type=reply.media_type)
    assert isinstance(reply, dict), "a route that is apart answers with JSON or bytes"
    return JSONResponse(reply)


def _write(answers: BinaryIO, response: Response) -> None:
    kept = {name: value for name, value in response.headers.items() if name == "retry-after"}
    head = {
        "status": response.status_code,
        "headers": kept,
        "media_type": response.media_type,
        "length": len(response.body),
    }
    answers.write(json.dumps(head).encode() + b"\n" + bytes(response.body))
    answers.flush()


def unavailable(error: OSError) -> ApiError:
    """The reply when the store cannot be used."""
    print(f"understudy: {error}", file=sys.stderr, flush=True)
    return ApiError(
        503,
        "store_unavailable",
        "The store is unavailable; nothing was saved.",
        headers={"Retry-After": "2"},
    )


def internal() -> ApiError:
    """The reply after a bug."""
    return ApiError(500, "internal", "Something went wrong on the server; it was logged.")
