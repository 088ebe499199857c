"""PPO against the closed form: where every answer can be listed, the policy nears pi*."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fixtures_ppo import EOS, VOCAB, random_policy, write_world

from understudy.models.chat import render_prompt
from understudy.models.policies import load_policy, save_policy
from understudy.models.scalar import ScalarModel, load_scalar
from understudy.ppo.config import PPOConfig
from understudy.ppo.train import train_ppo
from understudy.records import Prompt, write_records
from understudy.world.optimum import kl_divergence, optimal_logprobs

BETA = 0.3
PROMPTS = ("w4 w5", "w6", "w8 w9 w10", "w11 w12")
ANSWERS = [[EOS]] + [[a, b] for a in range(VOCAB) if a != EOS for b in range(VOCAB)]
"""Every answer of at most two tokens: 241 of them."""


def answer_logprobs(model, prompt_ids: list[int]) -> np.ndarray:
    """log pi(answer | prompt) of all answers."""
    result = np.zeros(len(ANSWERS))
    for length in (1, 2):
        rows = [i for i, answer in enumerate(ANSWERS) if len(answer) == length]
        ids_BT = torch.tensor([prompt_ids + ANSWERS[i] for i in rows])
        with torch.no_grad():
            logprobs_BT, _ = model.logprobs(ids_BT, torch.ones_like(ids_BT))
        result[rows] = logprobs_BT[:, -length:].sum(-1).numpy()
    return result


def answer_scores(model: ScalarModel, prompt_ids: list[int]) -> np.ndarray:
    """The reward model's score of all answers, at their last token."""
    result = np.zeros(len(ANSWERS))
    for length in (1, 2):
        rows = [i for i, answer in enumerate(ANSWERS) if len(answer) == length]
        ids_BT = torch.tensor([prompt_ids + ANSWERS[i] for i in rows])
        last_B = torch.full((len(rows),), ids_BT.shape[1] - 1)
        with torch.no_grad():
            result[rows] = model.scores(ids_BT, torch.ones_like(ids_BT), last_B).numpy()
    return result


def random_reward_model(folder: Path, tokenizer) -> Path:
    """Scores without any structure, with a spread of about one."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = ScalarModel.from_policy(random_policy(seed=3))
        model.head.weight.data.normal_(0.0, 0.5)
    return model.save(folder, tokenizer)


@pytest.mark.slow
def test_ppo_approaches_the_optimum_policy(tmp_path):
    """KL from the policy to pi* = pi_ref exp(r / beta) / Z falls by 90% (Eq. 2, gamma 0)."""
    world = write_world(tmp_path / "world")
    reference, tokenizer = load_policy(world["model"])
    save_policy(reference, tokenizer, tmp_path / "policy")
    reward_folder = random_reward_model(tmp_path / "reward", tokenizer)
    rows = [
        Prompt(id=f"p{i}", prompt=text, user_id=f"u{i}", split="train")
        for i, text in enumerate(PROMPTS * 64)
    ]
    write_records(tmp_path / "prompts.jsonl", rows)
    out = train_ppo(
        PPOConfig(
            model=str(tmp_path / "policy"),
            reward_model=reward_folder,
            prompts=tmp_path / "prompts.jsonl",
            out=tmp_path / "run",
            ptx_coef=0.0,
            episodes=256 * 150,
            batch_size=256,
            num_minibatches=4,
            lr=5e-3,
            critic_lr=5e-3,
            warmup_iterations=5,
            beta=BETA,
            ema=0.98,
            max_response_tokens=2,
            missing_eos_score=None,
            value_clip=None,
            save_every=1000,
        )
    )
    trained, _ = load_policy(out / "model")
    reward_model, _ = load_scalar(reward_folder)
    before, after = [], []
    for text in PROMPTS:
        ids = render_prompt(tokenizer, text)
        ref = answer_logprobs(reference, ids)
        assert np.exp(ref).sum() == pytest.approx(1.0, abs=1e-4)
        optimum = optimal_logprobs(ref, answer_scores(reward_model, ids), BETA)
        before.append(kl_divergence(ref, optimum))
        after.append(kl_divergence(answer_logprobs(trained, ids), optimum))
    assert np.mean(before) > 0.3
    assert np.mean(after) < 0.1 * np.mean(before), (before, after)
