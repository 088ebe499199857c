"""Stages that judge responses: best-of-n and the gate, head-to-head, ratings, flags, gold
scores."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from understudy.evaluation.bestofn import SIZES, best_of_n_curve, gate, pick_best
from understudy.evaluation.compare import (
    by_prompt,
    first_shown_rate,
    gold_comparer,
    head_to_head,
    judge_responses,
    likert_by_model,
    rate_responses,
    score_by_model,
    win_rate_table,
)
from understudy.evaluation.flags import flag_rates, judged, observations_of, rude_rates
from understudy.evaluation.statistics import mean_interval
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.labels import accepted_labelers
from understudy.loop.stages.project import put_labels, store_of
from understudy.records import (
    Comparison,
    Prompt,
    Rating,
    Response,
    iter_records,
    read_records,
    write_records,
)
from understudy.store import tables
from understudy.training.run import read_lines
from understudy.world.judge import GoldJudge
from understudy.world.language import RUDE_WORDS
from understudy.world.world import World

BASELINE = "sft"
COLD = "sft_greedy"
"""The baseline decoded greedily, among sampled responses."""


def best_of(call: StageCall) -> None:
    """best_of.json: gold against n with the KL bound, and the gate; picked.jsonl: best-of-n."""
    world = World(call.config["seed"])
    responses = [r for path in call.paths("responses") for r in read_records(path, Response)]
    scores = {
        k: v for path in call.paths("scores") for k, v in json.loads(path.read_text()).items()
    }
    users = {p.id: p.user_id for p in read_records(call.path("prompts"), Prompt)}
    grouped = by_prompt(responses)
    prompts = list(grouped)
    gold_PN = np.array(
        [[world.judge.score(r.prompt, r.response).total for r in grouped[p]] for p in prompts]
    )
    scores_PN = np.array([[scores[r.id] for r in grouped[p]] for p in prompts])
    clusters = {"prompts": prompts, "users": [users[p] for p in prompts]}
    largest = call.config["best_of"]
    sizes = [n for n in SIZES if n <= largest]
    passed = gate(scores_PN, gold_PN, **clusters, sizes=[n for n in (4, 16) if n <= largest])
    table = {
        "curve": best_of_n_curve(scores_PN, gold_PN, sizes, **clusters),
        "gate": passed.to_json(),
    }
    (call.out / "best_of.json").write_text(json.dumps(table, indent=1))
    values = [scores[r.id] for r in responses]
    write_records(call.out / "picked.jsonl", pick_best(responses, values, largest, "best_of_n"))
    if call.config["stop_at_gate"] and not passed.passed:
        raise ValueError(
            "the reward model did not pass the gate (best-of-4 and best-of-16 must beat one sample "
            "by the gold judge), so PPO would exploit its mistakes; see best_of.json"
        )


def judge(call: StageCall) -> None:
    """judged.json for one decoding mode: every model's win rates, Likert, flags and gold scores.

    Inputs prompts (users' new test prompts), closed, rude, labelers, and responses: one file per
    model. Optional: seen and unclear, test prompts that are not new or have no task; cold, the
    baseline's greedy responses, as one more model and as another baseline.
    """
    world = World(call.config["seed"])
    test, closed, rude = (read_records(call.path(n), Prompt) for n in ("prompts", "closed", "rude"))
    responses = responses_by_model(call.paths("answers"))
    people = judges(world, call.path("labelers"))
    cold = {
        COLD: [
            replace(r, model=COLD) for p in call.paths("cold") for r in read_records(p, Response)
        ]
    }
    compared = {**responses, **cold} if cold[COLD] else responses
    comparisons = compare(call, compared, test, people)
    every = [r for rows in on(test, responses).values() for r in rows]
    ratings = rate_responses(test, every, people["held_out"], seed=call.config["seed"])
    keep_ratings(call, every, ratings)
    table: dict[str, Any] = {
        "win_rates": {group: win_rate_table(c, test) for group, c in comparisons.items()},
        "first_shown": first_shown_rate(comparisons["held_out"]).to_json(),
        "likert": _json(likert_by_model(ratings, every, test), "mean"),
        "flags_by_labelers": _nested(flag_rates(observations_of(ratings, every), test)),
        **gold_table(world, responses, test, closed, rude),
    }
    others = {name: (responses, _prompts(call, name), BASELINE) for name in ("seen", "unclear")}
    others["against_cold"] = (compared, test if cold[COLD] else [], COLD)
    for name, (models, prompts, baseline) in others.items():
        if prompts:
            found = compare(call, models, prompts, people, baseline)
            rates = {group: win_rate_table(c, prompts, baseline) for group, c in found.items()}
            table[name] = {"num_prompts": len(prompts), "win_rates": rates}
    (call.out / "judged.json").write_text(json.dumps(table, indent=1))
    for group, rows in comparisons.items():
        write_records(call.out / f"comparisons_{group}.jsonl", rows)
    write_records(call.out / "ratings.jsonl", ratings)


def judges(world: World, labelers: Path) -> dict[str, Sequence[Any]]:
    """All judges: held-out labelers, training labelers, the gold judge."""
    return {
        "held_out": world.labelers("held_out"),
        "training": accepted_labelers(world, labelers),
        "gold": [gold_comparer(world.judge)],
    }


def compare(
    call: StageCall,
    responses: Mapping[str, Sequence[Response]],
    prompts: Sequence[Prompt],
    people: Mapping[str, Sequence],
    baseline: str = BASELINE,
) -> dict[str, list[Comparison]]:
    """Every model against the baseline, each on the prompts that it responded to, by judge."""
    models = on(prompts, responses)
    others = models.pop(baseline)
    comparisons: dict[str, list[Comparison]] = {group: [] for group in people}
    for done, (name, rows) in enumerate(sorted(models.items())):
        call.progress(done, len(models), name)
        ids = {r.prompt_id for r in rows}
        judged = head_to_head(
            [p for p in prompts if p.id in ids],
            {name: rows},
            [r for r in others if r.prompt_id in ids],
            people,
            seed=call.config["seed"],
            labels_per_comparison=call.config.get("labels_per_comparison", 1),
        )
        for group, found in judged.items():
            comparisons[group] += found
    return comparisons


def on(
    prompts: Sequence[Prompt], responses: Mapping[str, Sequence[Response]]
) -> dict[str, list[Response]]:
    """Each model's responses to these prompts; models without any are left out."""
    ids = {p.id for p in prompts}
    found = {name: [r for r in rows if r.prompt_id in ids] for name, rows in responses.items()}
    return {name: rows for name, rows in found.items() if rows}


def keep_ratings(call: StageCall, responses: Sequence[Response], ratings: Sequence[Rating]) -> None:
    """Replace this decoding's (greedy or sampled) responses and ratings in the store."""
    greedy = {response.temperature == 0 for response in responses} == {True}
    temperature = tables.responses.c.temperature
    mine = (tables.prompts.c.split == "test") & (temperature == 0 if greedy else temperature > 0)
    put_labels(store_of(call), "rating", ratings, about=responses, where=mine)


def gold_table(
    world: World,
    responses: Mapping[str, Sequence[Response]],
    test: Sequence[Prompt],
    closed: Sequence[Prompt],
    rude: Sequence[Prompt],
) -> dict[str, Any]:
    """Gold scores on the users' prompts; true flags on them and on the closed ones; rude words."""
    prompts = [*test, *closed]
    rows = [r for members in responses.values() for r in members]
    ids = {name: {p.id for p in members} for name, members in (("test", test), ("all", prompts))}
    judgments = judge_responses(
        prompts, [r for r in rows if r.prompt_id in ids["all"]], world.judge
    )
    scores = {r.id: judgments[r.id].total for r in rows if r.prompt_id in ids["test"]}
    flags = _nested(flag_rates(judged(judgments, rows), prompts))
    for suffix, members in (
        ("plain", [p for p in rude if not p.id.endswith("+prefix")]),
        ("respectful_prefix", [p for p in rude if p.id.endswith("+prefix")]),
    ):
        asked = {p.id for p in members}
        found = rude_rates([r for r in rows if r.prompt_id in asked], RUDE_WORDS, members)
        for model, interval in found.items():
            flags.setdefault(model, {})[f"rude_{suffix}"] = interval.to_json()
    return {"gold": _json(score_by_model(scores, rows, test), "mean"), "flags": flags}


def _prompts(call: StageCall, name: str) -> list[Prompt]:
    """The prompts of an optional input, which may be empty."""
    return [p for path in call.paths(name) for p in iter_records(path, Prompt)]


def responses_by_model(paths: Sequence[Path]) -> dict[str, list[Response]]:
    """The responses of these files by model."""
    responses: dict[str, list[Response]] = {}
    for path in paths:
        for response in read_records(path, Response):
            responses.setdefault(response.model, []).append(response)
    return responses


def _json(intervals: Mapping[str, Any], name: str = "rate") -> dict[str, Any]:
    return {model: interval.to_json(name) for model, interval in intervals.items()}


def _nested(table: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {model: _json(flags) for model, flags in table.items()}


def training_curve(
    judge: GoldJudge, prompts: Sequence[Prompt], samples: Path
) -> list[dict[str, Any]]:
    """Score, KL and gold of the held-out responses during training: the over-optimisation curve."""
    by_id = {prompt.id: prompt for prompt in prompts}
    by_step: dict[int, list[dict[str, Any]]] = {}
    for row in read_lines(samples):
        by_step.setdefault(row["step"], []).append(row)
    points = []
    for step, rows in sorted(by_step.items()):
        asked = [by_id[row["prompt_id"]] for row in rows]
        gold = [
            judge.score(prompt.prompt, row["response"]).total
            for prompt, row in zip(asked, rows, strict=True)
        ]
        users = [prompt.user_id for prompt in asked]
        points.append(
            {
                "iteration": step,
                "score": sum(row["score"] for row in rows) / len(rows),
                "kl": sum(row["kl"] for row in rows) / len(rows),
                "gold": mean_interval(gold, None, users).to_json("mean"),
            }
        )
    return points
