"""Combine several demos: means over seeds, with intervals over seeds and prompts.

for seed in 0 1 2 3 4; do .venv/bin/understudy demo --seed $seed; done
.venv/bin/python benchmarks/seeds.py runs/demo runs/demo-seed*
.venv/bin/python benchmarks/seeds.py runs/demo runs/demo-seed* --keep benchmarks/results
.venv/bin/python benchmarks/seeds.py benchmarks/results/*.json
.venv/bin/python benchmarks/seeds.py benchmarks/results/*.json --picture docs/win_rates.png

The same for a study or an ablation: give its folders, or its kept results.

.venv/bin/python benchmarks/seeds.py runs/demo*/study_groups --keep benchmarks/results/studies
.venv/bin/python benchmarks/seeds.py benchmarks/results/studies/*-groups-*.json
.venv/bin/python benchmarks/seeds.py benchmarks/results/studies/*-groups-*.json --figure 2 \
    --picture docs/studies/groups.png

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

from PIL import Image

from understudy.evaluation.figures import win_rate_figure
from understudy.evaluation.page import CSS, figure
from understudy.evaluation.points import Point, decimal, ends_of, percent
from understudy.evaluation.report import render
from understudy.evaluation.seeds import pooled
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
OF_STUDIES = ("study", "ablation", "best_of_n", "processor", "seed", "code_version")
"""The same of a study or an ablation."""
ARM = {
    "win_rate_gold": "gold judge",
    "win_rate": "held-out labelers",
    "win_rate_second_reward_model": "second reward model",
    "win_rate_reward_model": "reward model",
    "kl": "KL",
    "pretraining_loss": "loss on text",
    "reading": "reading",
    "hellaswag": "HellaSwag",
    "words": "words",
    "seconds": "seconds",
}
"""What is printed of an ablation's arms, and how."""
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
    parser.add_argument(
        "--picture", type=Path, help="draw a figure as a PNG: win rates against SFT, or a study's"
    )
    parser.add_argument("--figure", type=int, help="which of a study's figures (default: 1)")
    options = parser.parse_args()
    runs = [read(path) for path in options.runs]
    is_study = any(map(name_of, runs))
    if options.figure is not None and not (is_study and options.picture):
        parser.error("--figure is for --picture of a study")
    if options.keep is not None:
        keep(runs, options.keep)
    if not is_study:
        if options.picture is not None:
            draw(runs, options.picture)
        print(*table(runs), sep="\n")
        return
    found = of_study(runs)
    if options.picture is not None:
        screenshot(render(found), options.picture, options.figure or 1)
    print(*study_tables(found), sep="\n")


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
        study = name_of(run)
        row = {key: run[key] for key in (OF_STUDIES if study else KEPT) if key in run}
        row.get("study", {}).get("contexts", {}).pop("examples", None)
        file = (
            f"{name}-{study}-seed{run['seed']}.json" if study else f"{name}-seed{run['seed']}.json"
        )
        (folder / file).write_text(json.dumps(row, indent=1) + "\n")


def name_of(run: Run) -> str:
    """The study or ablation that these are results of; "" for a demo's."""
    found = run.get("study") or run.get("ablation") or {}
    return str(found.get("name", ""))


def of_study(runs: Sequence[Run]) -> Run:
    """What all seeds of a study found; one run as it is."""
    if {name_of(run) for run in runs} != {name_of(runs[0])}:
        raise SystemExit("these are results of different studies; give those of one")
    if len(runs) == 1:
        return runs[0]
    try:
        return pooled(sorted(runs, key=lambda run: run["seed"]))
    except ValueError as error:
        raise SystemExit(f"{error}; give one run of each seed") from None


def study_tables(found: Run) -> Iterator[str]:
    """Lines of Markdown: a table per figure of the report, with means over the seeds."""
    study = found.get("study", {})
    for shown in ({"title": study.get("title", ""), **study}, *study.get("more", ())):
        panels = shown.get("panels", {})
        yield from titled(shown["title"], panels)
    arms: dict[str, dict[str, Point]] = {title: {} for title in ARM.values()}
    for arm in found.get("ablation", {}).get("arms", ()):
        for key, title in ARM.items():
            if key in (points := {**arm, **arm["benchmarks"]}):
                arms[title][f"{arm['series']} {arm['value']}"] = points[key]
    yield from titled("", {title: points for title, points in arms.items() if points})
    best = {f"best of {n}": point for n, point in found.get("best_of_n", {}).items()}
    if best:
        judge = "gold judge" if any("gold" in point for point in best.values()) else "win rate"
        yield from titled("", {judge: {n: point["win_rate"] for n, point in best.items()}})
    yield from titled("Where the runs ended", study.get("ends", {}))
    for panel, curves in study.get("gains", {}).items():
        columns: dict[str, dict[str, Point]] = defaultdict(dict)
        for name, curve in curves.items():
            columns["orders as gold"][name] = curve["agreement"]
            for point in curve["points"]:
                columns[f"gold at KL {point['kl']:.1f}"][name] = point["gold"]
        yield from titled(panel, columns)


def titled(title: str, panels: Mapping[str, Mapping[str, Point]]) -> Iterator[str]:
    """A table with a row per variant; nothing without panels."""
    if not panels:
        return
    yield f"\n{title}\n\n| | {' | '.join(panels)} |"
    yield "|---" * (1 + len(panels)) + "|"
    for name in dict.fromkeys(name for table in panels.values() for name in table):
        yield f"| {name} | {' | '.join(cell(table.get(name)) for table in panels.values())} |"


def cell(point: Point) -> str:
    """A mean, its interval, and the seeds if there are several."""
    if not isinstance(point, Mapping):
        return "" if point is None else f"{point:.2f}"
    as_text = percent if "rate" in point else decimal
    low, high = map(as_text, ends_of(point) or (math.nan, math.nan))
    seeds = ", ".join(as_text(value).rstrip("%") for value in point.get("seeds", ()))
    text = f"{as_text(point)} ({low.rstrip('%')} to {high.rstrip('%')})"
    return f"{text}; {seeds}" if seeds else text


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
    for name, is_rate, values in figures(runs):
        mean, by_seed = over_seeds(runs, values)
        cells = [shown(mean, is_rate), ", ".join(number(v, is_rate) for v in by_seed)]
        for processor in several:
            mine = [v for r, v in zip(runs, values, strict=True) if r["processor"] == processor]
            cells.append(number(fmean(mine), is_rate))
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
    screenshot(f"<style>{CSS}</style>{drawn}", path, 1, 373)


def screenshot(html: str, path: Path, number: int, width: int = 600) -> None:
    """A PNG of a page's figure `number`, from 1, without what one may unfold."""
    with launch() as browser:
        page = browser.new_page(
            viewport={"width": width, "height": 800}, device_scale_factor=2, color_scheme="light"
        )
        page.set_content(f"{html}<style>.reading, details {{ display: none; }}</style>")
        figures = page.locator("figure")
        if not 1 <= number <= figures.count():
            raise SystemExit(f"--figure {number}: the report has figures 1 to {figures.count()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        figures.nth(number - 1).screenshot(path=path)
    with Image.open(path) as image:  # a third of the bytes
        image.convert("RGB").quantize(128).save(path, optimize=True)


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
