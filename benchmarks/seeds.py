"""Combine several demos: means over seeds, with intervals over seeds and prompts.

for seed in 0 1 2 3 4; do .venv/bin/understudy demo --seed $seed; done
.venv/bin/python benchmarks/seeds.py runs/demo runs/demo-seed*
.venv/bin/python benchmarks/seeds.py runs/demo runs/demo-seed* --keep benchmarks/results
.venv/bin/python benchmarks/seeds.py benchmarks/results/*.json
.venv/bin/python benchmarks/seeds.py benchmarks/results/*.json --picture docs/win_rates.png

Each seed has its own users, prompts, labelers, training and sampling, so the spread over seeds
includes all of these, and Student's t over the seeds' means covers both prompts and training. Runs
of one seed on several kinds of processor share users and prompts, so their mean counts as one. The
base models are the same for every seed; their training is not covered.
"""

import argparse
import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from understudy.evaluation.figures import win_rate_figure
from understudy.evaluation.page import CSS, figure
from understudy.evaluation.statistics import Interval, mean_interval

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.chromium import launch

KEPT = (
    *("win_rates_vs_sft", "win_rates_vs_sft_gold", "win_rates_vs_sft_training_labelers"),
    *("greedy", "against_greedy_sft", "seen_requests", "unclear_requests", "adversaries"),
    *("gold", "likert", "reward_model", "benchmarks", "pretraining_loss", "best_of_n", "data"),
    *("minutes", "wall_minutes", "processor", "seed", "code_version"),
)
"""The parts of results.json to keep: no texts, no curves."""
STYLES = {
    "": None,
    ", greedy": "greedy",
    ", against greedy SFT": "against_greedy_sft",
    ", seen requests": "seen_requests",
    ", tricks": "adversaries",
}
JUDGES = {"held-out labelers": "win_rates_vs_sft", "gold judge": "win_rates_vs_sft_gold"}
ENOUGH = 5
"""With fewer seeds Student's t is too wide: the factor is 12.7 for two, 2.8 for five."""

Run = Mapping[str, Any]


def main() -> None:
    """Print the tables, and keep the results if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders of demos, or kept results")
    parser.add_argument("--keep", type=Path, help="write each run's figures into this folder")
    parser.add_argument("--picture", type=Path, help="draw the win rates against SFT as a PNG")
    options = parser.parse_args()
    runs = [read(path) for path in options.runs]
    if options.keep is not None:
        keep(runs, options.keep)
    if options.picture is not None:
        draw(runs, options.picture)
    print(*table(runs), sep="\n")


def read(path: Path) -> Run:
    """results.json of a demo's folder, or a kept file."""
    file = path / "results.json" if path.is_dir() else path
    if not file.is_file():
        raise SystemExit(f"{file} does not exist; give folders of finished demos or kept results")
    found: Run = json.loads(file.read_text())
    return {"processor": "unknown", **found}


def keep(runs: Sequence[Run], folder: Path) -> None:
    """A file per run, named after its processor and seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for run in runs:
        name = re.sub(r"[^a-z0-9]+", "-", run["processor"].lower()).strip("-")
        row = {key: run[key] for key in KEPT if key in run}
        (folder / f"{name}-seed{run['seed']}.json").write_text(json.dumps(row, indent=1) + "\n")


def table(runs: Sequence[Run]) -> Iterator[str]:
    """Lines of Markdown: each figure over all seeds, and its mean per kind of processor."""
    seeds = sorted({run["seed"] for run in runs})
    processors = sorted({run["processor"] for run in runs})
    if len(seeds) < ENOUGH:
        yield f"{len(seeds)} of {ENOUGH} seeds; intervals over seeds need {ENOUGH} or more.\n"
    several = processors if len(processors) > 1 else []
    yield f"| | mean of {len(seeds)} seeds | seeds {', '.join(map(str, seeds))} |" + "".join(
        f" {name} |" for name in several
    )
    yield "|---|---|---|" + "---|" * len(several)
    for name, percent, values in figures(runs):
        pooled, by_seed = over_seeds(runs, values)
        cells = [shown(pooled, percent), ", ".join(number(v, percent) for v in by_seed)]
        for processor in several:
            mine = [v for r, v in zip(runs, values, strict=True) if r["processor"] == processor]
            cells.append(number(fmean(mine), percent))
        yield f"| {name} | {' | '.join(cells)} |"


def draw(runs: Sequence[Run], path: Path) -> None:
    """Draw the report's first figure, with means and intervals over the seeds, in a browser."""
    judges = {"Training labelers": "win_rates_vs_sft_training_labelers", **JUDGES}
    tables = {}
    for judge in ("held-out labelers", "Training labelers", "gold judge"):
        rates = [run[judges[judge]] for run in runs]
        tables[judge.capitalize()] = {
            model: over_seeds(runs, [found[model]["rate"] for found in rates])[0].to_json()
            for model in rates[0]
        }
    caption = (
        "How often each model's response is preferred to SFT's; a tie counts half. Dashed: 50%, no "
        "preference. Best-of-n: of 16, by the reward model. Means over "
        f"{len({run['seed'] for run in runs})} seeds with 95% intervals over seeds."
    )
    drawn = figure(win_rate_figure(tables), "Win rate against SFT, sampled at temperature 1.",
                   caption, "")  # fmt: skip
    with launch() as browser:
        page = browser.new_page(
            viewport={"width": 373, "height": 800}, device_scale_factor=2, color_scheme="light"
        )
        page.set_content(f"<style>{CSS}</style>{drawn}")
        page.locator("figure").screenshot(path=path)


def over_seeds(runs: Sequence[Run], values: Sequence[float]) -> tuple[Interval, list[float]]:
    """(mean with its interval, the seeds' values in order); runs of one seed count as one."""
    found: dict[int, list[float]] = defaultdict(list)
    for run, value in zip(runs, values, strict=True):
        found[run["seed"]].append(value)
    by_seed = [fmean(found[seed]) for seed in sorted(found)]
    return mean_interval(by_seed), by_seed


def figures(runs: Sequence[Run]) -> Iterator[tuple[str, bool, list[float]]]:
    """(name, whether in percent, a value per run) of the figures that every run has."""
    for style, key in STYLES.items():
        tables = [run if key is None else run.get(key, {}) for run in runs]
        for judge, group in JUDGES.items():
            rates = [found.get(group, {}) for found in tables]
            for model in rates[0]:
                if all(model in found for found in rates):
                    yield f"{model}, {judge}{style}", True, [f[model]["rate"] for f in rates]
    rewards = [flat(run["reward_model"]) for run in runs]
    for name in rewards[0]:
        if all(name in found for found in rewards):
            yield f"reward model: {name}", True, [found[name] for found in rewards]
    for model in runs[0].get("pretraining_loss", {}):
        losses = [run["pretraining_loss"].get(model) for run in runs]
        if None not in losses:
            yield f"pretraining loss: {model}", False, losses
    yield "minutes", False, [run["wall_minutes"] for run in runs]


def flat(reward: Mapping[str, Any]) -> dict[str, float]:
    """The rates and numbers in `reward_model`, with those in `accuracy_without_labels` and
    `gate`."""
    rows = {name: point for name, point in reward.items() if name not in ("gate", "calibration")}
    for name, point in rows.get("accuracy_without_labels", {}).items():
        if isinstance(point, Mapping):
            rows[f"accuracy_without_labels, {name}"] = point
    for n, point in reward.get("gate", {}).get("best_of", {}).items():
        rows[f"best of {n}, gold judge"] = point
    found = {n: p.get("rate") if isinstance(p, Mapping) else p for n, p in rows.items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def number(value: float, percent: bool) -> str:
    """A value as text."""
    return f"{100 * value:.1f}" if percent else f"{value:.2f}"


def shown(interval: Interval, percent: bool) -> str:
    """A mean with its interval; one seed has none."""
    mean = number(interval.rate, percent) + ("%" if percent else "")
    if math.isinf(interval.low):
        return mean
    low, high = (number(end, percent) for end in (interval.low, interval.high))
    return f"{mean} ({low} to {high})"


if __name__ == "__main__":
    main()
