"""Run folders: what was asked, from which inputs, what was measured, and whether it is done.

runs/sft/config.toml     the resolved config
         run.json        stage, code version, seed, sha256 of the inputs, parent runs, status
         metrics.jsonl   one line per step; the same bytes from a resumed run
         timings.jsonl   wall-clock figures of the same steps
         results.json    what the stage concluded, written last
         checkpoints/    see checkpoint.py
         model/          the trained model

run = open_run(config.out, stage="sft", config=config, inputs={"data": config.data}, seed=0)
with run.progress(total=40, title="SFT"), stop_on_signal() as stop:
    for step in range(40):
        run.log(step + 1, {"sft/loss": loss})
        if stop.requested: save_checkpoint(...); raise SystemExit(EXIT_STOPPED)
run.finish({"valid_loss": 0.4})
"""

import functools
import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from understudy.core.board import Board
from understudy.core.checkpoint import sync_folder
from understudy.core.config import dump_toml, to_plain
from understudy.core.metrics import METRICS, check_metrics, is_timing
from understudy.core.progress import Progress
from understudy.records.hub import is_dataset, saved_folder

EXIT_STOPPED = 75
"""Exit code after SIGTERM or SIGUSR1: all is saved, `--resume` goes on (EX_TEMPFAIL)."""

OWN_FILES = (
    "config.toml",
    "metrics.jsonl",
    "timings.jsonl",
    "results.json",
    "samples.jsonl",
    "report.html",
    "checkpoints",
    "model",
    "adapter",
    "ensemble",
    "folds",
    "tensorboard",
    "run.json",
)
"""What a run writes, and all that `overwrite` removes; run.json last, so that a removal that is cut
short can be done again."""

HANDLING = ("out", "resume", "overwrite", "tensorboard")
"""Config fields that say how to run, not what: two runs that differ only here are the same run."""


@dataclass
class Run:
    """An open run folder."""

    dir: Path
    """The folder."""
    record: dict[str, Any]
    """What run.json says."""
    resumed: bool = False
    """Whether the folder held this run already and goes on."""
    config_toml: str = field(default="", repr=False)
    """The resolved config, for config.toml."""
    board: Board | None = field(default=None, repr=False)
    """TensorBoard files, if they were asked for."""
    _progress: Progress | None = field(default=None, repr=False)

    @property
    def done(self) -> bool:
        """Whether the run has finished before."""
        return self.record["status"] == "done"

    def claim(self) -> None:
        """Take the folder: what an overwritten run left goes, config.toml and run.json appear.

        For after all input is read: bad input then takes no folder and costs no old run.
        """
        if self.resumed:
            return
        remove_run(self.dir)
        self.dir.mkdir(parents=True, exist_ok=True)
        write_atomic(self.dir / "config.toml", self.config_toml)
        self._write_record()

    @property
    def results(self) -> dict[str, Any]:
        """What `finish` wrote."""
        return json.loads((self.dir / "results.json").read_text(encoding="utf-8"))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append a step's documented metrics; wall-clock figures go to a file of their own."""
        check_metrics(list(metrics))
        kept = {k: plain_number(v) for k, v in metrics.items() if not is_timing(k)}
        timed = {k: plain_number(v) for k, v in metrics.items() if is_timing(k)}
        if kept:
            _append_line(self.dir / "metrics.jsonl", {"step": step, **kept})
        if timed:
            _append_line(self.dir / "timings.jsonl", {"step": step, **timed})
        if self._progress is not None:
            self._progress.update(step, kept)
        if self.board is not None:
            self.board.add(step, metrics)

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Append a row with a "step" to another file of the run, such as samples.jsonl."""
        assert name in OWN_FILES, name
        assert "step" in row, list(row)
        _append_line(self.dir / name, row)

    def rewind(self, step: int) -> None:
        """Drop every logged line after `step`, and a line that a crash cut short."""
        for name in ("metrics.jsonl", "timings.jsonl", "samples.jsonl"):
            if (self.dir / name).exists():
                lines = [row for row in read_lines(self.dir / name) if row["step"] <= step]
                text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in lines)
                write_atomic(self.dir / name, text)

    def progress(self, total: int, title: str) -> Progress:
        """Show `total` steps on the terminal; each `log` moves it. Usable in a `with`."""
        self._progress = Progress(total, title)
        return self._progress

    def finish(self, results: Mapping[str, Any]) -> None:
        """Write results.json and mark the run done."""
        if self._progress is not None:
            self._progress.close()
        if self.board is not None:
            self.board.close()
        write_atomic(self.dir / "results.json", json.dumps(clean(results), indent=2) + "\n")
        self.record |= {"status": "done", "finished": _now()}
        self._write_record()

    def _write_record(self) -> None:
        write_atomic(self.dir / "run.json", json.dumps(self.record, indent=2) + "\n")


def open_run(
    out: str | Path,
    *,
    stage: str,
    config: Any,
    inputs: Mapping[str, str | Path | None],
    seed: int,
    resume: bool = False,
    overwrite: bool = False,
) -> Run:
    """`prepare_run`, and take the folder at once."""
    run = prepare_run(
        out,
        stage=stage,
        config=config,
        inputs=inputs,
        seed=seed,
        resume=resume,
        overwrite=overwrite,
    )
    run.claim()
    return run


def prepare_run(
    out: str | Path,
    *,
    stage: str,
    config: Any,
    inputs: Mapping[str, str | Path | None],
    seed: int,
    resume: bool = False,
    overwrite: bool = False,
) -> Run:
    """A new run whose folder is still to be taken by `claim`, or with `resume` the one there.

    `inputs` are files and folders (hashed) or hub names (kept as text); None is left out. A folder
    of another run is refused with what differs; with `overwrite` its own files shall go.
    """
    out = Path(out)
    board = Board(out) if getattr(config, "tensorboard", False) else None
    record = {
        "stage": stage,
        "status": "running",
        "code_version": code_version(),
        "seed": seed,
        "config": to_plain(config),
        "inputs": {k: describe_input(v) for k, v in inputs.items() if v is not None},
        "parents": find_parents(inputs),
        "started": _now(),
    }
    existing = None if overwrite else read_record(out)
    if existing is not None:
        _refuse_another(out, existing, record, resume)
        return Run(out, existing, resumed=True, board=board)
    _refuse_strange_files(out, overwrite)
    return Run(out, record, config_toml=dump_toml(config), board=board)


def read_record(folder: Path) -> dict[str, Any] | None:
    """run.json of a folder, or None where there is none."""
    path = folder / "run.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{path} is not valid JSON; choose another --out or --overwrite") from None


def remove_run(folder: Path) -> None:
    """Remove the files that a run wrote, and nothing else; no run there, nothing removed."""
    if not (folder / "run.json").is_file():
        return
    for name in OWN_FILES:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _refuse_another(out: Path, old: dict, new: dict, resume: bool) -> None:
    if old["stage"] != new["stage"]:
        found = f"stage {old['stage']}"
    else:
        differs = sorted(
            key
            for key in {*old["config"], *new["config"]} - set(HANDLING)
            if old["config"].get(key) != new["config"].get(key)
        )
        found = f"stage {old['stage']}, config differs in {', '.join(differs)}" if differs else ""
    if found:
        raise ValueError(
            f"{out} holds another run ({found}); choose another --out or pass --overwrite"
        )
    if not resume:
        raise ValueError(
            f"{out} already holds this run ({old['status']}); pass --resume to go on with it, "
            "--overwrite to start again, or choose another --out"
        )
    changed = [
        name
        for name, now in new["inputs"].items()
        if now["sha256"] != old["inputs"].get(name, {}).get("sha256")
    ]
    if changed:
        raise ValueError(
            f"{out} cannot resume: input {', '.join(changed)} has changed since the run began; "
            "restore it, or pass --overwrite to start again"
        )


def _refuse_strange_files(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; choose a folder")
    # What a start that was killed leaves is no reason to refuse the next one.
    started = {"config.toml", ".config.toml.tmp", ".run.json.tmp"}
    if overwrite and (out / "run.json").is_file():
        started.update(OWN_FILES)
    if out.is_dir() and (found := sorted({p.name for p in out.iterdir()} - started)):
        raise ValueError(
            f"{out} is not empty and holds no run (found {found[0]}); choose another --out"
        )


def describe_input(source: str | Path) -> dict[str, Any]:
    """Path and content hash of a file or folder; a name that is neither keeps a null hash."""
    path = Path(source)
    if path.is_file():
        return {"path": str(source), "sha256": _file_hash(path)}
    if path.is_dir():
        return {"path": str(source), "sha256": folder_hash(path)}
    folder = saved_folder(source)
    if folder is not None:  # "folder#split"
        return {"path": str(source), "sha256": folder_hash(folder)}
    if isinstance(source, Path) and not is_dataset(source):
        raise ValueError(f"input {source} does not exist")
    return {"path": str(source), "sha256": None}


def folder_hash(folder: Path) -> str:
    """sha256 over the names and hashes of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {_file_hash(path)}\n".encode())
    return digest.hexdigest()


def _file_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_parents(inputs: Mapping[str, str | Path | None]) -> dict[str, str]:
    """For each input that lies in a run folder, that folder."""
    parents = {}
    for name, source in inputs.items():
        if source is not None and Path(source).exists():
            path = Path(source).resolve()
            owner = next((p for p in (path, *path.parents) if (p / "run.json").is_file()), None)
            if owner is not None:
                parents[name] = str(owner)
    return parents


@functools.cache
def code_version() -> str:
    """The git commit of this source (with "-dirty" if changed), else the package's version."""
    folder = Path(__file__).resolve().parent

    def git(*command: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        tracked = git("ls-files", "--error-unmatch", str(Path(__file__).resolve()))
        commit = git("rev-parse", "--short=12", "HEAD")
        dirty = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return version("understudy")
    assert tracked
    return f"{commit}-dirty" if dirty else commit


class Stop:
    """Whether somebody asked the process to stop."""

    requested: bool = False


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """SIGTERM or SIGUSR1 sets `requested`, for a save at the next step; a second one kills."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python gives signals to the main thread only
        return

    def ask(number: int, frame: Any) -> None:
        stop.requested = True
        signal.signal(number, signal.SIG_DFL)

    names = (signal.SIGTERM, signal.SIGUSR1)
    previous = {name: signal.signal(name, ask) for name in names}
    try:
        yield stop
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file that a crash may have cut in its last line."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def write_atomic(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one."""
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
    """A Python number; None for what JSON has no word for (NaN, infinity)."""
    value = value.item() if hasattr(value, "item") else value
    return value if math.isfinite(value) else None


def clean(value: Any) -> Any:
    """Results as JSON data, with None for numbers that are not finite."""
    plain = to_plain(value)
    if isinstance(plain, dict):
        return {k: clean(v) for k, v in plain.items()}
    if isinstance(plain, list):
        return [clean(v) for v in plain]
    if isinstance(plain, str | bool) or plain is None:
        return plain
    return plain_number(plain)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


__all__ = [
    "EXIT_STOPPED",
    "METRICS",
    "Run",
    "Stop",
    "code_version",
    "open_run",
    "prepare_run",
    "stop_on_signal",
]
