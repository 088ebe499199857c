"""The state that a PPO run must remember, in one table, and the making of the critic.

All randomness is counter-based: the order of prompts, the noise of a token, the minibatches and the
rows of text follow from (seed, iteration, ...), so there is no generator or cursor to save. The
frozen reference and reward model are inputs of the run, held by hash in run.json.

| part             | kept as | why                                                        |
|------------------|---------|------------------------------------------------------------|
| policy           | tensors | trained                                                    |
| critic           | tensors | trained                                                    |
| policy_optimizer | tensors | Adam's moments and step counts                             |
| critic_optimizer | tensors | the same                                                   |
| average          | tensors | the exponential moving average that is saved as the model  |
| iteration        | JSON    | iterations done: prompts, noise, schedule, text rows       |
| beta             | JSON    | moves under adaptive KL                                    |
| policy_skips     | JSON    | non-finite gradients in a row                              |
| critic_skips     | JSON    | the same for the critic                                    |
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from understudy.models.batching import derived_seed
from understudy.models.compute import checkpoint_activations, place
from understudy.models.dropout import set_dropout
from understudy.models.lora import add_adapter
from understudy.models.policies import Policy
from understudy.models.scalar import ScalarModel, load_scalar
from understudy.models.sharding import fill
from understudy.ppo.config import PPOConfig
from understudy.ppo.update import Learners
from understudy.rl.models import Models, offload_learner
from understudy.training.steps import Learner


@dataclass(slots=True)
class State:
    """The table above without the iteration, which `Steps` counts."""

    learners: Learners
    """Policy and critic, their optimisers and guards."""
    average: dict[str, Tensor]
    """Averaged policy parameters by name; empty when ema is 0."""
    beta: float
    """KL coefficient in use."""

    def trees(self) -> dict[str, Any]:
        """The parts kept as tensors."""
        policy, critic = self.learners.policy.trees(), self.learners.critic.trees()
        return {
            "policy": policy["model"],
            "critic": critic["model"],
            "policy_optimizer": policy["optimizer"],
            "critic_optimizer": critic["optimizer"],
            "average": self.average,
        }

    def counters(self) -> dict[str, Any]:
        """The parts kept as JSON."""
        return {
            "beta": self.beta,
            "policy_skips": self.learners.policy.guard.in_a_row,
            "critic_skips": self.learners.critic.guard.in_a_row,
        }

    def load(self, trees: dict[str, Any], counters: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        for name in ("policy", "critic"):
            getattr(self.learners, name).load(
                {"model": trees[name], "optimizer": trees[f"{name}_optimizer"]},
                {"skips": counters[f"{name}_skips"]},
            )
        for name, tensor in self.average.items():
            fill(tensor, trees["average"][name])
        self.beta = counters["beta"]


def load_critic(config: PPOConfig, models: Models) -> ScalarModel:
    """The critic, a copy of the reward model (C.4), always in eval mode.

    With adapters it is the reward model's trunk with an adapter, and a head of its own. On several
    ranks, where a sharded model cannot be copied, and in bf16, where the reward model is rounded,
    the critic is read from the reward model's folder.
    """
    reward_model = models.reward_model
    add_adapter(reward_model.trunk, config, derived_seed(config.seed, "ppo/lora", 1))
    if config.lora_rank:
        place(reward_model, config)
        critic = reward_model.twin()
    elif models.ranks.world > 1 or config.bf16:
        critic, _ = load_scalar(config.reward_model, mesh=models.ranks.mesh)
        place(critic, config)
    else:
        critic = copy.deepcopy(reward_model).requires_grad_(True)
    critic.head.requires_grad_(True)
    set_dropout(critic, 0.0)
    critic.eval()
    if config.activation_checkpointing:
        checkpoint_activations(critic)
    return critic


def new_state(config: PPOConfig, models: Models, critic: ScalarModel) -> State:
    """The state before the first iteration."""
    learners = Learners(
        Learner.of(models.policy, config.lr),
        Learner.of(critic, config.critic_lr),
        models.ranks,
    )
    average = {
        name: parameter.detach().clone()
        for name, parameter in models.policy.named_parameters()
        if config.ema > 0 and parameter.requires_grad
    }
    offload_learner(models, "policy", learners.policy)
    offload_learner(models, "critic", learners.critic)
    models.offload.owners["average"] = average.values
    return State(learners, average, config.beta)


@torch.no_grad()
def averaged_policy(state: State) -> Policy:
    """The policy, with the averaged weights loaded into it if there is an average; for the end of a
    run."""
    model = state.learners.policy.model
    for name, parameter in model.named_parameters():
        if name in state.average:
            parameter.copy_(state.average[name])
    return model
