"""Everything that a PPO run must remember, in one table, and the models it trains.

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
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.engines.replica import Replica
from understudy.models.batching import derived_seed
from understudy.models.chat import padding_id
from understudy.models.compute import checkpoint_activations, place
from understudy.models.dropout import set_dropout
from understudy.models.lora import add_adapter
from understudy.models.policies import Policy, load_policy
from understudy.models.scalar import ScalarModel, load_scalar
from understudy.models.sharding import fill, shard
from understudy.ppo.config import PPOConfig
from understudy.ppo.update import Learners
from understudy.training.ranks import ALONE, Ranks
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """The four networks. Dropout is off in all, and stays off: they never leave eval mode."""

    policy: Policy
    """The network that is trained."""
    reference: Policy
    """The policy as it was at the start; KL is measured against it."""
    reward_model: ScalarModel
    """Scores responses; frozen."""
    critic: ScalarModel
    """Predicts returns; starts as a copy of the reward model (C.4)."""
    replica: Replica
    """The policy's weights for rollouts; on one process the policy itself."""
    tokenizer: Tokenizer = field(repr=False)
    """Shared by policy and reward model."""
    ranks: Ranks = ALONE
    """The processes over which weights and passes are divided."""

    def shard(self) -> None:
        """Keep this rank's shard of each network; a no-op on one process."""
        policies = (self.policy.model, self.reference.model)
        for model in (*policies, self.reward_model, self.critic):
            shard(model, self.ranks.mesh)

    @property
    def pad_id(self) -> int:
        """Token id of padding."""
        return padding_id(self.tokenizer)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids of the tokens that end a response."""
        return self.policy.stop_ids


def load_models(config: PPOConfig, ranks: Ranks = ALONE) -> Models:
    """All four networks from the run's inputs, unsharded."""
    policy, tokenizer = load_policy(config.model)
    reward_model, reward_tokenizer = load_scalar(config.reward_model)
    check_same_tokenizer(config, tokenizer, reward_tokenizer)
    add_adapter(policy.model, config, derived_seed(config.seed, "ppo/lora"))
    add_adapter(reward_model.trunk, config, derived_seed(config.seed, "ppo/lora", 1))
    place(policy, config)
    place(reward_model, config)
    reward_model.head.requires_grad_(False)
    models = Models(
        policy=policy,
        # With adapters the frozen network is the same weights with the adapter off.
        reference=policy if config.lora_rank else copy.deepcopy(policy).requires_grad_(False),
        reward_model=reward_model,
        critic=reward_model.twin() if config.lora_rank else copy.deepcopy(reward_model),
        replica=Replica(policy, several=ranks.world > 1),
        tokenizer=tokenizer,
        ranks=ranks,
    )
    models.critic.head.requires_grad_(True)
    for model in (policy, models.reference, reward_model, models.critic):
        set_dropout(model, 0.0)
        model.eval()
    if config.activation_checkpointing:
        checkpoint_activations(policy)
        checkpoint_activations(models.critic)
    if not config.lora_rank:
        reward_model.requires_grad_(False)
    return models


def check_same_tokenizer(config: PPOConfig, policy: Tokenizer, reward: Tokenizer) -> None:
    """ValueError if the tokenizers differ: the reward model reads the policy's token ids."""
    differs = [
        name
        for name, of in (
            ("vocabulary", lambda t: t.get_vocab()),
            ("end-of-sequence token", lambda t: t.eos_token_id),
            ("chat template", lambda t: t.chat_template),
        )
        if of(policy) != of(reward)
    ]
    if differs:
        raise ValueError(
            f"reward_model {config.reward_model} has another tokenizer than model {config.model} "
            f"(they differ in {', '.join(differs)}); train the reward model from a model of the "
            "same family"
        )


def new_state(config: PPOConfig, models: Models) -> State:
    """The state before the first iteration."""
    learners = Learners(
        Learner.of(models.policy, config.lr),
        Learner.of(models.critic, config.critic_lr),
        models.ranks,
    )
    average = {
        name: parameter.detach().clone()
        for name, parameter in models.policy.named_parameters()
        if config.ema > 0 and parameter.requires_grad
    }
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
