"""Every number in an "ours" column is the setting's default, and no training default is missing."""

import dataclasses
import importlib
import inspect
from collections.abc import Mapping

import pytest
from tests.docs.pages import DOCS, table_rows

MODULES = {
    "IntakeConfig": "understudy.prompts.build",
    "SFTConfig": "understudy.sft.train",
    "RewardConfig": "understudy.reward.config",
    "PPOConfig": "understudy.ppo.config",
    "SampleConfig": "understudy.loop.sample",
    "CUTOFFS": "understudy.trust.screening",
    "make_optimizer": "understudy.training.optim",
    "cosine_to": "understudy.training.optim",
    "constant_with_warmup": "understudy.training.optim",
}
"""Where the settings of the page are: fields of configs and arguments of functions."""
STATUSES = {"same", "chosen", "departed"}
PAGES = ("paper.md", "sft.md", "reward.md", "ppo.md")
TRAINERS = {"SFTConfig": "sft.md", "RewardConfig": "reward.md", "PPOConfig": "ppo.md"}
NO_CHOICE = {
    *("micro_batch_tokens", "rollout_slots", "save_every", "device", "activation_checkpointing"),
    *("lora_alpha", "tensorboard", "track", "seed", "resume", "overwrite", "keep_checkpoints"),
    *(
        "replicas",
        "rollout_ranks",
        "tensor_parallel",
        "cpu_offload",
        "share_base",
        "vllm",
        "vllm_tolerance",
        "judge_url",
        "judge_model",
        "judge_patience",
        "ensemble_rule",
        "ensemble_penalty",
    ),
}
"""Settings that change memory, speed or bookkeeping, or nothing unless another one is given."""


def rows(pages: tuple[str, ...] = PAGES) -> list[list[str]]:
    """Rows of the tables with the columns: what, paper, ours, setting, status, why."""
    texts = [(DOCS / page).read_text(encoding="utf-8") for page in pages]
    return [row for text in texts for row in table_rows(text) if len(row) == 6]


def default_of(setting: str) -> object:
    """The default of "Class.field" or "function.argument", or the value at "MAPPING.key"."""
    name, _, key = setting.strip("`").partition(".")
    owner = getattr(importlib.import_module(MODULES[name]), name)
    return (
        owner[key]
        if isinstance(owner, Mapping)
        else inspect.signature(owner).parameters[key].default
    )


def value_of(cell: str) -> object:
    """A cell's number, word, or None for "none"."""
    cell = cell.strip("`")
    words = {"none": None, "on": True, "off": False}
    if cell in words:
        return words[cell]
    try:
        return float(cell.replace(",", ""))
    except ValueError:
        return cell


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[3].strip("`") or row[0])
def test_ours_is_the_default(row: list[str]) -> None:
    what, paper, ours, setting, status, why = row
    assert status in STATUSES, what
    assert status == "same" or why, f"{what}: say why"
    if setting:
        assert value_of(ours) == default_of(setting), f"{what}: {setting}"
    if status == "same":
        assert value_of(paper) == value_of(ours), f"{what} is called the same"


def test_the_table_covers_each_stage() -> None:
    named = {row[3].strip("`").partition(".")[0] for row in rows()}
    assert {"IntakeConfig", "SFTConfig", "RewardConfig", "PPOConfig"} <= named


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_default_of_a_trainer_is_in_its_table(trainer: str) -> None:
    config = getattr(importlib.import_module(MODULES[trainer]), trainer)
    values = [f for f in dataclasses.fields(config) if f.default is not dataclasses.MISSING]
    names = {f.name for f in values if "Path" not in str(f.type)} - NO_CHOICE
    listed = {row[3].strip("`").removeprefix(f"{trainer}.") for row in rows((TRAINERS[trainer],))}
    assert names <= listed
