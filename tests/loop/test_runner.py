"""Plans in real processes: side by side, interrupted, killed, gone on with, and failing."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from understudy.loop.plan import Plan, Stage, read_stamp
from understudy.loop.runner import PlanFailed, StageState, default_workers, run_plan

STAGES = '''
import os, signal, time

def write(call):
    """Copy the text of all inputs, then its own."""
    texts = [p.read_text() for p in call.paths("texts")]
    (call.out / "out.txt").write_text("".join(texts) + call.config["text"])

def meet(call):
    """Ends only when `count` of its kind run at the same time."""
    (call.root / f"here-{call.name}").touch()
    wait_for(lambda: len(list(call.root.glob("here-*"))) >= call.config["count"])
    (call.out / "out.txt").write_text("met")

def threads(call):
    import torch
    (call.out / "out.txt").write_text(str(torch.get_num_threads()))

def refuse(call):
    raise ValueError("row 7 has no answer; add one\\nmore detail")

def die(call):
    os.kill(os.getpid(), signal.SIGKILL)

def count(call):
    """Counts to 3 and keeps the count in a file; waits for a gate at 2; saves on SIGTERM."""
    place = call.out / "count"
    now = int(place.read_text()) if place.exists() else 0
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    (call.root / f"began-at-{now}").touch()
    while now < 3:
        now += 1
        place.write_text(str(now))
        call.progress(now, 3, f"count {now}")
        if now == 2 and not (call.root / "gate").exists():
            wait_for(lambda: stop)
            raise SystemExit(75)
    (call.out / "out.txt").write_text("three")

def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
'''

MAIN = """
import sys
from pathlib import Path
from understudy.loop.plan import Plan, Stage
from understudy.loop.runner import PlanInterrupted, run_plan

first = Stage(name="first", meaning="", function="stages_in_a_test:write", outputs=("out.txt",),
              config={"text": "hello"})
count = Stage(name="count", meaning="", function="stages_in_a_test:count", outputs=("out.txt",),
              inputs={"texts": first.output("out.txt")})
try:
    states = run_plan(Plan((first, count)), Path(sys.argv[1]))
except PlanInterrupted as error:
    sys.exit(f"{error}")
print({s.stage.name: s.state for s in states})
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The folder of a plan; its stages' module can be imported, in children too."""
    (tmp_path / "stages_in_a_test.py").write_text(STAGES)
    (tmp_path / "main.py").write_text(MAIN)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "run"


def stage(name: str, function: str, *reads: Stage, **config) -> Stage:
    return Stage(
        name=name,
        meaning=f"the stage {name}",
        function=f"stages_in_a_test:{function}",
        inputs={"texts": tuple(r.output("out.txt") for r in reads)},
        outputs=("out.txt",),
        config=config,
    )


class Watch:
    """A display that remembers what it is told."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []
        self.seconds_left: list[float] = []

    def changed(self, state: StageState) -> None:
        self.changes.append((state.stage.name, state.state))

    def update(self, states, seconds_left: float) -> None:
        self.seconds_left.append(seconds_left)


def states_of(plan: Plan, root: Path) -> dict[str, str]:
    return {s.stage.name: s.state for s in run_plan(plan, root)}


def wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def test_a_diamond_runs_once_and_then_only_what_is_stale(root):
    top = stage("top", "write", text="top ")
    left = stage("left", "write", top, text="left ")
    right = stage("right", "write", top, text="right ")
    plan = Plan((top, left, right, stage("end", "write", left, right, text="end")))
    watch = Watch()
    run_plan(plan, root, display=watch)
    assert (root / "end" / "out.txt").read_text() == "top left top right end"
    assert watch.changes[0] == ("top", "running")
    assert watch.changes[-1] == ("end", "done")
    assert watch.seconds_left[-1] == 0.0
    assert states_of(plan, root) == dict.fromkeys(("top", "left", "right", "end"), "fresh")
    other = stage("right", "write", top, text="RIGHT ")
    again = Plan((top, left, other, stage("end", "write", left, other, text="end")))
    assert states_of(again, root) == {
        "top": "fresh",
        "left": "fresh",
        "right": "done",
        "end": "done",
    }
    assert (root / "end" / "out.txt").read_text() == "top left top RIGHT end"


def test_stages_run_at_the_same_time(root):
    pair = tuple(stage(f"meet-{i}", "meet", count=2) for i in range(2))
    run_plan(Plan(pair), root, workers=2)
    assert (root / "meet-0" / "out.txt").read_text() == "met"


def test_the_result_does_not_depend_on_the_number_of_workers(root):
    shards = tuple(stage(f"s{i}", "write", text=str(i)) for i in range(5))
    plan = Plan((*shards, stage("end", "write", *shards, text="!")))
    run_plan(plan, root / "one", workers=1)
    run_plan(plan, root / "three", workers=3)
    for name in [*(s.name for s in shards), "end"]:
        assert read_stamp(root / "one" / name).key == read_stamp(root / "three" / name).key
    assert (root / "three" / "end" / "out.txt").read_text() == "01234!"


@pytest.mark.thorough
def test_a_stage_computes_with_its_own_number_of_threads(root):
    one, two = stage("one", "threads"), replace(stage("two", "threads"), threads=2)
    run_plan(Plan((one, two)), root, workers=1)
    assert [(root / s.name / "out.txt").read_text() for s in (one, two)] == ["1", "2"]


def test_a_failure_is_one_line_with_its_log_and_others_finish(root):
    bad, good = stage("bad", "refuse"), stage("good", "meet", count=1)
    plan = Plan((bad, good, stage("after", "write", bad, text="x")))
    with pytest.raises(PlanFailed) as failure:
        run_plan(plan, root, workers=2)
    text = str(failure.value)
    assert text.startswith("stage bad failed: row 7 has no answer; add one (log: ")
    assert "\n" not in text
    assert read_stamp(root / "good") is not None
    assert read_stamp(root / "after") is None
    assert "Traceback" in (root / "logs" / "bad.log").read_text()


def test_a_stage_that_is_killed_fails_clearly(root):
    with pytest.raises(PlanFailed, match=r"stage gone failed: ended by SIGKILL"):
        run_plan(Plan((stage("gone", "die"),)), root)


def test_a_stage_that_forgets_an_output_fails(root):
    forgetful = Stage(
        name="forgetful",
        meaning="",
        function="stages_in_a_test:write",
        outputs=("out.txt", "other.txt"),
        config={"text": ""},
    )
    with pytest.raises(PlanFailed, match=r"did not write other.txt"):
        run_plan(Plan((forgetful,)), root)


def start(root: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(root.parent / "main.py"), str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root.parent)},
    )


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_at_any_time_it_goes_on_from_there(root, signum):
    process = start(root)
    wait_for((root / "count" / "progress.json").exists)
    wait_for(lambda: (root / "count" / "count").read_text() == "2")
    process.send_signal(signum)
    _, errors = process.communicate(timeout=20)
    if signum == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert f"interrupted by {signum.name}; 1 of 2 stages are finished" in errors
    assert read_stamp(root / "first") is not None
    assert read_stamp(root / "count") is None

    (root / "gate").touch()
    process = start(root)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "{'first': 'fresh', 'count': 'done'}" in output
    assert (root / "began-at-2").exists()  # not from the start again
    assert (root / "count" / "out.txt").read_text() == "three"


def test_two_runners_do_not_share_a_folder(root):
    process = start(root)
    wait_for((root / "count" / "progress.json").exists)
    with pytest.raises(ValueError, match="is in use by another process"):
        run_plan(Plan((stage("first", "write", text="x"),)), root)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)


def test_a_half_done_stage_with_other_settings_starts_over(root):
    root.mkdir()
    (root / "gate").touch()
    (root / "count").mkdir()
    (root / "count" / "count").write_text("2")
    (root / "count" / "attempt.json").write_text('{"key": "another", "seconds": 1, "started": 1}')
    run_plan(Plan((stage("count", "count"),)), root)
    assert (root / "began-at-0").exists()


def test_workers_by_default_are_the_cores_up_to_two():
    assert default_workers() in (1, 2)
