"""One optimiser step of policy and critic on a minibatch of episodes.

Shapes: B episodes, R response tokens, N response tokens of a pass.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from understudy.models.cpu.side_by_side import side_by_side
from understudy.models.policies import device_of
from understudy.models.scalar import ScalarModel
from understudy.ppo.config import PPOConfig
from understudy.ppo.losses import policy_loss, value_loss
from understudy.ppo.passes import Pass, make_passes, take
from understudy.ppo.ptx import add_ptx_gradient
from understudy.ppo.rollout import Rollout, response_logprobs, response_values
from understudy.training.optim import SkipGuard, clip_and_step, gradient_norm


@dataclass(frozen=True, kw_only=True, slots=True)
class Experience:
    """What an iteration's episodes teach."""

    rollout: Rollout
    """The episodes."""
    values_BR: Tensor
    """The critic's values at rollout."""
    advantages_BR: Tensor
    """What the policy learns from."""
    returns_BR: Tensor
    """The critic's targets."""

    def num_tokens(self, rows: Sequence[int]) -> int:
        """Response tokens of some episodes."""
        return sum(len(self.rollout.response_ids[i]) for i in rows)

    def passes(
        self, rows: Sequence[int], pad_id: int, budget: int, device: torch.device
    ) -> list[Pass]:
        """Some episodes as micro-batches."""
        r = self.rollout
        return make_passes(
            r.prompt_ids, r.response_ids, rows, pad_id=pad_id, budget=budget, device=device
        )


def policy_gradient(
    policy: PreTrainedModel,
    experience: Experience,
    passes: Sequence[Pass],
    *,
    num_tokens: int,
    clip: float,
    temperature: float,
) -> dict[str, float]:
    """Add the gradient of the clipped surrogate over a minibatch; its metrics."""
    rollout = experience.rollout
    sums: dict[str, float] = defaultdict(float)
    ratio_max, ratio_error = 0.0, 0.0
    for batch in passes:
        new_logprobs_N, entropy_N = response_logprobs(policy, batch, temperature)
        old_logprobs_N = take(rollout.old_logprobs_BR, rollout.mask_BR, batch.rows_B)
        advantages_N = take(experience.advantages_BR, rollout.mask_BR, batch.rows_B)
        loss, metrics = policy_loss(
            new_logprobs_N, old_logprobs_N, advantages_N, clip=clip, num_tokens=num_tokens
        )
        loss.backward()
        metrics["ppo/entropy"] = entropy_N.detach().sum() / num_tokens
        for name, value in metrics.items():
            sums[name] += float(value)
        ratio_N = (new_logprobs_N.detach() - old_logprobs_N).exp()
        ratio_max = max(ratio_max, float(ratio_N.max()))
        ratio_error = max(ratio_error, float((ratio_N - 1).abs().max()))
    return {**sums, "ppo/ratio_max": ratio_max, "ppo/first_ratio_error": ratio_error}


def value_gradient(
    critic: ScalarModel,
    experience: Experience,
    passes: Sequence[Pass],
    *,
    num_tokens: int,
    value_clip: float | None,
) -> dict[str, float]:
    """Add the gradient of the value loss over a minibatch; its metrics."""
    mask_BR = experience.rollout.mask_BR
    sums: dict[str, float] = defaultdict(float)
    for batch in passes:
        loss, metrics = value_loss(
            response_values(critic, batch),
            take(experience.values_BR, mask_BR, batch.rows_B),
            take(experience.returns_BR, mask_BR, batch.rows_B),
            value_clip=value_clip,
            num_tokens=num_tokens,
        )
        loss.backward()
        for name, value in metrics.items():
            sums[name] += float(value)
    return dict(sums)


@dataclass(frozen=True, kw_only=True, slots=True)
class Learner:
    """The two networks that learn, with their optimisers."""

    policy: PreTrainedModel
    """The policy."""
    critic: ScalarModel
    """The critic, a network of its own."""
    policy_optimizer: torch.optim.Optimizer
    """Steps the policy."""
    critic_optimizer: torch.optim.Optimizer
    """Steps the critic."""
    policy_guard: SkipGuard
    """Gives up after too many non-finite policy gradients in a row."""
    critic_guard: SkipGuard
    """The same for the critic."""

    def step(
        self,
        config: PPOConfig,
        experience: Experience,
        rows: Sequence[int],
        ptx_ids_NT: Tensor | None,
        pad_id: int,
    ) -> dict[str, float]:
        """PPO gradient, then the weighed pretraining gradient, one step; and the critic's.

        The critic needs nothing of the policy, so its step is taken beside the PPO gradient where
        the two take about as long.
        """
        device = device_of(self.policy)
        at_once = device.type == "cpu" and self._take_as_long(config)
        # Two networks at once hold two passes' activations: each gets half of the tokens.
        budget = config.micro_batch_tokens // 2 if at_once else config.micro_batch_tokens
        passes = experience.passes(rows, pad_id, max(budget, 1), device)
        jobs = [
            partial(learn, config, experience, passes, experience.num_tokens(rows))
            for learn in (self._policy_gradient, self._critic_step)
        ]
        metrics, critic_metrics = side_by_side(jobs, device) if at_once else [job() for job in jobs]
        if ptx_ids_NT is not None:
            metrics["ppo/surrogate_grad_norm"] = gradient_norm(self.policy.parameters())
            loss = add_ptx_gradient(
                self.policy,
                ptx_ids_NT,
                coef=ptx_weight(config, experience.num_tokens(rows) / len(rows)),
                micro_batch_tokens=config.micro_batch_tokens,
            )
            metrics["ppo/ptx_loss"] = float(loss)
        parameters = self.policy.parameters()
        result = clip_and_step(self.policy_optimizer, parameters, config.max_grad_norm)
        self.policy_guard.note(result)
        critic_metrics["ppo/skipped_steps"] += float(result.skipped)
        return metrics | critic_metrics | {"ppo/policy_grad_norm": result.grad_norm}

    def _policy_gradient(
        self, config: PPOConfig, experience: Experience, passes: Sequence[Pass], num_tokens: int
    ) -> dict[str, float]:
        return policy_gradient(
            self.policy,
            experience,
            passes,
            num_tokens=num_tokens,
            clip=config.clip,
            temperature=config.temperature,
        )

    def _critic_step(
        self, config: PPOConfig, experience: Experience, passes: Sequence[Pass], num_tokens: int
    ) -> dict[str, float]:
        metrics = value_gradient(
            self.critic, experience, passes, num_tokens=num_tokens, value_clip=config.value_clip
        )
        parameters = self.critic.parameters()
        result = clip_and_step(self.critic_optimizer, parameters, config.max_grad_norm)
        self.critic_guard.note(result)
        return metrics | {
            "ppo/critic_grad_norm": result.grad_norm,
            "ppo/skipped_steps": float(result.skipped),
        }

    def _take_as_long(self, config: PPOConfig) -> bool:
        """Whether policy and critic are of about the same size, so that neither waits long for the
        other. Not with activation checkpointing, which saves and restores random states that
        threads share.
        """
        sizes = [sum(p.numel() for p in m.parameters()) for m in (self.policy, self.critic)]
        return max(sizes) <= 1.5 * min(sizes) and not config.activation_checkpointing


def ptx_weight(config: PPOConfig, response_tokens: float) -> float:
    """The factor on the gradient of the text's mean loss per token, beside PPO's mean over tokens.

    The policy gradient of the objective's E[r(x, y)] (s3.5) is a sum over the tokens of a response,
    mean over episodes: `response_tokens`, the mean length, times the mean over tokens. Both terms
    are divided by that length, which Adam does not see, so that clipping means the same with and
    without text.
    """
    per_episode = config.ptx_reduction == "episode"
    return config.ptx_coef / response_tokens if per_episode else config.ptx_coef


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: torch.nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * weights, in place (C.4: 0.992)."""
    current = dict(model.named_parameters())
    names = [name for name in average if name in current]
    torch._foreach_lerp_(
        [average[name] for name in names], [current[name] for name in names], 1 - decay
    )
