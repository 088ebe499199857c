from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from understudy.ppo.config import PPOConfig
from understudy.reward.config import RewardConfig
from understudy.sft.config import SFTConfig
from understudy.training.settings import TrainerSettings, prepare_trainer_run


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings(TrainerSettings):
    data: Path
    more: Path | None = None


@pytest.mark.parametrize("config", [SFTConfig, RewardConfig, PPOConfig])
def test_the_trainers_say_none_of_them_again(config):
    """A field that a trainer declared anew could drift from the others' default and string."""
    shared = {field.name for field in fields(TrainerSettings)}
    assert shared <= {field.name for field in fields(config)}
    assert not shared & set(config.__annotations__)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"micro_batch_tokens": 0}, "micro_batch_tokens is 0; it must be above 0"),
        ({"max_response_tokens": -1}, "max_response_tokens is -1; it must be above 0"),
        ({"save_every": -2}, "save_every is -2; it must not be negative"),
        ({"max_grad_norm": 0.0}, r"max_grad_norm is 0\.0; it must be above 0, or none"),
        ({"lora_rank": -1}, "lora_rank is -1"),
        ({"lora_rank": 4, "lora_alpha": 0.0}, r"lora_alpha is 0\.0"),
        ({"lora_alpha": 8.0}, "lora_rank is 0, so it would not be used"),
    ],
)
def test_bad_values_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Settings(out=Path("run"), data=Path("data"), **changes)


def test_a_run_is_of_the_files_that_its_settings_name(tmp_path):
    (tmp_path / "data.txt").write_text("text")
    settings = Settings(out=tmp_path / "run", data=tmp_path / "data.txt", seed=7)
    run = prepare_trainer_run("sft", settings, ("data", "more"))
    assert run.record["seed"] == 7
    assert set(run.record["inputs"]) == {"data"}
    run.claim()
    with pytest.raises(ValueError, match="already holds this run"):
        prepare_trainer_run("sft", settings, ("data", "more"))
