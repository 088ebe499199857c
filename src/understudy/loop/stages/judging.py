"""Stages that judge answers: best-of-n and the gate, head-to-head, ratings, flags, gold scores."""

import json
from collections.abc import Mapping, Sequence
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
    win_rates,
)
from understudy.evaluation.flags import flag_rates, judged, observations_of, rude_rates
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.labels import accepted_labelers
from understudy.loop.stages.project import put_labels, store_of
from understudy.records import Prompt, Rating, Response, read_records, write_records
from understudy.store import tables
from understudy.world.language import RUDE_WORDS
from understudy.world.world import World

BASELINE = "sft"


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
            "by the gold judge), so PPO would learn its mistakes; see best_of.json"
        )


def judge(call: StageCall) -> None:
    """judged.json for one way of decoding: win rates, Likert, flags and gold of every model.

    Inputs prompts (users' test prompts), closed, rude, labelers, and answers: one file per model.
    """
    config = call.config
    world = World(config["seed"])
    test = read_records(call.path("prompts"), Prompt)
    closed = read_records(call.path("closed"), Prompt)
    rude = read_records(call.path("rude"), Prompt)
    answers = _answers(call.paths("answers"))
    ids = {p.id for p in test}
    on_test = {name: [r for r in rows if r.prompt_id in ids] for name, rows in answers.items()}
    people: dict[str, Sequence[Any]] = {
        "held_out": world.labelers("held_out"),
        "training": accepted_labelers(world, call.path("labelers")),
        "gold": [gold_comparer(world.judge)],
    }
    baseline = on_test.pop(BASELINE)
    comparisons: dict[str, list] = {group: [] for group in people}
    for done, (name, rows) in enumerate(sorted(on_test.items())):
        call.progress(done, len(on_test) + 2, name)
        for group, found in compare_with(name, rows, baseline, test, people, config).items():
            comparisons[group] += found
    every = [r for rows in (*on_test.values(), baseline) for r in rows]
    ratings = rate_responses(test, every, people["held_out"], seed=config["seed"])
    keep_ratings(call, every, ratings)
    call.progress(len(on_test) + 1, len(on_test) + 2, "gold")
    table: dict[str, Any] = {
        "win_rates": {g: _json(win_rates(c, test)) for g, c in comparisons.items()},
        "first_shown": first_shown_rate(comparisons["held_out"]).to_json(),
        "likert": _json(likert_by_model(ratings, every, test), "mean"),
        "flags_by_labelers": _nested(flag_rates(observations_of(ratings, every), test)),
        **gold_table(world, answers, test, closed, rude),
    }
    (call.out / "judged.json").write_text(json.dumps(table, indent=1))
    for group, found in comparisons.items():
        write_records(call.out / f"comparisons_{group}.jsonl", found)
    write_records(call.out / "ratings.jsonl", ratings)


def keep_ratings(call: StageCall, answers: Sequence[Response], ratings: Sequence[Rating]) -> None:
    """Answers and ratings into the store: those of this way of decoding, greedy or sampled."""
    greedy = {answer.temperature == 0 for answer in answers} == {True}
    temperature = tables.responses.c.temperature
    mine = (tables.prompts.c.split == "test") & (temperature == 0 if greedy else temperature > 0)
    put_labels(store_of(call), "rating", ratings, answers=answers, where=mine)


def compare_with(
    name: str,
    rows: Sequence[Response],
    baseline: Sequence[Response],
    test: Sequence[Prompt],
    people: Mapping[str, Sequence],
    config: Mapping[str, Any],
) -> dict[str, list]:
    """One model against the baseline, on the prompts that it has answered."""
    ids = {r.prompt_id for r in rows}
    prompts = [p for p in test if p.id in ids]
    return head_to_head(
        prompts,
        {name: rows},
        [r for r in baseline if r.prompt_id in ids],
        people,
        seed=config["seed"],
        labels_per_comparison=config["labels_per_comparison"],
    )


def gold_table(
    world: World,
    answers: Mapping[str, Sequence[Response]],
    test: Sequence[Prompt],
    closed: Sequence[Prompt],
    rude: Sequence[Prompt],
) -> dict[str, Any]:
    """Gold scores on the users' prompts; true flags on them and on the closed ones; rude words."""
    prompts = [*test, *closed]
    rows = [r for members in answers.values() for r in members]
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


def _answers(paths: Sequence[Path]) -> dict[str, list[Response]]:
    answers: dict[str, list[Response]] = {}
    for path in paths:
        for response in read_records(path, Response):
            answers.setdefault(response.model, []).append(response)
    return answers


def _json(intervals: Mapping[str, Any], name: str = "rate") -> dict[str, Any]:
    return {model: interval.to_json(name) for model, interval in intervals.items()}


def _nested(table: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {model: _json(flags) for model, flags in table.items()}
