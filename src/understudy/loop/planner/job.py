"""A run to plan: its networks, its trainer's settings, its cards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.loop.commands import COMMANDS
from understudy.loop.options import parse
from understudy.loop.planner.config import SAMPLING, PlanConfig
from understudy.loop.planner.networks import Network, as_scalar, network_of
from understudy.loop.recipe import paper_recipe
from understudy.models.policies import check_language_model
from understudy.models.splitting import check_split
from understudy.training.config import read_toml, required_fields

INPUTS = {
    **{"model": "MODEL", "data": "DATA.jsonl", "prompts": "PROMPTS.jsonl", "out": "runs/NEW"},
    "reward_model": "REWARD_MODEL",
}
"""Inputs that a trainer needs and a plan does not read."""
PAPER_EXAMPLES = {"demonstrations": 12_725, "rankings": 33_207}
"""The paper's training sets (Table 6)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The cards, and how weights are divided among them."""

    nodes: int
    """Number of machines."""
    cards: int
    """Cards in each machine."""
    replicas: int = 1
    """Groups of cards; each holds all weights."""
    tensor: int = 1
    """Cards that split each layer."""
    device: str = "cuda"
    """"cuda", or "cpu" for one process."""

    def __post_init__(self) -> None:
        if self.world % self.replicas:
            raise ValueError(
                f"{self.world} cards do not divide into {self.replicas} replicas; choose a number "
                "of cards that is a multiple of replicas"
            )
        if self.world % (self.replicas * self.tensor):
            raise ValueError(
                f"{self.world} cards cannot be laid out as replicas {self.replicas} x "
                f"tensor_parallel {self.tensor} x shards; their product must divide the cards"
            )

    @property
    def world(self) -> int:
        """Number of cards."""
        return self.nodes * self.cards

    @property
    def shards(self) -> int:
        """Cards over which the weights, or parts of split layers, are divided."""
        return self.world // self.replicas // self.tensor

    @property
    def shares(self) -> int:
        """Shares into which the passes are divided; cards that split layers work on the same."""
        return self.world // self.tensor


@dataclass(frozen=True, kw_only=True)
class Job:
    """The run to plan."""

    stage: str
    """What `PlanConfig.stage` names."""
    settings: Any
    """The trainer's config."""
    layout: Layout
    """Cards."""
    policy: Network
    """The network of `model`."""
    scalar: Network
    """Reward model of the stages that sample, and PPO's critic; the trained network of
    `reward`."""
    examples: int
    """Demonstrations or rankings in the data."""
    responses: int
    """Responses per ranking."""

    @property
    def row(self) -> int:
        """Tokens of the longest row: a prompt and a response."""
        return int(self.settings.max_prompt_tokens + self.settings.max_response_tokens)

    @property
    def learner(self) -> Network:
        """The network that is trained; in PPO, the policy."""
        return self.scalar if self.stage == "reward" else self.policy

    @property
    def samples(self) -> bool:
        """Whether it samples from the policy and scores with a reward model."""
        return self.stage in SAMPLING

    @property
    def minibatch(self) -> int:
        """Episodes per optimiser step, in a stage that samples."""
        return int(self.settings.num_learned // self.settings.num_minibatches)

    @property
    def with_text(self) -> bool:
        """Whether pretraining text is mixed in."""
        return getattr(self.settings, "pretrain_data", None) is not None


def job_of(config: PlanConfig) -> Job:
    """The run that a command line describes; ValueError if it cannot be planned."""
    recipe = paper_recipe(config.model)
    table = read_toml(recipe) if recipe else {}
    settings = trainer_settings(
        config.stage, recipe if config.stage in table else None, config.command
    )
    layout = Layout(
        nodes=config.nodes,
        cards=config.cards,
        replicas=settings.replicas,
        tensor=settings.tensor_parallel,
        device=config.device,
    )
    if layout.world > 1 and settings.lora_rank:
        raise ValueError(
            f"lora_rank is {settings.lora_rank}, but adapters train in one process only; plan one "
            "card, or lora_rank 0"
        )
    sharing = getattr(settings, "ranks_of_a_copy", 1)
    if layout.world % sharing:
        raise ValueError(
            f"rollout_ranks is {sharing}, which does not divide the {layout.world} cards; choose a "
            "divisor"
        )
    for name in ("judge", "reward_ensemble"):
        if getattr(settings, name, None):
            raise ValueError(
                f"the plan does not count the networks of {name}; plan without it, and leave room "
                "for one more reward model each"
            )
    if recipe is None:
        check_language_model(Path(config.model))
    policy = network_of(config.model, table.get("model"), settings)
    if config.reward_model is not None and getattr(settings, "share_base", False):
        raise ValueError(
            "with share_base the reward model is of the policy's own weights; plan "
            "without reward_model"
        )
    if sharing > 1:
        check_split(policy.config, sharing, "rollout_ranks")
    scalar = policy
    if config.reward_model is not None:
        other = paper_recipe(config.reward_model)
        shape = read_toml(other)["model"] if other else None
        scalar = network_of(config.reward_model, shape, settings)
    elif config.stage in ("reward", *SAMPLING) and recipe:
        scalar = network_of("6b", table["reward_model"], settings)
    known = "rankings" if config.stage in ("reward", "dpo", "kto") else "demonstrations"
    each = config.responses if config.stage == "kto" else 1
    for network in {policy, scalar} if layout.tensor > 1 else ():
        check_split(network.config, layout.tensor, "tensor_parallel")
    return Job(
        stage=config.stage,
        settings=settings,
        layout=layout,
        policy=policy,
        scalar=as_scalar(scalar),
        examples=config.examples or each * PAPER_EXAMPLES[known],
        responses=config.responses,
    )


def trainer_of(stage: str) -> str:
    """The command that runs a stage."""
    return "sft" if stage == "rl_init" else stage


def trainer_settings(stage: str, recipe: Path | None, options: Sequence[str]) -> Any:
    """A trainer's config: its defaults, overridden by the recipe's section, then by the command
    line. Required inputs that a plan does not read get placeholders."""
    (command,) = (one for one in COMMANDS if one.name == trainer_of(stage))
    config_class = command.load_config()
    words = [] if recipe is None else ["--config", f"{recipe}#{stage}"]
    values = {name: INPUTS[name] for name in required_fields(config_class)}
    if recipe is None and stage == "rl_init":
        values |= {"epochs": "2", "pretrain_fraction": "0.1"}  # C.3
    for name, value in values.items():
        option = "--" + name.replace("_", "-")
        words += [] if option in options else [option, value]
    prog = f"understudy {command.name}"
    try:
        return parse(config_class, [*words, *options], prog=prog)
    except ValueError as error:
        if "pretrain_data" not in str(error):
            raise
    return parse(config_class, [*words, "--pretrain-data", "TEXT.txt", *options], prog=prog)
