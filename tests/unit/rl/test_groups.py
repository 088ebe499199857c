"""The three trainers on groups of responses, on a policy of two layers and a known reward."""

import json
from dataclasses import replace

import pytest
import torch
from tests.adapters import check_an_adapter_is_trained_alone
from tests.fixtures_ppo import TARGET, write_world
from tests.stopping import check_resume_is_exact

from understudy.grpo.config import GRPOConfig
from understudy.grpo.train import train_grpo
from understudy.loop.doctor import DoctorConfig, doctor
from understudy.models.policies import load_policy
from understudy.raft.config import RAFTConfig
from understudy.raft.train import best_of_each, train_raft
from understudy.rloo.config import RLOOConfig
from understudy.rloo.train import train_rloo
from understudy.training.run import read_lines

TRAINERS = {
    "rloo": (RLOOConfig, train_rloo),
    "grpo": (GRPOConfig, train_grpo),
    "raft": (RAFTConfig, train_raft),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = write_world(tmp_path_factory.mktemp("world"))
    del world["pretrain_data"]
    return world


def config_of(name, world, out, **changes):
    settings = dict(
        out=out,
        episodes=64,
        batch_size=16,
        responses_per_prompt=4,
        inner_epochs=1,
        lr=3e-3,
        warmup_iterations=2,
        max_response_tokens=6,
        save_every=1,
        micro_batch_tokens=64,
    )
    return TRAINERS[name][0](**(world | settings | changes))


def rows_of(run):
    return read_lines(run / "metrics.jsonl")


EACH = pytest.mark.parametrize(
    "name", ["grpo", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("rloo", "raft"))]
)
"""GRPO every day; the others differ from it in what a group's rewards become."""


@pytest.mark.parametrize("name", TRAINERS)
def test_run_folder_and_metrics(name, world, tmp_path):
    prompts = dict(eval_prompts=world["prompts"], eval_every=2)
    out = TRAINERS[name][1](config_of(name, world, tmp_path / "run", **prompts))
    rows = rows_of(out)
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[0][f"{name}/eval_kl"] == pytest.approx(0, abs=1e-5)
    assert rows[1][f"{name}/kl"] == pytest.approx(0, abs=1e-5)
    assert rows[1][f"{name}/first_ratio_error"] < 1e-5
    assert rows[1][f"{name}/lr"] == pytest.approx(3e-4)
    assert f"{name}/eval_score" in rows[2]
    assert f"{name}/eval_score" not in rows[3]
    samples = read_lines(out / "samples.jsonl")
    assert {row["step"] for row in samples} == {0, 2, 4}
    results = json.loads((out / "results.json").read_text())
    assert results["episodes"] == 64
    policy, _ = load_policy(out / "model")
    assert policy.stop_ids
    assert f"{name}, " in doctor(DoctorConfig(run=out))


@pytest.mark.thorough
@pytest.mark.parametrize("name", TRAINERS)
def test_known_reward_goes_up(name, world, tmp_path):
    """The reward model counts one word, which the policy comes to say."""
    changes = dict(episodes=2048, batch_size=128, missing_eos_score=None, beta=0.0, lr=1e-2)
    out = TRAINERS[name][1](config_of(name, world, tmp_path / "run", **changes))
    scores = [row[f"{name}/score"] for row in rows_of(out)]
    assert scores[-1] > scores[0] + 0.5
    policy, _ = load_policy(out / "model")
    ids = torch.tensor([[4, 5, 3]])
    first = policy(input_ids=ids).logits[0, -1].softmax(-1)[TARGET]
    start, _ = load_policy(world["model"])
    assert first > 2 * start(input_ids=ids).logits[0, -1].softmax(-1)[TARGET]


@EACH
def test_resume_is_exact(name, world, tmp_path):
    config = config_of(name, world, tmp_path / "run", num_minibatches=2)
    check_resume_is_exact(TRAINERS[name][1], config, 1, 3)


@EACH
def test_an_adapter_is_trained_alone(name, world, tmp_path):
    config = config_of(name, world, tmp_path / "run")
    out = check_an_adapter_is_trained_alone(TRAINERS[name][1], config)
    assert rows_of(out)[0][f"{name}/kl"] == pytest.approx(0, abs=1e-5)


def test_responses_to_a_prompt_stand_together(world, tmp_path, monkeypatch):
    """RAFT learns one response per prompt, the best of its group."""
    seen = []
    import understudy.raft.train as raft

    def watched(rewards, finished):
        seen.append((rewards.masked_fill(~finished, -1e9), best_of_each(rewards, finished)))
        return seen[-1][1]

    monkeypatch.setattr(raft, "best_of_each", watched)
    out = train_raft(config_of("raft", world, tmp_path / "run", episodes=16))
    (rewards, best) = seen[0]
    assert rewards.shape == (4, 4)
    ended = [group for group in range(4) if float(rewards[group].max()) > -1e9]
    assert [index // 4 for index in best] == ended
    row = rows_of(out)[0]
    best_scores = rewards[ended].max(dim=1).values
    assert row["raft/best_score"] == pytest.approx(float(best_scores.mean()))
    assert row["raft/best_score"] > row["raft/score"]
    assert (row["raft/left_out"], row["raft/unfinished"]) == (4 - len(ended), 0)


def test_the_best_of_each_by_hand():
    rewards = torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 0.0], [9.0, 9.0, 9.0]])
    every = torch.ones(3, 3, dtype=torch.bool)
    assert best_of_each(rewards, every) == [1, 3, 6]
    ended = torch.tensor([[True, False, True], [False, True, True], [False, False, False]])
    assert best_of_each(rewards, ended) == [2, 4]  # of the last prompt none ended


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"responses_per_prompt": 1}, "responses_per_prompt is 1; it must be at least 2"),
        ({"batch_size": 18}, "batch_size 18 must be a multiple of responses_per_prompt 4"),
        ({"num_minibatches": 3}, "num_minibatches 3 does not divide the"),
        ({"beta": -1.0}, "beta is -1.0; it must not be negative"),
        ({"eval_every": 3}, "eval_every and eval_prompts need each other"),
    ],
)
@pytest.mark.parametrize("name", TRAINERS)
def test_bad_settings(name, changes, message, world, tmp_path):
    with pytest.raises(ValueError, match=message):
        replace(config_of(name, world, tmp_path), **changes)


def test_minibatches_divide_what_raft_learns_from(world, tmp_path):
    with pytest.raises(ValueError, match="does not divide the 4 responses"):
        config_of("raft", world, tmp_path, num_minibatches=8)
