"""Screens labelers against researchers' answers (s3.4, B.1), and checks their work.

    battery = make_battery(researcher, prompts, responses)
    results = [screen(candidate, battery) for candidate in candidates]
    team = [r.info for r in results if r.passed]

Three of the paper's four criteria are scored; the fourth, self-assessed topics, is not. The paper
decided by judgement near its soft cutoffs: `passed` is a proposal, and `failed` says why.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from understudy.records import (
    Demonstration,
    Labeler,
    LabelerInfo,
    Prompt,
    Ranking,
    Rating,
    Response,
)
from understudy.trust.agreement import Vote, agreement, agreement_by_labeler
from understudy.trust.gold import Score, shared_preferences
from understudy.trust.pairs import Answers, answers_of

CUTOFFS: Mapping[str, float] = {"flags": 0.75, "ranking": 0.75, "demonstrations": 6.0}
"""The paper's soft cutoffs: agreement on flags and on rankings, mean grade out of 7 (B.1)."""

SENSITIVE = (
    "inappropriate_for_customer_assistant",
    "sexual_content",
    "violent_content",
    "encourages_harm",
    "denigrates_protected_class",
    "gives_harmful_advice",
)
"""The flags of sensitive speech, which criterion 1 compares."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Battery:
    """The screening test with the researcher's own answers."""

    prompts: tuple[Prompt, ...]
    responses: Mapping[str, tuple[Response, ...]]
    """Prompt id -> the responses to rate and rank."""
    ratings: Mapping[str, Rating]
    """Response id -> the researcher's rating."""
    rankings: Mapping[str, Ranking]
    """Prompt id -> the researcher's ranking."""
    grader: Labeler
    """The researcher who grades demonstrations from 1 to 7, like any other response."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Screening:
    """A candidate's result."""

    info: LabelerInfo
    """The candidate, with the scores in `screening`."""
    failed: tuple[str, ...]
    """Criteria below their cutoff."""

    @property
    def passed(self) -> bool:
        """Whether no criterion failed."""
        return not self.failed


def make_battery(
    researcher: Labeler, prompts: Sequence[Prompt], responses: Sequence[Response]
) -> Battery:
    """Make the test from these prompts and responses.

    Leaves out prompts that the researcher skips or that have fewer than two distinct responses.
    """
    grouped: dict[str, list[Response]] = defaultdict(list)
    for response in responses:
        grouped[response.prompt_id].append(response)
    rankings = {}
    for prompt in prompts:
        if len(grouped[prompt.id]) < 2:
            continue
        ranking = researcher.rank(prompt, grouped[prompt.id])
        if ranking is not None:
            rankings[prompt.id] = ranking
    kept = tuple(prompt for prompt in prompts if prompt.id in rankings)
    return Battery(
        prompts=kept,
        responses={prompt.id: tuple(grouped[prompt.id]) for prompt in kept},
        ratings={r.id: researcher.rate(p, r) for p in kept for r in grouped[p.id]},
        rankings=rankings,
        grader=researcher,
    )


def screen(
    candidate: Labeler, battery: Battery, cutoffs: Mapping[str, float] = CUTOFFS
) -> Screening:
    """Give the candidate the whole test; a skipped ranking or demonstration counts as wrong."""
    ratings, rankings, grades = [], [], []
    for prompt in battery.prompts:
        responses = battery.responses[prompt.id]
        ratings += [candidate.rate(prompt, response) for response in responses]
        ranking = candidate.rank(prompt, responses)
        rankings += [] if ranking is None else [ranking]
        grades.append(grade(battery.grader, prompt, candidate.demonstrate(prompt)))
    scores = {
        "flags": flag_agreement(ratings, battery.ratings),
        "ranking": ranking_agreement(rankings, battery.rankings),
        "demonstrations": sum(grades) / len(grades),
    }
    failed = tuple(name for name, cutoff in cutoffs.items() if scores[name] < cutoff)
    return Screening(info=replace(candidate.info, screening=scores), failed=failed)


def flag_agreement(
    ratings: Sequence[Rating],
    key: Mapping[str, Rating],
    flags: Sequence[str] = SENSITIVE,
) -> float:
    """Criterion 1: share of the key's `flags` that the ratings match.

    Choose responses of which many are sensitive; otherwise a labeler who flags nothing also agrees.
    """
    agreed = [
        rating.flags.get(name) is truth
        for rating in ratings
        for name, truth in key[rating.response_id].flags.items()
        if name in flags
    ]
    if not agreed:
        raise ValueError("the researcher's ratings have no flags; rate with flags")
    return sum(agreed) / len(agreed)


def ranking_agreement(rankings: Sequence[Ranking], key: Mapping[str, Ranking]) -> float:
    """Criterion 2: share of the key's strict preferences that the rankings share, ties half.

    Preferences on a prompt that was not ranked count as missed.
    """
    tiers_of = {ranking.prompt_id: _tiers(ranking) for ranking in rankings}
    shares = [shared_preferences(tiers_of.get(name, ()), _tiers(own)) for name, own in key.items()]
    agreed, total = sum(share[0] for share in shares), sum(share[1] for share in shares)
    if total == 0:
        raise ValueError("the battery's rankings contain no preference; use responses that differ")
    return agreed / total


def _tiers(ranking: Ranking) -> list[list[str]]:
    return [[ranking.responses[index] for index in tier] for tier in ranking.tiers]


def grade(grader: Labeler, prompt: Prompt, demonstration: Demonstration | None) -> float:
    """Criterion 3 for one prompt: the grader's 1-7 for the demonstration, 1 for none."""
    if demonstration is None:
        return 1.0
    response = Response(
        id=demonstration.id,
        prompt_id=prompt.id,
        prompt=prompt.prompt,
        response=demonstration.response,
        model=f"labeler {demonstration.labeler_id}",
    )
    return float(grader.rate(prompt, response).likert)


@dataclass(frozen=True, kw_only=True, slots=True)
class Criterion:
    """One of the paper's criteria, for a candidate screened on the labelers' pages."""

    name: str
    """flags, ranking or demonstrations."""
    title: str
    """The criterion's title."""
    score: float | None
    """None if there is nothing to score yet."""
    cutoff: float
    n: int
    """Number of flags, preferences or graded demonstrations behind the score."""
    why: str = ""
    """Why there is no score."""

    @property
    def passes(self) -> bool | None:
        """Whether the score reaches the cutoff; None without a score."""
        return None if self.score is None else self.score >= self.cutoff


def criteria(
    scores: Sequence[Score],
    grades: Sequence[Sequence[float]],
    num_ungraded: int = 0,
    cutoffs: Mapping[str, float] = CUTOFFS,
) -> list[Criterion]:
    """The three criteria that are scored, from a candidate's trials.

    `scores` has the ranking trials' scores, on the flags in SENSITIVE. `grades` has the
    researchers' grades of each demonstration (1 for a skipped one), which are averaged; criterion 3
    has no score until all demonstrations are graded.
    """
    means = [sum(each) / len(each) for each in grades]
    demonstrations = None if num_ungraded or not means else sum(means) / len(means)
    waits = f"{num_ungraded} wait for a grade" if num_ungraded else "no demonstration was requested"
    return [
        _counted("flags", "Flags of sensitive speech", [s.flags for s in scores], cutoffs),
        _counted("ranking", "Rankings", [s.ranking for s in scores], cutoffs),
        Criterion(
            name="demonstrations",
            title="Demonstrations, graded 1 to 7",
            score=demonstrations,
            cutoff=cutoffs["demonstrations"],
            n=len(means),
            why="" if demonstrations is not None else waits,
        ),
    ]


def proposal(found: Sequence[Criterion]) -> str:
    """ "pass", "fail" or "not_yet" by the cutoffs, as advice: a person decides."""
    if any(criterion.passes is False for criterion in found):
        return "fail"
    scored = [criterion for criterion in found if criterion.passes is not None]
    waiting = any("wait" in criterion.why for criterion in found)
    return "not_yet" if waiting or not scored else "pass"


def _counted(
    name: str, title: str, shares: Sequence[tuple[float, int]], cutoffs: Mapping[str, float]
) -> Criterion:
    agreed, total = sum(share[0] for share in shares), sum(share[1] for share in shares)
    return Criterion(
        name=name,
        title=title,
        score=agreed / total if total else None,
        cutoff=cutoffs[name],
        n=total,
        why="" if total else "the candidate has not answered anything in the key",
    )


def careless_labelers(
    votes: Sequence[Vote] | Answers, *, margin: float = 0.05, seed: int = 0
) -> list[str]:
    """Labelers who agree with the others clearly less than the others do among themselves.

    Uses only items that several labelers answered, without a key. A labeler is careless if the
    interval of their agreement lies more than `margin` below the others' rate: different priorities
    also cost some agreement. The level is 95% over all labelers together (Bonferroni). Removes the
    worst first and checks the rest again, so that one labeler does not drag others down.
    """
    found: list[str] = []
    remaining = votes if isinstance(votes, Answers) else answers_of(votes)
    num_labelers = len(np.unique(remaining.labeler_A))
    while True:
        level = 1 - 0.05 / max(num_labelers, 1)
        by_labeler = agreement_by_labeler(remaining, seed=seed, level=level)
        if len(by_labeler) < 3:
            return found
        worst = min(by_labeler, key=lambda labeler: by_labeler[labeler].value or 0.0)
        others = remaining.where(remaining.labeler_A != remaining.labelers.index(worst))
        rest, high = agreement(others, seed=seed).value, by_labeler[worst].high
        if rest is None or high is None or high >= rest - margin:
            return found
        found.append(worst)
        remaining = others
