"""What the training stages share.

Each has a file of its own, so that a change to one trainer does not rerun the others. Config: the
fields of the trainer's own config that are no paths. A stage that was interrupted goes on from the
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
    """The recipe's settings, and where the run goes: on with it when it was interrupted."""
    out = call.out / "run"
    return {**call.config, "out": out, "resume": (out / "run.json").exists()}
