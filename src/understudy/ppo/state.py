"""Everything that a PPO run must remember, in one table, and the models it trains.

All randomness is counter-based: the order of prompts, the noise of a token, the minibatches and the
rows of text follow from (seed, iteration, ...), so there is no generator or cursor to save. The
frozen reference and reward model are inputs of the run, held by hash in run.json.

| part             | kept as | why                                                        |
|------------------|---------|------------------------------------------------------------|
| policy           | tensors | what is trained                                            |
| critic           | tensors | what is trained                                            |
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
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.core.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from understudy.core.compute import checkpoint_activations, place
from understudy.core.models import ScalarModel, load_policy, load_scalar, set_dropout
from understudy.core.optim import SkipGuard, make_optimizer
from understudy.core.run import Run
from understudy.ppo.config import PPOConfig
from understudy.ppo.update import Learner


@dataclass(slots=True)
class State:
    """The table above."""

    learner: Learner
    """Policy, critic, their optimisers and guards."""
    average: dict[str, Tensor]
    """Averaged policy parameters by name; empty when ema is 0."""
    beta: float
    """KL coefficient in use."""
    iteration: int = 0
    """Iterations done."""

    def trees(self) -> dict[str, Any]:
        """The parts kept as tensors."""
        learner = self.learner
        return {
            "policy": learner.policy.state_dict(),
            "critic": learner.critic.state_dict(),
            "policy_optimizer": learner.policy_optimizer.state_dict(),
            "critic_optimizer": learner.critic_optimizer.state_dict(),
            "average": self.average,
        }

    def counters(self) -> dict[str, Any]:
        """The parts kept as JSON."""
        return {
            "iteration": self.iteration,
            "beta": self.beta,
            "policy_skips": self.learner.policy_guard.in_a_row,
            "critic_skips": self.learner.critic_guard.in_a_row,
        }

    def load(self, trees: dict[str, Any], counters: dict[str, Any]) -> None:
        """Take over what a checkpoint holds."""
        learner = self.learner
        learner.policy.load_state_dict(trees["policy"])
        learner.critic.load_state_dict(trees["critic"])
        learner.policy_optimizer.load_state_dict(trees["policy_optimizer"])
        learner.critic_optimizer.load_state_dict(trees["critic_optimizer"])
        for name, tensor in self.average.items():
            tensor.copy_(trees["average"][name])
        self.iteration, self.beta = counters["iteration"], counters["beta"]
        learner.policy_guard.in_a_row = counters["policy_skips"]
        learner.critic_guard.in_a_row = counters["critic_skips"]

    def save(self, run: Run) -> None:
        """A checkpoint of this iteration."""
        save_checkpoint(run.dir, self.iteration, self.trees(), self.counters())

    def resume(self, run: Run) -> None:
        """Go back to the newest whole checkpoint, or to the start, and the logs with it."""
        path = latest_checkpoint(run.dir)
        if path is not None:
            self.load(*load_checkpoint(path))
        run.rewind(self.iteration if path is not None else -1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """The four networks. Dropout is off in all, and stays off: they never leave eval mode."""

    policy: PreTrainedModel
    """What is trained."""
    reference: PreTrainedModel
    """The policy as it was at the start; KL is measured against it."""
    reward_model: ScalarModel
    """Scores responses; frozen."""
    critic: ScalarModel
    """Predicts returns; starts as a copy of the reward model (C.4)."""
    tokenizer: Tokenizer = field(repr=False)
    """Of policy and reward model alike."""

    @property
    def pad_id(self) -> int:
        """Id of the padding token."""
        return int(self.tokenizer.pad_token_id)

    @property
    def eos_id(self) -> int:
        """Id of the token that ends a response."""
        return int(self.tokenizer.eos_token_id)


def load_models(config: PPOConfig) -> Models:
    """All four networks from the run's inputs."""
    policy, tokenizer = load_policy(config.model)
    reward_model, reward_tokenizer = load_scalar(config.reward_model)
    check_same_tokenizer(config, tokenizer, reward_tokenizer)
    place(policy.base_model, policy, config)
    place(reward_model.trunk, reward_model, config)
    models = Models(
        policy=policy,
        reference=copy.deepcopy(policy),
        reward_model=reward_model,
        critic=copy.deepcopy(reward_model),
        tokenizer=tokenizer,
    )
    for model in (policy, models.reference, reward_model, models.critic):
        set_dropout(model, 0.0)
        model.eval()
    if config.activation_checkpointing:
        checkpoint_activations(policy)
        checkpoint_activations(models.critic)
    models.reference.requires_grad_(False)
    reward_model.requires_grad_(False)
    return models


def check_same_tokenizer(config: PPOConfig, policy: Tokenizer, reward: Tokenizer) -> None:
    """The reward model reads the policy's token ids as they are, so the two must agree on them."""
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
    learner = Learner(
        policy=models.policy,
        critic=models.critic,
        policy_optimizer=make_optimizer(models.policy, config.lr),
        critic_optimizer=make_optimizer(models.critic, config.critic_lr),
        policy_guard=SkipGuard(),
        critic_guard=SkipGuard(),
    )
    parameters = models.policy.named_parameters() if config.ema > 0 else ()
    average = {name: p.detach().clone() for name, p in parameters}
    return State(learner, average, config.beta)


@torch.no_grad()
def averaged_policy(state: State) -> PreTrainedModel:
    """A policy with the averaged weights (the live one where there is no average)."""
    model = copy.deepcopy(state.learner.policy)
    for name, parameter in model.named_parameters():
        if name in state.average:
            parameter.copy_(state.average[name])
    return model
