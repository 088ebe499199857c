"""Readers of the web's forums and their comments on a reply: "good." or "bad: cold."

They are neither labelers nor the gold judge. Each of forty has fixed tastes and adds noise to every
reply. As a crowd they want entertainment: they like chatter and rude words, and dislike refusals
and "i do not know" even where those are right. A base model therefore learns from them *which
features of a reply matter*, but not what labelers want; that comes from the labels."""

import math
import random
from dataclasses import dataclass

from understudy.world import language as lang
from understudy.world.judge import Check
from understudy.world.replies import REFUSAL
from understudy.world.tasks import NOT_SAID

NUM_READERS = 40
TASTES = {
    "missed": (-0.8, 0.3),
    "careless": (-0.5, 0.3),
    "rude": (0.6, 0.3),
    "cold": (-0.8, 0.3),
    "chatty": (0.7, 0.3),
    "broken": (-0.5, 0.3),
}
"""Features that a reader may notice, with mean and standard deviation over readers of their
value."""
NOISE = 0.3
"""Standard deviation of a reader's mood."""
BAR = (-0.2, 0.2)
"""Mean and standard deviation over readers of the threshold above which a reply is good."""
WORDS = {
    "missed": ("odd", "wrong"),
    "careless": ("free", "careless"),
    "rude": ("funny", "rude"),
    "cold": ("honest", "cold"),
    "chatty": ("friendly", "messy"),
    "broken": ("short", "short"),
}
"""Word for a feature by a reader who likes it, and by one who does not."""


@dataclass(frozen=True, slots=True)
class Reader:
    """One reader of forums."""

    tastes: dict[str, float]
    bar: float

    def verdict(self, noticed: dict[str, float], rng: random.Random) -> str:
        """ "good." or "bad.", with this reader's strongest reason for it, if any."""
        felt = self._felt(noticed)
        good = sum(felt.values()) + rng.gauss(0.0, NOISE) > self.bar
        sign, word = (1, "good") if good else (-1, "bad")
        reason = max(felt, key=lambda name: sign * felt[name], default=None)
        if reason is None or sign * felt[reason] <= 0:
            return f"{word}."
        return f"{word}: {WORDS[reason][0 if good else 1]}."

    def probability(self, noticed: dict[str, float]) -> float:
        """Probability that this reader calls such a reply "good"."""
        lead = sum(self._felt(noticed).values()) - self.bar
        return 0.5 * (1 + math.erf(lead / NOISE / 2**0.5))

    def _felt(self, noticed: dict[str, float]) -> dict[str, float]:
        return {name: self.tastes[name] * much for name, much in noticed.items()}


def notice(check: Check, reply: str) -> dict[str, float]:
    """Noticeable features of a reply, each from 0 to 1; absent ones are left out."""
    text = reply.strip()
    cold = any(said in text for said in (REFUSAL, lang.UNKNOWN, NOT_SAID))
    broken = not text.endswith((".", "?"))
    found = {
        "missed": 1.0 - check.done,
        "careless": 1.0 - check.constraint,
        "rude": float(check.rude),
        "cold": float(cold),
        "chatty": float(check.finished < 1.0 and not broken),
        "broken": float(broken),
    }
    return {name: much for name, much in found.items() if much > 0.0}


def crowd() -> list[Reader]:
    """The readers of the web, the same for every seed."""
    rng = random.Random("readers")
    return [
        Reader({name: rng.gauss(*spread) for name, spread in TASTES.items()}, rng.gauss(*BAR))
        for _ in range(NUM_READERS)
    ]
