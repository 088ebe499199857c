"""How a stage says how far it is, and how the display reads it."""

import json

import pytest

from understudy.loop.stage_call import StageCall, read_progress


@pytest.fixture
def call(tmp_path):
    return StageCall(name="sft", inputs={"a": (tmp_path,)}, config={}, out=tmp_path, root=tmp_path)


def test_progress_is_read_as_it_was_said(call):
    assert read_progress(call.out) == (0.0, "")
    call.progress(1, 4, "epoch 1")
    assert read_progress(call.out) == (0.25, "epoch 1")
    call.progress(2, 4, "too soon to be written")
    assert read_progress(call.out) == (0.25, "epoch 1")
    call.progress(4, 4)
    assert read_progress(call.out) == (1.0, "")


def test_a_followed_metrics_file_gives_step_and_metric(call):
    call.follow("run/metrics.jsonl", total=8, metric="sft/loss")
    assert read_progress(call.out) == (0.0, "")
    (call.out / "run").mkdir()
    rows = [{"step": 1, "sft/loss": 2.0}, {"step": 2, "sft/loss": 1.23456}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (call.out / "run" / "metrics.jsonl").write_text(text + '{"step": 3, "sft/l')
    assert read_progress(call.out) == (0.25, "sft/loss 1.23")


def test_one_input_or_many(call, tmp_path):
    assert call.path("a") == tmp_path
    assert call.paths("none") == ()
