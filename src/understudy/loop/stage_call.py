"""The argument of a stage's function: inputs, settings, a folder, and progress reports."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRESS_FILE = "progress.json"
_SECONDS_BETWEEN_WRITES = 0.3


@dataclass(frozen=True, kw_only=True)
class StageCall:
    """One call of a stage's function, `function(call)`.

    Example: `call.path("model")` is the input "model", `call.out / "responses.jsonl"` the path of
    the output "responses.jsonl", `call.config["temperature"]` a setting.
    """

    name: str
    """The stage's name in the plan."""
    inputs: Mapping[str, tuple[Path, ...]]
    """Input artifacts by name: most have one path, a sharded input several, in shard order."""
    config: Mapping[str, Any]
    """The stage's settings, as JSON values."""
    out: Path
    """The stage's own folder, with the files of an interrupted attempt with the same key."""
    root: Path
    """The plan's folder, for files about the plan as a whole (the stages' seconds)."""
    _last_write: list[float] = field(default_factory=lambda: [0.0])

    def path(self, name: str) -> Path:
        """The only path of input `name`."""
        paths = self.inputs[name]
        assert len(paths) == 1, f"{self.name}: input {name!r} has {len(paths)} paths"
        return paths[0]

    def paths(self, name: str) -> tuple[Path, ...]:
        """All paths of input `name`, in shard order; empty if the plan gives no such input."""
        return tuple(self.inputs.get(name, ()))

    def progress(self, done: float, total: float, note: str = "") -> None:
        """Report progress, `done` of `total`. Cheap: writes at most three times a second."""
        now = time.monotonic()
        if done < total and now - self._last_write[0] < _SECONDS_BETWEEN_WRITES:
            return
        self._last_write[0] = now
        self._write({"done": done, "total": total, "note": note})

    def follow(self, metrics: str, total: int, metric: str) -> None:
        """Let the display read the progress from a run's metrics file below `out`.

        The progress is "step" in the file's last line, out of `total`; the display also shows that
        line's `metric`.
        """
        self._write({"total": total, "follow": metrics, "metric": metric})

    def _write(self, row: dict[str, Any]) -> None:
        temporary = self.out / f".{PROGRESS_FILE}"
        temporary.write_text(json.dumps(row))
        temporary.replace(self.out / PROGRESS_FILE)


def read_progress(folder: Path) -> tuple[float, str]:
    """Progress of a running stage, from 0 to 1, and a note; (0, "") at the start."""
    try:
        row = json.loads((folder / PROGRESS_FILE).read_text())
        if "follow" in row:
            last = _last_line(folder / row["follow"])
            row["done"] = last["step"]
            row["note"] = (
                f"{row['metric']} {last[row['metric']]:.3g}" if row["metric"] in last else ""
            )
    except (FileNotFoundError, json.JSONDecodeError, IndexError):
        return 0.0, ""
    return min(1.0, row["done"] / max(row["total"], 1)), row["note"]


def _last_line(path: Path) -> dict[str, Any]:
    """The last complete line of a JSON Lines file, without reading all of it."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        lines = file.read().split(b"\n")
    return json.loads(lines[-2])
