"""The last stages of `understudy real`: both reward models compare, and the report states which
claims hold and what so small a model cannot show."""

import json
from collections.abc import Mapping
from typing import Any

from understudy.evaluation.config import EvaluateConfig
from understudy.evaluation.report import curve_of, write_report
from understudy.evaluation.run import evaluate
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.results import times
from understudy.records import Response, read_records, write_records
from understudy.training.origin import code_version
from understudy.training.run import read_lines

MODELS = ("base", "sft", "ppo_ptx")


def compare(call: StageCall) -> None:
    """Compare the responses with SFT's, by the reward model's scores and by the second one's."""
    paths = call.paths("responses")
    responses = [r for path in paths for r in read_records(path, Response)]
    together = write_records(call.out / "responses.jsonl", responses)
    evaluate(
        EvaluateConfig(
            # Only the models' names matter, since their responses are given.
            models=tuple(f"{name}={name}" for name in call.config.get("models", MODELS)),
            prompts=call.path("prompts"),
            out=call.out / "run",
            responses=together,
            reward_model=call.path("reward_model"),
            second_reward_model=call.path("second_reward_model"),
            greedy=False,
            seed=call.config["seed"],
            overwrite=True,
        )
    )


def report(call: StageCall) -> None:
    """results.json and report.html, with the demo's sections where they apply."""
    found = {name: _read(call, name) for name in ("results", "reward", "second_reward", "counts")}
    taxes = {name: _read(call, f"tax_{name}") for name in MODELS}
    first, second = (found[name]["training_labelers"] for name in ("reward", "second_reward"))
    curve = [row for row in curve_of(read_lines(call.path("ppo"))) if row["kl"] is not None]
    table = {
        **found["results"],
        "title": "A real model and people's rankings",
        "users": "unseen",
        "reward_model": {
            "accuracy": first["accuracy"],
            "accuracy_second": second["accuracy"],
            "length_only": first["accuracy_length_only"],
            "above_length": first["above_length"],
            "chance": 0.5,
        },
        "benchmarks": {name: tax["benchmarks"] for name, tax in taxes.items()},
        "pretraining_loss": {name: tax["pretraining_loss"] for name, tax in taxes.items()},
        "ppo_curve": {"ppo_ptx": curve},
        "data": found["counts"],
        "settings": call.config["settings"],
        "stages": call.config["stages"],
        "caveats": caveats(found["results"], first, second, curve),
        **times(call.root, call.config["rows"]),
        "seed": call.config["seed"],
        "code_version": code_version(),
    }
    (call.out / "results.json").write_text(json.dumps(table, indent=1))
    write_report(table, call.out / "report.html")


def caveats(
    results: Mapping[str, Any],
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    curve: list[dict[str, Any]],
) -> list[str]:
    """Caveats for the reader, including what the figures do not show."""
    notes = [
        "Nobody has read these responses: both judges are reward models of a few hundred pairs. "
        "PPO was asked to raise the score; a higher score does not prove that people would agree.",
        "One seed. A model of 135 million parameters knows little: it cannot show whether "
        "responses become truthful or follow instructions of several steps.",
        "The pairs are of one kind, short conversations in which an assistant should be harmless, "
        "so the policy may learn to decline; helpfulness is not measured.",
    ]
    for name, of in (("reward model", first), ("second reward model", second)):
        if of["above_length"]["low"] <= 0:
            notes.append(f"The {name} is not distinguishable from the length rule.")
        if of["accuracy"]["low"] <= 0.5:
            notes.append(f"The {name} is not distinguishable from chance.")
    if curve:
        notes.append(f"PPO-ptx ends at a KL of {curve[-1]['kl']:.2f} nats per response from SFT.")
    judged = (results.get("win_rates_vs_sft_second_reward_model") or {}).get("ppo_ptx")
    if judged and judged["low"] is not None and judged["low"] <= 0.5:
        notes.append("The second reward model does not score PPO-ptx's responses above SFT's.")
    of = {m: row.get("words_if_ended") for m, row in (results.get("answers") or {}).items()}
    ours, theirs = of.get("ppo_ptx"), of.get("sft")
    if ours and theirs and ours["mean"] < theirs["low"]:
        notes.append(
            f"PPO-ptx's responses that end by themselves have {ours['mean']:.0f} words, SFT's "
            f"{theirs['mean']:.0f}: that may be part of its score."
        )
    return notes


def _read(call: StageCall, name: str) -> dict[str, Any]:
    return dict(json.loads(call.path(name).read_text(encoding="utf-8")))
