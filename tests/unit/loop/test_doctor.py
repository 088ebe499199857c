"""`understudy doctor` on runs made sick on purpose: really trained, each with one cause."""

import copy
import json
import shutil
from dataclasses import replace

import pytest
import torch
from tests.fixtures_data import write_demonstrations, write_rankings
from tests.fixtures_models import make_tokenizer, save_model_folder
from tests.fixtures_ppo import counting_reward_model, tiny_config, word_tokenizer, write_world

from understudy.cli import main
from understudy.loop import findings
from understudy.loop.doctor import DoctorConfig, doctor, win_rates
from understudy.loop.findings import nothing_ends
from understudy.ppo import train as ppo_train
from understudy.ppo import update as ppo_update
from understudy.records import Demonstration, Ranking, read_records, write_records
from understudy.records.preferences import tiers_of
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward
from understudy.rl import rollout as rl_rollout
from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft
from understudy.training.run import read_lines


def examined(out, **options) -> str:
    return doctor(DoctorConfig(run=out, **options))


# PPO


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"))


def ppo(world, out, **changes):
    return ppo_train.train_ppo(tiny_config(world, out, **({"ptx_coef": 0} | changes)))


def test_a_healthy_run_has_no_findings(world, tmp_path):
    settings = dict(episodes=1024, batch_size=128, lr=5e-5, missing_eos_score=None)
    out = ppo(world, tmp_path / "run", **settings)
    assert "nothing wrong found" in examined(out)


@pytest.fixture(scope="module")
def overdone(world, tmp_path_factory):
    """A high rate, no KL term, nothing said about a missing EOS, and a judge who disagrees."""
    folder = tmp_path_factory.mktemp("overdone")
    counting_reward_model(scale=-3.0).save(folder / "judge", word_tokenizer())
    out = ppo(
        world,
        folder / "run",
        episodes=16 * 16,
        batch_size=16,
        lr=2e-2,
        beta=0.0,
        missing_eos_score=None,
        max_response_tokens=20,
        eval_prompts=world["prompts"],
        eval_every=4,
    )
    return out, folder / "judge"


@pytest.mark.thorough
@pytest.mark.parametrize(
    "finding",
    [
        "KL is exploding",
        "fewer responses end by themselves",
        "responses grow longer",
        "entropy has collapsed",
    ],
)
def test_without_a_kl_term_the_policy_runs_away(overdone, finding):
    assert finding in examined(overdone[0])


@pytest.mark.thorough
def test_reward_that_rises_while_a_second_judge_likes_it_less(overdone):
    out, judge = overdone
    assert "responses get worse" not in examined(out)
    assert "reward rises while responses get worse" in examined(out, judge=judge)


@pytest.fixture(scope="module")
def cut_short(world, tmp_path_factory):
    """A missing EOS costs more than any answer earns, and many first answers are cut."""
    folder = tmp_path_factory.mktemp("short")
    counting_reward_model(scale=-1.0).save(folder / "reward", word_tokenizer())
    return ppo(
        world | {"reward_model": folder / "reward"},
        folder / "run",
        episodes=32 * 30,
        batch_size=32,
        lr=1e-2,
        inner_epochs=2,
        beta=0.0,
        missing_eos_score=-5.0,
        max_response_tokens=16,
        eval_prompts=world["prompts"],
        eval_every=30,
    )


@pytest.mark.thorough
def test_a_policy_that_learns_to_end_at_once(cut_short):
    report = examined(cut_short)
    assert "responses have become short" in report
    assert "of the first were cut" in report


@pytest.mark.thorough
def test_one_response_to_all_prompts_after_training(cut_short, tmp_path):
    """Whether a run ends so depends on rounding; here its last responses are made equal."""
    run = shutil.copytree(cut_short, tmp_path / "run")
    rows = read_lines(run / "samples.jsonl")
    last = max(row["step"] for row in rows)
    rows = [row | ({"response": "b"} if row["step"] == last else {}) for row in rows]
    (run / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "different prompts get the same response" in examined(run)


def test_lengths_that_stay_are_no_finding():
    def found(*tokens):
        return findings.length_collapse([{"response_tokens": t} for t in tokens])

    assert found(40, 38, 30) is None
    assert found(40, 30, 20).seen == "40 tokens at the start, 20 at the end"
    assert found(20) is None


@pytest.mark.parametrize(("explained", "blamed"), [((-2.1, -1.2), True), ((-2.1, 0.1), False)])
def test_short_responses_under_a_critic_that_explains_nothing(explained, blamed):
    rows = [
        {"response_tokens": tokens, "value_explained_variance": share}
        for tokens, share in zip((21, 10), explained, strict=True)
    ]
    finding = findings.length_collapse(rows)
    assert ("the critic never explained the returns" in finding.seen) == blamed
    assert finding.advice.startswith("--gae-lambda 1") == blamed


def test_log_probabilities_at_another_temperature(world, tmp_path, monkeypatch):
    def sample(*args, **kwargs):
        rollout = original(*args, **kwargs)
        return replace(rollout, old_logprobs_BR=rollout.old_logprobs_BR * 0.8)

    original = rl_rollout.sample
    monkeypatch.setattr(rl_rollout, "sample", sample)
    report = examined(ppo(world, tmp_path / "run"))
    assert "ratio is not 1 in the first minibatch" in report
    assert "KL is not 0 at the start" in report


def test_samples_from_old_weights_make_a_negative_kl(world, tmp_path, monkeypatch):
    kept = []

    def sample(policy, *args, **kwargs):
        kept.append(copy.deepcopy(policy))
        rollout = original(kept[0], *args, **kwargs | {"engine": None})
        new_BR = torch.zeros_like(rollout.old_logprobs_BR)
        for batch in rollout.passes(range(len(rollout.prompt_ids)), 4096):
            with torch.no_grad():
                logprobs_N, _ = policy.logprobs_at(*batch.where, batch.labels_N)
            rollout.put(new_BR, batch, logprobs_N)
        return replace(rollout, old_logprobs_BR=new_BR)

    original = rl_rollout.sample
    monkeypatch.setattr(rl_rollout, "sample", sample)
    report = examined(ppo(world, tmp_path / "run", episodes=64, lr=1e-2, beta=0.0))
    assert "KL is negative" in report
    assert "ratio is not 1" not in report


@pytest.mark.thorough
def test_steps_that_are_too_large(world, tmp_path):
    report = examined(ppo(world, tmp_path / "run", lr=3e-2, inner_epochs=6, warmup_iterations=0))
    assert "many ratios are clipped" in report


def test_a_critic_that_is_thrown_about(world, tmp_path):
    out = ppo(world, tmp_path / "run", critic_lr=1.0, value_clip=None, warmup_iterations=0)
    assert "the critic explains nothing" in examined(out)


def test_gradients_that_are_not_finite(world, tmp_path, monkeypatch):
    calls = []

    def policy_loss(*args, **kwargs):
        calls.append(1)
        loss, metrics = original(*args, **kwargs)
        return (loss * float("nan") if len(calls) == 3 else loss), metrics

    original = ppo_update.policy_loss
    monkeypatch.setattr(ppo_update, "policy_loss", policy_loss)
    assert "1 steps had non-finite gradients" in examined(ppo(world, tmp_path / "run"))


def test_win_rates_by_hand():
    rows = [dict(step=s, prompt_id=p) for s in (0, 5) for p in "abc"]
    assert win_rates(rows, [0.0, 1.0, 2.0, 1.0, 1.0, 0.0]) == [(0, 0.5), (5, 0.5)]


# SFT


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(save_model_folder(tmp_path_factory.mktemp("m") / "base"))


def sft(folder, base, data, **changes):
    settings = dict(model=base, data=data, out=folder / "run", epochs=2, batch_size=4, lr=1e-3)
    return train_sft(SFTConfig(**(settings | changes)))


def test_a_healthy_sft_run_has_no_findings(base, tmp_path):
    data = write_demonstrations(tmp_path / "d.jsonl")
    assert "nothing wrong found" in examined(sft(tmp_path, base, data))


def test_a_rate_at_which_nothing_is_learned(base, tmp_path):
    data = write_demonstrations(tmp_path / "d.jsonl")
    out = sft(tmp_path, base, data, lr=3.0, max_grad_norm=None)
    assert "the loss does not fall" in examined(out)


def test_batches_of_different_demonstrations_are_not_compared():
    """The last batch of an epoch may hold the hard ones: only the same rows tell."""
    rising = [{"step": i, "sft/loss": 1 + i / 10} for i in range(1, 11)]

    def found(rows, per_epoch=0):
        finding = findings.loss_not_falling(rows, per_epoch)
        return finding and finding.seen

    def validated(*losses):
        return [{"step": 5 * i, "sft/valid_loss": loss} for i, loss in enumerate(losses)] + rising

    assert found(rising) is None
    assert found(rising, per_epoch=10) is None  # one epoch
    assert found(validated(2.0, 1.9)) is None
    assert found(validated(2.0, 2.1, 1.95)) is None  # the best epoch is kept
    assert found(validated(2.0, 2.1)) == "on valid_data 2 at the start, 2.1 at the end"
    assert found(validated(2.0, None)) == "on valid_data 2 at the start, inf at the end"
    assert found(rising, per_epoch=5) == "on all demonstrations 1.3 at the start, 1.8 at the end"
    assert found(rising[::-1], per_epoch=5) is None


@pytest.mark.thorough
def test_memorised_demonstrations(base, tmp_path):
    rankings = read_records(write_rankings(tmp_path / "r.jsonl", 12), Ranking)
    rows = [
        Demonstration.from_json({"prompt": r.prompt, "response": r.responses[0]}) for r in rankings
    ]
    train, valid = (
        write_records(tmp_path / f"{name}.jsonl", part)
        for name, part in (("train", rows[:6]), ("valid", rows[6:]))
    )
    out = sft(tmp_path, base, train, valid_data=valid, epochs=30, lr=1e-2, dropout=0.0)
    assert "the validation loss rises" in examined(out)


def test_data_with_turns_inside_and_responses_that_are_cut(base, tmp_path):
    rows = [
        Demonstration.from_json({"prompt": "the cat", "response": f"yes {i}\nUser: the dog"})
        for i in range(8)
    ]
    data = write_records(tmp_path / "d.jsonl", rows)
    report = examined(sft(tmp_path, base, data, max_response_tokens=4))
    assert "8 of 8, such as" in report
    assert "100% of the responses are cut" in report


def test_a_template_that_drops_the_prompt(tmp_path):
    tokenizer = make_tokenizer(chat_template="{{ '' }}")
    folder = str(save_model_folder(tmp_path / "base", tokenizer=tokenizer))
    with pytest.raises(ValueError, match="base: the chat template leaves out what the user says"):
        sft(tmp_path, folder, write_demonstrations(tmp_path / "d.jsonl"))


# Reward model


def reward(folder, base, rankings, **changes):
    data = write_records(folder / "r.jsonl", rankings)
    settings = dict(model=base, data=data, out=folder / "run", lr=3e-3, batch_size=8, epochs=4)
    return train_reward(RewardConfig(**(settings | changes)))


@pytest.mark.thorough
def test_rankings_by_length(base, tmp_path):
    rows = read_records(write_rankings(tmp_path / "a.jsonl", 60), Ranking)
    tokenizer = make_tokenizer()
    by_length = []
    for r in rows:
        scores = [len(tokenizer(f" {text}")["input_ids"]) for text in r.responses]
        if len(set(scores)) > 1:
            tiers = tiers_of(scores, "scores", best_is_high=True)
            row = dict(prompt=r.prompt, responses=r.responses, scores=scores, tiers=tiers)
            by_length.append(Ranking.from_json(row))
    report = examined(reward(tmp_path, base, by_length))
    assert "the reward model is no better than length" in report


def test_rankings_at_random(base, tmp_path):
    rows = read_records(write_rankings(tmp_path / "a.jsonl", 40), Ranking)
    valid = [
        replace(r, tiers=tuple((j,) for j in ranks))
        for i, r in enumerate(rows)
        for ranks in [[*range(len(r.responses))][:: 1 if i % 2 else -1]]
    ]
    out = reward(
        tmp_path, base, rows, valid_data=write_records(tmp_path / "v.jsonl", valid), epochs=1
    )
    assert "the reward model is no better than" in examined(out)


def test_held_out_labelers_who_want_the_opposite(base, tmp_path):
    rows = read_records(write_rankings(tmp_path / "a.jsonl", 60), Ranking)
    opposite = [replace(r, labeler_role="held_out", tiers=r.tiers[::-1]) for r in rows[:20]]
    valid = write_records(tmp_path / "v.jsonl", [*rows[:20], *opposite])
    assert "does not generalise" in examined(reward(tmp_path, base, rows, valid_data=valid))


# The command


def test_what_is_no_run_or_needs_no_judge(world, base, tmp_path, capsys):
    assert main(["doctor", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
    out = sft(tmp_path, base, write_demonstrations(tmp_path / "d.jsonl"), epochs=1)
    with pytest.raises(ValueError, match="judge reads the responses of a ppo, rloo"):
        examined(out, judge=tmp_path)
    assert main(["doctor", str(out)]) == 0
    assert "nothing wrong found" in capsys.readouterr().out


def test_no_answer_that_ends_is_found():
    rows = [{"eos_rate": 0.0}] * 3
    assert "0% ended within the length limit in 3 iterations" in str(nothing_ends(rows))
    assert nothing_ends([*rows, {"eos_rate": 0.1}]) is None
    assert nothing_ends([]) is None


def test_groups_whose_responses_score_alike():
    rows = [{"grpo/score_std": value} for value in (1.0, 0.9, 0.3, 0.05, 0.04)]
    found = findings.groups_alike(findings.bare(rows, "grpo"))
    assert "1 at the start, 0.04 at the end" in str(found)
    assert findings.groups_alike(findings.bare(rows[:3], "grpo")) is None


def test_a_judge_that_stopped_following_is_reported():
    results = {"iterations": 20, "judge_best_iteration": 7, "judge_win_rate": 0.58}
    assert "iteration 7 of 20 (58%" in str(findings.judge_stopped_following(results))
    none = findings.judge_stopped_following(results | {"judge_best_iteration": 0})
    assert "no evaluation in 20 iterations beat the start" in str(none)
    assert findings.judge_stopped_following(results | {"judge_best_iteration": 20}) is None
    assert findings.judge_stopped_following({"iterations": 20}) is None
