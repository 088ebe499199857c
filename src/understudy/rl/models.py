"""The networks of a trainer that samples from the policy."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from torch.distributed import ProcessGroup
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.engines.engine import Engine
from understudy.engines.replica import Replica
from understudy.engines.vllm import Server
from understudy.models.batching import derived_seed
from understudy.models.chat import padding_id
from understudy.models.compute import checkpoint_activations, frozen_copy, place
from understudy.models.dropout import set_dropout
from understudy.models.lora import add_adapter
from understudy.models.offload import Offload, Tensors
from understudy.models.policies import Policy, check_computes, load_policy
from understudy.models.scalar import ScalarModel, load_on, load_scalar
from understudy.models.splitting import check_split
from understudy.rl.served import Served
from understudy.rl.settings import RolloutSettings
from understudy.training.ranks import ALONE, Ranks
from understudy.training.steps import Learner

PHASES = {
    "rollout": ("policy",),
    "score": ("policy", "reference", "reward models", "critic"),
    "update": ("policy", "policy's moments", "critic", "critic's moments", "average"),
}
"""What each phase of an iteration needs (`cpu_offload`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """Policy, reference and reward models, without dropout: they never leave eval mode."""

    policy: Policy
    """The network that is trained."""
    reference: Policy
    """The policy as it was at the start; KL is measured against it."""
    reward_model: ScalarModel
    """Scores responses; frozen."""
    members: tuple[ScalarModel, ...] = ()
    """Further reward models, whose scores are combined with the first one's; frozen."""
    engine: Engine
    """Draws responses: from the policy itself, a copy of a sharded one, or a vLLM server."""
    tokenizer: Tokenizer = field(repr=False)
    """Shared by policy and reward model."""
    stage: str
    """The trainer's name; it seeds the random numbers and begins the names of metrics."""
    ranks: Ranks = ALONE
    """The processes over which weights and passes are divided."""
    offload: Offload = field(default_factory=Offload, repr=False)
    """Moves what a phase does not need to main memory."""

    @property
    def pad_id(self) -> int:
        """Token id of padding."""
        return padding_id(self.tokenizer)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids of the tokens that end a response."""
        return self.policy.stop_ids


def load_models(config: RolloutSettings, stage: str, ranks: Ranks = ALONE) -> Models:
    """The networks from the run's inputs, sharded over the ranks. Collective."""
    with ranks.together():
        ranks.check_groups(config.ranks_of_a_copy, "rollout_ranks")
    group = ranks.group(config.ranks_of_a_copy)
    with ranks.together():
        models = _load_models(config, stage, ranks, group)
    if ranks.world > 1:
        check_computes(config.model, models.policy)
    return models


def _load_models(
    config: RolloutSettings, stage: str, ranks: Ranks, group: ProcessGroup | None
) -> Models:
    policy, tokenizer = load_policy(config.model, mesh=ranks.mesh)
    if group is not None:
        check_split(policy.config, group.size(), "rollout_ranks")
    on_base = load_on(config.reward_model, policy) if config.share_base else None
    add_adapter(policy.model, config, derived_seed(config.seed, f"{stage}/lora"))
    place(policy, config)
    engine = _engine(config, policy, tokenizer, ranks, group)
    scorers = []
    for folder in (config.reward_model, *config.reward_ensemble):
        shares = on_base if folder == config.reward_model else None
        scorer, scorer_tokenizer = shares or load_scalar(folder, mesh=ranks.mesh)
        check_same_tokenizer(config.model, tokenizer, folder, scorer_tokenizer)
        # With LoRA, PPO rounds the reward model only after it adds the critic's adapter
        # (`load_critic`).
        adapted = stage == "ppo" and config.lora_rank > 0 and folder == config.reward_model
        place(scorer, config, frozen=not adapted)
        scorers.append(scorer.requires_grad_(False))
    reference = policy  # with LoRA, the policy with its adapter off
    if ranks.world > 1:  # a sharded model cannot be copied
        reference, _ = load_policy(config.model, mesh=ranks.mesh)
        place(reference.requires_grad_(False), config, frozen=True)
    elif not config.lora_rank:
        reference = frozen_copy(policy)
    reward_model, *members = scorers
    models = Models(
        policy=policy,
        reference=reference,
        reward_model=reward_model,
        members=tuple(members),
        engine=engine,
        tokenizer=tokenizer,
        stage=stage,
        ranks=ranks,
        offload=_offload(config, policy, reference, scorers),
    )
    for model in (policy, models.reference, reward_model, *members):
        set_dropout(model, 0.0)
        model.eval()
    if config.activation_checkpointing:
        checkpoint_activations(policy)
    return models


def _engine(
    config: RolloutSettings,
    policy: Policy,
    tokenizer: Tokenizer,
    ranks: Ranks,
    group: ProcessGroup | None,
) -> Engine:
    if config.vllm is None:
        return Replica(policy, group)
    server = Server(config.vllm)
    server.check(config.model, policy.config, tokenizer)
    return Served(server, tokenizer, config.out / "rollout" / "model", ranks)


def _offload(
    config: RolloutSettings, policy: Policy, reference: Policy, scorers: Sequence[ScalarModel]
) -> Offload:
    """The networks so far; optimisers and critic are added by `offload_learner`, the average by
    PPO."""
    owners: dict[str, Tensors] = {
        "policy": policy.parameters,
        "reference": reference.parameters,
        "reward models": lambda: chain.from_iterable(one.parameters() for one in scorers),
    }
    return Offload(owners, PHASES if config.cpu_offload else {})


def offload_learner(models: Models, name: str, learner: Learner[Any]) -> None:
    """Include a network that learns, and its optimiser, in the offloading."""
    models.offload.owners[name] = learner.model.parameters
    models.offload.owners[f"{name}'s moments"] = lambda: (
        moment
        for states in learner.optimizer.state.values()
        for moment in states.values()
        if moment.ndim  # not the count of steps
    )


def check_same_tokenizer(model: str, policy: Tokenizer, folder: Path, reward: Tokenizer) -> None:
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
            f"reward model {folder} has another tokenizer than model {model} "
            f"(they differ in {', '.join(differs)}); train the reward model from a model of the "
            "same family"
        )
