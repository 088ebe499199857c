"""Asks an OpenAI-compatible server many questions: several at a time, each once, within a budget.

Each reply is appended to a file as soon as it arrives, keyed by its request. Asking again after a
kill, a failure or a spent budget therefore continues where it stopped and pays for no reply twice,
except those under way when the process was killed.

    asker = Asker("http://127.0.0.1:8000/v1", kept=Path("replies.jsonl"), limits=Limits())
    replies = asyncio.run(asker.ask([chat("m", "Which is better?")]))
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from understudy.records.convert import Json, complaint_in, many, visible
from understudy.records.io import sha256_of
from understudy.serving.client import Answer, Client, Unreachable
from understudy.serving.said import BadResponse, choices_of, parse, usage_of
from understudy.serving.upstream import check_url

TRIES = 6
"""Attempts at a request that the server cannot take now."""
FIRST_WAIT_S, MOST_WAIT_S = 1.0, 600.0
"""Wait after the first failure, doubled each time; longest wait that a server may ask for."""
REFUSED_IN_A_ROW = 10
"""Refusals without a reply in between after which the server is taken to refuse everything."""
FATAL = {
    401: "the key is not accepted",
    402: "it asks for payment",
    403: "access is denied",
    404: "it has no such path or model",
    405: "it has no such path",
    **dict.fromkeys((301, 302, 307, 308), "it redirects; give the address that it leads to"),
}
REFUSED = {400, 413, 422}
"""Statuses that refuse one request and say nothing about the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How fast and how much may be asked."""

    concurrency: int = 8
    """Requests at the same time."""
    timeout_s: float = 120.0
    """Longest time to one reply, in seconds."""
    max_requests: int | None = None
    """Most requests to send, retries included; none: no limit."""
    max_tokens: int | None = None
    """Most tokens to use, by the server's count; none: no limit."""


@dataclass(slots=True)
class Spent:
    """What a call has used."""

    requests: int = 0
    """Requests sent."""
    repeated: int = 0
    """How many of them were retries."""
    tokens: int = 0
    """Tokens of prompts and replies, by the server's count."""
    refused: list[str] = field(default_factory=list)
    """What the server said of each request that it refused."""
    stopped_by: str = ""
    """The limit that ended it early."""
    problem: str = ""
    """The last failure."""


class Asker:
    """Asks one server. `wait` sleeps for a number of seconds."""

    def __init__(
        self,
        url: str,
        *,
        kept: Path,
        limits: Limits,
        key: str | None = None,
        wait: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        on_reply: Callable[[], None] = lambda: None,
    ) -> None:
        """Reads the replies in `kept`. ValueError for an invalid URL."""
        self.url, self.limits, self.wait, self.on_reply = check_url(url), limits, wait, on_reply
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = Client(
            self.url, headers={**headers, "X-Understudy-Consent": "no"}, private=True
        )
        self.kept = kept
        self.replies = read_replies(kept)
        self.spent = Spent()
        self._failed: Exception | None = None
        self._in_a_row = 0

    async def ask(self, bodies: Sequence[Json]) -> dict[str, str]:
        """The replies by `key_of` their request; some are missing if a limit is reached or requests
        are refused (see `spent`).

        ValueError if the server accepts nothing; ConnectionError if it cannot be reached or keeps
        failing. Replies that have arrived are kept in both cases.
        """
        new = {key_of(body): body for body in bodies}
        new = {key: body for key, body in new.items() if key not in self.replies}
        waiting = iter(new.items())
        if new:
            self.kept.parent.mkdir(parents=True, exist_ok=True)
        with self.kept.open("a", encoding="utf-8") if new else _Nothing() as stream:
            try:
                number = min(self.limits.concurrency, len(new))
                await asyncio.gather(*(self._work(waiting, stream) for _ in range(number)))
            finally:
                await self.client.close()
        if self._failed is not None:
            raise self._failed
        if self.spent.stopped_by and self.spent.problem and not self.replies:
            raise ConnectionError(
                f"{self.url} answered none of {self.spent.requests:,} requests, all that "
                f"{self.spent.stopped_by} allows ({self.spent.problem})"
            )
        return {key: self.replies[key] for key in map(key_of, bodies) if key in self.replies}

    async def _work(self, waiting: Iterator[tuple[str, Json]], stream: Any) -> None:
        """Ask one question after another until none is left, a limit is reached or one fails."""
        for key, body in waiting:
            try:
                said = await self._one(body)
            except (ValueError, OSError) as error:
                self._failed = self._failed or error
            else:
                if said is not None:
                    self.replies[key] = said
                    stream.write(json.dumps({"key": key, "reply": said}) + "\n")
                    stream.flush()
                    self.on_reply()
            if self._failed or self.spent.stopped_by:
                return

    async def _one(self, body: Json) -> str | None:
        """The text of a reply; None if a limit is reached or the server refuses this request."""
        for attempt in range(TRIES):
            if self._failed or self._is_spent():
                return None
            self.spent.requests += 1
            self.spent.repeated += attempt > 0
            asked_for = 0.0
            try:
                async with asyncio.timeout(self.limits.timeout_s):
                    answer = await self.client.post("/chat/completions", json.dumps(body).encode())
                if answer.status == 200:
                    return self._taken(answer)
                if answer.status in REFUSED:
                    self._refused(answer)
                    return None
                if answer.status in FATAL:
                    why = FATAL[answer.status]
                    raise ValueError(f"{self.url}: {why} ({_complaint(answer)})")
                self.spent.problem = _complaint(answer)
                asked_for = seconds_of(answer.retry_after)
            except TimeoutError:
                self.spent.problem = f"no reply within {self.limits.timeout_s:g} s"
            except Unreachable as error:
                self.spent.problem = f"it cannot be reached: {error}"
            except BadResponse as error:
                self.spent.problem = f"it does not reply like OpenAI's chat API: {error}"
            if asked_for > MOST_WAIT_S:
                self.spent.problem += f"; it asks to wait {asked_for:,.0f} s"
                break
            if attempt + 1 < TRIES:
                own = FIRST_WAIT_S * 2**attempt * random.uniform(0.75, 1.25)
                await self.wait(max(own, asked_for))
        raise ConnectionError(
            f"{self.url} failed {attempt + 1} times ({self.spent.problem}); "
            f"{self.kept} keeps {many(len(self.replies), 'reply', 'replies')}: run the same "
            "command again to continue"
        )

    def _taken(self, answer: Answer) -> str:
        """The text of a reply; counts its tokens."""
        said = parse(answer.body)
        choices = choices_of(said, "message", 1)
        if not choices:
            raise BadResponse("no choices")
        used = usage_of(said)
        if used is None and self.limits.max_tokens is not None:
            raise ValueError(
                f"{self.url} does not report the tokens used, so max_tokens cannot be enforced; "
                "set max_requests instead"
            )
        self.spent.tokens += used["total_tokens"] if used else 0
        self._in_a_row = 0
        return str(choices[0]["message"].get("content") or "")

    def _refused(self, answer: Answer) -> None:
        self.spent.refused.append(_complaint(answer))
        self._in_a_row += 1
        if self._in_a_row >= REFUSED_IN_A_ROW:
            raise ValueError(
                f"{self.url} refused {self._in_a_row} requests in a row ({_complaint(answer)})"
            )

    def _is_spent(self) -> bool:
        for name, used in (
            ("max_requests", self.spent.requests),
            ("max_tokens", self.spent.tokens),
        ):
            limit = getattr(self.limits, name)
            if limit is not None and used >= limit:
                self.spent.stopped_by = name
        return bool(self.spent.stopped_by)


def chat(model: str, text: str, **settings: Any) -> Json:
    """A request of one user turn; settings that are None are left to the server."""
    given = {name: value for name, value in settings.items() if value is not None}
    return {"model": model, "messages": [{"role": "user", "content": text}], **given}


def key_of(body: Mapping[str, Any]) -> str:
    """The key of a request's reply: a hash of the whole request."""
    return sha256_of(body)


def read_replies(path: Path) -> dict[str, str]:
    """Replies by key; removes a last line that a kill left incomplete."""
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("rb+") as stream:
            stream.truncate(whole)
    found = {}
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        try:
            row = json.loads(line)
            found[str(row["key"])] = str(row["reply"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} line {number} is not a reply; delete the line") from None
    return found


def seconds_of(retry_after: str) -> float:
    """Retry-After, which is a number of seconds or a date, in seconds from now; 0 if neither."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _complaint(answer: Answer) -> str:
    """What the server says of a failure, in one short line."""
    message = ""
    with suppress(BadResponse):
        message = complaint_in(parse(answer.body))
    return visible(" ".join(f"HTTP {answer.status} {message}".split())[:200])


class _Nothing:
    """Stands in for the file if there is nothing to ask."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...
