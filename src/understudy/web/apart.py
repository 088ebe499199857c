"""Answers slow routes in a separate process, so that no labeler waits for them.

The first such request starts the process; it runs one call at a time at a lower priority, ends with
the server, and is restarted if it dies. It caches results as the server would. Calls and responses
are pickled through pipes; the server passes responses on to the browser as they are.

A browser that would have to wait gets 202 with `{"pending": true}` and polls.
"""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from starlette.responses import JSONResponse, Response

from understudy.web.access import Account, ApiError, Call, Content, Reply, Route
from understudy.web.bugs import report

Asked = tuple[str, Account | None, tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]
"""A call: the route's path, the account, the path's parameters, the query."""
PATIENCE_S = 0.7
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
        self.asked: dict[Asked, Future[Response]] = {}

    async def answer(self, route: Route, call: Call, *, patient: bool) -> Response:
        """The response or, unless `patient`, a reply that it is pending.

        Identical concurrent calls by one account are merged. OSError if the process died during the
        call.
        """
        wanted = _wanted(route, call)
        asked = self.asked.get(wanted)
        if asked is None:
            asked = self.asked[wanted] = self.thread.submit(self._ask, wanted)
            self._forget_later(wanted, asked)
        waiting = asyncio.wrap_future(asked)
        found, _ = await asyncio.wait({waiting}, timeout=None if patient else PATIENCE_S)
        if not found:
            # Marks an exception as retrieved; a poll raises it.
            waiting.add_done_callback(lambda done: done.exception())
            return JSONResponse({"pending": True}, status_code=202)
        self._forget(wanted, asked)
        return waiting.result()

    def close(self) -> None:
        """End the process, even during a call."""
        self.thread.shutdown(wait=False, cancel_futures=True)
        if self.process is not None:
            self.process.kill()
            self.thread.shutdown()
            self._bury(self.process)

    def _ask(self, wanted: Asked) -> Response:
        """Runs in the thread."""
        if self.process is not None and self.process.poll() is not None:
            self._bury(self.process)
            self.process = None
        if self.process is None:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            pickle.dump(wanted, self.process.stdin)
            self.process.stdin.flush()
            found: Response = pickle.load(self.process.stdout)
        except (BrokenPipeError, EOFError, pickle.UnpicklingError):  # perhaps in mid-response
            code = self._bury(self.process)
            raise OSError(f"the process that computes the numbers has ended ({code})") from None
        return found

    def _bury(self, process: subprocess.Popen[bytes]) -> int:
        """Close the process's pipes and wait for its end; returns its exit status."""
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        return process.wait()

    def _forget_later(self, wanted: Asked, asked: Future[Response]) -> None:
        """Drop replies that nobody came back for."""

        def look() -> None:
            if asked.done():
                self._forget(wanted, asked)
            elif self.asked.get(wanted) is asked:
                self._forget_later(wanted, asked)

        asyncio.get_running_loop().call_later(KEPT_S, look)

    def _forget(self, wanted: Asked, asked: Future[Response]) -> None:
        if self.asked.get(wanted) is asked:
            del self.asked[wanted]


def _wanted(route: Route, call: Call) -> Asked:
    return route.path, call.account, tuple(call.path.items()), tuple(sorted(call.query.items()))


def answer_calls(routes: Sequence[Route], parts: Any) -> None:
    """Run in the process: answer calls on its pipes until they close."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends this process
    os.nice(NICE)
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a handler's prints must not mix with responses
    handlers = {route.path: route.handler for route in routes if route.apart}
    with suppress(EOFError):
        while True:
            name, account, path, query = pickle.load(calls)
            call = Call(parts, account, dict(path), dict(query), body=None, token="", address="")
            pickle.dump(_respond(handlers[name], call), answers)
            answers.flush()


def _respond(handler: Callable[[Call], Reply], call: Call) -> Response:
    try:
        return _response(handler(call))
    except ApiError as error:
        failure = error
    except OSError as error:
        failure = unavailable(error)
    except Exception as error:
        report(error)
        failure = internal()
    return JSONResponse(failure.body, failure.status, failure.headers)


def _response(reply: Reply) -> Response:
    if isinstance(reply, Content):
        return Response(reply.data, media_type=reply.media_type)
    assert isinstance(reply, dict), "a route that is apart answers with JSON or bytes"
    return JSONResponse(reply)


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
