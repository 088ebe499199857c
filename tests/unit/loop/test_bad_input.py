"""Bad input to a trainer: one clear line, no folder taken, nothing lost."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fixtures_data import write_demonstrations, write_rankings
from tests.fixtures_models import TEMPLATE, make_tokenizer, save_model_folder
from tests.fixtures_ppo import tiny_config, write_world

from understudy.cli import main
from understudy.ppo.train import train_ppo
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward
from understudy.sft.config import SFTConfig
from understudy.sft.train import train_sft
from understudy.training.config import to_plain
from understudy.training.run import read_lines

TRAIN = {"sft": train_sft, "reward": train_reward, "ppo": train_ppo}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    save_model_folder(folder / "base", max_position_embeddings=64)
    save_model_folder(folder / "other", tokenizer=make_tokenizer(TEMPLATE.replace("ask", "query")))
    write_demonstrations(folder / "demos.jsonl")
    write_rankings(folder / "rankings.jsonl")
    write_world(folder)
    (folder / "empty.jsonl").write_text("")
    (folder / "torn.jsonl").write_text('{"prompt": "a", "response": "b"}\n{"prompt": "a"\n')
    (folder / "long.jsonl").write_text(
        json.dumps({"prompt": "seven " * 200, "response": "b"}) + "\n"
    )
    (folder / "one.jsonl").write_text(json.dumps({"prompt": "a", "responses": ["b"]}) + "\n")
    (folder / "no_model").mkdir()
    return folder


def config_of(stage: str, world: Path, out: Path):
    if stage == "sft":
        data = world / "demos.jsonl"
        return SFTConfig(model=str(world / "base"), data=data, valid_data=data, epochs=1, out=out)
    if stage == "reward":
        return RewardConfig(model=str(world / "base"), data=world / "rankings.jsonl", out=out)
    names = {"reward_model": "reward", "prompts": "prompts.jsonl", "pretrain_data": "text.txt"}
    inputs = {name: world / file for name, file in names.items()}
    return tiny_config({"model": str(world / "policy"), **inputs}, out, episodes=8)


BAD = [
    ("sft", "data", "nowhere.jsonl", "nowhere.jsonl does not exist"),
    ("sft", "data", "empty.jsonl", "empty.jsonl"),
    ("sft", "data", "torn.jsonl", "torn.jsonl line 2"),
    ("sft", "data", "rankings.jsonl", "rankings.jsonl line 1"),
    ("sft", "data", "long.jsonl", "context is 64"),
    ("sft", "valid_data", "torn.jsonl", "torn.jsonl line 2"),
    ("sft", "model", "no_model", "no config.json"),
    ("sft", "model", "nowhere", "nowhere does not exist"),
    ("sft", "reward_model", "base", "base is not a reward model"),
    ("reward", "data", "one.jsonl", "one.jsonl line 1"),
    ("reward", "data", "demos.jsonl", "demos.jsonl line 1"),
    ("reward", "valid_data", "empty.jsonl", "empty.jsonl"),
    ("reward", "demonstrations", "torn.jsonl", "torn.jsonl line 2"),
    ("reward", "demonstrations", "long.jsonl", "context is 64"),
    ("reward", "folds", 9, "folds is 9 but the rankings come from 3 labelers"),
    ("reward", "labeler_weights", "torn.jsonl", "cannot be read as JSON"),
    ("reward", "group_weights", "torn.jsonl", "cannot be read as JSON"),
    ("ppo", "prompts", "empty.jsonl", "empty.jsonl"),
    ("ppo", "prompts", "torn.jsonl", "torn.jsonl line 2"),
    ("ppo", "max_response_tokens", 64, "exceeds the models' context of 64"),
    ("ppo", "pretrain_data", "empty.jsonl", "empty.jsonl has no text"),
    ("ppo", "reward_model", "base", "base is not a reward model"),
    ("ppo", "model", "other", "has another tokenizer"),
]


@pytest.mark.parametrize(("stage", "name", "value", "says"), BAD)
def test_it_takes_no_folder(stage, name, value, says, world, tmp_path, capsys):
    good = config_of(stage, world, tmp_path / "run")
    if isinstance(value, str):
        value = str(world / value) if name == "model" else world / value
    options = to_plain(good) | {name: str(value)}
    arguments = [stage]
    for key, text in options.items():
        if text is not None and not isinstance(text, bool | list):
            arguments += [f"--{key.replace('_', '-')}", str(text)]
    assert main(arguments) != 0
    line = capsys.readouterr().err.strip()
    assert says in line
    assert "\n" not in line
    assert not good.out.exists()


@pytest.mark.parametrize("stage", TRAIN)
def test_overwrite_with_bad_input_leaves_the_old_run(stage, world, tmp_path):
    config = config_of(stage, world, tmp_path / "run")
    TRAIN[stage](config)
    before = {p.name for p in config.out.iterdir()}
    name = "prompts" if stage == "ppo" else "data"
    bad = replace(config, overwrite=True, **{name: world / "torn.jsonl"})
    with pytest.raises(ValueError, match="torn"):
        TRAIN[stage](bad)
    assert {p.name for p in config.out.iterdir()} == before
    assert read_lines(config.out / "metrics.jsonl")
    TRAIN[stage](replace(config, overwrite=True))


def test_overwrite_removes_an_ensembles_members_too(world, tmp_path):
    config = replace(config_of("reward", world, tmp_path / "run"), ensemble=2, folds=2)
    train_reward(config)
    again = replace(config, overwrite=True, ensemble=1, folds=0)
    train_reward(again)
    assert not (config.out / "ensemble").exists()
    assert not (config.out / "folds").exists()
