"""Authenticates callers and limits them: keys, requests per minute, tokens per day."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256

from understudy.serving.shared import Board
from understudy.serving.wire import ApiError, Json
from understudy.store import Store
from understudy.store.accounts.keys import Caller, add_usage, caller_of, tokens_used

KEY_SECONDS = 2.0
"""How long a key look-up is cached: a revoked key works no longer than this."""
MAX_KNOWN = 10_000
"""Most look-ups in the cache."""
WRONG_KEYS = 50
"""Wrong keys that an address may try per minute before it must wait. Valid keys still work, so
nobody can lock out others at a shared address."""
DAY_SECONDS = 86_400
FLUSH_SECONDS = 1.0
"""How often the day's counts are stored; a crash loses no more than this."""


def date_of(moment: float) -> str:
    """The date of a Unix time, in UTC."""
    return _date_of_day(int(moment // DAY_SECONDS))


@lru_cache(maxsize=2)
def _date_of_day(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_SECONDS, UTC).date().isoformat()


class Callers:
    """Keys and limits of all callers; the limits hold for all workers together. Used on the event
    loop."""

    def __init__(
        self,
        store: Store,
        *,
        requests_per_minute: int,
        tokens_per_day: int,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], str] = lambda: date_of(time.time()),
        board: Board | None = None,
    ) -> None:
        board = board or Board()
        self.store, self.clock, self.today = store, clock, today
        self.requests_per_minute, self.tokens_per_day = requests_per_minute, tokens_per_day
        self._known: dict[str, tuple[float, Caller | None]] = {}
        self._users, self._addresses = board.users, board.addresses
        self._unwritten: dict[str, dict[str, list[int]]] = defaultdict(dict)
        self._outcome = board.outcomes["accounts"]

    def state(self) -> Json:
        """For the health page."""
        return {"state": self._outcome.state, "error": self._outcome.error}

    async def identify(self, plain: str | None, address: str = "") -> Caller:
        """The key's owner; 401, always the same, for a missing, wrong, revoked or expired key, and
        429 for too many of these from one address."""
        caller = None
        if plain:
            name = sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()
            until, caller = self._known.get(name, (0.0, None))
            if until <= self.clock():
                caller = await asyncio.to_thread(caller_of, self.store, plain)
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known[name] = (self.clock() + KEY_SECONDS, caller)
        if caller is None:
            self._count_wrong(address)
            raise ApiError(
                401,
                "a valid API key is required: Authorization: Bearer us-...",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return caller

    def _count_wrong(self, address: str) -> None:
        wait, _ = self._addresses.take(address, WRONG_KEYS, self.clock)
        if wait:
            raise ApiError(
                429,
                f"too many wrong keys; try again in {wait:.1f} s",
                kind="rate_limit_error",
                code="too_many_wrong_keys",
                headers=_retry_after(wait),
            )

    async def admit(self, caller: Caller) -> dict[str, str]:
        """Count a request; returns the headers that tell what is left. 429 if it exceeds the
        minute's limit or the quota is used up."""
        rate = caller.requests_per_minute or self.requests_per_minute
        quota = caller.tokens_per_day or self.tokens_per_day
        day = self.today()
        spent, used = self._users.look(caller.user_id, _number(day))
        if used is None:
            stored = await asyncio.to_thread(tokens_used, self.store, caller.user_id, day)
            used = self._users.seed(caller.user_id, _number(day), stored)
        if used >= quota:
            raise ApiError(
                429,
                f"today's quota of {quota} tokens (UTC) is used up",
                kind="insufficient_quota",
                code="insufficient_quota",
                headers=_headers(rate, spent, quota, used),
            )
        wait, spent = self._users.take(caller.user_id, rate, self.clock)
        headers = _headers(rate, spent, quota, used)
        if wait:
            raise ApiError(
                429,
                f"more than {rate} requests per minute; try again in {wait:.1f} s",
                kind="rate_limit_error",
                code="rate_limit_exceeded",
                headers={**headers, **_retry_after(wait)},
            )
        return headers

    def count(self, caller: Caller, tokens: int) -> None:
        """Record the tokens that a request used."""
        day = self.today()
        self._users.add(caller.user_id, _number(day), tokens)
        entry = self._unwritten[day].setdefault(caller.user_id, [0, 0])
        entry[0] += 1
        entry[1] += tokens

    async def flush(self) -> None:
        """Store the counts; keeps those that cannot be stored now for the next time."""
        for day in list(self._unwritten):
            taken = self._unwritten.pop(day)
            used = {name: (requests, tokens) for name, (requests, tokens) in taken.items()}
            try:
                await asyncio.to_thread(add_usage, self.store, day, used)
            except Exception as error:  # whatever the error, counting must go on
                self._outcome.failed(type(error).__name__)
                for name, (requests, tokens) in used.items():
                    entry = self._unwritten[day].setdefault(name, [0, 0])
                    entry[0] += requests
                    entry[1] += tokens
            else:
                self._outcome.succeeded()

    async def keep_flushing(self) -> None:
        """Flush periodically while the gateway runs."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()


def _headers(rate: int, spent: float, quota: int, used: int) -> dict[str, str]:
    """The rest of the minute's requests and the day's tokens, as OpenAI names them."""
    return {
        "x-ratelimit-limit-requests": str(rate),
        "x-ratelimit-remaining-requests": str(max(0, int(rate - spent))),
        "x-ratelimit-reset-requests": _duration(spent * 60 / rate),
        "x-ratelimit-limit-tokens": str(quota),
        "x-ratelimit-remaining-tokens": str(max(0, quota - used)),
        "x-ratelimit-reset-tokens": _duration(DAY_SECONDS - time.time() % DAY_SECONDS),
    }


@lru_cache(maxsize=16)
def _number(day: str) -> int:
    """2026-11-24 as 20261124."""
    return int(day.replace("-", ""))


def _duration(seconds: float) -> str:
    """`1h2m3s`, the way OpenAI writes it; below a minute `4.5s`."""
    if seconds < 60:
        return f"{seconds:.3g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + f"{minutes}m{rest}s"


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": f"{math.ceil(seconds)}"}
