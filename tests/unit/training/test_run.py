import io
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from understudy.training import run as run_module
from understudy.training.config import load_config
from understudy.training.folder import HANDLING
from understudy.training.metrics import METRICS, is_timing
from understudy.training.opening import open_run, prepare_run
from understudy.training.origin import code_version
from understudy.training.progress import Progress
from understudy.training.run import read_lines


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    out: Path
    lr: float = 1e-3
    resume: bool = False


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("{}\n")
    return path


def start(out, data, stage="ppo", lr=1e-3, **kwargs):
    config = Config(out=out, lr=lr, resume=kwargs.get("resume", False))
    inputs = {"data": data, "model": "hub/name", "extra": None}
    return open_run(out, stage=stage, config=config, inputs=inputs, seed=7, **kwargs)


def test_a_new_run_records_what_it_is(tmp_path, data):
    run = start(tmp_path / "a", data)
    record = json.loads((run.dir / "run.json").read_text())
    assert (record["stage"], record["seed"], record["status"]) == ("ppo", 7, "running")
    assert record["code_version"] == code_version()
    assert record["inputs"]["model"] == {"path": "hub/name", "sha256": None}
    assert len(record["inputs"]["data"]["sha256"]) == 64
    assert "extra" not in record["inputs"]
    assert load_config(Config, run.dir / "config.toml") == Config(out=tmp_path / "a")


def test_log_splits_metrics_from_timings(tmp_path, data):
    run = start(tmp_path / "a", data)
    run.log(1, {"ppo/kl": 0.5, "ppo/score": float("nan"), "ppo/seconds_rollout": 2.0})
    assert read_lines(run.dir / "metrics.jsonl") == [{"step": 1, "ppo/kl": 0.5, "ppo/score": None}]
    assert read_lines(run.dir / "timings.jsonl") == [{"step": 1, "ppo/seconds_rollout": 2.0}]
    with pytest.raises(AssertionError, match="ppo/unheard_of"):
        run.log(2, {"ppo/unheard_of": 1.0})


def test_rewind_drops_later_and_torn_lines(tmp_path, data):
    run = start(tmp_path / "a", data)
    for step in (1, 2, 3):
        run.log(step, {"ppo/kl": step / 3})
    whole = (run.dir / "metrics.jsonl").read_text()
    with open(run.dir / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "ppo/k')
    run.rewind(2)
    assert (run.dir / "metrics.jsonl").read_text() == "".join(whole.splitlines(True)[:2])


def test_finish_marks_the_run_done(tmp_path, data):
    run = start(tmp_path / "a", data)
    run.finish({"score": 1.5, "bad": float("inf"), "by": {"x": [1, float("nan")]}})
    again = start(tmp_path / "a", data, resume=True)
    assert again.done
    assert again.resumed
    assert again.results == {"score": 1.5, "bad": None, "by": {"x": [1, None]}}


def test_another_run_is_refused(tmp_path, data):
    start(tmp_path / "a", data)
    with pytest.raises(ValueError, match=r"already holds this run \(running\); pass --resume"):
        start(tmp_path / "a", data)
    with pytest.raises(ValueError, match=r"another run \(stage ppo, config differs in lr\)"):
        start(tmp_path / "a", data, lr=1.0, resume=True)
    with pytest.raises(ValueError, match=r"another run \(stage ppo\); choose another --out"):
        start(tmp_path / "a", data, stage="sft")


def test_changed_input_is_refused_on_resume(tmp_path, data):
    start(tmp_path / "a", data)
    data.write_text("{} \n")
    with pytest.raises(ValueError, match="input data has changed"):
        start(tmp_path / "a", data, resume=True)


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path, data):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"holds no run \(found chapter\.txt\)"):
            start(tmp_path / "thesis", data, overwrite=overwrite)
    assert (tmp_path / "thesis" / "chapter.txt").exists()
    with pytest.raises(ValueError, match="is a file"):
        start(data, data)


def test_overwrite_removes_the_run_only(tmp_path, data):
    run = start(tmp_path / "a", data)
    run.log(1, {"ppo/kl": 1.0})
    (run.dir / "model").mkdir()
    (run.dir / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="found notes"):
        start(tmp_path / "a", data, lr=2.0, overwrite=True)
    assert (run.dir / "notes.txt").exists()
    (run.dir / "notes.txt").unlink()
    fresh = start(tmp_path / "a", data, lr=2.0, overwrite=True)
    assert not fresh.resumed
    assert sorted(p.name for p in fresh.dir.iterdir()) == ["config.toml", "run.json"]


def test_missing_input_and_parents(tmp_path, data):
    with pytest.raises(ValueError, match=r"none\.jsonl does not exist"):
        start(tmp_path / "a", tmp_path / "none.jsonl")
    parent = start(tmp_path / "sft", data)
    (parent.dir / "model").mkdir()
    child = open_run(
        tmp_path / "ppo",
        stage="ppo",
        config=Config(out=tmp_path / "ppo"),
        inputs={"model": parent.dir / "model"},
        seed=0,
    )
    assert child.record["parents"] == {"model": str(parent.dir.resolve())}


def test_a_folder_is_taken_only_when_claimed(tmp_path, data):
    old = start(tmp_path / "a", data)
    old.log(1, {"ppo/kl": 1.0})
    config = Config(out=tmp_path / "a", lr=2.0)
    options = dict(stage="ppo", config=config, inputs={"data": data}, seed=7)
    run = prepare_run(tmp_path / "a", overwrite=True, **options)
    assert read_lines(old.dir / "metrics.jsonl")  # an old run is safe until then
    run.claim()
    assert sorted(p.name for p in run.dir.iterdir()) == ["config.toml", "run.json"]
    fresh = prepare_run(tmp_path / "b", **options)
    assert not fresh.dir.exists()
    fresh.claim()
    assert prepare_run(tmp_path / "b", resume=True, **options).resumed


def test_plain_progress_is_first_and_last_line():
    stream = io.StringIO()
    with Progress(3, "PPO", stream) as progress:
        for step in (1, 2, 3):
            progress.update(step, {"ppo/kl": step / 4})
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[:2] for line in lines] == [
        ["PPO 1/3", "kl 0.25"],
        ["PPO 3/3", "kl 0.75"],
    ]


def test_progress_of_work_that_ends_out_of_step():
    stream = io.StringIO()
    with Progress(10, "Responses", stream) as progress:
        for number in (4, 6):
            progress.advance(number)
    assert stream.getvalue().startswith("Responses 10/10")
    assert stream.getvalue().endswith("0:00 left\n")


def test_every_metric_has_a_meaning():
    assert all(name.count("/") >= 1 and meaning for name, meaning in METRICS.items())
    assert is_timing("ppo/seconds_rollout")
    assert is_timing("sft/tokens_per_second")
    assert not is_timing("ppo/kl")


def test_handling_fields_do_not_make_another_run(tmp_path, data):
    start(tmp_path / "a", data)
    config = replace(Config(out=tmp_path / "a"), resume=True)
    assert "resume" in HANDLING
    inputs = {"data": data, "model": "hub/name"}
    assert open_run(tmp_path / "a", stage="ppo", config=config, inputs=inputs, seed=7, resume=True)


@dataclass(frozen=True)
class SamplingConfig(Config):
    vllm: str | None = None


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        (None, "http://h:1", True),
        (None, None, False),
        ("http://h:1", "http://h:2", False),
        ("http://h:1", None, False),
    ],
)
def test_a_native_run_is_not_continued_by_vllm(tmp_path, data, before, after, refused):
    def begin(vllm, resume):
        config = SamplingConfig(out=tmp_path / "a", vllm=vllm, resume=resume)
        inputs = {"data": data}
        return open_run(
            tmp_path / "a", stage="ppo", config=config, inputs=inputs, seed=7, resume=resume
        )

    begin(before, resume=False)
    if refused:
        with pytest.raises(ValueError, match="resume it without --vllm"):
            begin(after, resume=True)
    else:
        assert begin(after, resume=True).resumed


def test_a_start_that_was_killed_does_not_block_the_next(data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text("lr = 1.0\n")
    run = start(tmp_path / "run", data)
    assert not run.resumed
    assert "0.001" in (tmp_path / "run" / "config.toml").read_text()


TREES = {"model": {"w": torch.ones(3)}}


def resumed(out, data):
    return start(out, data, resume=True)


def logged(run, steps):
    for step in steps:
        run.log(step, {"ppo/kl": step / 3, "ppo/seconds_rollout": 1.0})


def test_logs_go_back_to_the_checkpoint(tmp_path, data):
    run = start(tmp_path / "a", data)
    logged(run, (1, 2))
    run.save(2, TREES, {"step": 2})
    whole = {name: (run.dir / name).read_bytes() for name in ("metrics.jsonl", "timings.jsonl")}
    logged(run, (3, 4))
    run.append("samples.jsonl", {"step": 3})
    with open(run.dir / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "ppo/k')
    trees, state = resumed(tmp_path / "a", data).restore()
    assert state == {"step": 2}
    assert torch.equal(trees["model"]["w"], torch.ones(3))
    assert {name: (run.dir / name).read_bytes() for name in whole} == whole
    assert not (run.dir / "samples.jsonl").exists()


def test_without_a_checkpoint_the_logs_begin_anew(tmp_path, data):
    logged(start(tmp_path / "a", data), (0, 1))
    assert resumed(tmp_path / "a", data).restore() is None
    assert (tmp_path / "a" / "metrics.jsonl").read_text() == ""


@pytest.mark.parametrize("damage", ["cut", "edited", "removed"])
def test_a_damaged_log_is_said(tmp_path, data, caplog, damage):
    run = start(tmp_path / "a", data)
    logged(run, (1, 2, 3))
    run.save(2, TREES, {"step": 2})
    path = run.dir / "metrics.jsonl"
    text = path.read_text()
    if damage == "removed":
        path.unlink()
    else:
        path.write_text(text[:50] if damage == "cut" else text.replace('"step": 1', '"step": 9'))
    assert resumed(tmp_path / "a", data).restore()[1] == {"step": 2}
    assert "metrics.jsonl has lost or changed lines from before step-2" in caplog.text


def test_a_checkpoint_of_another_run_is_refused(tmp_path, data):
    one, two = start(tmp_path / "a", data), start(tmp_path / "b", data, lr=0.5)
    one.save(1, TREES, {"step": 1})
    shutil.copytree(one.dir / "checkpoints", two.dir / "checkpoints")
    with pytest.raises(ValueError, match=r"step-1 is the checkpoint of another run .*remove it"):
        start(tmp_path / "b", data, lr=0.5, resume=True).restore()
    assert (two.dir / "checkpoints" / "step-1").exists()
    same = start(tmp_path / "c", data)
    shutil.copytree(one.dir / "checkpoints", same.dir / "checkpoints")
    assert resumed(tmp_path / "c", data).restore() is not None


def test_an_edited_config_is_refused(tmp_path, data):
    path = start(tmp_path / "a", data).dir / "config.toml"
    text = path.read_text()
    path.write_text(text.replace("0.001", "0.002"))
    with pytest.raises(ValueError, match=r"config\.toml was edited since the run began \(lr\)"):
        resumed(tmp_path / "a", data)
    path.unlink()
    with pytest.raises(ValueError, match=r"config\.toml is missing"):
        resumed(tmp_path / "a", data)
    path.write_text(text)
    assert resumed(tmp_path / "a", data).resumed


def test_saving_takes_a_share_of_the_time(tmp_path, data, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(run_module.time, "monotonic", lambda: now[0])
    run = start(tmp_path / "a", data)
    run._saved_at = 0.0
    steps = []

    def save(step, trees, state):
        steps.append(step)
        now[0] += 3.0

    monkeypatch.setattr(run, "save", save)
    trees = {"model": {"w": torch.ones(25_000_000)}}  # 1 s at the rate that is expected at first
    for step in range(1, 101):
        now[0] += 1.0
        run.save_if_due(step, lambda: (trees, {}), every=0, last=step == 100)
    assert steps == [11, 42, 73]
    run.save_if_due(101, lambda: (trees, {}), every=0, now=True)
    assert steps[-1] == 101
    for step in range(1, 8):
        run.save_if_due(step, lambda: (trees, {}), every=3, last=step == 7)
    assert steps[-3:] == [3, 6, 7]


def test_checkpoints_of_a_finished_run_go_unless_kept(tmp_path, data):
    for keep in (True, False):
        run = start(tmp_path / str(keep), data)
        run.keep_checkpoints = keep
        run.save(1, TREES, {})
        run.finish({})
        assert (run.dir / "checkpoints").exists() == keep


def test_a_stopped_run_is_marked_until_it_is_resumed(tmp_path, data):
    def status():
        return json.loads((tmp_path / "a" / "run.json").read_text())["status"]

    run = start(tmp_path / "a", data)
    run.stopped(7)
    assert status() == "stopped"
    start(tmp_path / "a", data, resume=True)
    assert status() == "running"


def test_stopped_says_how_to_go_on(tmp_path, data, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/bin/understudy", "ppo", "--out", "a"])
    stopped = start(tmp_path / "a", data).stopped(7)
    assert stopped.code == 75
    line = "stopped and saved at step 7; continue with: understudy ppo --out a --resume\n"
    assert capsys.readouterr().err == line


CHILD = """
import json, sys
from pathlib import Path
from understudy.training.opening import open_run
from tests.unit.training.test_run import Config
out = Path(sys.argv[1])
for how in map(str.strip, sys.stdin):
    config = Config(out=out, resume=how == "resume")
    options = dict(resume=config.resume, overwrite=how == "overwrite")
    try:
        open_run(out, stage="ppo", config=config, inputs={}, seed=7, **options)
        print(json.dumps("opened"), flush=True)
    except ValueError as error:
        print(json.dumps(str(error)), flush=True)
"""


def test_two_processes_do_not_share_a_folder(tmp_path):
    out = tmp_path / "a"
    options = dict(stage="ppo", config=Config(out=out), inputs={}, seed=7)
    run = open_run(out, **options)
    logged(run, (1,))
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    command = [sys.executable, "-c", CHILD, str(out)]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen(command, **pipes) as child:

        def said(how):
            print(how, file=child.stdin, flush=True)
            return json.loads(child.stdout.readline())

        for how in ("resume", "overwrite"):
            (line,) = said(how).splitlines()
            assert f"{out} is in use by another process" in line
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
        run.finish({})
        assert said("resume") == "opened"
