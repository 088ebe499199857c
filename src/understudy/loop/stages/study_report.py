"""How every study ends: results.json and the report made from it."""

import json
from collections.abc import Mapping
from typing import Any

from understudy.evaluation.report import write_report
from understudy.evaluation.seeds import ONE_SEED
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.results import processor
from understudy.training.origin import code_version


def write_study(call: StageCall, results: Mapping[str, Any]) -> None:
    """results.json, with what the figures depend on beside them, and report.html."""
    made = {
        **results,
        "caveats": [ONE_SEED, *results["caveats"]],
        "processor": processor(),
        "seed": call.config["seed"],
        "code_version": code_version(),
    }
    (call.out / "results.json").write_text(json.dumps(made, indent=1))
    write_report(made, call.out / "report.html")
