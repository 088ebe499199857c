"""Killed anywhere, a resumed run ends with the bits of one that was never touched."""

import os
import resource
import shutil
import signal
from functools import cache
from pathlib import Path

import pytest
from tests.faults.runs import (
    FAILED,
    STAGES,
    kill_after,
    moments,
    outcome,
    prepare,
    run,
    start,
    wait,
    wait_and_measure,
)

from understudy.training.checkpoint import latest_checkpoint
from understudy.training.stop import EXIT_STOPPED

pytestmark = pytest.mark.faults

SAVING = ("begin", "file", "manifest", "rename", "renamed", "end")
POINTS = {
    "sft": [f"checkpoint/{point}{n}" for point in SAVING for n in ("", "@2")],
    "ppo": ["ppo/rollout@2", "ppo/minibatch", "ppo/minibatch@4", "ppo/iteration@3"],
}
POINTS["reward"] = POINTS["dpo"] = POINTS["kto"] = POINTS["sft"]
POINTS["ppo"] += POINTS["sft"]
POINTS["ppo_ptx"] = POINTS["ppo"]
POINTS["grpo"] = ["grpo/rollout@2", "grpo/minibatch@3", "grpo/iteration@3", *POINTS["sft"]]
NUM_RANDOM = 50
"""Random kills that strike, per stage: 200 in all."""
NUM_STOPPED = 5
"""SIGTERMs that find a stage in its loop."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return prepare(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def straight(folder):
    """For a stage: what an untouched run leaves, and how much CPU time it took."""

    @cache
    def measured(stage: str) -> tuple[dict[str, str], float]:
        out = folder / "straight" / stage
        code, seconds = wait_and_measure(start(stage, folder, out))
        assert code == 0
        return outcome(out), seconds

    return measured


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_each_named_point(stage, folder, straight, tmp_path):
    for point in POINTS[stage]:
        out = tmp_path / point.replace("/", "-")
        assert run(stage, folder, out, crash=point) == -signal.SIGKILL, point
        assert run(stage, folder, out, resume=True) == 0, point
        assert outcome(out) == straight(stage)[0], point


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_random_times(stage, folder, straight, tmp_path):
    expected, seconds = straight(stage)
    killed = 0
    for attempt, moment in enumerate(moments(stage, seconds)):
        out = tmp_path / f"kill-{attempt}"
        killed += kill_after(moment, start(stage, folder, out)) == -signal.SIGKILL
        assert run(stage, folder, out, resume=(out / "run.json").exists()) == 0, moment
        assert outcome(out) == expected, moment
        shutil.rmtree(out)
        if killed == NUM_RANDOM:
            break
        assert attempt < 2 * NUM_RANDOM, "most children ended before they were struck"


@pytest.mark.parametrize("stage", STAGES)
def test_sigterm_saves_at_the_next_step_and_exits_with_75(stage, folder, straight, tmp_path):
    expected, seconds = straight(stage)
    stopped = 0
    for attempt, moment in enumerate(moments(f"{stage}/term", seconds)):
        out = tmp_path / f"term-{attempt}"
        code = kill_after(moment, start(stage, folder, out), signal.SIGTERM)
        # Stopped; or done, past the last step; or killed before or after the loop.
        assert code in (EXIT_STOPPED, 0, -signal.SIGTERM)
        if code == EXIT_STOPPED:
            stopped += 1
            assert latest_checkpoint(out) is not None
        assert run(stage, folder, out, resume=(out / "run.json").exists()) == 0, moment
        assert outcome(out) == expected, moment
        if stopped == NUM_STOPPED:
            break
        assert attempt < 20 * NUM_STOPPED, "no signal came between two steps"


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("room", [3_000, 12_000])
def test_a_disk_that_fills_up_leaves_the_old_checkpoint(stage, room, folder, straight, tmp_path):
    out = tmp_path / "full"
    assert run(stage, folder, out, crash="checkpoint/end") == -signal.SIGKILL
    before = latest_checkpoint(out)

    def fill() -> None:  # no file may grow beyond `room` bytes: the tensors' files do not fit
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    child = start(stage, folder, out, resume=True, before=fill)
    assert wait(child) == FAILED
    assert latest_checkpoint(out) == before
    assert not [p for p in os.listdir(out / "checkpoints") if ".tmp-" in p]
    assert run(stage, folder, out, resume=True) == 0
    assert outcome(out) == straight(stage)[0]
