"""The paper's recipes, and the settings that a plan's command line gives a trainer."""

import pytest

from understudy.loop.options import parse
from understudy.loop.planner.config import PlanConfig
from understudy.loop.planner.job import job_of, trainer_settings
from understudy.loop.recipe import PAPER_SIZES, paper_recipe
from understudy.sft.config import SFTConfig

PAPER = {
    "1.3b": dict(sft=(9.65e-6, 32), rl_init=(5e-6, 32), critic=9e-6),
    "6b": dict(sft=(9.65e-6, 32), rl_init=(1.04e-5, 32), critic=9e-6),
    "175b": dict(sft=(5.03e-6, 8), rl_init=(2.45e-6, 8), critic=5e-6),
}
"""Learning rate and batch of C.1 and C.3, and the critic's rate of C.4."""


@pytest.mark.parametrize("size", PAPER_SIZES)
def test_a_recipe_holds_the_papers_rates_and_batches(size):
    recipe, paper = paper_recipe(size), PAPER[size]
    found = {stage: trainer_settings(stage, recipe, ()) for stage in ("sft", "rl_init")}
    for stage, settings in found.items():
        assert (settings.lr, settings.batch_size) == paper[stage]
        assert settings.dropout == 0.2
    assert [found[stage].epochs for stage in found] == [16, 2]
    assert found["rl_init"].pretrain_fraction == 0.1
    reward = trainer_settings("reward", recipe, ())
    assert (reward.lr, reward.batch_size, reward.epochs) == (9e-6, 64, 1)
    ppo = trainer_settings("ppo", recipe, ())
    assert (ppo.episodes, ppo.batch_size, ppo.minibatch_size) == (256_000, 512, 64)
    assert (ppo.critic_lr, ppo.beta, ppo.ema, ppo.ptx_coef) == (paper["critic"], 0.02, 0.992, 27.8)
    assert ppo.ptx_rows == 512


@pytest.mark.parametrize(
    ("size", "billions"),
    [("1.3b", (1.316, 6.658)), ("6b", (6.658, 6.658)), ("175b", (174.6, 6.658))],
)
def test_a_recipe_has_the_papers_sizes(size, billions):
    job = job_of(PlanConfig(model=size, stage="ppo", memory=80))
    found = (job.policy.parameters, job.scalar.parameters)
    assert [n / 1e9 for n in found] == pytest.approx(billions, rel=1e-3)


def test_options_win_over_the_recipe_and_the_recipe_over_defaults():
    settings = trainer_settings("sft", paper_recipe("175b"), ("--lr", "1e-5"))
    assert (settings.lr, settings.batch_size) == (1e-5, 8)


def test_a_trainer_reads_its_own_section_or_the_named_one(tmp_path):
    path = tmp_path / "all.toml"
    path.write_text("[sft]\nlr = 1e-3\n[rl_init]\nlr = 2e-3\n[ppo]\nclip = 0.1\n")
    needed = ["--model", "m", "--data", "d", "--out", "o"]
    for name, lr in ((str(path), 1e-3), (f"{path}#rl_init", 2e-3)):
        assert parse(SFTConfig, ["--config", name, *needed], prog="understudy sft").lr == lr
    found = parse(SFTConfig, ["--config", "175b", *needed], prog="understudy sft")
    assert (found.lr, found.batch_size) == (5.03e-6, 8)
    with pytest.raises(ValueError, match=r"has no section \[dpo\]"):
        parse(SFTConfig, ["--config", f"{path}#dpo", *needed], prog="understudy sft")
    with pytest.raises(ValueError, match="unknown key 'clip'"):
        parse(SFTConfig, ["--config", f"{path}#ppo", *needed], prog="understudy sft")


def test_the_rl_init_of_a_folder_is_the_papers():
    settings = trainer_settings("rl_init", None, ())
    assert (settings.epochs, settings.pretrain_fraction) == (2, 0.1)
    assert trainer_settings("rl_init", None, ("--epochs", "3")).epochs == 3
