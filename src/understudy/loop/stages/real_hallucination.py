"""The study of made-up answers on a real model: `understudy real --study hallucination`."""

import json
from collections.abc import Mapping
from typing import Any

from understudy.evaluation.harness.config import BenchmarkConfig
from understudy.evaluation.harness.run import benchmark
from understudy.loop.real_plan import EVALUATED
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.study_report import write_study
from understudy.loop.stages.training import optional, run_fields

DECLINED = "no_comment"


def report(call: StageCall) -> None:
    """results.json and report.html, from a run of `understudy benchmark` in run/."""
    config = BenchmarkConfig(
        models=tuple(f"{name}={call.path(name)}" for name in EVALUATED),
        data_dir=optional(call, "data_dir"),
        **run_fields(call),
    )
    found = json.loads((benchmark(config) / "results.json").read_text(encoding="utf-8"))
    tasks = found["benchmark"]["tasks"]
    results = {
        "title": "Does training make a real model's answers less false?",
        "lead": "TruthfulQA asks what many people answer wrongly. The models choose among answers, "
        "and answer in their own words.",
        "bars": "Bars are 95% intervals over questions.",
        "study": {
            "name": "hallucination",
            "title": "TruthfulQA.",
            "caption": "MC1: share of questions whose best answer is the likeliest; MC2: "
            "probability of the true ones among the answers. Answers of their own count as true "
            "if they are nearer to a true reference than to any false one, by BLEU; this includes "
            'those that begin with "I have no comment", whose share is shown too. Further right '
            "is better, except for these.",
            "panels": panels(tasks),
        },
        "benchmark": found["benchmark"],
        "settings": found["settings"],
        "caveats": [
            "Nearness to a reference by BLEU stands in for the fine-tuned judges of the paper, "
            "which are not public.",
            "The rankings that trained these models are about harm, not truth.",
        ],
    }
    write_study(call, results)


def panels(tasks: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Every task's metric by model, and the share declined where it is counted."""
    found: dict[str, Any] = {}
    for task in tasks:
        title = str(task["title"]).removeprefix("TruthfulQA, ")
        found[title[0].upper() + title[1:]] = task["models"]
        if any(DECLINED in point["metrics"] for point in task["models"].values()):
            found[f"No comment, {title.removesuffix(', nearer to true by BLEU')}"] = {
                name: point["metrics"][DECLINED] for name, point in task["models"].items()
            }
    return found
