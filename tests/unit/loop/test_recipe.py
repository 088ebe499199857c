"""Recipes: the packaged ones are valid, and what is wrong with another is said."""

import subprocess
import sys

import pytest

from understudy.loop.recipe import RECIPES, TRAINERS, load_recipe

PACKAGED = sorted(path.stem for path in RECIPES.glob("*.toml") if path.stem != "real")
"""The demo's; tests/unit/loop/test_real.py reads the other one."""


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_recipes_fit_the_trainers(name):
    """Every value, not only every key: each trainer's own checks accept its section."""
    import importlib
    from pathlib import Path

    from understudy.training.config import load_config

    recipe = load_recipe(name)
    files = {"model": "m", "data": "d", "out": "o", "reward_model": "r", "prompts": "p"}
    sections = {name: of for name, of in TRAINERS.items() if hasattr(recipe, name)}
    for section, (module, config_class) in sections.items():
        cls = getattr(importlib.import_module(module), config_class)
        names = [name for name in files if name in cls.__dataclass_fields__]
        if config_class == "SFTConfig":
            names.remove("reward_model")
        values = {name: files[name] for name in names}
        settings = dict(getattr(recipe, section))
        if section == "ppo_ptx":
            settings = {**recipe.ppo, **settings, "pretrain_data": "t"}
        elif section == "ppo":
            settings["ptx_coef"] = 0.0
        elif section == "rl_init":
            settings["pretrain_data"] = "t"
        if settings.get("eval_every"):
            settings["eval_prompts"] = Path("e")
        load_config(cls, None, {**values, **settings})


def test_the_demo_and_quick_recipes_are_packaged():
    assert {"demo", "quick"} <= set(PACKAGED)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("num_users = ", "num_user = ", "unknown key 'num_user'.*nearest valid key is 'num_users'"),
        ("[sft]\n", "[sft]\nleraning_rate = 1\n", r"\[sft\]: unknown key 'leraning_rate'"),
        ("[labels]\n", "[label]\n", "unknown key 'label'.*nearest valid key is 'labels'"),
        ("num_pages = ", "num_pages = '", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, message):
    text = (RECIPES / "quick.toml").read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        load_recipe(tmp_path / "mine.toml")


def test_a_recipe_is_read_without_torch():
    code = (
        "import sys; from understudy.loop.recipe import load_recipe; load_recipe('quick');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
