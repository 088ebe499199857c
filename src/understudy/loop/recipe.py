"""Recipes: the settings of the demo's stages, a TOML file with a section per stage.

`[sft]`, `[rl_init]`, `[reward]`, `[ppo]` and `[ppo_ptx]` hold fields of the trainers' configs, the
other sections those of the dataclasses below. An unknown key is an error, found before anything
runs and without importing torch.
"""

import ast
import difflib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from understudy.prompts.build import IntakeConfig
from understudy.training.config import build_values, read_toml, required_fields

R = TypeVar("R")

RECIPES = Path(__file__).parent / "recipes"
PAPER_SIZES = ("1.3b", "6b", "175b")
"""Sizes of the paper's models, each with a recipe for the trainers and the planner."""


def paper_recipe(name: str) -> Path | None:
    """The recipe of one of the paper's sizes; None for another name."""
    return RECIPES / "paper" / f"{name}.toml" if name in PAPER_SIZES else None


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldSettings:
    """The users and the base models."""

    num_users: int
    """Number of users; a few send many prompts, most send few."""
    policy_size: str = "1m"
    """Base model of the policy: 200k, 1m, 3m, or a model folder."""
    reward_size: str = "1m"
    """Base model of the reward model and the critic (the paper: 6B for every policy size)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSettings:
    """Pretraining text: for the mix in the RL init and in PPO-ptx, and for the loss."""

    num_pages: int
    """Pages to mix in."""
    num_held_out_pages: int
    """Fresh pages on which the pretraining loss is measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelSettings:
    """The labelers' work."""

    num_demonstrations: int
    """Demonstrations to train on."""
    num_valid_demonstrations: int
    """Demonstrations of the valid split."""
    num_rankings: int
    """Prompts whose sampled responses are ranked to train the reward model."""
    num_valid_rankings: int
    """Prompts of the valid split whose responses are ranked to measure the reward model."""
    overlap: float = 0.1
    """Share of the prompts that several labelers rank, to measure agreement."""
    num_screening_prompts: int = 60
    """Prompts in the screening test, which candidates take before they label anything (B.1)."""
    screening_cutoffs: Mapping[str, float] = field(
        default_factory=lambda: {"flags": 0.75, "ranking": 0.75, "demonstrations": 6.0}
    )
    """Lowest agreement on sensitive flags and on rankings, and mean grade of 7, that pass (B.1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleSettings:
    """Responses to rank."""

    min_answers: int = 4
    """Fewest responses per prompt (s3.5: K = 4 to 9)."""
    max_answers: int = 9
    """Most responses per prompt (s3.5)."""
    temperature: float = 1.0
    """Sampling temperature (not published)."""
    max_response_tokens: int = 64
    """Longest response, in tokens."""
    num_shards: int = 2
    """Stages that share the work; set here, so that results do not depend on `workers`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateSettings:
    """The evaluation of the finished models."""

    num_prompts: int
    """Prompts of users unseen in training (the paper: 3,196)."""
    num_closed_prompts: int = 400
    """Further closed-domain prompts, for the hallucination figures."""
    num_rude_prompts: int = 100
    """Rude users' prompts, sent with and without the respectful prefix."""
    num_best_of_prompts: int = 300
    """Test prompts with `best_of` + 1 responses each, for best-of-n and the gate."""
    best_of: int = 16
    """Largest n of best-of-n."""
    num_benchmark_items: int = 200
    """Items per benchmark."""
    max_response_tokens: int = 64
    """Longest response, in tokens."""
    labels_per_comparison: int = 1
    """Held-out labelers who compare the same two responses (s5.3: mostly one, for cost)."""
    stop_at_gate: bool = False
    """Stop if the reward model fails the gate; otherwise RL goes ahead and the report says so."""
    num_shards: int = 2
    """Stages that share the best-of-n sampling."""


TRAINERS = {
    "sft": ("understudy.sft.config", "SFTConfig"),
    "rl_init": ("understudy.sft.config", "SFTConfig"),
    "sft_reward": ("understudy.sft.config", "SFTConfig"),
    "reward": ("understudy.reward.config", "RewardConfig"),
    "ppo": ("understudy.ppo.config", "PPOConfig"),
    "ppo_ptx": ("understudy.ppo.config", "PPOConfig"),
    "rloo": ("understudy.rloo.config", "RLOOConfig"),
    "grpo": ("understudy.grpo.config", "GRPOConfig"),
    "raft": ("understudy.raft.config", "RAFTConfig"),
    "dpo": ("understudy.dpo.config", "DPOConfig"),
    "kto": ("understudy.kto.config", "KTOConfig"),
    "truthfulqa": ("understudy.evaluation.harness.config", "BenchmarkConfig"),
}
"""Sections that hold fields of another command's config."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All settings of the demo."""

    world: WorldSettings
    """The users and the base models."""
    intake: IntakeConfig = field(default_factory=IntakeConfig)
    """How raw prompts are cleaned, capped and split."""
    text: TextSettings
    """Pretraining text."""
    labels: LabelSettings
    """Demonstrations and rankings."""
    sample: SampleSettings
    """Responses to rank."""
    evaluate: EvaluateSettings
    """The evaluation."""
    sft: Mapping[str, Any] = field(default_factory=dict)
    """Settings of SFT (s3.5)."""
    rl_init: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the model that RL starts from (C.3)."""
    sft_reward: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the SFT from which a larger reward model starts; unused when sizes are equal."""
    reward: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the reward model (C.2)."""
    ppo: Mapping[str, Any] = field(default_factory=dict)
    """Settings of PPO (C.4), and of PPO-ptx unless `ppo_ptx` overrides them."""
    ppo_ptx: Mapping[str, Any] = field(default_factory=dict)
    """Overrides for PPO-ptx."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Seconds that each stage took when last measured, for the first estimate of the time left."""


def load_recipe(name: str | Path) -> Recipe:
    """The demo's recipe by name ("demo", "quick") or file."""
    return read_recipe(name, Recipe)


def read_recipe(name: str | Path, kind: type[R]) -> R:
    """A recipe by name or file; ValueError names the wrong key."""
    path = Path(name) if str(name).endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise ValueError(f"there is no recipe {name}; give a .toml file or one of: {known}")
    table = read_toml(path)
    for section, (module, config_class) in TRAINERS.items():
        _check_keys(table.get(section, {}), _fields_of(module, config_class), f"{path} [{section}]")
    values = build_values(kind, table, source=str(path))
    missing = [name for name in required_fields(kind) if name not in values]
    if missing:
        raise ValueError(f"{path} has no section [{missing[0]}]; is it a recipe of this command?")
    return kind(**values)


def _check_keys(table: Mapping[str, Any], known: list[str], where: str) -> None:
    for key in table:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise ValueError(f"{where}: unknown key '{key}'; the nearest valid key is '{nearest}'")


def _fields_of(module: str, config_class: str) -> list[str]:
    """Names of a dataclass's fields, including its bases', read from the source code, because
    importing the module would import torch."""
    package = importlib.util.find_spec(module.rpartition(".")[0])
    assert package is not None
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / f"{module.rpartition('.')[2]}.py"
    body = ast.parse(path.read_text(encoding="utf-8")).body
    origins = {a.name: n.module for n in body if isinstance(n, ast.ImportFrom) for a in n.names}
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == config_class:
            bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
            inherited = [name for b in bases for name in _fields_of(origins.get(b) or module, b)]
            fields = [n.target for n in node.body if isinstance(n, ast.AnnAssign)]
            return [*(target.id for target in fields if isinstance(target, ast.Name)), *inherited]
    raise AssertionError(f"{path} has no class {config_class}")
