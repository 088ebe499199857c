"""The whole loop on a policy of two layers: logs, resume, stop, evaluation, errors, learning."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tests.fixtures_ppo import TARGET, counting_reward_model, tiny_config, write_world
from transformers import AutoModelForCausalLM

from understudy.ppo.state import load_critic, new_state
from understudy.ppo.train import train_ppo
from understudy.records.io import read_records, write_records
from understudy.records.schema import Prompt
from understudy.rl.models import load_models
from understudy.training.checkpoint import load_checkpoint, save_checkpoint, tree_hash
from understudy.training.run import Run, read_lines
from understudy.training.stop import EXIT_STOPPED


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"))


def metrics_of(out):
    return read_lines(out / "metrics.jsonl")


def final_state(out, step):
    return load_checkpoint(out / "checkpoints" / f"step-{step}")


def test_run_folder_and_metrics(world, tmp_path):
    out = train_ppo(tiny_config(world, tmp_path / "run"))
    rows = metrics_of(out)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    first = rows[0]
    assert first["ppo/kl"] == pytest.approx(0, abs=1e-5)
    assert first["ppo/first_ratio_error"] < 1e-5
    assert first["ppo/lr"] == pytest.approx(3e-4)  # a tenth of the peak
    assert rows[1]["ppo/lr"] == pytest.approx(3e-3 * 0.55)
    assert rows[2]["ppo/lr"] == rows[3]["ppo/lr"] == pytest.approx(3e-3)
    assert first["ppo/ptx_loss"] > 1
    assert all(value is not None for row in rows for value in row.values())
    assert "ppo/seconds_rollout" in read_lines(out / "timings.jsonl")[0]
    results = json.loads((out / "results.json").read_text())
    assert results["episodes"] == 32
    assert results["stopped_by"] == "episodes"


@pytest.mark.thorough
def test_saved_model_is_the_average_of_the_weights(world, tmp_path):
    config = tiny_config(world, tmp_path / "run", episodes=16, ema=0.5)
    out = train_ppo(config)
    saved = load_file(out / "model" / "model.safetensors")
    trees, _ = final_state(out, 2)
    for name, tensor in saved.items():
        assert torch.equal(tensor, trees["average"][name])
        if "layers" in name and "norm" not in name:
            assert not torch.equal(tensor, trees["policy"][name])
    AutoModelForCausalLM.from_pretrained(out / "model")
    last = train_ppo(tiny_config(world, tmp_path / "last", episodes=16, ema=0.0))
    saved = load_file(last / "model" / "model.safetensors")
    trees, _ = final_state(last, 2)
    assert all(torch.equal(saved[name], trees["policy"][name]) for name in saved)


def test_ptx_coef_zero_is_ppo_and_moves_otherwise(world, tmp_path):
    plain = tiny_config(world, tmp_path / "a", ptx_coef=0.0, episodes=8)
    mixed = tiny_config(world, tmp_path / "b", ptx_coef=0.5, episodes=8)
    tiny = tiny_config(world, tmp_path / "c", ptx_coef=1e-30, episodes=8)
    hashes = []
    for config in (plain, mixed, tiny):
        train_ppo(config)
        hashes.append(tree_hash(final_state(config.out, 1)[0]["policy"]))
    assert hashes[0] == hashes[2] != hashes[1]
    assert "ppo/ptx_loss" not in metrics_of(plain.out)[0]


@pytest.mark.thorough
def test_ptx_reports_the_norm_of_ppos_own_gradient(world, tmp_path):
    rows = {}
    for coef in (0.0, 0.5, 50.0):
        changes = dict(ptx_coef=coef, episodes=8, num_minibatches=1)
        (rows[coef],) = metrics_of(train_ppo(tiny_config(world, tmp_path / str(coef), **changes)))
    alone = rows[0.0]["ppo/policy_grad_norm"]
    assert "ppo/surrogate_grad_norm" not in rows[0.0]
    for coef in (0.5, 50.0):
        assert rows[coef]["ppo/surrogate_grad_norm"] == pytest.approx(alone, rel=1e-5)
    assert rows[50.0]["ppo/policy_grad_norm"] > 10 * alone


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def straight(world, tmp_path_factory, request):
    """A run without interruption, and what differs from the tiny configuration."""
    changes = dict(ptx_coef=request.param, adaptive_kl_target=0.1)
    out = tmp_path_factory.mktemp("straight") / "a"
    return train_ppo(tiny_config(world, out, **changes)), changes


@pytest.mark.parametrize(
    ("straight", "after"),
    [
        (0.5, 2),
        *(pytest.param(*case, marks=pytest.mark.thorough) for case in ((0.5, 1), (0.5, 3), (0, 2))),
    ],
    indirect=["straight"],
)
def test_resume_is_bit_exact(world, tmp_path, monkeypatch, straight, after):
    """Also with weights and states that wait elsewhere between the phases."""
    straight, changes = straight
    config = tiny_config(world, tmp_path / "b", cpu_offload=True, **changes)
    original = Run.log

    def interrupted(run, step, metrics):
        if step == after + 1:
            raise Stopped
        original(run, step, metrics)

    monkeypatch.setattr(Run, "log", interrupted)
    with pytest.raises(Stopped):
        train_ppo(config)
    monkeypatch.undo()
    train_ppo(replace(config, resume=True))
    for one, two in zip(final_state(straight, 4), final_state(config.out, 4), strict=True):
        assert tree_hash(one) == tree_hash(two)
    for name in ("metrics.jsonl", "model/model.safetensors", "results.json"):
        assert (straight / name).read_bytes() == (config.out / name).read_bytes()


def resumed_end(source, config, trees, counters):
    """The final state of a run that resumes from this checkpoint of another run."""
    shutil.copytree(source, config.out, ignore=shutil.ignore_patterns("checkpoints", "model"))
    record = json.loads((config.out / "run.json").read_text())
    (config.out / "run.json").write_text(json.dumps(record | {"status": "running"}))
    save_checkpoint(config.out, 2, trees, counters)
    train_ppo(replace(config, resume=True))
    return tree_hash(final_state(config.out, max(3, counters["iteration"] + 1)))


@pytest.mark.thorough
def test_every_part_of_the_state_matters(world, tmp_path):
    """With any part of a middle checkpoint as at the start, the end is another: none is spare."""
    config = tiny_config(world, tmp_path / "a", adaptive_kl_target=0.1, episodes=24)
    train_ppo(config)
    good = tree_hash(final_state(config.out, 3))
    trees, counters = final_state(config.out, 2)
    models = load_models(config, "ppo")
    fresh = new_state(config, models, load_critic(config, models))
    assert set(trees) == set(fresh.trees())
    started = fresh.counters() | {"iteration": 0}
    assert set(counters) == set(started)
    copied = replace(config, out=tmp_path / "whole")
    assert resumed_end(config.out, copied, trees, counters) == good
    for name in [*trees, "iteration", "beta"]:
        copied = replace(config, out=tmp_path / name)
        without_trees = trees | {k: v for k, v in fresh.trees().items() if k == name}
        without = counters | {k: v for k, v in started.items() if k == name}
        assert resumed_end(config.out, copied, without_trees, without) != good, name


def test_stop_by_kl_comes_before_the_update(world, tmp_path):
    config = tiny_config(world, tmp_path / "run", target_kl=0.01, lr=0.03, episodes=80)
    out = train_ppo(config)
    results = json.loads((out / "results.json").read_text())
    assert results["stopped_by"] == "target_kl"
    assert results["iterations"] < 10
    assert all(row["ppo/kl"] <= 0.01 for row in metrics_of(out))


def test_held_out_answers_are_kept_with_scores_and_kl(world, tmp_path):
    config = tiny_config(
        world, tmp_path / "run", eval_prompts=world["prompts"], eval_every=2, episodes=24
    )
    out = train_ppo(config)
    rows = read_lines(out / "samples.jsonl")
    assert [row["step"] for row in rows] == [0] * 20 + [2] * 20 + [3] * 20
    assert rows[0]["prompt_id"] == "p0"
    assert all(abs(row["kl"]) < 1e-5 for row in rows[:20])
    assert any(abs(row["kl"]) > 1e-3 for row in rows[40:])
    for row in rows:
        assert set(row) >= {"response", "score", "raw_score", "finished"}
        assert row["finished"] or row["score"] == -1.0
    metrics = metrics_of(out)
    assert [row["step"] for row in metrics if "ppo/eval_score" in row] == [0, 2, 3]
    mean = sum(row["score"] for row in rows[20:40]) / 20
    assert metrics[2]["ppo/eval_score"] == pytest.approx(mean, abs=1e-5)


def test_a_finished_run_is_left_alone(world, tmp_path):
    config = tiny_config(world, tmp_path / "run", episodes=8)
    out = train_ppo(config)
    before = (out / "metrics.jsonl").read_bytes()
    assert train_ppo(replace(config, resume=True)) == out
    assert (out / "metrics.jsonl").read_bytes() == before


def test_known_reward_goes_up(world, tmp_path):
    """The reward model counts a word; after some iterations the policy says little else."""
    config = tiny_config(
        world,
        tmp_path / "run",
        ptx_coef=0.0,
        episodes=10 * 64,
        batch_size=64,
        num_minibatches=4,
        beta=0.02,
        lr=1e-2,
        critic_lr=1e-2,
        ema=0.9,
        save_every=100,
        missing_eos_score=None,
        value_clip=None,
    )
    out = train_ppo(config)
    rows = metrics_of(out)
    start = sum(row["ppo/score"] for row in rows[:3]) / 3
    end = sum(row["ppo/score"] for row in rows[-3:]) / 3
    assert end > start + 0.5
    assert rows[-1]["ppo/kl"] > 1
    policy = AutoModelForCausalLM.from_pretrained(out / "model")
    probs = torch.softmax(policy(input_ids=torch.tensor([[5, 6, 3]])).logits[0, -1], -1)
    assert probs[TARGET] > 0.5
    explained = [row["ppo/value_explained_variance"] for row in rows]
    assert max(explained[5:]) > 0.2


def test_another_tokenizer_is_refused(world, tmp_path):
    shutil.copytree(world["reward_model"], tmp_path / "reward")
    path = tmp_path / "reward" / "tokenizer.json"
    text = json.loads(path.read_text())
    vocab = text["model"]["vocab"]
    vocab["w8"], vocab["w9"] = vocab["w9"], vocab["w8"]
    path.write_text(json.dumps(text))
    config = tiny_config(world | {"reward_model": tmp_path / "reward"}, tmp_path / "run")
    with pytest.raises(ValueError, match=r"another tokenizer .*\(they differ in vocabulary\)"):
        train_ppo(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 9}, "num_minibatches 2 does not divide the 9 responses"),
        ({"pretrain_data": None}, "ptx_coef is 0.5 but there is no pretrain_data"),
        ({"eval_every": 3}, "eval_every and eval_prompts need each other"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be above 0"),
        ({"vllm": "127.0.0.1:8000"}, "vllm is '127.0.0.1:8000'; it must be an address like http:"),
        ({"vllm": "http://h:8000/v1"}, "vllm is 'http://h:8000/v1'; it must be an address like"),
        ({"vllm_tolerance": 0.1}, "vllm_tolerance is given, but has no effect without vllm"),
        ({"gae_lambda": 1.5}, "gae_lambda is 1.5"),
        ({"target_kl": -1.0}, "target_kl is -1.0"),
    ],
)
def test_bad_settings(world, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(world, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_bad_prompts(world, tmp_path):
    prompts = read_records(world["prompts"], Prompt)
    path = tmp_path / "prompts.jsonl"
    mixed = [replace(prompts[0], split="test"), *prompts[1:]]
    write_records(path, mixed)
    config = tiny_config(world | {"prompts": path}, tmp_path / "run")
    with pytest.raises(ValueError, match=r"1 of 20 prompts belong to another split \(prompt p0"):
        train_ppo(config)
    write_records(path, [replace(prompts[0], prompt="w5 " * 61)])
    config = replace(config, overwrite=True)
    with pytest.raises(ValueError, match=r"prompt p0 has 62 tokens, .* context of 64"):
        train_ppo(config)
    with pytest.raises(ValueError, match="no prompt of at most 5 tokens"):
        train_ppo(replace(config, max_prompt_tokens=5))


def test_non_finite_reward_stops_with_a_clear_line(world, tmp_path):
    shutil.copytree(world["reward_model"], tmp_path / "reward")
    model = counting_reward_model()
    with torch.no_grad():  # a weight that is finite, and a score that is not
        model.trunk.norm.weight[2] = 3e38
    model.save(tmp_path / "reward", load_models(tiny_config(world, tmp_path), "ppo").tokenizer)
    config = tiny_config(world | {"reward_model": tmp_path / "reward"}, tmp_path / "run")
    with pytest.raises(FloatingPointError, match="a reward is not finite"):
        train_ppo(config)


CHILD = """
import sys
from pathlib import Path
from understudy.training.config import load_config
from understudy.ppo.config import PPOConfig
from understudy.ppo.train import train_ppo
train_ppo(load_config(PPOConfig, sys.argv[1], {"resume": sys.argv[2]}))
"""


def run_child(path, resume, **kwargs):
    env = os.environ | {"OMP_NUM_THREADS": "1"} | kwargs
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(path), resume], env=env, check=False, timeout=120
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    [
        "ppo/rollout@3",
        "ppo/minibatch@5",
        "ppo/iteration@2",
        "checkpoint/file@8",
        "checkpoint/end@1",
    ],
)
def test_killed_anywhere_it_resumes_to_the_same_end(world, tmp_path, point):
    from understudy.training.config import dump_toml

    straight = train_ppo(tiny_config(world, tmp_path / "a"))
    config = tiny_config(world, tmp_path / "b")
    path = tmp_path / "config.toml"
    path.write_text(dump_toml(config))
    child = run_child(path, "false", UNDERSTUDY_CRASH_AT=point)
    assert child.returncode == -signal.SIGKILL
    assert run_child(path, "true").returncode == 0
    assert tree_hash(final_state(straight, 4)) == tree_hash(final_state(config.out, 4))
    assert (straight / "metrics.jsonl").read_bytes() == (config.out / "metrics.jsonl").read_bytes()


def test_sigterm_saves_and_exits_with_75(world, tmp_path, monkeypatch):
    config = tiny_config(world, tmp_path / "run", save_every=100)
    original = Run.log

    def signalled(run, step, metrics):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        original(run, step, metrics)

    monkeypatch.setattr(Run, "log", signalled)
    with pytest.raises(SystemExit) as caught:
        train_ppo(config)
    monkeypatch.undo()
    assert caught.value.code == EXIT_STOPPED == 75
    assert [row["step"] for row in metrics_of(config.out)] == [1, 2]
    train_ppo(replace(config, resume=True))
    straight = train_ppo(tiny_config(world, tmp_path / "straight", save_every=100))
    assert tree_hash(final_state(straight, 4)) == tree_hash(final_state(config.out, 4))
