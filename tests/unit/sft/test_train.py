import json
import os
import signal
import threading
from dataclasses import replace
from itertools import count

import pytest
import torch
from safetensors.torch import load_file
from tests.fixtures_data import write_demonstrations
from tests.fixtures_models import make_policy, make_tokenizer, save_model_folder
from tests.stopping import check_resume_is_exact
from transformers import AutoModelForCausalLM

import understudy.sft.train as sft
from understudy.models.policies import load_policy
from understudy.models.scalar import ScalarModel
from understudy.records import Demonstration, read_records
from understudy.sft.config import SFTConfig
from understudy.sft.data import encode_demonstrations
from understudy.sft.loss import mean_loss
from understudy.sft.train import train_sft
from understudy.training import steps
from understudy.training.run import read_lines


@pytest.fixture
def config(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n\na dog ran to the house")
    return SFTConfig(
        model=str(save_model_folder(tmp_path / "base")),
        data=write_demonstrations(tmp_path / "demos.jsonl"),
        out=tmp_path / "run",
        epochs=2,
        lr=1e-3,
        batch_size=5,
        micro_batch_tokens=64,
    )


def weights(out):
    return load_file(out / "model" / "model.safetensors")


def test_it_learns_and_the_folder_has_everything(config):
    out = train_sft(replace(config, epochs=8, lr=1e-2, dropout=0.0))
    rows = read_lines(out / "metrics.jsonl")
    assert len(rows) == 8 * 3  # 12 demonstrations in batches of 5 are 3 steps
    assert rows[-1]["sft/loss"] < 0.5 * rows[0]["sft/loss"]
    assert (rows[0]["sft/lr"], rows[-1]["sft/lr"]) == (1e-2, pytest.approx(1e-3))
    assert {"config.toml", "run.json", "results.json", "model"} <= {p.name for p in out.iterdir()}
    results = json.loads((out / "results.json").read_text())
    assert (results["best_epoch"], results["num_demonstrations"]) == (8, 12)
    ours, _ = load_policy(out / "model")
    plain = AutoModelForCausalLM.from_pretrained(out / "model")
    ids = torch.tensor([[5, 9, 200]])
    assert torch.equal(ours(ids).logits, plain(ids).logits)


def test_the_first_step_changes_the_weights(config):
    out = train_sft(replace(config, epochs=1, batch_size=12))
    before = make_policy().state_dict()
    assert any(not torch.equal(before[name], w) for name, w in weights(out).items())


def test_the_best_epoch_by_validation_loss_is_kept(config, monkeypatch):
    losses = iter([4.0, 3.0, 1.0, 2.0])
    monkeypatch.setattr(sft, "mean_loss", lambda *_: next(losses))
    out = train_sft(replace(config, valid_data=config.data, epochs=3))
    assert json.loads((out / "results.json").read_text())["best_epoch"] == 2
    best = weights(out)
    straight = train_sft(replace(config, epochs=3, out=config.out.with_name("last")))
    assert any(not torch.equal(best[name], w) for name, w in weights(straight).items())


def test_validation_is_measured_before_the_first_step_too(config):
    out = train_sft(replace(config, valid_data=config.data, epochs=1))
    rows = read_lines(out / "metrics.jsonl")
    before, after = rows[0], rows[-1]
    assert (before["step"], list(before)[1:]) == (0, ["sft/valid_loss"])
    model, tokenizer = load_policy(config.model)
    examples = encode_demonstrations(
        tokenizer,
        read_records(config.data, Demonstration),
        max_prompt_tokens=1024,
        max_response_tokens=1024,
        context=256,
        where="",
    )
    assert before["sft/valid_loss"] == pytest.approx(mean_loss(model, examples.rows, 1, 4096))
    assert after["sft/valid_loss"] < before["sft/valid_loss"]


def test_the_best_epoch_by_reward_model_score(config, tmp_path):
    ScalarModel.from_policy(make_policy()).save(tmp_path / "rm", make_tokenizer())
    out = train_sft(
        replace(
            config,
            valid_data=config.data,
            reward_model=tmp_path / "rm",
            max_response_tokens=8,
            score_prompts=4,
            epochs=3,
        )
    )
    results = json.loads((out / "results.json").read_text())
    scores = [epoch["sft/valid_score"] for epoch in results["epochs"]]
    assert results["best_epoch"] == 1 + scores.index(max(scores))


def test_a_tenth_of_the_loss_is_pretraining_text(config, tmp_path):
    """One step's gradient is 0.9 demonstrations + 0.1 text, each a mean over its own tokens."""
    mixed = replace(
        config,
        pretrain_data=tmp_path / "text.txt",
        pretrain_fraction=0.1,
        pretrain_length=8,
        dropout=0.0,
        batch_size=12,
    )
    model, tokenizer = load_policy(config.model)
    data = sft._read_data(mixed, model, tokenizer)
    assert data.num_text == 1  # round(12 * 0.1 / 0.9)
    metrics, _ = sft._gradient(mixed, model, tokenizer, data, 0)
    mixed_grads = {n: p.grad.clone() for n, p in model.named_parameters()}
    parts = {}
    for name, rows in (("loss", data.batch(mixed, 0)), ("text_loss", data.text_batch(mixed, 0))):
        model.zero_grad()
        loss = sft.backward_batch(model, rows, 1, 64)
        assert float(metrics[f"sft/{name}"]) == pytest.approx(float(loss), abs=1e-5)
        parts[name] = {n: p.grad.clone() for n, p in model.named_parameters()}
    for name, grad in mixed_grads.items():
        expected = 0.9 * parts["loss"][name] + 0.1 * parts["text_loss"][name]
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-6)


def test_every_demonstration_and_text_row_once_per_epoch(config, tmp_path):
    mixed = replace(
        config, pretrain_data=tmp_path / "text.txt", pretrain_fraction=0.3, pretrain_length=4
    )
    model, tokenizer = load_policy(config.model)
    data = sft._read_data(mixed, model, tokenizer)
    for epoch in range(2):
        seen = [row for step in range(3) for row in data.batch(mixed, 3 * epoch + step)]
        assert sorted(map(repr, seen)) == sorted(map(repr, data.train.rows))
    count = len(data.text)
    texts = [row.input_ids for step in range(count) for row in data.text_batch(mixed, step)]
    assert len(texts) == count * data.num_text
    assert all(texts.count(row) == data.num_text for row in data.text.take(range(count)).tolist())


def test_resume_is_exact_from_any_step(config):
    config = replace(config, valid_data=config.data, save_every=2)
    check_resume_is_exact(train_sft, config, 1, 2, 3, 5)


def test_sigterm_saves_and_exits_with_75(config, monkeypatch):
    straight = train_sft(replace(config, out=config.out.with_name("straight")))
    step = steps.clip_and_step

    def interrupted(*args):
        signal.raise_signal(signal.SIGTERM)
        return step(*args)

    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setattr(steps, "clip_and_step", interrupted)
    with pytest.raises(SystemExit) as stopped:
        train_sft(config)
    assert stopped.value.code == 75
    assert [p.name for p in (config.out / "checkpoints").iterdir()] == ["step-1"]
    monkeypatch.setattr(steps, "clip_and_step", step)
    out = train_sft(replace(config, resume=True))
    assert all(torch.equal(w, weights(straight)[name]) for name, w in weights(out).items())
    assert os.getpid()


def test_a_non_finite_step_is_skipped_and_said(config, monkeypatch):
    step, calls = steps.clip_and_step, count()

    def poisoned(optimizer, parameters, max_norm):
        parameters = list(parameters)
        if next(calls) == 1:
            parameters[0].grad[0, 0] = float("nan")
        return step(optimizer, parameters, max_norm)

    monkeypatch.setattr(steps, "clip_and_step", poisoned)
    rows = read_lines(train_sft(config) / "metrics.jsonl")
    assert [row["sft/skipped_steps"] for row in rows] == [0, 1, 0, 0, 0, 0]
    assert rows[1]["sft/grad_norm"] is None
    assert rows[2]["sft/loss"] == rows[2]["sft/loss"]


def test_a_finished_run_is_not_trained_again(config):
    out = train_sft(config)
    before = (out / "metrics.jsonl").read_bytes()
    assert train_sft(replace(config, resume=True)) == out
    assert (out / "metrics.jsonl").read_bytes() == before
    with pytest.raises(ValueError, match="already holds this run"):
        train_sft(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.0}, "lr is 0.0; it must be above 0"),
        ({"pretrain_fraction": 1.0}, r"must be in \[0, 1\)"),
        ({"pretrain_fraction": 0.1}, "pretrain_fraction and pretrain_data need each other"),
        ({"reward_model": "rm"}, "give valid_data"),
    ],
)
def test_bad_settings_are_refused(config, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(config, **changes)


def test_bad_input_is_named(config, tmp_path):
    with pytest.raises(ValueError, match=r"missing.jsonl does not exist"):
        train_sft(replace(config, data=tmp_path / "missing.jsonl"))
    (tmp_path / "broken.jsonl").write_text('{"prompt": "x"}\n')
    with pytest.raises(ValueError, match=r"broken.jsonl line 1: field '\w+' is missing"):
        train_sft(replace(config, data=tmp_path / "broken.jsonl", overwrite=True))
    with pytest.raises(ValueError, match="does not exist"):
        train_sft(replace(config, model=str(tmp_path / "nowhere"), overwrite=True))
