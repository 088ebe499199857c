"""How far a training loop is from the library that it runs: frames of ours in between."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from tests.fixtures_models import make_policy, make_tokenizer
from tests.fixtures_ppo import tiny_config, write_world

import understudy
from understudy.models.scalar import ScalarModel
from understudy.ppo.train import train_ppo

OURS = str(Path(understudy.__file__).parent)
MOST = 8


def stack_of(frame: FrameType | None) -> list[str]:
    """Names of our functions that are running, the innermost first."""
    names = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS):
            names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def calls_of_the_library(run: Any) -> list[list[str]]:
    """Our frames at each call that a policy gradient makes into `transformers`."""
    found = []

    def watch(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        forward = "/transformers/" in code.co_filename and code.co_name.endswith("forward")
        if event != "call" or not forward:
            return
        names = stack_of(frame)
        # A trial pass is made once for a trunk, not in each step.
        if "policy_gradient" in names and "_agrees" not in names:
            found.append(names)

    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_policy_gradient_is_at_most_8_frames_from_the_library(kind, tmp_path):
    """By the direct pass and by the library's own; with one thread, where nothing is handed on."""
    world = write_world(tmp_path / "world")
    for name, model in (("policy", make_policy(kind).model), ("reward", None)):
        folder = tmp_path / name
        if model is not None:
            model.save_pretrained(folder)
            make_tokenizer().save_pretrained(folder)
        else:
            ScalarModel.from_policy(make_policy(kind, seed=1)).save(folder, make_tokenizer())
    world |= {"model": str(tmp_path / "policy"), "reward_model": tmp_path / "reward"}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = calls_of_the_library(
            lambda: train_ppo(tiny_config(world, tmp_path / "run", episodes=8, ptx_coef=0))
        )
    finally:
        torch.set_num_threads(threads)
    assert found
    deepest = max(found, key=len)
    assert deepest[-1] == "train_ppo"
    assert len(deepest) <= MOST, " <- ".join(deepest)
