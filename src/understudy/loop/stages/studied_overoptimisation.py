"""Stages of the study of over-optimisation."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.evaluation.compare import by_prompt, win_rate_table
from understudy.evaluation.overoptimisation import agreement, best_of_n_gains, curve, spread
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.judging import compare, judges, responses_by_model, training_curve
from understudy.loop.stages.study_report import write_study
from understudy.models.scalar import load_scalar, score_texts
from understudy.records import Prompt, Ranking, Response, read_records, write_records
from understudy.training.run import read_lines
from understudy.world.world import World

Array = NDArray[np.float64]


def halves(call: StageCall) -> None:
    """a.jsonl, judge.jsonl: rankings by either half of the labelers, at most `number` in each;
    a-NUMBER.jsonl: the first NUMBER of a's."""
    rankings = read_records(call.path("rankings"), Ranking)
    labelers = sorted({ranking.labeler_id for ranking in rankings})
    for name, team in (("a", labelers[::2]), ("judge", labelers[1::2])):
        ours = [ranking for ranking in rankings if ranking.labeler_id in team]
        number = min(call.config["number"], len(ours))
        chosen = random.Random(f"study/{call.config['seed']}/{name}").sample(ours, number)
        write_records(call.out / f"{name}.jsonl", chosen)
        if name == "a":
            for fewer in call.config["fewer"]:
                write_records(call.out / f"a-{fewer}.jsonl", chosen[:fewer])


def score(call: StageCall) -> None:
    """scores.json: a reward model's score by response id; identical responses are scored once."""
    model, tokenizer = load_scalar(call.path("reward_model"))
    responses = read_records(call.path("responses"), Response)
    first = {(r.prompt_id, r.response): r for r in reversed(responses)}
    asked = list(first.values())
    values = score_texts(model, tokenizer, [r.prompt for r in asked], [r.response for r in asked])
    found = dict(zip(first, values, strict=True))
    scores = {r.id: found[r.prompt_id, r.response] for r in responses}
    (call.out / "scores.json").write_text(json.dumps(scores))


def report(call: StageCall) -> None:
    """results.json and report.html: win rates of the saved policies, the curves of training, and
    how far each reward model could be optimised."""
    config, world = call.config, World(call.config["seed"])
    arms: Mapping[str, str] = config["arms"]
    prompts = read_records(call.path("prompts"), Prompt)
    people = judges(world, call.path("labelers"))
    comparisons = compare(call, responses_by_model(call.paths("answers")), prompts, people)
    tables = {group: win_rate_table(rows, prompts) for group, rows in comparisons.items()}
    held_out = read_records(call.path("eval_prompts"), Prompt)
    curves = {
        label: training_curve(world.judge, held_out, call.path(f"samples_{name}"))
        for name, label in arms.items()
    }
    panels = {
        title: {label: tables[group][f"far-{name}"] for name, label in arms.items()}
        for title, group in (("Gold judge", "gold"), ("Held-out labelers", "held_out"))
    }
    study = {
        "name": "overoptimisation",
        "panels": panels,
        "ends": ends(curves, {arms[n]: call.path(f"results_{n}") for n in arms}),
        "gains": gains(call, world, held_out),
    }
    results = {
        "title": "What keeps RL from exploiting its reward model?",
        "lead": "PPO without a KL penalty against a reward model of few labels, with and without a "
        "remedy: win rates of the saved policy against SFT. Then how far reward models of several "
        "sizes and numbers of labels can be optimised, by PPO and by best-of-n.",
        "bars": "Bars are 95% intervals over prompts and users.",
        "study": study,
        "ppo_curve": curves,
        "caveats": [
            "No KL penalty, a high learning rate and few labels are what a team would avoid; they "
            "make the fault large enough to see in minutes.",
            "The KL of best-of-n is its bound, log n - (n - 1) / n: responses of this world often "
            "repeat, so best-of-n moves less far than drawn.",
            "PPO optimised the reward models of one size and of the smallest only.",
        ],
    }
    write_study(call, results)


def ends(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], results: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    """Where each run ended and whose weights it saved, by column and run. The share of the best
    gain is that of the highest mean gold score at any evaluation of any run, over the start's."""
    best = max(point["gold"]["mean"] for points in curves.values() for point in points)
    found: dict[str, dict[str, Any]] = {}
    for name, points in curves.items():
        saved = points[-1]
        done = json.loads(results[name].read_text())
        if (chosen := done.get("judge_best_iteration")) is not None:
            (saved,) = (point for point in points if point["iteration"] == chosen)
        start, gold = points[0]["gold"]["mean"], saved["gold"]
        row = {
            "Last iteration": _alone(done["iterations"]),
            "Saved iteration": _alone(saved["iteration"]),
            "KL there, nats": _alone(saved["kl"]),
            "Gold score there": gold,
            "Share of the best gain": _alone((gold["mean"] - start) / (best - start)),
        }
        for column, value in row.items():
            found.setdefault(column, {})[name] = value
    return found


def _alone(value: float) -> dict[str, Any]:
    """A point without an interval."""
    return {"mean": value, "low": None, "high": None}


@dataclass(frozen=True, slots=True)
class Start:
    """The responses before optimisation: P prompts with N responses each."""

    prompts: Sequence[Prompt]
    responses: Sequence[Sequence[Response]]
    gold_PN: Array


def gains(call: StageCall, world: World, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """The curves of Gao et al., by panel and reward model, with their fits."""
    rewards: Sequence[Mapping[str, Any]] = call.config["rewards"]
    seed = call.config["seed"]
    start = start_of(world, prompts, read_records(call.path("start"), Response))
    num_samples, users = start.gold_PN.shape[1], [prompt.user_id for prompt in start.prompts]
    sizes = [2**i for i in range(num_samples.bit_length()) if 2**i <= num_samples]
    panels: dict[str, dict[str, Any]] = {}
    for done, reward in enumerate(rewards):
        call.progress(done, len(rewards), "fits")
        scores = json.loads(call.path(f"scores_{reward['stage']}").read_text())
        scores_PN = np.array([[scores[r.id] for r in rows] for rows in start.responses])
        known = {"size": reward["size"], "rankings": reward["rankings"]}
        known["agreement"] = agreement(scores_PN, start.gold_PN, users).to_json()
        kl_PS, found = best_of_n_gains(scores_PN, start.gold_PN, sizes)
        label = f"{reward['rankings']:,} rankings"
        panel = panels.setdefault(f"Best-of-n, reward model of {reward['size']}", {})
        panel[label] = known | curve(kl_PS, found, "best_of_n", users, seed)
        for samples in call.paths(f"ppo_{reward['stage']}"):
            panel = panels.setdefault("PPO", {})
            panel[f"{reward['size']}, {label}"] = known | ppo_curve(
                world, read_lines(samples), start, scores_PN, seed
            )
    return panels


def start_of(world: World, prompts: Sequence[Prompt], responses: Sequence[Response]) -> Start:
    """The responses, grouped by prompt and judged."""
    grouped = by_prompt(responses)
    gold = [[world.judge.score(r.prompt, r.response).total for r in g] for g in grouped.values()]
    by_id = {prompt.id: prompt for prompt in prompts}
    return Start([by_id[one] for one in grouped], list(grouped.values()), np.array(gold))


def ppo_curve(
    world: World, rows: Sequence[Mapping[str, Any]], start: Start, scores_PN: Array, seed: int
) -> dict[str, Any]:
    """The curve of a run of PPO, on the prompts that have responses in `start`."""
    asked = {row["prompt_id"] for row in rows}
    known_P = np.array([prompt.id in asked for prompt in start.prompts])
    prompts = [prompt for prompt, known in zip(start.prompts, known_P, strict=True) if known]
    place = {prompt.id: index for index, prompt in enumerate(prompts)}
    steps = {step: index for index, step in enumerate(sorted({row["step"] for row in rows}))}
    kl_PS, proxy_PS, gold_PS = np.full((3, len(prompts), len(steps)), np.nan)
    for row in rows:
        if row["prompt_id"] in place:
            at = place[row["prompt_id"]], steps[row["step"]]
            kl_PS[at], proxy_PS[at] = row["kl"], row["raw_score"]
            gold_PS[at] = world.judge.score(prompts[at[0]].prompt, row["response"]).total
    found = {
        name: (now_PS - before_PN.mean(axis=1, keepdims=True)) / spread(before_PN)
        for name, now_PS, before_PN in (
            ("proxy", proxy_PS, scores_PN[known_P]),
            ("gold", gold_PS, start.gold_PN[known_P]),
        )
    }
    return curve(kl_PS, found, "rl", [prompt.user_id for prompt in prompts], seed)
