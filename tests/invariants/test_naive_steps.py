"""One step of each trainer equals a second implementation, written from the formulas alone.

Shapes that divide nothing: width 96, 3,000 words, K = 5, ragged rows, head tied and not. The naive
side takes one sequence at a time without padding, whole logits, plain loops over tokens and pairs,
and Adam by hand.
"""

import copy
import math

import pytest
import torch
from tests.fixtures_models import make_policy
from tests.fixtures_ppo import tiny_config, write_world

from understudy.models.chat import Example
from understudy.models.scalar import ScalarModel
from understudy.models.text import TextRows
from understudy.ppo.advantages import advantages_and_returns
from understudy.ppo.ptx import StepText
from understudy.ppo.rewards import token_rewards
from understudy.ppo.update import Learners
from understudy.reward.train import backward_batch as reward_backward
from understudy.rl.rollout import measure, sample
from understudy.sft.loss import backward_batch as sft_backward
from understudy.training.optim import clip_and_step, make_optimizer
from understudy.training.rankings import Element
from understudy.training.steps import Learner

EOS, PAD, WORDS, RATE = 0, 1, 3000, 1e-3
KINDS = ["llama", "llama_tied"]


def model_of(kind, seed=0):
    sizes = dict(vocab_size=WORDS, hidden_size=96, intermediate_size=136, initializer_range=0.05)
    torch.manual_seed(seed)
    return make_policy(kind, **sizes).eval()


def words(generator, count):
    return torch.randint(2, WORDS, (count,), generator=generator).tolist()


def number(value):
    return float(value.detach())


def naive_logprobs(model, ids):
    """log p(ids[t] | ids[:t]) for t from 1 on, from whole logits of one unpadded row."""
    logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    return torch.stack(
        [logits[t - 1, ids[t]] - logits[t - 1].logsumexp(0) for t in range(1, len(ids))]
    )


def naive_adam(model, max_norm):
    """The weights after the first step of Adam: betas 0.9 and 0.95, epsilon 1e-8, no decay."""
    named = [(n, p) for n, p in model.named_parameters() if p.grad is not None]
    norm = math.sqrt(sum(float((p.grad.double() ** 2).sum()) for _, p in named))
    factor = min(1.0, max_norm / (norm + 1e-6))
    moved = {}
    for name, p in named:
        grad = p.grad.double() * factor
        first, second = 0.1 * grad / (1 - 0.9), 0.05 * grad**2 / (1 - 0.95)
        moved[name] = p.detach().double() - RATE * first / (second.sqrt() + 1e-8)
    return moved, norm


def check_step(ours, naive, norm, max_norm=1.0):
    """Same gradient norm, same weights after the step."""
    moved, naive_norm = naive_adam(naive, max_norm)
    assert norm == pytest.approx(naive_norm, rel=1e-4)
    for name, p in ours.named_parameters():
        if name in moved:
            # Adam divides a gradient by its own size: where that is about 0, as at the reward
            # model's bias, which cancels in each pair, only a sign is left.
            grad = dict(naive.named_parameters())[name].grad
            clear = grad.abs() > max(1e-3 * float(grad.abs().max()), 1e-6 * naive_norm)
            error = (p.detach().double() - moved[name]).abs()[clear]
            assert not clear.any() or float(error.max()) < 0.02 * RATE, name


@pytest.mark.parametrize("kind", KINDS)
def test_sft(kind):
    generator = torch.Generator().manual_seed(1)
    examples = []
    for prompt, response in [(3, 17), (41, 1), (9, 6), (1, 30), (22, 13)]:
        ids = words(generator, prompt + response)
        examples.append(Example(ids, [0] * prompt + [1] * response))
    ours, naive = model_of(kind), model_of(kind)
    loss = sft_backward(ours, examples, PAD, 64)
    result = clip_and_step(make_optimizer(ours, RATE), ours.parameters(), 1.0)

    total, count = 0.0, 0
    for example in examples:
        logprobs = naive_logprobs(naive, example.input_ids)
        for t in range(1, len(example.input_ids)):
            if example.loss_mask[t]:
                total, count = total - logprobs[t - 1], count + 1
    (total / count).backward()
    assert loss == pytest.approx(float(total.detach() / count), rel=1e-5)
    check_step(ours, naive, result.grad_norm)


@pytest.mark.parametrize("kind", KINDS)
def test_reward_model(kind):
    generator = torch.Generator().manual_seed(2)
    tiers = [[[2], [0, 4], [1], [3]], [[0], [1], [2], [3], [4]], [[4, 3, 2], [1, 0]]]
    batch = []
    for tier, prompt in zip(tiers, (5, 31, 12), strict=True):
        rank = {i: position for position, row in enumerate(tier) for i in row}
        pairs = [(a, b) for a in range(5) for b in range(5) if rank[a] < rank[b]]
        batch.append(
            Element(
                prompt_ids=words(generator, prompt),
                response_ids=[words(generator, n) for n in (1, 19, 4, 33, 8)],
                pairs=pairs,
                margins=[0.0] * len(pairs),
                ties=[],
                labeler_id="l1",
                labeler_role="training",
                prompt_key=None,
                weight=1.0,
            )
        )
    ours = ScalarModel.from_policy(model_of(kind), seed=3)
    naive = ScalarModel.from_policy(model_of(kind), seed=3)
    metrics = reward_backward(ours, batch, PAD, 96)
    result = clip_and_step(make_optimizer(ours, RATE), ours.parameters(), 1.0)

    total = 0.0
    for row in batch:
        scores = []
        for response in row.response_ids:
            ids = torch.tensor([row.prompt_ids + response])
            hidden = naive.trunk(input_ids=ids).last_hidden_state[0, -1]
            scores.append((naive.head.weight[0] * hidden).sum() + naive.head.bias[0])
        losses = [-torch.sigmoid(scores[a] - scores[b]).log() for a, b in row.pairs]
        total = total + sum(losses) / len(losses)
    (total / len(batch)).backward()
    assert metrics["reward/loss"] == pytest.approx(float(total.detach()) / 3, rel=1e-5)
    check_step(ours, naive, result.grad_norm)


def naive_advantages(rewards, values, lam=0.95):
    """Sums of discounted differences, term by term, for one episode."""
    values = [*values, 0.0]
    deltas = [r + values[t + 1] - values[t] for t, r in enumerate(rewards)]
    return [
        sum(lam ** (k - t) * deltas[k] for k in range(t, len(deltas))) for t in range(len(deltas))
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_ppo_ptx(kind, tmp_path):
    generator = torch.Generator().manual_seed(4)
    prompts = [words(generator, n) for n in (1, 13, 6, 29, 8)]
    text = torch.randint(2, WORDS, (7, 11), generator=generator)
    config = tiny_config(
        write_world(tmp_path), tmp_path / "run", ptx_coef=27.8, lr=RATE, micro_batch_tokens=64
    )
    policy, reference = model_of(kind), model_of(kind, seed=5)
    reward_model = ScalarModel.from_policy(model_of(kind, seed=6), seed=6)
    critic = copy.deepcopy(reward_model)
    episodes = sample(
        policy, prompts, keys=[(i,) for i in range(5)], seed=0, temperature=0.8,
        max_response_tokens=9, stop_ids={EOS}, pad_id=PAD, slots=3,
    )  # fmt: skip
    # Old log-probs that differ from the policy's, so that ratios are not 1 and some are clipped.
    shift = 0.4 * torch.randn(episodes.old_logprobs_BR.shape, generator=generator)
    episodes.old_logprobs_BR.add_(shift * episodes.mask_BR)
    measure(episodes, reference, reward_model, critic, temperature=0.8, micro_batch_tokens=64)
    rewards_BR, _ = token_rewards(
        episodes.raw_scores_B, episodes.old_logprobs_BR, episodes.ref_logprobs_BR, episodes.mask_BR,
        beta=0.1,
    )  # fmt: skip
    episodes.advantages_BR, episodes.returns_BR, _ = advantages_and_returns(
        rewards_BR, episodes.values_BR, episodes.mask_BR, discount=1.0, gae_lambda=0.95,
        whiten_rewards=False, whiten_advantages=True,
    )  # fmt: skip
    naive, naive_critic = copy.deepcopy(policy), copy.deepcopy(critic)
    learners = Learners(Learner.of(policy, RATE), Learner.of(critic, RATE))
    object.__setattr__(config, "temperature", 0.8)
    rows = StepText(TextRows(text.flatten().numpy(), 11), range(7))
    metrics = learners.step(config, episodes, range(5), rows)

    # Rewards, advantages and returns, an episode at a time.
    all_advantages, all_returns, all_values = [], [], []
    for i, (prompt, response) in enumerate(zip(prompts, episodes.response_ids, strict=True)):
        with torch.no_grad():
            hot = reference(input_ids=torch.tensor([prompt + response])).logits[0].double() / 0.8
            ids = torch.tensor([prompt + response])
            hidden = reward_model.trunk(input_ids=ids).last_hidden_state[0]
        read = [number(reward_model.read(h)) for h in hidden]
        rewards = []
        for t, token in enumerate(response):
            row = hot[len(prompt) + t - 1]
            kl = float(episodes.old_logprobs_BR[i, t]) - float(row[token] - row.logsumexp(0))
            rewards.append(-0.1 * kl + (read[-1] if t == len(response) - 1 else 0.0))
        values = read[len(prompt) - 1 : -1]
        found = naive_advantages(rewards, values)
        all_advantages.append(found)
        all_values.append(values)
        all_returns.append([a + v for a, v in zip(found, values, strict=True)])
    flat = [a for row in all_advantages for a in row]
    mean = sum(flat) / len(flat)
    std = math.sqrt(sum((a - mean) ** 2 for a in flat) / len(flat))

    policy_total, value_total = 0.0, 0.0
    for i, (prompt, response) in enumerate(zip(prompts, episodes.response_ids, strict=True)):
        ids = torch.tensor([prompt + response])
        logits = naive(input_ids=ids).logits[0].double() / 0.8
        hidden = naive_critic.trunk(input_ids=ids).last_hidden_state[0]
        for t, token in enumerate(response):
            row = logits[len(prompt) + t - 1]
            log_ratio = row[token] - row.logsumexp(0) - float(episodes.old_logprobs_BR[i, t])
            ratio, advantage = log_ratio.exp(), (all_advantages[i][t] - mean) / std
            policy_total = policy_total - min(
                ratio * advantage, ratio.clamp(0.8, 1.2) * advantage, key=number
            )
            value = naive_critic.read(hidden[len(prompt) + t - 1])
            old = all_values[i][t]
            near = old + (value - old).clamp(-0.2, 0.2)
            target = all_returns[i][t]
            value_total = value_total + 0.5 * max(
                (value - target) ** 2, (near - target) ** 2, key=number
            )
    nll = -torch.stack([naive_logprobs(naive, row.tolist()) for row in text]).mean()
    # 27.8 times the text's mean per token beside the sum over a response, mean over episodes;
    # Adam does not see that all is divided by the mean length of a response.
    ((policy_total / 5 + 27.8 * nll) / (len(flat) / 5)).backward()
    (value_total / len(flat)).backward()
    assert metrics["policy_loss"] == pytest.approx(
        float(policy_total.detach()) / len(flat), abs=1e-4
    )
    assert metrics["ptx_loss"] == pytest.approx(float(nll.detach()), rel=1e-5)
    assert metrics["clip_fraction"] > 0
    check_step(policy, naive, metrics["policy_grad_norm"])
    check_step(critic, naive_critic, metrics["critic_grad_norm"])
