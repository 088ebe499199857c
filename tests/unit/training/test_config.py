import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from understudy.training.config import dump_toml, load_config, to_plain


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    model: str
    lr: float = 9.65e-6
    epochs: int = 16
    out: Path = Path("runs/x")
    data: Path | None = None
    shuffle: bool = True
    betas: tuple[float, ...] = (0.9, 0.95)
    mode: Literal["plain", "whole"] = "plain"
    shares: Mapping[str, float] = field(default_factory=dict)


def test_file_then_overrides(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('model = "m"\nlr = 1\nepochs = 2\nbetas = [0.5, 1]\n[shares]\nqa = 1\n')
    config = load_config(Example, path, {"epochs": "3", "shuffle": "false", "data": "d.jsonl"})
    assert config == Example(
        model="m",
        lr=1.0,
        epochs=3,
        betas=(0.5, 1.0),
        shuffle=False,
        data=Path("d.jsonl"),
        shares={"qa": 1.0},
    )
    assert type(config.lr) is type(config.shares["qa"]) is float


@pytest.mark.parametrize(
    "config",
    [
        Example(model="m"),
        Example(model='quote " and \\', data=Path("d"), lr=1e-05, shares={"open qa": 0.5}),
        Example(model="m", lr=3.0, betas=(), mode="whole", shuffle=False),
    ],
)
def test_dump_and_load_are_inverse(tmp_path, config):
    path = tmp_path / "a.toml"
    path.write_text(dump_toml(config))
    assert load_config(Example, path) == config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model": "m", "learning_rat": 1}, "unknown key 'learning_rat'"),
        ({"model": "m", "epoch": 1}, "the nearest valid key is 'epochs'"),
        ({"model": "m", "epochs": "two"}, "'epochs' is 'two'; it must be a whole number"),
        ({"model": "m", "epochs": True}, "must be a whole number"),
        ({"model": 3}, "'model' is 3; it must be text"),
        ({"model": "m", "mode": "x"}, "choose one of: plain, whole"),
        ({"model": "m", "betas": 3}, "must be a list"),
        ({"lr": 1.0}, "Example needs a value for model"),
    ],
)
def test_bad_values_get_one_clear_line(overrides, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_config(Example, None, overrides)
    assert "\n" not in str(caught.value)


def test_bad_files(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        load_config(Example, tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 3")
    with pytest.raises(ValueError, match=r"bad\.toml is not valid TOML"):
        load_config(Example, tmp_path / "bad.toml")


def test_none_as_text_clears_an_optional_field():
    assert load_config(Example, None, {"model": "m", "data": "none"}).data is None


def test_plain_data():
    plain = to_plain(Example(model="m", data=Path("d")))
    assert (plain["data"], plain["betas"]) == ("d", [0.9, 0.95])
    assert set(plain) == {f.name for f in dataclasses.fields(Example)}
