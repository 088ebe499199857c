import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file
from tests.adapters import check_an_adapter_is_trained_alone
from tests.fixtures_data import write_feedback
from tests.fixtures_models import save_model_folder
from tests.stopping import check_resume_is_exact

from understudy.kto.config import KTOConfig
from understudy.kto.train import train_kto
from understudy.loop.doctor import DoctorConfig, doctor
from understudy.models.policies import load_policy
from understudy.records import Feedback, read_records
from understudy.training.run import read_lines


@pytest.fixture
def config(tmp_path):
    return KTOConfig(
        model=str(save_model_folder(tmp_path / "base")),
        data=write_feedback(tmp_path / "feedback.jsonl"),
        valid_data=write_feedback(tmp_path / "valid.jsonl", count=12, seed=1, role="held_out"),
        out=tmp_path / "run",
        lr=1e-3,
        batch_size=5,
        save_every=2,
        micro_batch_tokens=64,
    )


def weights(out):
    return load_file(out / "model" / "model.safetensors")


def steps(out):
    return [row for row in read_lines(out / "metrics.jsonl") if "kto/lr" in row]


@pytest.mark.thorough
def test_it_learns_what_people_like_on_prompts_of_others(config, tmp_path):
    data = write_feedback(tmp_path / "many.jsonl", count=160, seed=5)
    out = train_kto(replace(config, data=data, epochs=4, batch_size=16))
    first = read_lines(out / "metrics.jsonl")[0]
    assert first["step"] == 0
    assert first["kto/valid_loss"] == pytest.approx(0.5, abs=1e-5)
    assert first["kto/valid_accuracy"] == pytest.approx(0.5, abs=0.2)
    results = json.loads((out / "results.json").read_text())
    assert results["valid_accuracy"] > 0.8
    assert results["valid_loss"] < 0.45
    last = steps(out)[-1]
    assert last["kto/desirable"] > 0 > last["kto/undesirable"]
    assert last["kto/margin"] == pytest.approx(last["kto/desirable"] - last["kto/undesirable"])
    assert any(row["kto/kl"] > 0 for row in steps(out))
    policy, _ = load_policy(out / "model")
    assert policy.stop_ids


def test_counts_and_schedule(config):
    out = train_kto(config)
    results = json.loads((out / "results.json").read_text())
    feedback = read_records(config.data, Feedback)
    assert results["num_responses"] == len(feedback) == 16
    assert results["num_desirable"] == sum(record.desirable for record in feedback)
    assert [row["kto/responses"] for row in steps(out)] == [5, 5, 5, 1]
    assert steps(out)[0]["kto/kl"] == pytest.approx(0.0, abs=1e-5)
    last = steps(out)[-1]
    assert last["kto/kl"] == 0.0  # a batch of one has no other prompt
    assert ("kto/desirable" in last) != ("kto/undesirable" in last)
    assert "kto/margin" not in last
    slow = train_kto(replace(config, out=config.out.with_name("slow"), epochs=10, warmup_steps=4))
    rates = [row["kto/lr"] for row in steps(slow)]
    assert rates[:4] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3])


def test_passes_change_nothing(config):
    small, large = (
        steps(train_kto(replace(config, out=config.out.with_name(str(n)), micro_batch_tokens=n)))
        for n in (1, 4096)
    )
    for one, other in zip(small, large, strict=True):
        for name in ("kto/loss", "kto/kl", "kto/grad_norm"):
            assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5)


@pytest.mark.thorough
def test_a_weight_moves_the_policy_towards_one_kind(config, tmp_path):
    data = write_feedback(tmp_path / "many.jsonl", count=60, seed=5)
    shared = replace(config, data=data, batch_size=12, epochs=2)
    good = train_kto(replace(shared, desirable_weight=8.0, out=tmp_path / "good"))
    bad = train_kto(replace(shared, undesirable_weight=8.0, out=tmp_path / "bad"))
    assert steps(good)[-1]["kto/desirable"] > steps(bad)[-1]["kto/desirable"]
    assert steps(good)[-1]["kto/undesirable"] > steps(bad)[-1]["kto/undesirable"]


@pytest.mark.thorough
def test_resume_is_exact_from_any_step(config):
    check_resume_is_exact(train_kto, config, 1, 2, 3)


def test_an_adapter_is_trained_alone(config):
    out = check_an_adapter_is_trained_alone(train_kto, config)
    assert steps(out)[0]["kto/loss"] == pytest.approx(0.5, abs=1e-5)
    assert steps(out)[1]["kto/loss"] != pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("name", ["epochs", "lr", "beta", "desirable_weight", "undesirable_weight"])
def test_settings_out_of_range_are_refused(config, name):
    with pytest.raises(ValueError, match=f"{name} is 0; it must be above 0"):
        replace(config, **{name: 0})


def test_a_batch_of_one_is_refused(config):
    with pytest.raises(ValueError, match="batch_size is 1; it must be at least 2"):
        replace(config, batch_size=1)


def test_doctor_finds_desirable_responses_that_became_less_likely(config):
    out = train_kto(config)
    assert "nothing wrong found" in doctor(DoctorConfig(run=out))
    rows = read_lines(out / "metrics.jsonl")
    for row in rows:  # as with too high a rate: both fall, and the reference point stays at 0
        row |= {"kto/desirable": -0.8, "kto/undesirable": -1.5, "kto/kl": 0.0}
    (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = doctor(DoctorConfig(run=out))
    assert "desirable responses became less likely: their reward is -0.80" in found
    assert "the reference point was 0 in 100% of steps" in found
