"""`--track`: the real trackers, on this disk, have each step once, also after a resume.

A tracker that is not installed is skipped; docs/runs.md says with which releases all were run.
"""

import json
import struct
import sys
from pathlib import Path

import pytest

from understudy.cli import main
from understudy.training.track import BACKENDS, Tracker

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of SQLAlchemy

Steps = list[tuple[int, float]]


class OnDisk:
    """A tracker's files and what they hold of a run."""

    def __init__(self, tracker: str, folder: Path) -> None:
        self.tracker, self.folder = tracker, folder

    def history(self, run_id: str, metric: str) -> Steps:
        return getattr(self, f"_{self.tracker}")(run_id, metric)

    def _mlflow(self, run_id: str, metric: str) -> Steps:
        from mlflow import MlflowClient

        return [(m.step, m.value) for m in MlflowClient().get_metric_history(run_id, metric)]

    def _trackio(self, run_id: str, metric: str) -> Steps:
        from trackio.sqlite_storage import SQLiteStorage

        rows = SQLiteStorage.get_logs("understudy", run_id)
        return [(row["step"], row[metric]) for row in rows if metric in row]

    def _wandb(self, run_id: str, metric: str) -> Steps:
        from wandb.proto.wandb_internal_pb2 import Record

        found = []
        for path in sorted(self.folder.glob(f"wandb/offline-run-*/run-{run_id}.wandb")):
            for data in records_of(path.read_bytes()[7:]):
                row = Record.FromString(data).history.item
                values = {(i.key or i.nested_key[0]): json.loads(i.value_json) for i in row}
                if metric in values:
                    found.append((int(values["_step"]), values[metric]))
        return found


def records_of(log: bytes) -> list[bytes]:
    """The records of a log in LevelDB's format; the 7 bytes before it count towards a block."""
    records, parts, at = [], b"", 0
    while at + 7 <= len(log):
        left = 32768 - (at + 7) % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", log, at + 4)
        parts += log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last part
            records.append(parts)
            parts = b""
    return records


@pytest.fixture(params=sorted(BACKENDS))
def on_disk(request, tmp_path, monkeypatch):
    tracker = request.param
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))  # trackio reads it when it is imported
    pytest.importorskip(tracker, reason=f"{tracker} is not installed")
    if tracker == "mlflow":
        import mlflow

        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    return OnDisk(tracker, tmp_path)


def run_id(folder: Path) -> str:
    return json.loads((folder / "track.json").read_text())["id"]


@pytest.mark.thorough
def test_a_step_is_sent_once_also_after_a_resume(on_disk, tmp_path):
    folder = tmp_path / "my-run"
    folder.mkdir()
    first = Tracker(on_disk.tracker, folder, {"lr": 0.1})
    for step in (1, 2, 3):
        first.add(step, {"sft/loss": 1.0 / step, "sft/grad_norm": float("nan")})
    first.close()
    other = tmp_path / "elsewhere" / "my-run"
    other.mkdir(parents=True)
    namesake = Tracker(on_disk.tracker, other, {"lr": 0.2})
    namesake.add(1, {"sft/loss": 7.0})
    namesake.close()
    resumed = Tracker(on_disk.tracker, folder, {"lr": 0.1})
    for step in (3, 4):  # the checkpoint was after step 2
        resumed.add(step, {"sft/loss": 1.0 / step})
    resumed.close()
    assert on_disk.history(run_id(folder), "sft/loss") == [(s, 1.0 / s) for s in (1, 2, 3, 4)]
    assert on_disk.history(run_id(folder), "sft/grad_norm") == []
    assert on_disk.history(run_id(other), "sft/loss") == [(1, 7.0)]


@pytest.mark.thorough
def test_mlflow_has_the_settings_and_the_end(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    tracker = Tracker("mlflow", tmp_path, {"lr": 0.1, "data": None})
    tracker.add(1, {"sft/loss": 1.0})
    tracker.close()
    run = mlflow.MlflowClient().get_run(run_id(tmp_path))
    assert run.data.params == {"lr": "0.1", "data": "None"}
    assert run.info.run_name == tmp_path.name
    assert run.info.status == "FINISHED"


class Refusing:
    """A tracker that fails: when it is opened, or from its second step on."""

    id = "r"

    def __init__(self, name, run_id, settings):
        if settings["fails"] == "opening":
            raise RuntimeError("No API key configured.\nMore about it.")

    def log(self, step, metrics):
        if step > 1:
            raise ConnectionError

    def finish(self):
        raise AssertionError("it is no longer used")


@pytest.mark.parametrize(
    ("fails", "reason"), [("opening", "No API key configured."), ("logging", "ConnectionError")]
)
def test_a_tracker_that_fails_costs_no_training(monkeypatch, tmp_path, caplog, fails, reason):
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setitem(BACKENDS, "mlflow", Refusing)
    tracker = Tracker("mlflow", tmp_path, {"fails": fails})
    for step in (1, 2, 3):
        tracker.add(step, {"sft/loss": 1.0})
    tracker.close()
    assert caplog.text.count("mlflow does not accept metrics") == 1
    assert f"({reason}); metrics.jsonl has all of them" in caplog.text


def test_a_missing_package_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="track is wandb, whose package is missing: pip install"):
        Tracker("wandb", tmp_path, {})


def test_an_unknown_tracker_is_refused(capsys):
    line = "sft --model m --data d.jsonl --out o --track comet"
    assert main(line.split()) == 2
    assert "trackio" in capsys.readouterr().err
