import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file
from tests.adapters import check_an_adapter_is_trained_alone
from tests.fixtures_data import write_rankings
from tests.fixtures_models import save_model_folder
from tests.stopping import check_resume_is_exact

from understudy.dpo.config import DPOConfig
from understudy.dpo.train import train_dpo
from understudy.loop.doctor import DoctorConfig, doctor
from understudy.models.policies import load_policy
from understudy.records import Ranking, read_records
from understudy.training.run import read_lines


@pytest.fixture
def config(tmp_path):
    return DPOConfig(
        model=str(save_model_folder(tmp_path / "base")),
        data=write_rankings(tmp_path / "rankings.jsonl"),
        valid_data=write_rankings(tmp_path / "valid.jsonl", count=12, seed=1, role="held_out"),
        out=tmp_path / "run",
        lr=1e-3,
        batch_size=3,
        save_every=2,
        micro_batch_tokens=64,
    )


def weights(out):
    return load_file(out / "model" / "model.safetensors")


@pytest.mark.thorough
def test_it_learns_what_labelers_like_on_prompts_of_others(config, tmp_path):
    data = write_rankings(tmp_path / "many.jsonl", count=120, seed=5)
    out = train_dpo(replace(config, data=data, epochs=6, batch_size=8))
    rows = read_lines(out / "metrics.jsonl")
    first = next(row for row in rows if "dpo/valid_loss" in row)
    assert first["step"] == 0
    assert first["dpo/valid_loss"] == pytest.approx(0.693147, abs=1e-5)
    assert first["dpo/valid_accuracy"] == pytest.approx(0.5, abs=0.2)
    results = json.loads((out / "results.json").read_text())
    assert results["valid_accuracy"] > 0.8
    assert results["valid_loss"] < 0.6
    assert rows[-1]["dpo/margin"] > 0
    policy, _ = load_policy(out / "model")
    assert policy.stop_ids


def test_counts_and_schedule(config):
    out = train_dpo(config)
    rows = [row for row in read_lines(out / "metrics.jsonl") if "dpo/lr" in row]
    results = json.loads((out / "results.json").read_text())
    rankings = read_records(config.data, Ranking)
    assert len(rows) == -(-results["num_rankings"] // 3)
    assert sum(row["dpo/pairs"] for row in rows) == results["num_pairs"]
    assert results["num_pairs"] == sum(len(ranking.pairs()) for ranking in rankings)
    assert {row["dpo/lr"] for row in rows} == {1e-3}
    slow = train_dpo(replace(config, out=config.out.with_name("slow"), epochs=10, warmup_steps=4))
    rates = [row["dpo/lr"] for row in read_lines(slow / "metrics.jsonl") if "dpo/lr" in row]
    assert rates[:4] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3])


def test_resume_is_exact_from_any_step(config):
    check_resume_is_exact(train_dpo, config, 1, 2, 3)


def test_an_adapter_is_trained_alone(config):
    out = check_an_adapter_is_trained_alone(train_dpo, config)
    steps = [row for row in read_lines(out / "metrics.jsonl") if "dpo/lr" in row]
    assert steps[0]["dpo/loss"] == pytest.approx(0.693147, abs=1e-5)
    assert steps[-1]["dpo/margin"] != 0


def test_held_out_labelers_never_train(config, tmp_path):
    data = write_rankings(tmp_path / "held.jsonl", role="held_out")
    with pytest.raises(ValueError, match=r"held.jsonl record 1: labeler held_out-0 is held out"):
        train_dpo(replace(config, data=data))


@pytest.mark.parametrize("name", ["epochs", "lr", "batch_size", "beta"])
def test_settings_out_of_range_are_refused(config, name):
    with pytest.raises(ValueError, match=f"{name} is 0; it must be above 0"):
        replace(config, **{name: 0})


def test_doctor_finds_preferred_responses_that_became_less_likely(config):
    out = train_dpo(config)
    assert "nothing wrong found" in doctor(DoctorConfig(run=out))
    rows = read_lines(out / "metrics.jsonl")
    for row in rows:  # as on pairs that hardly differ: both fall, and the gap grows
        row |= {"dpo/better": -2.0, "dpo/worse": -5.0}
    (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = doctor(DoctorConfig(run=out))
    assert "preferred responses became less likely" in found
    assert "-2.00 in the last" in found
