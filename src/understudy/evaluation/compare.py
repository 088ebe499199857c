"""Head-to-head: each model's responses against a baseline's, judged blind (s3.6).

    people = {"held_out": labelers, "gold": [gold_comparer(judge)]}
    judged = head_to_head(prompts, {"ppo": responses}, sft_responses, people, seed=1)
    win_rates(judged["gold"], prompts)["ppo"]     # Interval(rate, low, high, n)

The seed and the ids alone determine what a labeler sees: neither the order of the two responses nor
the choice of labelers depends on the order of the input. All models' responses to one prompt go to
the same labelers, so models are compared on equal terms."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from understudy.evaluation.statistics import (
    Interval,
    mean_interval,
    post_stratified,
    win_rate,
    win_rate_per_user,
)
from understudy.evaluation.strata import Strata
from understudy.records import (
    Comparison,
    Judge,
    Judgment,
    Labeler,
    LabelerInfo,
    Prompt,
    Rating,
    Response,
)
from understudy.records.convert import many
from understudy.records.schema import LabelRole

IDENTICAL = "identical"
"""The labeler id of a comparison of two equal texts, which tie without asking anyone."""


class Comparer(Protocol):
    """The part of a Labeler that head-to-head needs."""

    @property
    def info(self) -> LabelerInfo:
        """Who compares."""

    def compare(self, prompt: Prompt, first: Response, second: Response) -> Comparison:
        """Which of two responses is preferred."""


@dataclass(frozen=True, slots=True)
class ScoreComparer:
    """Prefers the response with the higher score; scores within `tie` of each other tie."""

    id: str
    """Its labeler id."""
    score: Callable[[Prompt, Response], float]
    """Score of one response."""
    tie: float = 1e-9
    """Largest difference in score that is a tie."""
    role: LabelRole = "model"
    """The role under which its comparisons count."""

    @property
    def info(self) -> LabelerInfo:
        """Who compares."""
        return LabelerInfo(id=self.id, role=self.role)

    def compare(self, prompt: Prompt, first: Response, second: Response) -> Comparison:
        """The comparison that the two scores imply."""
        difference = self.score(prompt, first) - self.score(prompt, second)
        preferred: Literal["first", "second", "tie"] = "first" if difference > 0 else "second"
        if abs(difference) <= self.tie:
            preferred = "tie"
        return comparison_of(prompt, first, second, preferred, self.info)


def gold_comparer(judge: Judge, id: str = "gold") -> ScoreComparer:
    """Makes a comparer of a judge that knows the truth, by its total score. It trains no model, so
    its role is researcher."""
    return ScoreComparer(
        id, lambda p, r: judge.score(p.prompt, r.response).total, role="researcher"
    )


def comparison_of(
    prompt: Prompt,
    first: Response,
    second: Response,
    preferred: Literal["first", "second", "tie"],
    info: LabelerInfo,
) -> Comparison:
    """The record of one judgement."""
    return Comparison(
        prompt_id=prompt.id,
        prompt=prompt.prompt,
        first=first.response,
        second=second.response,
        preferred=preferred,
        labeler_id=info.id,
        labeler_role=info.role,
        first_model=first.model,
        second_model=second.model,
        first_id=first.id,
        second_id=second.id,
    )


def head_to_head(
    prompts: Sequence[Prompt],
    responses: Mapping[str, Sequence[Response]],
    baseline: Sequence[Response],
    judges: Mapping[str, Sequence[Comparer]],
    *,
    seed: int,
    labels_per_comparison: int = 1,
) -> dict[str, list[Comparison]]:
    """Comparisons per judge group: each model's i-th response to a prompt with the baseline's i-th.

    Each comparison goes to `labels_per_comparison` labelers of each group (the paper: one), drawn
    without replacement, in shuffled order; in a smaller group, such as one judge, everybody
    compares. Equal texts tie without asking anyone.
    """
    baseline_of = by_prompt(baseline)
    comparisons: dict[str, list[Comparison]] = {group: [] for group in judges}
    for model, own in responses.items():
        own_of = by_prompt(own)
        for prompt in prompts:
            pairs = paired(model, prompt.id, own_of, baseline_of)
            for number, (response, other) in enumerate(pairs):
                key = f"{seed}/{prompt.id}/{number}"
                swap = random.Random(f"order/{key}/{model}").random() < 0.5
                first, second = (other, response) if swap else (response, other)
                for group, members in judges.items():
                    number_asked = min(labels_per_comparison, len(members))
                    asked = chosen(members, number_asked, f"{group}/{key}")
                    comparisons[group] += [_ask(one, prompt, first, second) for one in asked]
    return comparisons


def rate_responses(
    prompts: Sequence[Prompt],
    responses: Sequence[Response],
    labelers: Sequence[Labeler],
    *,
    seed: int,
    labels_per_response: int = 1,
) -> list[Rating]:
    """Likert and flags of each response by labelers drawn per prompt, the same for every model."""
    prompt_of = {prompt.id: prompt for prompt in prompts}
    ratings = []
    for response in responses:
        prompt = _known(prompt_of, response)
        asked = chosen(labelers, labels_per_response, f"rate/{seed}/{prompt.id}")
        ratings += [labeler.rate(prompt, response) for labeler in asked]
    return ratings


def judge_responses(
    prompts: Sequence[Prompt], responses: Sequence[Response], judge: Judge
) -> dict[str, Judgment]:
    """What the judge finds in each response, by response id."""
    prompt_of = {prompt.id: prompt for prompt in prompts}
    return {r.id: judge.score(_known(prompt_of, r).prompt, r.response) for r in responses}


def outcome(comparison: Comparison, baseline: str) -> tuple[str, float]:
    """(other model, its outcome: 1, 0.5 or 0) of a comparison with `baseline`."""
    first, second = comparison.first_model, comparison.second_model
    if first is None or second is None or (first == baseline) == (second == baseline):
        raise ValueError(
            f"comparison on prompt {comparison.prompt_id} is between {first} and {second}; exactly "
            f"one of them must be the baseline {baseline!r}, in first_model and second_model"
        )
    first_won = {"first": 1.0, "tie": 0.5, "second": 0.0}[comparison.preferred]
    return (second, 1 - first_won) if first == baseline else (first, first_won)


def win_rates(
    comparisons: Iterable[Comparison], prompts: Sequence[Prompt], baseline: str = "sft"
) -> dict[str, Interval]:
    """Win rate of each model against the baseline, ties half, clustered by prompt and user."""
    rows = _outcomes(comparisons, prompts, baseline)
    return {model: win_rate(won, asked, users) for model, (won, asked, users) in rows.items()}


def win_rate_table(
    comparisons: Iterable[Comparison],
    prompts: Sequence[Prompt],
    baseline: str = "sft",
    strata: Strata | None = None,
) -> dict[str, dict[str, Any]]:
    """As in results.json: `win_rates`, and beside each, under `per_user`, the mean per user; with
    `strata`, under `by_shares`, the mean at the users' shares."""
    table = {}
    for model, (won, asked, users) in _outcomes(comparisons, prompts, baseline).items():
        per_user = win_rate_per_user(won, users).to_json()
        table[model] = win_rate(won, asked, users).to_json() | {"per_user": per_user}
        if strata is not None:
            table[model] |= _by_shares(won, asked, users, strata)
    return table


def _by_shares(
    won: Sequence[float], asked: Sequence[str], users: Sequence[str], strata: Strata
) -> dict[str, Any]:
    """The win rate at the users' shares, under `by_shares`; empty if no prompt is in a stratum."""
    of = strata.stratum_of
    rows = [row for row in zip(won, asked, users, strict=True) if row[1] in of]
    if not rows:
        return {}
    won, asked, users = zip(*rows, strict=True)
    found = post_stratified(won, [of[prompt] for prompt in asked], strata.shares, asked, users)
    return {"by_shares": found.to_json()}


def _outcomes(
    comparisons: Iterable[Comparison], prompts: Sequence[Prompt], baseline: str
) -> dict[str, tuple[list[float], list[str], list[str]]]:
    """Model -> (outcomes, their prompts, their users)."""
    user_of = {prompt.id: prompt.user_id for prompt in prompts}
    rows: dict[str, tuple[list[float], list[str], list[str]]] = defaultdict(lambda: ([], [], []))
    for comparison in comparisons:
        model, won = outcome(comparison, baseline)
        outcomes, asked, users = rows[model]
        outcomes.append(won)
        asked.append(comparison.prompt_id)
        users.append(user_of.get(comparison.prompt_id, comparison.prompt_id))
    return rows


def first_shown_rate(comparisons: Sequence[Comparison]) -> Interval:
    """How often the response shown first wins, ties half: 0.5 without position bias."""
    won = {"first": 1.0, "tie": 0.5, "second": 0.0}
    return win_rate(
        [won[c.preferred] for c in comparisons],
        [comparison.prompt_id for comparison in comparisons],
    )


def likert_by_model(
    ratings: Iterable[Rating], responses: Iterable[Response], prompts: Sequence[Prompt]
) -> dict[str, Interval]:
    """Mean Likert score of each model over all labelers' ratings, clustered by prompt and user."""
    model_of = {response.id: response.model for response in responses}
    rows = [(model_of[r.response_id], r.prompt_id, float(r.likert)) for r in ratings]
    return means_by_model(rows, prompts)


def score_by_model(
    scores: Mapping[str, float], responses: Iterable[Response], prompts: Sequence[Prompt]
) -> dict[str, Interval]:
    """Mean of the scores (response id -> score) of each model, clustered by prompt and user."""
    rows = [(r.model, r.prompt_id, scores[r.id]) for r in responses if r.id in scores]
    return means_by_model(rows, prompts)


def means_by_model(
    rows: Iterable[tuple[str, str, float]],
    prompts: Sequence[Prompt],
    interval: Callable[..., Interval] = mean_interval,
) -> dict[str, Interval]:
    """Mean per model of rows (model, prompt id, value). For shares, pass `win_rate` as `interval`
    to keep the ends between 0 and 1."""
    user_of = {prompt.id: prompt.user_id for prompt in prompts}
    grouped: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for model, prompt, value in rows:
        grouped[model].append((prompt, value))
    return {
        model: interval(
            [value for _, value in row],
            [prompt for prompt, _ in row],
            [user_of.get(prompt, prompt) for prompt, _ in row],
        )
        for model, row in grouped.items()
    }


def by_prompt(responses: Iterable[Response]) -> dict[str, list[Response]]:
    """Responses grouped by prompt id, in their order."""
    grouped: dict[str, list[Response]] = defaultdict(list)
    for response in responses:
        grouped[response.prompt_id].append(response)
    return dict(grouped)


T = TypeVar("T")


def chosen(members: Sequence[T], number: int, key: str) -> list[T]:
    """`number` different members, determined by `key`; ValueError if there are fewer."""
    if number > len(members):
        raise ValueError(
            f"{many(len(members), 'labeler')} cannot give {number} labels for one comparison"
        )
    return random.Random(key).sample(members, number)


def paired(
    model: str,
    prompt_id: str,
    own_of: Mapping[str, list[Response]],
    baseline_of: Mapping[str, list[Response]],
) -> list[tuple[Response, Response]]:
    """A model's i-th response to a prompt with the baseline's i-th."""
    own, others = own_of.get(prompt_id, []), baseline_of.get(prompt_id, [])
    if len(own) != len(others) or not own:
        raise ValueError(
            f"prompt {prompt_id}: {model} has {len(own)} responses and the baseline "
            f"{len(others)}; sample the same number (at least 1) for both"
        )
    return list(zip(own, others, strict=True))


def _ask(one: Comparer, prompt: Prompt, first: Response, second: Response) -> Comparison:
    if first.response.strip() == second.response.strip():
        info = LabelerInfo(id=IDENTICAL, role=one.info.role)
        return comparison_of(prompt, first, second, "tie", info)
    return one.compare(prompt, first, second)


def _known(prompt_of: Mapping[str, Prompt], response: Response) -> Prompt:
    prompt = prompt_of.get(response.prompt_id)
    if prompt is None:
        raise ValueError(f"response {response.id} is to {response.prompt_id}, an unknown prompt")
    return prompt
