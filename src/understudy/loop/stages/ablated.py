"""The last stage of an ablation: its curves, each point a model judged like the demo's."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from understudy.evaluation.compare import likert_by_model, rate_responses, win_rate_table
from understudy.evaluation.statistics import mean_interval
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.judging import (
    compare,
    judges,
    responses_by_model,
    training_curve,
)
from understudy.loop.stages.study_report import write_study
from understudy.records import Prompt, read_records
from understudy.training.run import read_lines
from understudy.world.world import World

TITLES = {
    "beta": "Effect of the KL penalty",
    "ptx": "Effect of the pretraining mix",
    "lr": "Effect of RL's learning rate",
    "init": "Effect of the RL init",
    "epochs": "Effect of longer RL",
    "methods": "PPO beside other methods",
}
CAVEATS = (
    "Settings are multiples of the demo's; the paper's models are a thousand times as large.",
)


def report(call: StageCall) -> None:
    """results.json and report.html.

    Inputs: prompts, eval_prompts, labelers, answers (the responses of SFT and of each arm), and
    tax_STAGE for each arm. Optional: samples_STAGE, kl_STAGE and model_STAGE for each arm, and
    best_of, whose curve is drawn beside the arms'.
    """
    config, world = call.config, World(call.config["seed"])
    prompts = read_records(call.path("prompts"), Prompt)
    responses = responses_by_model(call.paths("answers"))
    people = judges(world, call.path("labelers"))
    comparisons = compare(call, responses, prompts, people)
    rates = {group: win_rate_table(found, prompts) for group, found in comparisons.items()}
    every = [r for rows in responses.values() for r in rows]
    ratings = rate_responses(prompts, every, people["held_out"], seed=config["seed"])
    likert = likert_by_model(ratings, every, prompts)
    users = {p.id: p.user_id for p in read_records(call.path("eval_prompts"), Prompt)}
    arms = []
    for arm in config["arms"]:
        stage = arm["stage"]
        arms.append(
            {
                **arm,
                "win_rate": rates["held_out"][stage],
                "win_rate_gold": rates["gold"][stage],
                "likert": likert[stage].to_json("mean"),
                **json.loads(call.path(f"tax_{stage}").read_text()),
            }
        )
        for path in call.paths(f"samples_{stage}"):
            arms[-1] |= at_the_end(read_lines(path), users)
        for path in call.paths(f"kl_{stage}"):
            arms[-1] |= json.loads(path.read_text())
        for path in call.paths(f"model_{stage}"):
            arms[-1] |= spent(path.parent)
    results = {
        "title": TITLES[config["name"]],
        "users": "unseen",
        "ablation": {"name": config["name"], "axis": config["axis"], "arms": arms},
        **against_kl(call, arms, world),
        "caveats": list(CAVEATS),
    }
    write_study(call, results)


def against_kl(call: StageCall, arms: Sequence[Mapping[str, Any]], world: World) -> dict[str, Any]:
    """The best-of-n curve, and the training curve of each series' best arm by the gold judge."""
    if not call.paths("best_of"):
        return {}
    prompts = read_records(call.path("eval_prompts"), Prompt)
    curves = {}
    for series in dict.fromkeys(arm["series"] for arm in arms):
        ours = [arm for arm in arms if arm["series"] == series]
        best = max(ours, key=lambda arm: float(arm["win_rate_gold"]["rate"]))
        for path in call.paths(f"samples_{best['stage']}"):
            curves[series] = training_curve(world.judge, prompts, path)
            if "samples" in best:
                curves[series] = by_samples(curves[series], best["samples"])
    best_of = json.loads(call.path("best_of").read_text())["curve"]
    return {"ppo_curve": curves, "best_of_n": best_of}


def by_samples(curve: Sequence[Mapping[str, Any]], samples: int) -> list[dict[str, Any]]:
    """The curve with `responses_sampled` until each iteration, when the run sampled so many."""
    last = max((point["iteration"] for point in curve), default=0) or 1
    return [{**p, "responses_sampled": samples * p["iteration"] / last} for p in curve]


def at_the_end(rows: Sequence[Mapping[str, Any]], users: Mapping[str, str]) -> dict[str, Any]:
    """Mean score and KL of the last held-out responses, with intervals; empty if there are none."""
    final = max((row["step"] for row in rows), default=0)
    last = [row for row in rows if row["step"] == final]
    by = [users[row["prompt_id"]] for row in last]
    return {
        key: mean_interval([row[key] for row in last], None, by).to_json("mean")
        for key in ("score", "kl")
        if last
    }


def spent(run: Path) -> dict[str, float]:
    """Cost of a training run: the responses sampled, and the seconds of all its steps, those before
    an interruption included. The seconds are the median step's times the number of steps, so that
    other work on the machine counts little."""
    steps, times = (read_lines(run / name) for name in ("metrics.jsonl", "timings.jsonl"))
    results = json.loads((run / "results.json").read_text())
    phases = [sum(row[name] for name in row if "/seconds_" in name) for row in times]
    seconds = median(phases) * len(phases) if any(phases) else 0.0
    if "episodes" in results:
        return {"samples": results["episodes"], "seconds": seconds}
    for rate in ("dpo/pairs_per_second", "kto/responses_per_second"):
        counted = rate.removesuffix("_per_second")
        rates = [row[rate] for row in times if rate in row]
        if rates:
            seconds += sum(row.get(counted, 0) for row in steps) / median(rates)
    return {"samples": 0, "seconds": seconds}
