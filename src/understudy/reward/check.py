"""`understudy reward-check`: tests a finished reward model on rankings it has not seen.

    understudy reward-check --model runs/reward/model --data rankings-new.jsonl

Use it before PPO, and again for new labels, new labelers or another model's responses: does the
model agree with people more often than chance, and more often than the length rule?
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.models.chat import padding_id
from understudy.models.compute import place
from understudy.models.scalar import load_scalar
from understudy.models.trunk import context_length
from understudy.records.convert import many
from understudy.records.io import read_records
from understudy.records.schema import LabelerInfo, Ranking
from understudy.reward.accuracy import longer_wins
from understudy.reward.check_config import RewardCheckConfig
from understudy.reward.evaluate import (
    accuracy_by_group,
    lengths,
    measure,
    pair_values,
    score_elements,
)
from understudy.training.rankings import Element, encode_rankings
from understudy.training.run import clean, write_atomic

FEW_PAIRS = 20
"""Labelers with fewer pairs get no line in the table: their intervals are too wide."""


def reward_check(config: RewardCheckConfig) -> str:
    """Score the rankings and return the table; with `out`, also write the figures there."""
    if config.out is not None and config.out.exists():
        raise ValueError(f"{config.out} exists; choose another --out")
    rankings = read_records(config.data, Ranking)
    people = [] if config.labelers is None else read_records(config.labelers, LabelerInfo)
    model, tokenizer = load_scalar(config.model)
    place(model, config, frozen=True)
    found = encode_rankings(
        tokenizer,
        rankings,
        max_prompt_tokens=config.max_prompt_tokens,
        max_response_tokens=config.max_response_tokens,
        context=context_length(model),
        where=str(config.data),
    )
    pad_id = padding_id(tokenizer)
    scores = score_elements(model, found.rows, pad_id, config.micro_batch_tokens)
    rule, source = _length_rule(config, found.rows)
    results: dict[str, Any] = {
        "model": str(config.model),
        "data": str(config.data),
        "num_rankings": len(found.rows),
        "num_dropped_long_prompts": found.num_dropped,
        "num_all_tied": found.num_all_tied,
        "num_cut_responses": found.num_cut,
        "longer_wins": rule,
        "length_rule_from": source,
        **measure(found.rows, scores, rule),
    }
    if people:
        results["accuracy_by_group"] = accuracy_by_group(found.rows, scores, people)
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(config.out, json.dumps(clean(results), indent=2) + "\n")
    return table(results)


def _length_rule(config: RewardCheckConfig, rows: Sequence[Element]) -> tuple[bool, str]:
    """(whether the longer response wins by the rule, how that was decided)."""
    if config.length_rule != "auto":
        return config.length_rule == "longer", "as asked"
    run = config.model.parent / "results.json"
    if run.is_file():
        trained = json.loads(run.read_text(encoding="utf-8")).get("longer_wins")
        if trained is not None:
            return bool(trained), "as in the training pairs"
    return longer_wins(*pair_values(rows, [lengths(row) for row in rows])), "fitted to these pairs"


def table(results: Mapping[str, Any]) -> str:
    """The figures as text."""
    accuracy, rule, gain = (
        results[key] for key in ("accuracy", "accuracy_length_only", "above_length")
    )
    which = "longer" if results["longer_wins"] else "shorter"
    left_out = [
        f"{results[key]} {text}"
        for key, text in (
            ("num_ties_left_out", "tied pairs left out"),
            ("num_all_tied", "rankings left out as all ties"),
            ("num_dropped_long_prompts", "left out for long prompts"),
            ("num_cut_responses", "responses cut"),
        )
        if results[key]
    ]
    head = f"{many(results['num_rankings'], 'ranking')}, {many(accuracy['n'], 'pair')}"
    lines = [
        f"{results['model']} on {results['data']}: " + ", ".join([head, *left_out]),
        f"  accuracy       {_interval(accuracy)}  {_beside(accuracy, 0.5, 'chance')}",
        f"  length rule    {_interval(rule)}  the {which} wins, {results['length_rule_from']}",
        f"  above the rule {_interval(gain, '+.1f')}  {_beside(gain, 0.0, 'the rule')}",
    ]
    slope = results["score_per_token"]
    if slope is not None:
        lines.append(f"  score by length {slope:+.4f} a token, between responses to one prompt")
    labelers = results["accuracy_by_labeler"]
    lines += [
        f"  labeler {labeler}: {_interval(mine)}, {many(mine['n'], 'pair')}"
        for labeler, mine in labelers.items()
        if len(labelers) > 1 and mine["n"] >= FEW_PAIRS
    ]
    for cell in results.get("accuracy_by_group", ()):
        about = f"labelers of {cell['labelers'] or 'no group'}"
        about += f" on prompts of {cell['prompts'] or 'no group'}"
        shown = "not shown, fewer than five labelers"
        if cell["accuracy"] is not None:
            shown = f"{_interval(cell['accuracy'])}, {cell['accuracy']['n']} pairs"
        lines.append(f"  {about}: {shown}")
    bins = results["calibration"]
    lines.append(f"  calibration error {bins['ece']:.3f} (confidence, share right, pairs):")
    lines += [
        f"    {confidence:.2f}  {right:.2f}  {count}"
        for confidence, right, count in zip(
            bins["confidence"], bins["accuracy"], bins["count"], strict=True
        )
    ]
    return "\n".join(lines)


def _interval(point: Mapping[str, Any], form: str = ".1f") -> str:
    rate, low, high = (100 * point[key] for key in ("rate", "low", "high"))
    return f"{rate:{form}} ({low:{form}} to {high:{form}})"


def _beside(point: Mapping[str, Any], level: float, name: str) -> str:
    """Where the interval lies relative to a level."""
    if point["low"] > level:
        return f"above {name}"
    return f"below {name}" if point["high"] < level else f"not distinguishable from {name}"
