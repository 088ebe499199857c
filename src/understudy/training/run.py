"""Run folders: settings, inputs, measurements and status of a run.

runs/sft/config.toml     the resolved config
         run.json        stage, code version, seed, sha256 of the inputs, parent runs, status
         metrics.jsonl   one line per step; the same bytes from a resumed run
         timings.jsonl   wall-clock figures of the same steps
         results.json    the stage's results, written last
         checkpoints/    see checkpoint.py
         model/          the trained model

run = open_run(config.out, stage="sft", config=config, inputs={"data": config.data}, seed=0)
step = load(run.restore())
with run.progress(total=40, title="SFT"), stop_on_signal() as stop:
    while step < 40:
        step += 1
        run.log(step, {"sft/loss": loss})
        run.save_if_due(step, lambda: (trees, state), every=0, now=stop.requested)
        if stop.requested: raise run.stopped(step)
run.finish({"valid_loss": 0.4})
"""

import hashlib
import io
import json
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from understudy.training.board import View
from understudy.training.checkpoint import (
    checkpoint_step,
    latest_checkpoint,
    load_checkpoint,
    num_bytes,
    read_manifest,
    remove_checkpoints,
    save_checkpoint,
    sync_folder,
)
from understudy.training.config import to_plain
from understudy.training.folder import HANDLING, OWN_FILES, read_record
from understudy.training.lock import lock_folder, unlock_folder
from understudy.training.metrics import check_metrics, is_timing
from understudy.training.progress import Progress
from understudy.training.ranks import ALONE, Ranks
from understudy.training.stop import EXIT_STOPPED, Stop, command_to_resume

LOGS = ("metrics.jsonl", "timings.jsonl", "samples.jsonl")
"""Files of lines with a step; checkpoints record their lengths."""

STEPPING_PER_SAVING = 10.0
"""With `save_every` 0: seconds of training per second that the last save took."""

SAVING_RATE = 1e8
"""Assumed speed of the first save, in bytes per second."""

Saved = tuple[dict[str, Any], dict[str, Any]]
"""Tensor trees and state of a checkpoint."""

log = logging.getLogger(__name__)


@dataclass
class Run:
    """An open run folder."""

    dir: Path
    """The folder."""
    record: dict[str, Any]
    """Content of run.json."""
    resumed: bool = False
    """Whether the folder already held this run, which continues."""
    overwrites: bool = False
    """Whether to remove an existing run."""
    config_toml: str = field(default="", repr=False)
    """The resolved config, for config.toml."""
    views: tuple[View, ...] = field(default=(), repr=False)
    """TensorBoard files and a tracker, if enabled."""
    keep_checkpoints: bool = True
    """Whether checkpoints stay when the run is finished."""
    ranks: Ranks = ALONE
    """The processes of this run; the first one writes."""
    _progress: Progress | None = field(default=None, repr=False)
    _saved_at: float = field(default_factory=time.monotonic, repr=False)
    _save_seconds: float | None = field(default=None, repr=False)

    @property
    def done(self) -> bool:
        """Whether the run has already finished."""
        return self.record["status"] == "done"

    def claim(self) -> None:
        """Claim the folder: delete an overwritten run, write config.toml and run.json. A resumed
        run is marked as running again.

        Call it after reading all input, so that bad input leaves no folder and destroys no old run.
        ValueError if some ranks do not see the folder.
        """
        self.ranks.on_first(self._write_record if self.resumed else self._claim)
        with self.ranks.together():
            if not self.ranks.is_first and read_record(self.dir) != self.record:
                raise ValueError(
                    f"{self.dir} is not the folder that rank 0 writes; --out must be on storage "
                    "that all machines share"
                )

    def _claim(self) -> None:
        self.dir.mkdir(parents=True, exist_ok=True)
        lock_folder(self.dir)
        if not self.overwrites and (self.dir / "run.json").exists():
            raise ValueError(f"another process has just begun a run in {self.dir}")
        remove_run(self.dir)
        write_atomic(self.dir / "config.toml", self.config_toml)
        self._write_record()

    @property
    def results(self) -> dict[str, Any]:
        """The results that `finish` wrote."""
        return json.loads((self.dir / "results.json").read_text(encoding="utf-8"))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append a step's documented metrics; wall-clock figures go to timings.jsonl."""
        check_metrics(list(metrics))
        if not self.ranks.is_first:
            return
        kept = {k: plain_number(v) for k, v in metrics.items() if not is_timing(k)}
        timed = {k: plain_number(v) for k, v in metrics.items() if is_timing(k)}
        if kept:
            _append_line(self.dir / "metrics.jsonl", {"step": step, **kept})
        if timed:
            _append_line(self.dir / "timings.jsonl", {"step": step, **timed})
        if self._progress is not None:
            self._progress.update(step, kept)
        for view in self.views:
            view.add(step, metrics)

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Append a row with a "step" to another file of the run, such as samples.jsonl."""
        assert name in OWN_FILES, name
        assert "step" in row, list(row)
        if self.ranks.is_first:
            _append_line(self.dir / name, row)

    @property
    def identity(self) -> str:
        """sha256 of what makes two runs the same: stage, seed, settings, content of the inputs."""
        record = self.record
        config = {k: v for k, v in record["config"].items() if k not in HANDLING}
        inputs = {k: v["sha256"] or v["path"] for k, v in record["inputs"].items()}
        text = json.dumps([record["stage"], record["seed"], config, inputs], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def save_if_due(
        self,
        step: int,
        saved: Callable[[], Saved],
        *,
        every: int,
        last: bool = False,
        now: bool = False,
    ) -> None:
        """Save `saved()` if `now`, and every `every` steps and at the `last` step. With `every` 0,
        save so often that saving takes a tenth of the time.
        """
        trees, state = saved()
        if every:
            due = step % every == 0 or last
        else:
            cost = self._save_seconds or num_bytes(trees) / SAVING_RATE
            due = time.monotonic() - self._saved_at > STEPPING_PER_SAVING * cost
        if self.ranks.agree((due and self.ranks.is_first) or now):
            started = time.monotonic()
            self.save(step, trees, state)
            self._saved_at = time.monotonic()
            self._save_seconds = self._saved_at - started

    def save(self, step: int, trees: dict[str, Any], state: dict[str, Any]) -> None:
        """Save a checkpoint after syncing the logs; all ranks together."""
        logs = self.ranks.on_first(self._logs)
        identity = self.identity
        save_checkpoint(self.dir, step, trees, state, run=identity, logs=logs, ranks=self.ranks)

    def _logs(self) -> dict[str, Any]:
        """Sync the logs to disk; returns their lengths and sha256."""
        logs = {}
        for path in (self.dir / name for name in LOGS):
            if path.exists():
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                    logs[path.name] = {"bytes": file.tell(), "sha256": digest}
        return logs

    def restore(self, live: Callable[[], dict[str, Any]] = dict) -> Saved | None:
        """The newest intact checkpoint, or None; also truncates the logs to it.

        `live` gives the current trees, into which shards are read. ValueError for a checkpoint of
        another run. All ranks get the same one.
        """
        path = None
        if self.resumed:
            path = latest_checkpoint(self.dir, self.identity, self.ranks)
        self.ranks.on_first(lambda: self._go_back(path))
        return None if path is None else load_checkpoint(path, live(), self.ranks)

    def _go_back(self, path: Path | None) -> None:
        """Truncate the logs to their state at a checkpoint, or at the start."""
        if path is None:
            self.rewind(-1)
            return
        logs = read_manifest(path).get("logs")
        for name in LOGS:
            if logs is None:
                self._drop_lines(name, checkpoint_step(path))
            elif not _truncate(self.dir / name, logs.get(name)):
                log.warning(
                    "%s has lost or changed lines from before %s, so it is not complete; "
                    "continuing with the lines that are left",
                    self.dir / name,
                    path.name,
                )
                self._drop_lines(name, checkpoint_step(path))

    def rewind(self, step: int) -> None:
        """Drop every logged line after `step`, and a line truncated by a crash."""
        for name in LOGS:
            self._drop_lines(name, step)

    def _drop_lines(self, name: str, step: int) -> None:
        if (self.dir / name).exists():
            lines = [row for row in read_lines(self.dir / name) if row["step"] <= step]
            text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in lines)
            write_atomic(self.dir / name, text)

    def stops(self, stop: Stop) -> bool:
        """Whether any rank was told to stop; then all stop after the same step."""
        wanted = self.ranks.agree(stop.requested)
        stop.final = wanted and self.ranks.world > 1
        return wanted

    def stopped(self, step: int) -> SystemExit:
        """The exit of a run that was told to stop and has saved; prints how to continue."""
        if self._progress is not None:
            self._progress.close()
        if self.ranks.is_first:
            self.record |= {"status": "stopped"}
            self._write_record()
            command = command_to_resume()
            print(f"stopped and saved at step {step}; continue with: {command}", file=sys.stderr)
        return SystemExit(EXIT_STOPPED)

    def progress(self, total: int, title: str) -> Progress:
        """Show `total` steps on the terminal; each `log` moves it. Usable in a `with`."""
        # Other ranks show nothing, since only the first one logs.
        stream = None if self.ranks.is_first else io.StringIO()
        self._progress = Progress(total, title, stream)
        return self._progress

    def finish(self, results: Mapping[str, Any]) -> None:
        """Write results.json and mark the run done."""
        if self._progress is not None:
            self._progress.close()
        for view in self.views:
            view.close()
        self.ranks.on_first(lambda: self._finish(results))

    def _finish(self, results: Mapping[str, Any]) -> None:
        write_atomic(self.dir / "results.json", json.dumps(clean(results), indent=2) + "\n")
        self.record |= {"status": "done", "finished": now()}
        self._write_record()
        if not self.keep_checkpoints:
            remove_checkpoints(self.dir)
        unlock_folder(self.dir)

    def _write_record(self) -> None:
        write_atomic(self.dir / "run.json", json.dumps(self.record, indent=2) + "\n")


def remove_run(folder: Path) -> None:
    """Remove the files that a run wrote, and nothing else; does nothing if there is no run."""
    if not (folder / "run.json").is_file():
        return
    for name in OWN_FILES:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _truncate(path: Path, facts: dict[str, Any] | None) -> bool:
    """Truncate a log to its recorded length; False if its content up to there was lost or
    changed."""
    if facts is None:
        path.unlink(missing_ok=True)
        return True
    if not path.exists() or path.stat().st_size < facts["bytes"]:
        return False
    with open(path, "r+b") as file:
        digest = hashlib.sha256(file.read(facts["bytes"])).hexdigest()
        if digest != facts["sha256"]:
            return False
        file.truncate(facts["bytes"])
        os.fsync(file.fileno())
    return True


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file whose last line a crash may have truncated."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def write_atomic(path: Path, text: str) -> None:
    """Write a file so that readers, also after a crash, see the old one or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def _append_line(path: Path, row: Mapping[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row, allow_nan=False) + "\n")


def plain_number(value: Any) -> float | int | None:
    """A Python number; None for NaN and infinity, which JSON lacks."""
    value = value.item() if hasattr(value, "item") else value
    return value if math.isfinite(value) else None


def clean(value: Any) -> Any:
    """Results as JSON data, with None for non-finite numbers."""
    plain = to_plain(value)
    if isinstance(plain, dict):
        return {k: clean(v) for k, v in plain.items()}
    if isinstance(plain, list):
        return [clean(v) for v in plain]
    if isinstance(plain, str | bool) or plain is None:
        return plain
    return plain_number(plain)


def now() -> str:
    """The current time, to the second, as text."""
    return datetime.now(UTC).isoformat(timespec="seconds")
