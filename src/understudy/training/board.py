"""Views of a run while it trains: a tracker (track.py) or TensorBoard's event files, which hold the
same metrics as metrics.jsonl and timings.jsonl.

The files are a view, not a record: each start rewrites them from the log, so that after a resume
each step appears once.
"""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from understudy.training.config import to_plain
from understudy.training.track import Tracker


class View(Protocol):
    """Shows a run's metrics outside its files."""

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show a step that has just been logged."""

    def close(self) -> None:
        """Write pending metrics."""


def open_views(out: Path, config: Any) -> "tuple[View, ...]":
    """The views that a config asks for; ValueError if a package is missing."""
    views: list[View] = []
    if getattr(config, "tensorboard", False):
        views.append(Board(out))
    if (tracker := getattr(config, "track", None)) is not None:
        views.append(Tracker(tracker, out, to_plain(config)))
    return tuple(views)


class Board:
    """Writes out/tensorboard; ValueError when the package is missing."""

    def __init__(self, run_dir: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ValueError(
                "tensorboard is on but its package is missing: "
                "pip install 'understudy[tensorboard]'"
            ) from None
        self._open = SummaryWriter
        self._run_dir = run_dir
        self._writer: Any = None

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show a step that has just been logged; non-finite numbers are left out."""
        if self._writer is None:
            self._replay()  # the log includes this step
        else:
            self._write(step, metrics)
        self._writer.flush()

    def _replay(self) -> None:
        folder = self._run_dir / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = self._open(str(folder))
        for name in ("metrics.jsonl", "timings.jsonl"):
            path = self._run_dir / name
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            for row in map(json.loads, lines):
                step = row.pop("step")
                self._write(step, {k: v for k, v in row.items() if v is not None})

    def _write(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            if math.isfinite(value):
                self._writer.add_scalar(name, float(value), step)

    def close(self) -> None:
        """Write pending metrics; further calls do nothing."""
        if self._writer is not None:
            self._writer.close()
