"""Evaluates the user's own rankings: how often others agree with them, for the report."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from understudy.evaluation.report import render
from understudy.evaluation.statistics import win_rate
from understudy.evaluation.your_labels import with_your_labels
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.results import results
from understudy.models.scalar import load_scalar, score_texts
from understudy.records import Prompt, Ranking, read_records
from understudy.training.run import write_atomic
from understudy.trust.agreement import Vote, votes_of_ranking, votes_of_rankings
from understudy.world.world import World

Scores = Mapping[str, float]
"""Text of a response -> somebody's score of it."""
SAME = 1e-9
"""Scores that differ by less count as equal."""


def check(call: StageCall) -> None:
    """your_labels.json: the block `your_labels` of results.json."""
    file = call.path("yours")  # empty if every prompt was skipped
    yours = read_records(file, Ranking) if file.stat().st_size else []
    others = read_records(call.path("rankings"), Ranking)
    user_of = {p.id: p.user_id for p in read_records(call.path("prompts"), Prompt)}
    votes = [vote for vote in votes_of_rankings(yours) if vote.value]
    judge = World(call.config["seed"]).judge
    gold = {
        one.prompt_id: {t: judge.score(one.prompt, t).total for t in one.responses} for one in yours
    }
    table = {
        "rankings": len(yours),
        "pairs": len(votes),
        "ties": sum(one.num_ties for one in yours),
        "agree_gold": rate(by_score(votes, gold), user_of, "the gold judge sees no difference"),
        "agree_training_labelers": rate(
            by_votes(votes, others),
            user_of,
            "no training labeler ranked the same responses without a tie",
        ),
        "agree_reward_model": rate(
            by_score(votes, scores_of(call, yours)), user_of, "all scores are equal"
        ),
    }
    (call.out / "your_labels.json").write_text(json.dumps(table, indent=1))


def scores_of(call: StageCall, rankings: Sequence[Ranking]) -> Mapping[str, Scores]:
    """Prompt id -> the reward model's scores of its responses."""
    if not rankings:
        return {}
    model, tokenizer = load_scalar(call.path("reward_model"))
    flat = [(one, text) for one in rankings for text in one.responses]
    values = score_texts(model, tokenizer, [one.prompt for one, _ in flat], [t for _, t in flat])
    found: dict[str, dict[str, float]] = {}
    for (one, text), value in zip(flat, values, strict=True):
        found.setdefault(one.prompt_id, {})[text] = value
    return found


Agreed = tuple[str, bool]
"""Prompt id, and whether somebody agrees with the user on two of its responses."""


def by_score(votes: Iterable[Vote], scores: Mapping[str, Scores]) -> Iterator[Agreed]:
    """Whether the user's choice has the higher score, for each pair with different scores."""
    for vote in votes:
        of = scores[vote.prompt_id]
        difference = of[vote.first] - of[vote.second]
        if abs(difference) > SAME:
            yield vote.prompt_id, (difference > 0) == (vote.value > 0)


def by_votes(votes: Iterable[Vote], others: Iterable[Ranking]) -> Iterator[Agreed]:
    """Whether a labeler chose as the user did, for each labeler who ranked the same two untied."""
    mine = {vote.unit: vote.value for vote in votes}
    for ranking in others:
        for vote in votes_of_ranking(ranking):
            if vote.value and vote.unit in mine:
                yield vote.prompt_id, vote.value == mine[vote.unit]


def rate(agreed: Iterable[Agreed], user_of: Mapping[str, str], why_none: str) -> dict[str, Any]:
    """Share of `agreed`, with its interval clustered by prompt and user, and the counts."""
    rows = list(agreed)
    if not rows:
        unknown = {"rate": None, "low": None, "high": None, "n": 0, "num_prompts": 0}
        return {**unknown, "undefined": f"{why_none}, or you ranked only ties"}
    prompts = [prompt for prompt, _ in rows]
    users = [user_of[prompt] for prompt in prompts]
    interval = win_rate([float(same) for _, same in rows], prompts, users)
    return {**interval.to_json(), "num_prompts": len(set(prompts))}


def report(call: StageCall) -> None:
    """results.json and report.html, with the section on the user's rankings added."""
    table = results(call)
    yours = json.loads(call.path("your_labels").read_text())
    table = {**table, "your_labels": yours}
    (call.out / "results.json").write_text(json.dumps(table, indent=1))
    write_atomic(call.out / "report.html", with_your_labels(render(table), yours))
