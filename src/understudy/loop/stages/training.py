"""Shared parts of the training stages.

Each has its own file, so that a change to one trainer does not rerun the others. Their config has
the fields of the trainer's config that are not paths. An interrupted stage continues from the
trainer's newest checkpoint.
"""

from pathlib import Path
from typing import Any

from understudy.loop.stage_call import StageCall


def optional(call: StageCall, name: str) -> Path | None:
    """An input that a plan may leave out."""
    paths = call.paths(name)
    return paths[0] if paths else None


def run_fields(call: StageCall) -> dict[str, Any]:
    """The recipe's settings, the run folder, and whether to resume an interrupted run."""
    out = call.out / "run"
    return {**call.config, "out": out, "resume": (out / "run.json").exists()}
