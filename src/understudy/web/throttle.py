"""How long to wait after wrong passwords.

Consecutive failures are counted by (name, address), by address and by name. The first count is
strict, to stop the guessing of one password; the others are lenient, since an office shares an
address and nobody should be able to lock out a colleague: by name alone a wait never exceeds
`NAME_MAX_S`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

NAME_MAX_S = 5.0


@dataclass(frozen=True, slots=True)
class Rule:
    """After `free` failures the wait is 1 s; each further one doubles it, up to `most_s`. After
    `forget` without a failure the count starts anew."""

    free: int
    most_s: float
    forget: timedelta


RULES: Mapping[str, Rule] = {
    "both": Rule(5, 900.0, timedelta(hours=1)),
    "address": Rule(20, 60.0, timedelta(hours=1)),
    "name": Rule(20, NAME_MAX_S, timedelta(hours=1)),
}


def keys_of(name: str, address: str) -> dict[str, str]:
    """The keys, by rule, under which failures of a name from an address are counted."""
    return {
        "both": f"both:{name}|{address}",
        "address": f"address:{address}",
        "name": f"name:{name}",
    }


def wait_s(rule: Rule, failures: int, last: datetime, now: datetime) -> float:
    """Seconds until the next attempt is allowed; 0 if it is now."""
    if failures < rule.free or now - last >= rule.forget:
        return 0.0
    wait = min(2.0 ** min(failures - rule.free, 30), rule.most_s)
    since = max(0.0, (now - last).total_seconds())  # a clock set back makes nobody wait longer
    return max(0.0, wait - since)
