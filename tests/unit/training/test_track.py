"""`--track`: MLflow on a local database has each step once, also after a resume."""

import json
import sys

import pytest

from understudy.cli import main
from understudy.training.track import Tracker

mlflow = pytest.importorskip("mlflow")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of SQLAlchemy


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    return mlflow.MlflowClient()


def history(client, folder, name) -> list[tuple[int, float]]:
    run_id = json.loads((folder / "track.json").read_text())["id"]
    return [(m.step, m.value) for m in client.get_metric_history(run_id, name)]


def test_a_step_is_sent_once_also_after_a_resume(client, tmp_path):
    folder = tmp_path / "my-run"
    folder.mkdir()
    first = Tracker("mlflow", folder, {"lr": 0.1})
    for step in (1, 2, 3):
        first.add(step, {"sft/loss": 1.0 / step, "sft/grad_norm": float("nan")})
    resumed = Tracker("mlflow", folder, {"lr": 0.1})
    for step in (3, 4):  # the checkpoint was after step 2
        resumed.add(step, {"sft/loss": 1.0 / step})
    resumed.close()
    assert history(client, folder, "sft/loss") == [(s, 1.0 / s) for s in (1, 2, 3, 4)]
    assert history(client, folder, "sft/grad_norm") == []
    (run,) = client.search_runs([client.get_experiment_by_name("understudy").experiment_id])
    assert run.info.run_name == "my-run"
    assert run.data.params == {"lr": "0.1"}
    assert run.info.status == "FINISHED"


def test_a_tracker_that_stops_answering_costs_no_training(client, tmp_path, caplog):
    tracker = Tracker("mlflow", tmp_path, {})
    tracker.add(1, {"sft/loss": 1.0})
    client.delete_run(json.loads((tmp_path / "track.json").read_text())["id"])
    tracker.add(2, {"sft/loss": 0.5})
    tracker.add(3, {"sft/loss": 0.2})
    tracker.close()
    assert caplog.text.count("no longer accepts metrics") == 1


def test_a_missing_package_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="track is wandb, whose package is missing: pip install"):
        Tracker("wandb", tmp_path, {})


def test_an_unknown_tracker_is_refused(capsys):
    line = "sft --model m --data d.jsonl --out o --track comet"
    assert main(line.split()) == 2
    assert "trackio" in capsys.readouterr().err
