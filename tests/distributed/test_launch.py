"""`understudy launch` as a user starts it."""

import signal
import sys
import time

import pytest
from tests.distributed.torchrun import Job
from tests.fixtures_data import write_demonstrations
from tests.fixtures_models import save_model_folder

from understudy.training.checkpoint import list_checkpoints
from understudy.training.run import read_lines


def understudy(*words):
    return [sys.executable, "-m", "understudy.cli", *map(str, words)]


@pytest.fixture
def sft(tmp_path):
    """The words of a run of two ranks."""
    save_model_folder(tmp_path / "base")
    data = write_demonstrations(tmp_path / "demos.jsonl")
    return [
        *("launch", "--cards", "2", "--", "sft", "--model", tmp_path / "base", "--data", data),
        *("--out", tmp_path / "run", "--batch-size", "2", "--epochs", "400"),
    ]


@pytest.mark.thorough
def test_a_mistake_is_one_line_and_the_ranks_own_exit_code(sft, tmp_path):
    ended = Job(understudy(*sft, "--pretrain-data", tmp_path / "none.txt"), 600).wait()
    assert ended.code == 2
    assert ended.stderr.splitlines() == [
        "understudy: error: pretrain_fraction and pretrain_data need each other; give both or none"
    ]


@pytest.mark.slow
def test_a_signal_to_the_launcher_saves_everywhere_and_it_returns_75(sft, tmp_path):
    job = Job(understudy(*sft), 600)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while job.process.poll() is None and not (metrics.exists() and read_lines(metrics)):
        time.sleep(0.05)
    job.process.send_signal(signal.SIGTERM)
    ended = job.wait()
    assert ended.code == 75, ended.stderr
    saved = list_checkpoints(tmp_path / "run")[-1]
    said = [line for line in ended.stderr.splitlines() if line.startswith("stopped")]
    assert len(said) == 1
    step = saved.name.removeprefix("step-")
    assert said[0].startswith(
        f"stopped and saved at step {step}; continue with: understudy launch "
    )
    assert read_lines(metrics)[-1]["step"] == int(step)


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_job(sft, tmp_path):
    job = Job(understudy(*sft), 600, UNDERSTUDY_CRASH_AT="checkpoint/begin")
    ended = job.wait()
    assert ended.code == 1
    assert "died by signal 9" in ended.stderr
