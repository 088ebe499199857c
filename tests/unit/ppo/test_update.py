"""A minibatch's gradient against a naive one, and what must not change it."""

import copy
from dataclasses import replace

import pytest
import torch
from tests.fixtures_ppo import (
    EOS,
    PAD,
    counting_reward_model,
    random_policy,
    tiny_config,
    write_world,
)

from understudy.models.cpu.side_by_side import side_by_side
from understudy.models.lora import add_adapter
from understudy.models.scalar import ScalarModel
from understudy.models.text import TextRows
from understudy.ppo import update as update_module
from understudy.ppo.advantages import advantages_and_returns
from understudy.ppo.losses import policy_loss
from understudy.ppo.ptx import StepText
from understudy.ppo.rewards import token_rewards
from understudy.ppo.update import Learners, update_average, value_gradient
from understudy.rl.rollout import measure, sample
from understudy.rl.update import policy_gradient
from understudy.training.steps import Learner

PROMPTS = [[4 + i % 9] * (1 + i % 5) + [3] for i in range(12)]


def roll(policy, prompts=PROMPTS, keys=None):
    return sample(
        policy,
        prompts,
        keys=keys or [(0, i) for i in range(len(prompts))],
        seed=0,
        temperature=1.0,
        max_response_tokens=6,
        stop_ids=[EOS],
        pad_id=PAD,
        slots=4,
    )


def judged(policy, reference=None, budget=64):
    episodes = roll(policy)
    measure(
        episodes,
        reference or policy,
        counting_reward_model(),
        counting_reward_model(scale=1.0),
        temperature=1.0,
        micro_batch_tokens=budget,
    )
    rewards, metrics = token_rewards(
        episodes.raw_scores_B,
        episodes.old_logprobs_BR,
        episodes.ref_logprobs_BR,
        episodes.mask_BR,
        beta=0.1,
    )
    episodes.advantages_BR, episodes.returns_BR, _ = advantages_and_returns(
        rewards,
        episodes.values_BR,
        episodes.mask_BR,
        discount=1.0,
        gae_lambda=0.95,
        whiten_rewards=False,
        whiten_advantages=True,
    )
    return episodes, metrics


def gradients(model):
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def policy_step(policy, episodes, rows, budget):
    num_tokens = episodes.num_tokens(rows)

    def clipped(batch, new_logprobs):
        old, advantages = (
            episodes.take(grid, batch)
            for grid in (episodes.old_logprobs_BR, episodes.advantages_BR)
        )
        return policy_loss(new_logprobs, old, advantages, clip=0.2, num_tokens=num_tokens)

    passes = episodes.passes(rows, budget)
    metrics = policy_gradient(
        policy, episodes, passes, clipped, num_tokens=num_tokens, temperature=1.0
    )
    return gradients(policy), {name: float(value) for name, value in metrics.items()}


def test_ratio_is_one_and_kl_zero_at_the_start():
    episodes, metrics = judged(random_policy())
    assert metrics["kl"] == pytest.approx(0, abs=1e-5)
    _, found = policy_step(random_policy(), episodes, range(12), 64)
    assert found["first_ratio_error"] < 1e-5
    assert found["ratio"] == pytest.approx(1, abs=1e-5)
    assert found["clip_fraction"] == 0


def test_measured_against_one_row_at_a_time():
    """Reference log-probs, score at the last token, values before each token: naive loops."""
    policy, reference = random_policy(), random_policy(seed=1)
    episodes, _ = judged(policy, reference)
    critic, reward = counting_reward_model(scale=1.0), counting_reward_model()
    for i, (prompt, response) in enumerate(zip(PROMPTS, episodes.response_ids, strict=True)):
        ids = torch.tensor([[*prompt, *response]])
        ones = torch.ones_like(ids)
        logprobs, _ = reference.logprobs(ids, ones)
        own, _ = policy.logprobs(ids, ones)
        values = critic.values(ids, ones)[0]
        n, start = len(response), len(prompt)
        assert torch.allclose(episodes.ref_logprobs_BR[i, :n], logprobs[0, start:], atol=1e-5)
        assert torch.allclose(episodes.old_logprobs_BR[i, :n], own[0, start:], atol=1e-5)
        before = values[start - 1 : start - 1 + n]
        assert torch.allclose(episodes.values_BR[i, :n], before, atol=1e-5)
        assert torch.allclose(episodes.raw_scores_B[i], reward.values(ids, ones)[0, -1], atol=1e-5)
        assert (episodes.values_BR[i, n:] == 0).all()


def test_policy_gradient_against_a_naive_one():
    policy, old = random_policy(seed=2), random_policy()
    episodes, _ = judged(old)
    rows = [1, 4, 7, 9]
    found, metrics = policy_step(policy, episodes, rows, 64)
    losses = []
    for i in rows:
        n = len(episodes.response_ids[i])
        ids = torch.tensor([[*PROMPTS[i], *episodes.response_ids[i]]])
        new, _ = policy.logprobs(ids, torch.ones_like(ids))
        ratio = (new[0, -n:] - episodes.old_logprobs_BR[i, :n]).exp()
        advantage = episodes.advantages_BR[i, :n]
        losses.append(torch.max(-advantage * ratio, -advantage * ratio.clamp(0.8, 1.2)))
    loss = torch.cat(losses).mean()
    loss.backward()
    assert metrics["policy_loss"] == pytest.approx(loss.item(), abs=1e-5)
    for name, grad in gradients(policy).items():
        assert torch.allclose(found[name], grad, atol=1e-5)


@pytest.mark.parametrize("budget", [1, 20, 1000])
def test_micro_batches_and_order_change_nothing(budget):
    policy = random_policy(seed=2)
    episodes, _ = judged(random_policy())
    whole, metrics = policy_step(policy, episodes, range(12), 10_000)
    parts, same = policy_step(policy, episodes, list(reversed(range(12))), budget)
    assert same == pytest.approx(metrics, abs=1e-5)
    for name, grad in whole.items():
        assert torch.allclose(parts[name], grad, atol=1e-5)
    critic = counting_reward_model(scale=1.0)
    found = []
    for size in (budget, 10_000):
        value_gradient(
            critic,
            episodes,
            episodes.passes(range(12), size),
            num_tokens=episodes.num_tokens(range(12)),
            value_clip=0.2,
        )
        found.append(gradients(critic))
    for name, grad in found[0].items():
        assert torch.allclose(grad, found[1][name], atol=1e-5)
    other, _ = judged(random_policy(), budget=budget)
    assert torch.allclose(other.advantages_BR, episodes.advantages_BR, atol=1e-5)


def learners_of(policy, critic=None):
    critic = counting_reward_model(scale=1.0) if critic is None else critic
    return Learners(
        *(Learner(m, torch.optim.SGD(m.parameters(), lr=1.0)) for m in (policy, critic))
    )


@pytest.mark.parametrize("reduction", ["token", "episode"])
def test_ptx_step_is_the_weighted_sum_of_the_two_gradients(tmp_path, reduction):
    """With plain SGD at rate 1 a step is minus the gradient, so steps can be compared."""
    changes = dict(max_grad_norm=None, ptx_coef=3.0, ptx_reduction=reduction)
    config = tiny_config(write_world(tmp_path), tmp_path / "run", **changes)
    episodes, _ = judged(random_policy(seed=1))
    # Per episode, both terms are divided by the mean length of a response.
    length = float(episodes.mask_BR.sum()) / 12
    factor = 3.0 if reduction == "token" else 3.0 / length
    text = torch.randint(2, 16, (3, 8), generator=torch.Generator().manual_seed(0))
    start = dict(random_policy().named_parameters())

    def moved(settings, ids):
        policy = random_policy()
        learners_of(policy).step(settings, episodes, range(12), ids)
        return {n: (start[n] - p).detach() for n, p in policy.named_parameters()}

    rows = StepText(TextRows(text.flatten().numpy(), 8), range(3))
    both, ppo = moved(config, rows), moved(config, None)
    policy = random_policy()
    logits = policy(input_ids=text).logits[:, :-1]
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten()).backward()
    for name, ptx in gradients(policy).items():
        assert torch.allclose(both[name], ppo[name] + factor * ptx, atol=1e-5)
    # A coefficient of 0 is PPO, whatever the text.
    none = moved(replace(config, ptx_coef=0.0, pretrain_data=None), None)
    assert all(torch.equal(none[name], ppo[name]) for name in ppo)


def test_non_finite_gradient_leaves_the_policy_as_it_was(tmp_path):
    config = tiny_config(write_world(tmp_path), tmp_path / "run")
    episodes, _ = judged(random_policy())
    episodes.advantages_BR[0, 0] = float("nan")
    policy = random_policy()
    learners = learners_of(policy)
    metrics = learners.step(config, episodes, range(12), None)
    assert metrics["skipped_steps"] == 1
    assert learners.policy.guard.in_a_row == 1
    for parameter, same in zip(policy.parameters(), random_policy().parameters(), strict=True):
        assert torch.equal(parameter, same)


def test_average_recursion_by_hand():
    layer = torch.nn.Linear(1, 1, bias=False)
    average = {"weight": torch.zeros(1, 1)}
    for weight in (1.0, 2.0):
        torch.nn.init.constant_(layer.weight, weight)
        update_average(average, layer, decay=0.992)
    # 0.992 * (0.008 * 1) + 0.008 * 2
    assert average["weight"].item() == pytest.approx(0.992 * 0.008 + 0.016, abs=1e-7)


def test_rollout_does_not_depend_on_its_company():
    policy = random_policy()
    whole = roll(policy)
    half = roll(policy, PROMPTS[6:], keys=[(0, i) for i in range(6, 12)])
    assert half.response_ids == whole.response_ids[6:]
    assert copy.deepcopy(whole.finished_B[6:]).tolist() == half.finished_B.tolist()


@pytest.mark.parametrize("lora", [False, True])
def test_side_by_side_on_two_cores_or_in_turn_on_one_is_the_same_step(tmp_path, monkeypatch, lora):
    """A critic of the policy's size, so that the two do learn at once."""
    changes = {"lora_rank": 2} if lora else {}
    config = tiny_config(write_world(tmp_path), tmp_path / "run", **changes)
    episodes, _ = judged(random_policy(seed=1))
    before, at_once = torch.get_num_threads(), []
    monkeypatch.setattr(
        update_module,
        "side_by_side",
        lambda jobs, device: at_once.append(len(jobs)) or side_by_side(jobs, device),
    )

    def stepped(threads):
        torch.set_num_threads(threads)
        try:
            policy, critic = random_policy(), ScalarModel.from_policy(random_policy(seed=2))
            if lora:
                add_adapter(policy.model, config, seed=0)
                add_adapter(critic.trunk, config, seed=1)
            learners = learners_of(policy, critic)
            metrics = learners.step(config, episodes, range(12), None)
        finally:
            torch.set_num_threads(before)
        return {n: float(v) for n, v in metrics.items()}, [
            *policy.parameters(),
            *critic.parameters(),
        ]

    (metrics_two, two), (again, same), (metrics_one, one) = map(stepped, (2, 2, 1))
    assert at_once == [2, 2]
    assert metrics_two == again
    assert all(map(torch.equal, two, same))
    assert metrics_two == pytest.approx(metrics_one, rel=1e-4, abs=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(two, one, strict=True))
