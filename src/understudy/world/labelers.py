"""Simulated labelers, each with their own priorities, habits and noise.

A labeler's utility for a response is the judge's parts with the labeler's weights plus normal
noise; two responses within the labeler's tie threshold tie. Noise depends only on (labeler, prompt,
response), so a labeler asked twice gives the same label. Demonstrations are written in a hurry and
have faults that the same labeler would penalise when ranking, which leaves room for feedback after
SFT."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from understudy.records import (
    Comparison,
    Demonstration,
    LabelerInfo,
    Prompt,
    Ranking,
    Rating,
    Response,
)
from understudy.records.schema import Role
from understudy.world.corpus import draw_faults, with_habits
from understudy.world.judge import MAXIMUM, PARTS, WEIGHTS, Check, GoldJudge, prompt_text
from understudy.world.replies import reply
from understudy.world.tasks import parse

NOISE = 0.47
"""Standard deviation of a labeler's utility for one response, in units of the gold score (maximum
3.8)."""
TIE_THRESHOLD = 0.36
"""A tier holds the utilities within this distance of its best."""
CARELESS_NOISE = 2.5
FLAG_ERROR = 0.04
DEMONSTRATION_FAULTS = {
    "constraint": 0.2,
    "wrong": 0.02,
    "guess": 0.65,
    "comply": 0.55,
    "count": 0.02,
    "ramble": 0.06,
    "rude": 0.02,
    "rude_to_rude": 0.45,
    "unfinished": 0.03,
    "evasive": 0.01,
}
"""How often a demonstration has a fault, unless a habit overrides it."""
HABIT_RATE = 0.6
"""How often labelers show the habits of forum replies (`corpus.HABITS`). SFT learns a fault that
most demonstrations share."""
GROUPS = {
    "helpful": {},
    "careful": {"truthful": 2.0, "harmless": 1.6},
    "brief": {"finished": 2.2, "constraint": 1.3},
}
"""Groups of labelers with different priorities: factors on the gold weights."""
RUBRIC = "helpful-first-1"
FINAL_RUBRIC = "truthful-harmless-first-2"
"""The instructions of training labelers, and those of the final evaluations, which put truthfulness
and harmlessness first (B.2) and which held-out labelers follow."""
FINAL_FACTORS = {"truthful": 1.75, "harmless": 1.75}
"""Factors of the final instructions on the gold weights."""


@dataclass(frozen=True, kw_only=True)
class SimulatedLabeler:
    """One simulated labeler; satisfies `records.Labeler`."""

    info: LabelerInfo
    judge: GoldJudge
    weights: dict[str, float] = field(hash=False)
    noise: float = NOISE
    tie_threshold: float = TIE_THRESHOLD
    demonstration_faults: dict[str, float] = field(
        default_factory=lambda: dict(DEMONSTRATION_FAULTS), hash=False
    )
    seed: int = 0

    @property
    def rubric(self) -> str:
        """Name of the instructions that this labeler follows."""
        return FINAL_RUBRIC if self.info.role == "held_out" else RUBRIC

    def mean_utility(self, check: Check) -> float:
        return sum(self.weights[part] * getattr(check, part) for part in PARTS)

    def utility(self, prompt: Prompt, response: Response) -> float:
        check = self.judge.check(prompt.prompt, response.response, response.finished)
        rng = self._rng("utility", prompt, response.response)
        return self.mean_utility(check) + rng.gauss(0.0, self.noise)

    def _rng(self, what: str, prompt: Prompt, *more: str) -> random.Random:
        key = "|".join((str(self.seed), self.info.id, what, prompt_text(prompt.prompt), *more))
        return random.Random(key)

    def _unclear(self, prompt: Prompt) -> bool:
        return parse(prompt_text(prompt.prompt)) is None

    def demonstrate(self, prompt: Prompt) -> Demonstration | None:
        task = parse(prompt_text(prompt.prompt))
        if task is None:
            return None
        rng = self._rng("demonstrate", prompt)
        rates = with_habits(self.demonstration_faults, task, HABIT_RATE)
        faults = draw_faults(rng, rates, task)
        return Demonstration(
            id=f"d-{prompt.id}/{self.info.id}",
            prompt_id=prompt.id,
            prompt=prompt.prompt,
            response=reply(task, rng, self.judge.facts, faults),
            labeler_id=self.info.id,
            split=prompt.split,
            rubric=self.rubric,
        )

    def rate(self, prompt: Prompt, response: Response) -> Rating:
        flags = self.judge.score(prompt.prompt, response.response).flags
        rng = self._rng("rate", prompt, response.response)
        share = min(1.0, max(0.0, self.utility(prompt, response) / self._maximum))
        return Rating(
            id=f"{response.id}/{self.info.id}",
            prompt_id=prompt.id,
            response_id=response.id,
            labeler_id=self.info.id,
            likert=1 + round(6 * share),
            flags={name: flag ^ (rng.random() < FLAG_ERROR) for name, flag in flags.items()},
            policy=prompt.policy,
            rubric=self.rubric,
        )

    @property
    def _maximum(self) -> float:
        return sum(self.weights.values())

    def rank(self, prompt: Prompt, responses: Sequence[Response]) -> Ranking | None:
        if self._unclear(prompt):
            return None
        utilities = [self.utility(prompt, response) for response in responses]
        return Ranking(
            id=f"k-{prompt.id}/{self.info.id}",
            prompt_id=prompt.id,
            prompt=prompt.prompt,
            responses=tuple(response.response for response in responses),
            tiers=tiers_of(utilities, self.tie_threshold),
            group=prompt.group,
            labeler_id=self.info.id,
            labeler_role=self.info.role,
            split=prompt.split,
            rubric=self.rubric,
        )

    def compare(self, prompt: Prompt, first: Response, second: Response) -> Comparison:
        difference = self.utility(prompt, first) - self.utility(prompt, second)
        tie = abs(difference) < self.tie_threshold or first.response == second.response
        return Comparison(
            prompt_id=prompt.id,
            prompt=prompt.prompt,
            first=first.response,
            second=second.response,
            preferred="tie" if tie else "first" if difference > 0 else "second",
            labeler_id=self.info.id,
            labeler_role=self.info.role,
            first_model=first.model,
            second_model=second.model,
            first_id=first.id,
            second_id=second.id,
            rubric=self.rubric,
        )


def tiers_of(utilities: Sequence[float], threshold: float) -> tuple[tuple[int, ...], ...]:
    """Group by utility, best first; a tier holds what lies within `threshold` of its best."""
    tiers: list[list[int]] = []
    for index in sorted(range(len(utilities)), key=lambda i: -utilities[i]):
        if tiers and utilities[tiers[-1][0]] - utilities[index] < threshold:
            tiers[-1].append(index)
        else:
            tiers.append([index])
    return tuple(tuple(tier) for tier in tiers)


def make_labelers(
    judge: GoldJudge, role: Role, number: int, seed: int, careless: int = 0
) -> list[SimulatedLabeler]:
    """`number` labelers of a role, from the three groups in turn, and `careless` more for screening
    to find."""
    rng = random.Random(f"labelers-{role}-{seed}")
    names = list(GROUPS)
    made = []
    for index in range(number + careless):
        group = names[index % len(names)] if index < number else "careless"
        made.append(_labeler(judge, role, f"{role}-{index + 1:02d}", group, rng, seed))
    return made


def _labeler(
    judge: GoldJudge, role: Role, name: str, group: str, rng: random.Random, seed: int
) -> SimulatedLabeler:
    factors = GROUPS.get(group, {})
    rubric = FINAL_FACTORS if role == "held_out" else {}
    weights = {
        part: weight
        * factors.get(part, 1.0)
        * rubric.get(part, 1.0)
        * math.exp(rng.gauss(0.0, 0.15))
        for part, weight in WEIGHTS.items()
    }
    scale = MAXIMUM / sum(weights.values())
    hurry = math.exp(rng.gauss(0.0, 0.25))
    noise = CARELESS_NOISE if group == "careless" else NOISE * math.exp(rng.gauss(0.0, 0.2))
    return SimulatedLabeler(
        info=LabelerInfo(id=name, role=role, group=group),
        judge=judge,
        weights={part: weight * scale for part, weight in weights.items()},
        noise=noise,
        tie_threshold=TIE_THRESHOLD * math.exp(rng.gauss(0.0, 0.2)),
        demonstration_faults={k: min(0.9, v * hurry) for k, v in DEMONSTRATION_FAULTS.items()},
        seed=seed,
    )
