"""A training run's own page: `understudy report RUN` for a trainer's folder.

One self-contained HTML file: the doctor's findings, a curve per metric with its meaning, samples
over time, results, settings and inputs. The run may be unfinished.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from understudy.evaluation import page
from understudy.evaluation.figures import training_figure
from understudy.evaluation.points import ends_of, with_ends
from understudy.loop.doctor import examine
from understudy.records import Prompt, prompt_text, read_records
from understudy.training.folder import read_record
from understudy.training.metrics import METRICS
from understudy.training.run import read_lines, write_atomic

Rows = Sequence[Mapping[str, Any]]

STAGES = {
    "sft": "Supervised fine-tuning",
    "reward": "The reward model",
    "ppo": "PPO",
    "rloo": "RLOO",
    "grpo": "GRPO",
    "raft": "RAFT",
    "dpo": "DPO",
    "kto": "KTO",
}
ROLLOUTS = ("ppo", "rloo", "grpo", "raft")
"""Trainers that sample from the policy; they count iterations."""
SAMPLING = ("score", "kl", "entropy", "response_tokens", "eval_score", "eval_judge")
FIRST = {
    "sft": ("sft/loss", "sft/valid_loss", "sft/valid_score"),
    "reward": ("reward/accuracy", "reward/loss", "reward/margin"),
    "dpo": ("dpo/accuracy", "dpo/margin", "dpo/better", "dpo/valid_accuracy"),
    "kto": ("kto/margin", "kto/desirable", "kto/undesirable", "kto/kl", "kto/valid_accuracy"),
    **{n: tuple(f"{n}/{m}" for m in SAMPLING) for n in ROLLOUTS},
}
"""The most important metrics; the others are collapsed."""
NUM_SAMPLED = 4
"""Held-out prompts whose responses are shown over time."""


def is_training_run(folder: Path) -> bool:
    """Whether the folder holds a run of a trainer."""
    record = read_record(folder)
    return record is not None and record.get("stage") in STAGES


def write_run_page(folder: Path, out: Path) -> Path:
    """Write the page of a run."""
    record = read_record(folder)
    assert record is not None
    rows = _lines(folder / "metrics.jsonl")
    stage = record["stage"]
    findings = examine(folder, None, record, rows)
    sections = [
        page.section("findings", "What the doctor finds", _findings(findings, rows)),
        page.section("curves", "Curves", _curves(stage, rows)),
    ]
    if samples := _samples(_lines(folder / "samples.jsonl"), _prompts(record["config"])):
        sections.append(page.section("samples", "Samples over time", samples))
    if results := list(result_rows(_results(folder))):
        sections.append(page.section("results", "Results", page.table(("", ""), results)))
    sections.append(page.section("settings", "Settings and inputs", _settings(record)))
    header = f'<p class="brand">Understudy</p><h1>{escape(STAGES[stage])}</h1>' + page.paragraph(
        f"{folder}: {record['status']}, {len(rows)} logged step{'s' * (len(rows) != 1)}.", "lead"
    )
    foot = page.paragraph(
        f"Made by understudy from {folder}; seed {record['seed']}; code {record['code_version']}."
    )
    write_atomic(out, page.page(f"Understudy: {folder.name}", header, sections, foot))
    return out


def curve_reading(name: str, steps: Sequence[tuple[int, float]]) -> str:
    """One sentence on a metric's curve: its start, end, and highest or lowest value.

    >>> curve_reading("sft/loss", [(1, 2.0), (2, 0.5), (3, 1.0)])
    'sft/loss goes from 2 to 1, with its lowest, 0.5, at step 2.'
    """
    (_, first), (_, last) = steps[0], steps[-1]
    if len(steps) == 1:
        return f"{name} is {first:.4g} at its only step so far."
    falls = last < first
    at, extreme = (min if falls else max)(steps, key=lambda point: point[1])
    text = f"{name} goes from {first:.4g} to {last:.4g}"
    if extreme not in (first, last):
        text += f", with its {'lowest' if falls else 'highest'}, {extreme:.4g}, at step {at}"
    return text + "."


def result_rows(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """(name, text) of each result; nested groups become separate rows.

    >>> list(result_rows({"valid": {"accuracy": {"rate": 0.54, "low": 0.4, "high": 0.68, "n": 9}}}))
    [('valid, accuracy', '54% (40 to 68), n = 9')]
    """
    for key, value in values.items():
        name = f"{above}, {key}" if above else str(key)
        if isinstance(value, Mapping) and ends_of(value) is not None:
            yield name, with_ends(value, as_percent="rate" in value)
        elif isinstance(value, Mapping):
            yield from result_rows(value, name)
        else:
            yield name, page.setting(_rounded(value))


def _rounded(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return f"{value:.4g}" if isinstance(value, float) else value


def _findings(findings: Sequence[Any], rows: Rows) -> str:
    if not findings:
        return page.paragraph("Nothing wrong found." if rows else "Nothing is logged yet.")
    items = [
        f"<li><b>{escape(one.name)}</b>: {escape(one.seen)}<br>"
        f'<span class="soft">Try: {escape(one.advice)}</span></li>'
        for one in findings
    ]
    return f"<ul>{''.join(items)}</ul>"


def _curves(stage: str, rows: Rows) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row if name in METRICS))
    first = [name for name in FIRST[stage] if name in names]
    others = [name for name in names if name not in first]
    unit = "iteration" if stage in ROLLOUTS else "step"
    drawn = page.figures(*(_curve(name, rows, unit) for name in first))
    if others:
        more = page.figures(*(_curve(name, rows, unit) for name in others))
        drawn += f"<details><summary>All other metrics</summary>{more}</details>"
    return drawn or page.paragraph("Nothing is logged yet.")


def _curve(name: str, rows: Rows, unit: str) -> str:
    steps = [(row["step"], float(row[name])) for row in rows if row.get(name) is not None]
    if not steps:
        return ""
    points = [{unit: step, name: value} for step, value in steps]
    svg = training_figure({"run": points}, [(name, name)], unit)
    reading = curve_reading(name, steps)
    return page.figure(svg, f"{name}.", METRICS[name].capitalize() + ".", reading, reading=reading)


def _samples(rows: Rows, texts: Mapping[str, str]) -> str:
    """The first prompts' responses at the first, the middle and the last measurement."""
    steps = sorted({row["step"] for row in rows})
    shown = sorted({steps[0], steps[len(steps) // 2], steps[-1]}) if steps else []
    prompts = list(dict.fromkeys(row["prompt_id"] for row in rows))[:NUM_SAMPLED]
    cards = []
    for prompt in prompts:
        responses = "".join(
            f'<div class="response"><h4>step {row["step"]}'
            f"<span>score {row['score']:.2f}</span></h4>"
            f"<p>{escape(str(row['response']).strip() or '(no words)')}</p></div>"
            for row in rows
            if row["prompt_id"] == prompt and row["step"] in shown
        )
        cards.append(
            f'<article class="example"><h3>prompt {escape(prompt)}</h3>'
            f'<p class="prompt">{escape(texts.get(prompt, ""))}</p>'
            f'<div class="responses">{responses}</div></article>'
        )
    return "".join(cards)


def _prompts(config: Mapping[str, Any]) -> dict[str, str]:
    """Texts of the held-out prompts by id; empty if their file has moved."""
    path = config.get("eval_prompts")
    if path is None or not Path(path).exists():
        return {}
    return {p.id: prompt_text(p.prompt) for p in read_records(path, Prompt)}


def _settings(record: Mapping[str, Any]) -> str:
    inputs = {
        name: f"{found['path']} (sha256 {str(found['sha256'])[:12]})"
        for name, found in record["inputs"].items()
    }
    parts = (("Settings", record["config"]), ("Inputs", inputs))
    return "".join(
        f"<details><summary>{title}</summary>{_json_table(values)}</details>"
        for title, values in parts
    )


def _json_table(values: Mapping[str, Any]) -> str:
    rows = [(str(key), page.setting(value)) for key, value in values.items()]
    return page.table(("", ""), rows) if rows else ""


def _results(folder: Path) -> Mapping[str, Any]:
    path = folder / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    return read_lines(path) if path.is_file() else []
