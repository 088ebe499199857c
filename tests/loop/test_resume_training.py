"""A trainer inside a plan: stopped in the middle, it saves, and the next call goes on there."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.fixtures_models import save_model_folder

from understudy.loop.plan import hash_path

MAIN = """
import sys
from pathlib import Path
from understudy.loop.plan import Plan, Stage
from understudy.loop.runner import PlanInterrupted, run_plan

root = Path(sys.argv[1])
stage = Stage(
    name="sft",
    meaning="learns",
    function="understudy.loop.stages.train_sft:sft",
    inputs={"model": root.parent / "llama", "data": root.parent / "demonstrations.jsonl"},
    outputs=("run/model", "run/metrics.jsonl"),
    config={"epochs": int(sys.argv[2]), "lr": 1e-3, "batch_size": 4, "seed": 3},
)
try:
    run_plan(Plan((stage,)), root)
except PlanInterrupted as error:
    sys.exit(str(error))
"""


def start(root, epochs: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, str(root), str(epochs)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def lines_of(root) -> int:
    path = root / "sft" / "run" / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_trainer_goes_on_and_ends_where_an_undisturbed_one_does(tmp_path, signum):
    save_model_folder(tmp_path / "llama")
    rows = [{"prompt": f"Say {i}.", "response": f"Here is {i}, as asked."} for i in range(32)]
    (tmp_path / "demonstrations.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    epochs = 30
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    process = start(undisturbed, epochs)
    assert process.communicate(timeout=300)[1] == ""
    assert lines_of(undisturbed) == epochs * 8

    process = start(stopped, epochs)
    end = time.monotonic() + 200
    while lines_of(stopped) < 20:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signum)
    process.communicate(timeout=100)
    assert process.returncode != 0
    assert not (stopped / "sft" / "stage.json").exists()

    process = start(stopped, epochs)
    assert process.communicate(timeout=300)[1] == ""
    log = (stopped / "logs" / "sft.log").read_text()
    assert log.count("--- sft") == 2
    for output in ("run/model", "run/metrics.jsonl"):
        assert hash_path(stopped / "sft" / output) == hash_path(undisturbed / "sft" / output)
