"""A scripted judge: an OpenAI-compatible server of known accuracy, position bias and manners."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from tests.gateways import FakeUpstream, running

RESPONSES = re.compile(
    r"\[Request\]\n(.*)\n\[End of request\]\n\n\[Response A\]\n(.*)\n\[End of response A\]\n\n"
    r"\[Response B\]\n(.*)\n\[End of response B\]",
    re.DOTALL,
)
"""What the default template shows: request, A, B."""


class ScriptedJudge(FakeUpstream):
    """Prefers what `better` says (of request, A, B: "A", "B" or "tie") as often as `accuracy` says,
    else the other; says A whatever is shown in a share `stubborn` of pairs, and nothing readable in
    a share `mute` of questions. What it says of a question is the same whenever it is asked.

    `manners` are (status, headers) that it answers with before anything else, one per request.
    """

    def __init__(
        self,
        better: Callable[[str, str, str], str],
        *,
        accuracy: float = 1.0,
        stubborn: float = 0.0,
        mute: float = 0.0,
        manners: list[tuple[int, dict[str, str]]] | None = None,
        counts: bool = True,
    ) -> None:
        super().__init__()
        self.better, self.accuracy, self.stubborn, self.mute = better, accuracy, stubborn, mute
        self.manners, self.counts = manners or [], counts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        asked = json.loads(body)
        self.seen.append(asked)
        self.headers.append(dict(scope["headers"]))
        if self.manners:
            status, headers = self.manners.pop(0)
            extra = [(name.encode(), value.encode()) for name, value in headers.items()]
            await self._send(send, status, {"error": {"message": "not now"}}, extra)
            return
        await self._send(send, 200, self.answer(asked, asked["messages"][-1]["content"]))

    def answer(self, asked: dict[str, Any], said: str) -> dict[str, Any]:
        request, a, b = RESPONSES.search(said).groups()
        words = f"Because.\n**Verdict: {self.verdict(request, a, b)}**"
        if Random(f"mute/{said}").random() < self.mute:
            words = "Both have their merits."
        message = {"role": "assistant", "content": words}
        used = {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100}
        reply = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        return reply | ({"usage": used} if self.counts else {})

    def verdict(self, request: str, a: str, b: str) -> str:
        dice = Random(f"{request}/{sorted((a, b))}")
        if dice.random() < self.stubborn:
            return "A"
        right = self.better(request, a, b)
        if dice.random() < self.accuracy:
            return right
        return {"A": "B", "B": "A"}.get(right) or ("A" if a < b else "B")


@contextmanager
def serving(judge: ScriptedJudge) -> Iterator[str]:
    """The judge on a port of this machine: its URL."""
    with running(judge) as address:
        yield f"{address}/v1"
