"""Stages that measure a model itself: benchmarks and pretraining loss (s4.1, App. D)."""

import json
from typing import Any

from understudy.evaluation.benchmarks import read_benchmark, run_all, write_items
from understudy.loop.stage_call import StageCall
from understudy.models.policies import load_policy
from understudy.models.text import read_text, text_loss

ROW_LENGTH = 128
"""Tokens in a row of text, as in pretraining."""


def tax(call: StageCall) -> None:
    """tax.json: benchmarks (name to score with interval) and pretraining_loss (nats per token)."""
    model, tokenizer = load_policy(call.path("model"))
    paths = sorted(call.path("benchmarks").glob("*.jsonl"))
    scores: dict[str, Any] = {}
    items: list[dict[str, Any]] = []
    for done, path in enumerate(paths):
        call.progress(done, len(paths) + 1, path.stem)
        found, rows = run_all(model, tokenizer, [read_benchmark(path)])
        scores |= found
        items += rows
    write_items(call.out, {call.out.name: items})
    loss = text_loss(model, tokenizer, read_text(call.path("text")), length=ROW_LENGTH)
    table = {"benchmarks": scores, "pretraining_loss": loss}
    (call.out / "tax.json").write_text(json.dumps(table, indent=1))
