import json
import signal
from dataclasses import replace

import pytest
from safetensors.torch import load_file
from tests.fixtures_data import write_demonstrations, write_rankings
from tests.fixtures_models import save_model_folder
from tests.stopping import check_resume_is_exact

from understudy.models.policies import load_policy
from understudy.models.scalar import load_scalar, score_texts
from understudy.records import Demonstration, Ranking, read_records, write_records
from understudy.reward.config import RewardConfig
from understudy.reward.run import train_reward
from understudy.training import steps
from understudy.training.run import read_lines


@pytest.fixture
def config(tmp_path):
    valid = read_records(write_rankings(tmp_path / "a.jsonl", 8, seed=1), Ranking)
    held_out = read_records(
        write_rankings(tmp_path / "b.jsonl", 8, seed=2, role="held_out"), Ranking
    )
    return RewardConfig(
        model=str(save_model_folder(tmp_path / "base")),
        data=write_rankings(tmp_path / "rankings.jsonl"),
        valid_data=write_records(tmp_path / "valid.parquet", [*valid, *held_out]),
        demonstrations=write_demonstrations(tmp_path / "demos.jsonl"),
        out=tmp_path / "run",
        lr=1e-3,
        batch_size=3,
        save_every=2,
        micro_batch_tokens=64,
    )


def weights(out):
    folder = out / "model"
    return load_file(folder / "model.safetensors") | load_file(folder / "scalar_head.safetensors")


@pytest.mark.thorough
def test_it_learns_what_labelers_like(config, tmp_path):
    data = write_rankings(tmp_path / "many.jsonl", count=120, seed=5)
    out = train_reward(replace(config, data=data, lr=3e-3, epochs=6, batch_size=8))
    results = json.loads((out / "results.json").read_text())
    for group in ("training_labelers", "held_out_labelers"):
        found = results[group]
        assert found["accuracy"]["rate"] > 0.9
        assert found["accuracy"]["low"] > found["accuracy_length_only"]["rate"]
        assert found["calibration"]["ece"] < 0.2
        assert set(found["accuracy_by_labeler"]) == {f"{group[:8]}-{i}" for i in range(3)}
    assert results["chance"] == 0.5


def test_demonstrations_score_zero_on_average_also_after_loading(config):
    out = train_reward(config)
    model, tokenizer = load_scalar(out / "model")
    demos = read_records(config.demonstrations, Demonstration)
    scores = score_texts(model, tokenizer, [d.prompt for d in demos], [d.response for d in demos])
    assert sum(scores) / len(scores) == pytest.approx(0.0, abs=1e-5)
    results = json.loads((out / "results.json").read_text())
    assert results["bias_shift"] == pytest.approx(float(model.bias_shift))
    assert results["bias_shift"] != 0


def test_a_reward_model_is_refused_as_a_language_model(config):
    out = train_reward(config)
    with pytest.raises(ValueError, match="run/model is a reward model; give a language model"):
        load_policy(out / "model")


def test_long_demonstrations_are_cut_as_in_sft(config, tmp_path):
    demos = read_records(config.demonstrations, Demonstration)
    long = replace(demos[0], response="word " * 400)  # more than the model's context of 256
    far = replace(demos[1], prompt="many words " * 20)
    data = write_records(tmp_path / "long.jsonl", [long, far, *demos[2:]])
    whole = train_reward(replace(config, demonstrations=data, max_prompt_tokens=40))
    results = json.loads((whole / "results.json").read_text())
    assert results["num_cut_demonstrations"] == 1
    assert results["num_dropped_demonstrations"] == 1
    assert results["num_demonstrations"] == len(demos) - 1
    data = write_records(tmp_path / "far.jsonl", [far])
    with pytest.raises(ValueError, match="every prompt is longer than max_prompt_tokens=40"):
        train_reward(
            replace(config, out=tmp_path / "none", demonstrations=data, max_prompt_tokens=40)
        )


def test_without_demonstrations_or_validation(config):
    out = train_reward(replace(config, demonstrations=None, valid_data=None))
    results = json.loads((out / "results.json").read_text())
    assert (results["bias_shift"], results["num_demonstrations"]) == (0.0, 0)
    assert "seen_in_training" in results


def test_steps_and_schedule(config):
    rows = read_lines(train_reward(config) / "metrics.jsonl")
    num_steps = -(-json.loads((config.out / "results.json").read_text())["num_rankings"] // 3)
    assert len(rows) == num_steps
    assert rows[0]["reward/lr"] == 1e-3
    assert rows[-1]["reward/lr"] == pytest.approx(1e-4)
    total = sum(row["reward/pairs"] for row in rows)
    rankings = read_records(config.data, Ranking)
    assert total == sum(len(ranking.pairs()) for ranking in rankings)


def test_modelled_ties_use_all_tied_rankings(config):
    dropped = json.loads((train_reward(config) / "results.json").read_text())
    modelled = train_reward(replace(config, ties="model", out=config.out.with_name("ties")))
    results = json.loads((modelled / "results.json").read_text())
    assert dropped["num_all_tied"] > 0 == results["num_all_tied"]
    assert results["num_rankings"] == dropped["num_rankings"] + dropped["num_all_tied"]


def test_resume_is_exact_from_any_step(config):
    check_resume_is_exact(train_reward, config, 1, 2, 3)


def test_sigterm_saves_and_exits_with_75(config, monkeypatch):
    step = steps.clip_and_step

    def interrupted(*args):
        signal.raise_signal(signal.SIGTERM)
        return step(*args)

    monkeypatch.setattr(steps, "clip_and_step", interrupted)
    with pytest.raises(SystemExit) as stopped:
        train_reward(config)
    assert stopped.value.code == 75
    assert [p.name for p in (config.out / "checkpoints").iterdir()] == ["step-1"]


def test_held_out_labelers_never_train(config, tmp_path):
    data = write_rankings(tmp_path / "held.jsonl", role="held_out")
    with pytest.raises(ValueError, match=r"held.jsonl record 1: labeler held_out-0 is held out"):
        train_reward(replace(config, data=data))


def test_bad_input_is_named(config, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "x", "responses": ["a"], "tiers": [[0]]}\n')
    with pytest.raises(ValueError, match=r"bad.jsonl line 1: field 'responses' has 1; a ranking"):
        train_reward(replace(config, data=path))
    path.write_text('{"prompt": "x", "responses": ["a", "b"], "tiers": [[0, 1]]}\n')
    with pytest.raises(ValueError, match=r"no ranking can be used .* 1 with ties only"):
        train_reward(replace(config, data=path, overwrite=True))
    with pytest.raises(ValueError, match=r"ties is .keep.; it must be"):
        replace(config, ties="keep")
