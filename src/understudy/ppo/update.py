"""One optimiser step of policy and critic on a minibatch of episodes.

Shapes: N response tokens of a pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from understudy.models.cpu.side_by_side import side_by_side
from understudy.models.policies import Policy
from understudy.models.scalar import ScalarModel
from understudy.models.sharding import compute, local_part
from understudy.ppo.config import PPOConfig
from understudy.ppo.losses import policy_loss, value_loss
from understudy.ppo.ptx import StepText, add_ptx_gradient
from understudy.rl.episodes import Episodes
from understudy.rl.passes import Pass
from understudy.rl.update import add_to, policy_gradient
from understudy.training.optim import gradient_norm
from understudy.training.ranks import ALONE, Ranks
from understudy.training.steps import Learner, Metrics


def value_gradient(
    critic: ScalarModel,
    episodes: Episodes,
    passes: Sequence[Pass],
    *,
    num_tokens: int,
    value_clip: float | None,
    ranks: Ranks = ALONE,
) -> Metrics:
    """Add the gradient of the value loss over a minibatch; returns its metrics, summed in fp64."""
    sums: dict[str, Tensor] = {}
    for share in ranks.deal(len(passes)):
        batch = passes[share.number]
        loss, metrics = value_loss(
            compute(critic, critic.values_at, *batch.where),
            episodes.take(episodes.values_BR, batch),
            episodes.take(episodes.returns_BR, batch),
            value_clip=value_clip,
            num_tokens=num_tokens,
        )
        (loss * share.weight).backward()
        add_to(sums, metrics, share.weight)
    return {name: ranks.sum_tensor(value) for name, value in sums.items()}


@dataclass(frozen=True, slots=True)
class Learners:
    """The two networks that learn."""

    policy: Learner[Policy]
    """The policy."""
    critic: Learner[ScalarModel]
    """The critic, a separate network."""
    ranks: Ranks = ALONE
    """The processes over which passes are divided."""

    def step(
        self,
        config: PPOConfig,
        episodes: Episodes,
        rows: Sequence[int],
        text: StepText | None,
    ) -> Metrics:
        """One step of the policy, by PPO's gradient plus the weighted pretraining gradient, and one
        of the critic.

        The critic does not depend on the policy, so its step runs beside the PPO gradient where the
        two take about equally long.
        """
        policy, device, ranks = self.policy.model, episodes.device, self.ranks
        alone_on_cpu = ranks.world == 1 and device.type == "cpu"
        at_once = alone_on_cpu and self._take_as_long(config)
        # Two networks at once hold two passes' activations: each gets half of the tokens.
        budget = config.micro_batch_tokens // 2 if at_once else config.micro_batch_tokens
        lengths = episodes.lengths()
        budget = ranks.budget([lengths[i] for i in rows], max(budget, 1))
        passes = episodes.passes(rows, budget)
        num_tokens = episodes.num_tokens(rows)

        def clipped(batch: Pass, new_logprobs_N: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return policy_loss(
                new_logprobs_N,
                episodes.take(episodes.old_logprobs_BR, batch),
                episodes.take(episodes.advantages_BR, batch),
                clip=config.clip,
                num_tokens=num_tokens,
            )

        surrogate = partial(
            policy_gradient,
            policy,
            episodes,
            passes,
            clipped,
            num_tokens=num_tokens,
            temperature=config.temperature,
            ranks=ranks,
        )
        critic_step = partial(self._critic_step, config, episodes, passes, num_tokens)
        if at_once and torch.get_num_threads() > 1:
            metrics, critic_metrics = side_by_side([surrogate, critic_step], device)
        else:
            metrics, critic_metrics = surrogate(), critic_step()
        if text is not None:
            metrics["surrogate_grad_norm"] = gradient_norm(policy.parameters())
            metrics["ptx_loss"] = add_ptx_gradient(
                policy,
                text,
                coef=ptx_weight(config, num_tokens / len(rows)),
                micro_batch_tokens=config.micro_batch_tokens,
                ranks=ranks,
            )
        result = self.policy.step(config.max_grad_norm)
        critic_metrics["skipped_steps"] += float(result.skipped)
        return metrics | critic_metrics | {"policy_grad_norm": result.grad_norm}

    def _critic_step(
        self, config: PPOConfig, episodes: Episodes, passes: Sequence[Pass], num_tokens: int
    ) -> Metrics:
        metrics = value_gradient(
            self.critic.model,
            episodes,
            passes,
            num_tokens=num_tokens,
            value_clip=config.value_clip,
            ranks=self.ranks,
        )
        result = self.critic.step(config.max_grad_norm)
        return metrics | {
            "critic_grad_norm": result.grad_norm,
            "skipped_steps": float(result.skipped),
        }

    def _take_as_long(self, config: PPOConfig) -> bool:
        """Whether policy and critic are of about the same size, so that neither waits long for the
        other. False with activation checkpointing, which saves and restores random states that
        threads share.
        """
        learners = (self.policy, self.critic)
        sizes = [sum(p.numel() for p in one.model.parameters()) for one in learners]
        return max(sizes) <= 1.5 * min(sizes) and not config.activation_checkpointing


def ptx_weight(config: PPOConfig, response_tokens: float) -> float:
    """The factor on the gradient of the text's mean loss per token, beside PPO's mean over tokens.

    The policy gradient of the objective's E[r(x, y)] (s3.5) is a sum over the tokens of a response,
    averaged over episodes: `response_tokens`, the mean length, times the mean over tokens. Dividing
    both terms by that length does not change Adam's steps, and clipping then means the same with
    and without text.
    """
    per_episode = config.ptx_reduction == "episode"
    return config.ptx_coef / response_tokens if per_episode else config.ptx_coef


@torch.no_grad()
def update_average(average: dict[str, Tensor], model: torch.nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * weights, in place (C.4: 0.992)."""
    current = dict(model.named_parameters())
    names = [name for name in average if name in current]
    torch._foreach_lerp_(
        [local_part(average[name]) for name in names],
        [local_part(current[name].detach()) for name in names],
        1 - decay,
    )
