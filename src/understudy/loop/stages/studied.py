"""Stages of the studies of labels per comparison and of over-optimisation."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from understudy.labeling.collect import collect_rankings
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.checks import gold_accuracy, pairs_of
from understudy.loop.stages.labels import accepted_labelers
from understudy.loop.stages.study_report import write_study
from understudy.records import Prompt, Ranking, Response, read_records, write_records
from understudy.trust.agreement import votes_of_rankings
from understudy.trust.reliability import consensus
from understudy.world.world import World

CAVEATS = (
    "The tiny world's labelers differ in taste and make mistakes at random; people's mistakes may "
    "be shared, which more labels per prompt would not remove.",
    "What follows from a reward model is measured by best-of-n, not by RL.",
)
LEAST_WEIGHT = 1e-4
"""Least weight of a ranking, since weights are above zero."""


def rank(call: StageCall) -> None:
    """rankings.jsonl of one design, with as many labels as there are prompts; weights.json."""
    config, world = call.config, World(call.config["seed"])
    team = accepted_labelers(world, call.path("labelers"))
    responses = [r for path in call.paths("responses") for r in read_records(path, Response)]
    prompts = read_records(call.path("prompts"), Prompt)
    seed, labels = config["seed"], config["labels"]
    if config["design"] == "once":
        rankings = collect_rankings(team, prompts, responses, 0.0, seed)
    else:
        few = random.Random(f"study/{seed}").sample(prompts, len(prompts) // labels)
        rankings = collect_rankings(team, few, responses, 1.0, seed, labels_per_overlap=labels)
    weights = {}
    if config["design"] == "weighted":
        weights = dict(consensus(votes_of_rankings(rankings)).weights())
    if config["design"] == "posterior":
        rankings, weights = soft_pairs(rankings)
    if config["design"] == "majority":
        rankings = [mean_ranking(rows) for rows in by_prompt_id(rankings).values()]
    write_records(call.out / "rankings.jsonl", rankings)
    (call.out / "weights.json").write_text(json.dumps(weights))


def soft_pairs(rankings: Sequence[Ranking]) -> tuple[list[Ranking], dict[str, float]]:
    """Each pair of responses as two rankings, one each way round, and the weights of these.

    A ranking's weight is the probability that its order is the truth (Dawid and Skene; a tie counts
    half each way), so that the loss of the two is the cross-entropy with this target. All pairs of
    a prompt together weigh as much as one ranking. The trainer looks weights up by labeler, so the
    weight, as text, takes the place of the labeler's id.
    """
    truth = consensus(votes_of_rankings(rankings)).truth
    found: list[Ranking] = []
    weights: dict[str, float] = {}
    for prompt_id, rows in by_prompt_id(rankings).items():
        pairs = list(combinations(sorted(set(rows[0].responses)), 2))
        for place, (first, second) in enumerate(pairs):
            worse, tie, better = truth[prompt_id, first, second]
            for one, other, share in ((first, second, better), (second, first, worse)):
                label = f"{max((share + tie / 2) / len(pairs), LEAST_WEIGHT):.4f}"
                weights[label] = float(label)
                found.append(
                    replace(
                        rows[0],
                        id=f"pair-{prompt_id}-{place}-{int(one == second)}",
                        responses=(one, other),
                        tiers=((0,), (1,)),
                        labeler_id=label,
                    )
                )
    return found, weights


def by_prompt_id(rankings: Sequence[Ranking]) -> dict[str, list[Ranking]]:
    """The rankings of each prompt."""
    found: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        found.setdefault(ranking.prompt_id, []).append(ranking)
    return found


def mean_ranking(rankings: Sequence[Ranking]) -> Ranking:
    """One ranking of the responses by their mean rank; equal means are tied.

    A tier's rank is the mean of the places that it takes, so that ties do not change the sum.
    """
    first = rankings[0]
    total = dict.fromkeys(first.responses, 0.0)
    for ranking in rankings:
        place = 0
        for tier in ranking.tiers:
            for index in tier:
                total[ranking.responses[index]] += place + (len(tier) - 1) / 2
            place += len(tier)
    levels = sorted(set(total.values()))
    tiers = [[i for i, r in enumerate(first.responses) if total[r] == level] for level in levels]
    return Ranking(
        id=f"mean-{first.prompt_id}",
        prompt_id=first.prompt_id,
        prompt=first.prompt,
        responses=first.responses,
        tiers=tuple(map(tuple, tiers)),
        labeler_id="mean",
        split=first.split,
    )


def accuracy(call: StageCall) -> None:
    """accuracy.json: the reward model's accuracy by the gold judge and by both labeler pools."""
    trained = json.loads(call.path("results").read_text())
    table = {
        "gold": gold_accuracy(call, World(call.config["seed"]), pairs_of(call)),
        "held_out": trained["held_out_labelers"]["accuracy"],
        "training": trained["training_labelers"]["accuracy"],
    }
    (call.out / "accuracy.json").write_text(json.dumps(table, indent=1))


def labelers(call: StageCall) -> None:
    """results.json and report.html."""
    designs: Mapping[str, str] = call.config["designs"]
    accuracies = {d: json.loads(call.path(f"accuracy_{d}").read_text()) for d in designs}
    curves = {d: json.loads(call.path(f"best_of_{d}").read_text())["curve"] for d in designs}
    largest = str(call.config["best_of"])
    panels: dict[str, dict[str, Any]] = {
        "Gold's pairs": {designs[d]: accuracies[d]["gold"] for d in designs},
        "Held-out labelers'": {designs[d]: accuracies[d]["held_out"] for d in designs},
        f"Best of {largest} wins": {designs[d]: curves[d][largest]["win_rate"] for d in designs},
    }
    results = {
        "title": "One label each, or three?",
        "lead": "Reward models trained on the same number of labels, spread over prompts and "
        "combined in several ways: their accuracy on the gold judge's and on held-out labelers' "
        f"pairs, and how often the best of {largest} responses by their score beats one sample, by "
        "the gold judge.",
        "bars": "Bars are 95% intervals over prompts and users.",
        "study": {"name": "labelers", "panels": panels},
        "caveats": list(CAVEATS),
    }
    write_study(call, results)
