"""Training that a judge ends, on a policy of two layers; and scores of several reward models."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from tests.fixtures_ppo import (
    counting_reward_model,
    llama_config,
    tiny_config,
    word_tokenizer,
    write_world,
)
from tests.stopping import check_resume_is_exact
from transformers import LlamaModel

from understudy.models.scalar import ScalarModel
from understudy.ppo.train import train_ppo
from understudy.records import Prompt
from understudy.rl.stopping import Said, Watch
from understudy.rloo.config import RLOOConfig
from understudy.rloo.train import train_rloo
from understudy.training.checkpoint import load_checkpoint
from understudy.training.ranks import ALONE
from understudy.training.run import read_lines


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """With judges that like what the reward model likes, and the opposite."""
    folder = tmp_path_factory.mktemp("world")
    world = write_world(folder)
    for name, scale in (("friend", 2.0), ("foe", -3.0)):
        counting_reward_model(scale).save(folder / name, word_tokenizer())
    held_out = folder / "held_out.jsonl"
    held_out.write_bytes(world["prompts"].read_bytes())
    return world | {"folder": folder, "held_out": held_out}


def ppo(world, out, judge, **changes):
    files = {name: world[name] for name in ("model", "reward_model", "prompts")}
    settings = dict(ptx_coef=0.0, beta=0.0, missing_eos_score=None, episodes=512, batch_size=64)
    settings |= dict(eval_prompts=world["held_out"], eval_every=1, judge=world["folder"] / judge)
    return tiny_config(files | {"pretrain_data": None}, out, **(settings | changes))


def rloo(world, out, judge, **changes):
    files = {name: world[name] for name in ("model", "reward_model", "prompts")}
    settings = dict(episodes=512, batch_size=64, beta=0.0, lr=3e-3, missing_eos_score=None)
    settings |= dict(max_response_tokens=6, save_every=1, warmup_iterations=0)
    settings |= dict(eval_prompts=world["held_out"], eval_every=1, judge=world["folder"] / judge)
    return RLOOConfig(**(files | settings | dict(out=out) | changes))


TRAINERS = {"ppo": (ppo, train_ppo), "rloo": (rloo, train_rloo)}


def results_of(run):
    return json.loads((run / "results.json").read_text())


@pytest.mark.parametrize("name", ["rloo", pytest.param("ppo", marks=pytest.mark.thorough)])
def test_a_judge_that_disagrees_ends_the_run_and_keeps_the_first_weights(name, world, tmp_path):
    config, train = TRAINERS[name]
    out = train(config(world, tmp_path / "run", "foe", judge_patience=2))
    found = results_of(out)
    assert found["stopped_by"] == "judge"
    assert found["iterations"] == found["judge_best_iteration"] + 2 < 8
    rates = [row[f"{name}/eval_judge"] for row in read_lines(out / "metrics.jsonl")]
    assert rates[0] == 0.5
    assert max(rates) == found["judge_win_rate"]
    assert all(rate <= found["judge_win_rate"] for rate in rates[-2:])
    assert {row["judge_outcome"] for row in read_lines(out / "samples.jsonl")} <= {0.0, 0.5, 1.0}
    if found["judge_best_iteration"] == 0:
        start = load_file(f"{world['model']}/model.safetensors")
        saved = load_file(out / "model" / "model.safetensors")
        assert all(torch.equal(saved[key], start[key]) for key in saved)


@pytest.mark.parametrize("name", ["rloo", pytest.param("ppo", marks=pytest.mark.thorough)])
def test_a_judge_that_agrees_lets_it_go_on(name, world, tmp_path):
    config, train = TRAINERS[name]
    out = train(config(world, tmp_path / "run", "friend", judge_patience=8))
    found = results_of(out)
    assert found["stopped_by"] == "episodes"
    assert found["judge_best_iteration"] > 3
    assert found["judge_win_rate"] > 0.6


@pytest.mark.thorough
def test_resume_is_exact(world, tmp_path):
    changes = dict(judge_patience=3, episodes=320)
    check_resume_is_exact(train_rloo, rloo(world, tmp_path / "run", "foe", **changes), 1, 3)


class Script:
    """A judge that says what was decided beforehand, and remembers what it was shown."""

    def __init__(self, *outcomes):
        self.left, self.shown = list(outcomes), []

    def outcomes(self, prompts, now, first):
        self.shown.append((now, first))
        return self.left.pop(0) * (len(prompts) // 2)


def test_the_best_weights_are_those_of_the_best_evaluation():
    """Rates 0.5, 0.75, 0.25, 0.5: the second is the best, and after two more it is over."""
    weights, best = {"w": torch.tensor([0.0])}, {"w": torch.tensor([0.0])}
    judge = Script([0.5, 0.5], [1.0, 0.5], [0.0, 0.5], [1.0, 0.0])
    watch = Watch(judge=judge, patience=2, ranks=ALONE, weights=weights, best=best)
    prompts = [Prompt.from_json({"prompt": text}) for text in "ab"]
    rates = []
    for step in range(4):
        weights["w"].fill_(float(step))
        assert not watch.is_over
        said = [Said(f"{step}", True), Said("cut", False)]
        rates.append(watch.look(step, prompts, said)[1])
        assert judge.shown[-1] == (said, [Said("0", True), Said("cut", False)])
    assert rates == [0.5, 0.75, 0.25, 0.5]
    assert watch.is_over
    assert watch.best["w"].item() == 1.0
    assert watch.results() == {"judge_best_iteration": 1, "judge_win_rate": 0.75}


@pytest.mark.parametrize("name", ["rloo", pytest.param("ppo", marks=pytest.mark.thorough)])
def test_a_judge_in_python_ends_the_run(name, world, tmp_path):
    config, train = TRAINERS[name]
    out = train(
        replace(config(world, tmp_path / "run", "foe"), judge=None, judge_patience=3),
        Script([0.5, 0.5], [1.0, 1.0], [1.0, 0.5], [1.0, 0.5], [1.0, 0.5]),
    )
    found = results_of(out)
    assert (found["judge_best_iteration"], found["judge_win_rate"]) == (1, 1.0)
    assert (found["stopped_by"], found["iterations"]) == ("judge", 4)


def test_one_judge_is_enough(world, tmp_path):
    with pytest.raises(ValueError, match="no other judge beside it"):
        train_rloo(rloo(world, tmp_path / "run", "foe"), Script())


def test_scores_of_several_reward_models(world, tmp_path):
    """Scales 3 and -3 cancel in the mean; the lower of the two is never above 0."""
    config = rloo(world, tmp_path / "mean", "foe", episodes=64)
    config = replace(config, judge=None, reward_ensemble=(world["folder"] / "foe",))
    rows = read_lines(train_rloo(config) / "samples.jsonl")
    assert all(row["score"] == pytest.approx(0, abs=1e-5) for row in rows)
    out = train_rloo(replace(config, out=tmp_path / "min", ensemble_rule="min"))
    rows = read_lines(out / "samples.jsonl")
    assert all(row["score"] <= 1e-6 for row in rows)
    assert min(row["score"] for row in rows) < -0.1
    assert "reward_ensemble_1" in json.loads((out / "run.json").read_text())["inputs"]


def test_a_token_adds_its_coefficient_to_the_score_of_a_response_that_ended(world, tmp_path):
    config = rloo(world, tmp_path, "foe", episodes=64)
    config = replace(config, judge=None, length_coef=0.25, missing_eos_score=-7.0)
    rows = read_lines(train_rloo(config) / "samples.jsonl")
    ended = [row for row in rows if row["finished"]]
    assert ended
    for row in ended:
        tokens = (row["score"] - row["raw_score"]) / 0.25
        # One token a word and EOS; those for padding and unknown words are no words in the text.
        assert tokens == pytest.approx(round(tokens), abs=1e-3)
        assert len(row["response"].split()) + 1 <= round(tokens) <= 6
    assert all(row["score"] == -7 for row in rows if not row["finished"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"eval_every": 0, "eval_prompts": None},
            "a judge compares held-out responses; give eval",
        ),
        ({"judge_url": "http://127.0.0.1:1/v1"}, "judge_url and judge_model need each other; giv"),
        (
            {"judge_url": "http://127.0.0.1:1/v1", "judge_model": "m"},
            "judge and judge_url are two judges; give one",
        ),
        ({"judge_patience": 0}, "judge_patience is 0; it must be above 0"),
        ({"judge": None, "judge_patience": 9}, "judge_patience is given, but has no effect"),
        ({"ensemble_rule": "min"}, "ensemble_rule is given, but has no effect without reward_ens"),
        ({"ensemble_penalty": 5.0}, "ensemble_penalty is given, but has no effect without ensemb"),
        ({"ensemble_rule": "max"}, "ensemble_rule is 'max'; it must be one of mean, min, uncert"),
        ({"ensemble_penalty": -1.0}, "ensemble_penalty is -1.0; it must not be negative"),
    ],
)
def test_bad_settings(changes, message, world, tmp_path):
    with pytest.raises(ValueError, match=message):
        replace(rloo(world, tmp_path, "foe"), **changes)


def test_whose_weights_are_saved_is_said(world, tmp_path, capsys):
    train_rloo(rloo(world, tmp_path / "run", "foe", judge_patience=2))
    said = capsys.readouterr().err
    assert "judge: " in said
    assert "; the run ended early" in said


@pytest.mark.thorough
def test_the_saved_policy_is_the_one_that_the_judge_saw(world, tmp_path):
    """And not the moving average, which has hardly moved by then."""
    changes = dict(judge_patience=8, ema=0.992)
    out = train_ppo(ppo(world, tmp_path / "run", "friend", **changes))
    best = results_of(out)["judge_best_iteration"]
    state, _ = load_checkpoint(out / "checkpoints" / f"step-{best}")
    saved = load_file(out / "model" / "model.safetensors")
    kept = {name.removeprefix("model."): tensor for name, tensor in state["best"].items()}
    shared = saved.keys() & (kept.keys() | state["best"].keys())
    assert shared
    assert all(torch.equal(saved[n], state["best"].get(n, kept.get(n))) for n in shared)
    moved = max(float((state["average"][n] - state["best"][n]).abs().max()) for n in state["best"])
    assert moved > 1e-4


def test_a_judge_or_a_member_with_a_short_context_is_refused(world, tmp_path):
    trunk = LlamaModel(llama_config(max_position_embeddings=8, num_hidden_layers=1))
    ScalarModel(trunk).save(tmp_path / "short", word_tokenizer())
    config = replace(rloo(world, tmp_path / "run", "foe"), judge=tmp_path / "short")
    with pytest.raises(ValueError, match="short has a context of 8 tokens, and the held-out"):
        train_rloo(config)
    config = replace(config, judge=None, reward_ensemble=(tmp_path / "short",))
    with pytest.raises(ValueError, match="exceeds the models' context of 8"):
        train_rloo(replace(config, out=tmp_path / "other"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda w: {"judge": w["reward_model"]}, "gives the reward; give one that training do"),
        (lambda w: {"eval_prompts": w["prompts"]}, "eval_prompts are the training prompts"),
        (lambda w: {"reward_ensemble": (w["reward_model"],)}, "names a reward model twice"),
    ],
)
def test_a_judge_that_could_not_help_is_refused(changes, message, world, tmp_path):
    with pytest.raises(ValueError, match=message):
        replace(rloo(world, tmp_path, "foe"), **changes(world))
