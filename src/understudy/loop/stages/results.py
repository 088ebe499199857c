"""The last stage: results.json from all measurements, and the report from it."""

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.evaluation import side_by_side
from understudy.loop.plan import read_stamp
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.judging import training_curve
from understudy.records import Prompt, Response, read_records
from understudy.training.origin import code_version
from understudy.world.world import World

NUM_EXAMPLES = 10
KIND = {"family": "cpu family", "model": "model"}
"""Further keys of /proc/cpuinfo for a processor's kind."""
GROUPS = {
    "win_rates_vs_sft": "held_out",
    "win_rates_vs_sft_gold": "gold",
    "win_rates_vs_sft_training_labelers": "training",
}
"""Names in results.json of the win rates by each group of judges."""


def report(call: StageCall) -> None:
    """Write results.json and report.html."""
    from understudy.evaluation.report import write_report

    table = results(call)
    path = call.out / "results.json"
    path.write_text(json.dumps(table, indent=1))
    write_report(table, call.out / "report.html")


def results(call: StageCall) -> dict[str, Any]:
    """The content of results.json; docs/evaluation.md has its schema."""
    sampled, greedy = _read(call, "sampled"), _read(call, "greedy")
    best_of = _read(call, "best_of")
    taxes = {name.removeprefix("tax_"): _read(call, name) for name in _inputs(call, "tax_")}
    return {
        "users": "unseen",
        "temperature": 1.0,
        **by_group(sampled),
        "greedy": {
            **by_group(greedy),
            **{name: greedy[name] for name in ("flags", "gold", "likert")},
        },
        "against_greedy_sft": by_group(sampled["against_cold"]),
        "seen_requests": by_group(sampled.get("seen")),
        "unclear_requests": by_group(sampled.get("unclear")),
        "adversaries": by_group({"win_rates": _read(call, "adversaries")}),
        "reward_model": {
            **_read(call, "reward"),
            "accuracy_without_labels": _read(call, "without_labels"),
            "gate": best_of["gate"],
        },
        **{name: sampled[name] for name in ("flags", "flags_by_labelers", "gold", "likert")},
        "first_shown": sampled["first_shown"],
        "benchmarks": {model: tax["benchmarks"] for model, tax in taxes.items()},
        "pretraining_loss": {model: tax["pretraining_loss"] for model, tax in taxes.items()},
        "best_of_n": best_of["curve"],
        "ppo_curve": {name: curve(call, name) for name in ("ppo", "ppo_ptx")},
        "examples": examples(call),
        "data": data(call),
        "intake": _read(call, "intake"),
        "screening": _read(call, "screening"),
        "settings": call.config["settings"],
        "caveats": caveats(best_of["gate"], sampled),
        "stages": call.config["stages"],
        **times(call.root, call.config["rows"]),
        "processor": processor(),
        "seed": call.config["seed"],
        "code_version": code_version(),
    }


def by_group(judged: Mapping[str, Any] | None) -> dict[str, Any]:
    """One set's win rates under their names in results.json; empty if there are no comparisons."""
    if not judged:
        return {}
    return {name: judged["win_rates"][group] for name, group in GROUPS.items()}


def curve(call: StageCall, name: str) -> list[dict[str, Any]]:
    """The training curve of a PPO run."""
    judge = World(call.config["seed"]).judge
    prompts = read_records(call.path("curve_prompts"), Prompt)
    return training_curve(judge, prompts, call.path(f"samples_{name}"))


def data(call: StageCall) -> dict[str, int]:
    """Counts of the data."""
    intake, ranked = _read(call, "intake"), _read(call, "agreement")
    files = intake["files"]
    return {
        "prompts that users sent": intake["num_in"],
        "prompts after intake": intake["num_kept"],
        **{f"users in the {split} split": n["users"] for split, n in intake["splits"].items()},
        "prompts for demonstrations": files["demonstrate"],
        "rankings": ranked["num_rankings"],
        "ranked pairs, ties left out": ranked["num_pairs"],
        "prompts for PPO": files["ppo"],
        "test prompts, new to all training": files["test"],
        "test prompts that training has seen": files.get("seen", 0),
        "test prompts that ask for nothing the world knows": files.get("unclear", 0),
        "closed-domain test prompts": files["closed"],
    }


def examples(call: StageCall) -> list[dict[str, Any]]:
    """The test prompts that set the models apart most by the gold judge, with the responses."""
    judge = World(call.config["seed"]).judge
    prompts = read_records(call.path("prompts"), Prompt)
    paths = (*call.paths("answers"), call.path("picked"))
    responses = [response for path in paths for response in read_records(path, Response)]

    def gold(prompt: Prompt, response: Response) -> float:
        return judge.score(prompt.prompt, response.response).total

    gains = side_by_side.gains_by_score(prompts, responses, gold, "sft")
    return side_by_side.examples(prompts, responses, gains, NUM_EXAMPLES, by="gold", gold=gold)


def caveats(gate: Mapping[str, Any], sampled: Mapping[str, Any]) -> list[str]:
    """Caveats for the reader of the figures."""
    notes = [
        "The world, its users, labelers and judge are simulated; only the training is real.",
        "Training noise is not in the intervals: they cover other users and prompts only. Another "
        "seed, or another kind of processor, trains other models; benchmarks/seeds.py combines "
        "several runs.",
        "Much of what PPO gains at temperature 1 is sharper sampling. "
        + _told(sampled, "sft_greedy", "SFT decoded greedily")
        + _told(sampled.get("against_cold", {}), "ppo_ptx", "PPO-ptx at temperature 1", " greedy"),
        "The demonstrations share habits, such as a forgotten constraint; SFT learns them for "
        "good, so a prompted base model with less noise may beat it. "
        + _told(sampled, "prompted_07", "At temperature 0.7 it"),
        "The base models' web has more readers' comments on replies than real text would: they "
        "enable a reward model of this size to judge (docs/world.md). The section on the reward "
        "model shows what the base knows without labels.",
        "Users mostly ask for what a small model can check: one sentence, an ending, a tense.",
    ]
    if not gate["passed"]:
        notes.append(
            "The reward model did not pass the gate: choosing by its score did not give better "
            "responses by the gold judge, so PPO's results with it prove little."
        )
    null = sampled["win_rates"]["gold"].get("sft_null")
    if null and not null["low"] <= 0.5 <= null["high"]:
        notes.append("SFT against itself does not come out even: trust no interval in this run.")
    return [note.strip() for note in notes]


def _told(judged: Mapping[str, Any], model: str, who: str, style: str = "") -> str:
    """A sentence on how often a model is preferred to SFT, by both judges; "" if not measured."""
    rates = judged.get("win_rates", {})
    found = [rates.get(group, {}).get(model) for group in ("held_out", "gold")]
    if None in found:
        return ""
    labelers, gold = (f"{row['rate']:.0%} ({row['low']:.0%} to {row['high']:.0%})" for row in found)
    return f"{who} is preferred to{style} SFT {labelers} of the time by labelers, {gold} by gold. "


def processor() -> str:
    """The kind of processor, which affects the last digits of all figures: its name, and on Linux
    its family and model, because one name covers processors with and without AVX-512."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    rows = [[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]
    known = dict(reversed(rows))  # the first core's
    if "model name" not in known:
        return platform.processor() or platform.machine()
    kind = [f"{word} {known[key]}" for word, key in KIND.items() if key in known]
    return ", ".join([known["model name"], *kind])


def times(root: Path, rows: Mapping[str, str]) -> dict[str, Any]:
    """Minutes of work per step of the plan (shards together), and total wall-clock minutes."""
    spent: dict[str, float] = {}
    spans: list[tuple[float, float]] = []
    for stage, row in rows.items():
        stamp = read_stamp(root / stage)
        if stamp is not None:
            spent[row] = spent.get(row, 0.0) + stamp.seconds / 60
            spans.append((stamp.started, stamp.started + stamp.seconds))
    minutes = {name: round(value, 3) for name, value in spent.items()}
    return {"minutes": minutes, "wall_minutes": round(_union(spans) / 60, 3)}


def _union(spans: Sequence[tuple[float, float]]) -> float:
    """Seconds during which at least one span was open."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def _inputs(call: StageCall, prefix: str) -> list[str]:
    return [name for name in call.inputs if name.startswith(prefix)]


def _read(call: StageCall, name: str) -> dict[str, Any]:
    return dict(json.loads(call.path(name).read_text()))
