"""The stage that compares the models of all sizes: the paper's Figure 1."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from understudy.evaluation.compare import gold_comparer, head_to_head, win_rate_table
from understudy.evaluation.report import write_report
from understudy.loop.stage_call import StageCall
from understudy.records import Prompt, Response, read_records
from understudy.training.origin import code_version
from understudy.world.world import World

BASELINE = "sft"


def compare(call: StageCall) -> None:
    """results.json and report.html: win rates by size against the largest SFT model."""
    config = call.config
    world = World(config["seed"])
    prompts = read_records(call.path("prompts"), Prompt)
    ids = {prompt.id for prompt in prompts}
    judges: dict[str, Sequence[Any]] = {
        "held_out": world.labelers("held_out"),
        "gold": [gold_comparer(world.judge)],
    }
    responses = {size: responses_of(call.paths(f"answers_{size}"), ids) for size in config["sizes"]}
    baseline = [replace(r, model="baseline") for r in responses[config["sizes"][-1]][BASELINE]]
    tables: dict[str, dict[str, Any]] = {group: {} for group in judges}
    for done, (size, models) in enumerate(responses.items()):
        call.progress(done, len(responses), size)
        judged = head_to_head(prompts, models, baseline, judges, seed=config["seed"])
        for group, comparisons in judged.items():
            tables[group][size] = win_rate_table(comparisons, prompts, "baseline")
    results = {
        "title": "Is a small aligned model preferred to a large base?",
        "win_rates_by_size": tables["held_out"],
        "win_rates_by_size_gold": tables["gold"],
        "caveats": [
            f"Every model is compared with the SFT model of size {config['sizes'][-1]}; at that "
            "size SFT meets itself and ties.",
            "Each size has its own rankings and reward model.",
        ],
        "settings": {"figures": {"sizes": config["sizes"], "recipe": config["recipe"]}},
        "seed": config["seed"],
        "code_version": code_version(),
    }
    (call.out / "results.json").write_text(json.dumps(results, indent=1))
    write_report(results, call.out / "report.html")


def responses_of(paths: Sequence[Path], ids: set[str]) -> dict[str, list[Response]]:
    """Model name to its responses to the test prompts."""
    responses: dict[str, list[Response]] = {}
    for path in paths:
        for response in read_records(path, Response):
            if response.prompt_id in ids:
                responses.setdefault(response.model, []).append(response)
    return responses
