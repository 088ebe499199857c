"""The report's table of public benchmarks: our models next to the paper's 175B (Table 14)."""

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.evaluation import page
from understudy.evaluation.figures import in_order, label_of
from understudy.evaluation.points import ends_of, value_of

Line = Mapping[str, Any]


def benchmark_table(found: Mapping[str, Any]) -> str:
    """HTML of the key "benchmark" of results.json; "" if it is empty."""
    lines: Sequence[Line] = found.get("tasks") or []
    if not lines:
        return ""
    baseline = str(found["baseline"])
    models = in_order(list(dict.fromkeys(name for line in lines for name in line["models"])))
    skills = [line for line in lines if line.get("skill", True)]
    others = [line for line in lines if not line.get("skill", True)]
    parts = [page.paragraph(_how(found, baseline))]
    for title, part in (("Public benchmarks", skills), ("Bias and toxicity", others)):
        if part:
            parts.append(f"<h3>{title}</h3>" + _table(part, models, baseline))
    if skills and len(models) > 1:
        parts.append(_verdicts(skills, [m for m in models if m != baseline], baseline))
    return "".join(parts)


def _how(found: Mapping[str, Any], baseline: str) -> str:
    shots = "the paper's number of examples" if found.get("few_shot") else "no examples"
    items = f"at most {found['limit']} items of each task" if found.get("limit") else "all items"
    text = (
        f"The paper's public benchmarks (App. D) with {shots}, {items}. Each cell is an estimate "
        "with its 95% interval; below it the paired difference from "
        f"{label_of(baseline)} on the same items. 175B: the paper's Table 14, where it has the "
        "task; a small model is not expected to come near it."
    )
    if found.get("toxicity"):
        text += f" Toxicity is scored by {found['toxicity']}; the paper's by Perspective."
    return text


def _table(lines: Sequence[Line], models: Sequence[str], baseline: str) -> str:
    paper = ("base", "sft", "ppo", "ppo_ptx")
    head = ("Task", "Rule", *map(label_of, models), *(f"175B {label_of(n)}" for n in paper))
    rows = [
        (
            f"{line['title']}, n = {_count(line)}",
            f"{line['rule']}; {line['shots']} examples",
            *(_cell(line, model, baseline) for model in models),
            *(_number((line.get("paper") or {}).get(name), line["scale"], 1) for name in paper),
        )
        for line in lines
    ]
    return page.table(head, rows)


def _count(line: Line) -> int:
    return max((int(point["n"]) for point in line["models"].values()), default=0)


def _cell(line: Line, model: str, baseline: str) -> str:
    point = line["models"].get(model)
    if point is None:
        return "-"
    scale = line["scale"]
    text = _with_ends(point, scale)
    gap = point.get("difference")
    if gap is None or model == baseline:
        return text
    return f"{text}; difference {_with_ends(gap, scale, sign='+')}"


def _with_ends(point: Mapping[str, Any], scale: int, sign: str = "") -> str:
    text = _number(value_of(point), scale, scale, sign)
    ends = ends_of(point)
    if ends is None:
        return text
    low, high = (_number(end, scale, scale, sign) for end in ends)
    return f"{text} ({low} to {high})"


def _number(value: float | None, scale: int, factor: int, sign: str = "") -> str:
    """A number as the paper prints it: 59.85 out of 100, .807 out of 1."""
    digits = 1 if scale == 100 else 3
    return "-" if value is None else f"{value * factor:{sign}.{digits}f}"


def _verdicts(lines: Sequence[Line], models: Sequence[str], baseline: str) -> str:
    """Which skills fell, rose or did not clearly change, per model."""
    rows = []
    for model in models:
        words: dict[str, list[str]] = {"fell": [], "rose": [], "no clear change": []}
        for line in lines:
            gap = (line["models"].get(model) or {}).get("difference")
            ends = ends_of(gap)
            if ends is not None:
                kind = "rose" if ends[0] > 0 else "fell" if ends[1] < 0 else "no clear change"
                words[kind].append(str(line["title"]))
        rows.append((label_of(model), *("; ".join(found) or "-" for found in words.values())))
    head = (f"Against {label_of(baseline)}", "Fell beyond the interval", "Rose", "No clear change")
    return page.table(head, rows)
