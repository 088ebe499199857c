"""The report of an ablation, from answers that are known."""

import json

from understudy.loop.stage_call import StageCall
from understudy.loop.stages.ablated import at_the_end, report, spent
from understudy.records import Response, write_records
from understudy.world.world import World

TEXTS = {"sft": "you fool.", "ppo": "the passage does not say.", "beta-ppo-10": "you fool."}


def test_every_arm_is_judged_against_sft_and_has_its_numbers(tmp_path):
    world = World(0)
    prompts = world.closed_domain_prompts(8)
    write_records(tmp_path / "prompts.jsonl", prompts)
    names = [labeler.info.id for labeler in world.labelers("training")]
    (tmp_path / "labelers.json").write_text(json.dumps({"accepted": names}))
    inputs = dict.fromkeys(("prompts", "eval_prompts"), (tmp_path / "prompts.jsonl",))
    inputs["labelers"] = (tmp_path / "labelers.json",)
    for stage, text in TEXTS.items():
        rows = [
            Response(
                id=f"{stage}-{p.id}", prompt_id=p.id, prompt=p.prompt, response=text, model=stage
            )
            for p in prompts
        ]
        write_records(tmp_path / f"{stage}.jsonl", rows)
        tax = {"benchmarks": {"zog": {"rate": 0.5}}, "pretraining_loss": 1.0}
        (tmp_path / f"{stage}.json").write_text(json.dumps(tax))
        inputs[f"tax_{stage}"] = (tmp_path / f"{stage}.json",)
        samples = [
            {"step": step, "prompt_id": p.id, "score": float(step), "kl": 0.5}
            for step in (0, 2)
            for p in prompts
        ]
        path = tmp_path / f"samples-{stage}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in samples))
        inputs[f"samples_{stage}"] = (path,)
    inputs["answers"] = tuple(tmp_path / f"{stage}.jsonl" for stage in TEXTS)
    arms = [
        {"stage": "ppo", "series": "ppo", "value": "0.15"},
        {"stage": "beta-ppo-10", "series": "ppo", "value": "1.5"},
    ]
    config = {"seed": 0, "name": "beta", "axis": "KL coefficient", "arms": arms}
    report(StageCall(name="x", inputs=inputs, config=config, out=tmp_path, root=tmp_path))
    found = json.loads((tmp_path / "results.json").read_text())
    good, same = found["ablation"]["arms"]
    assert good["win_rate_gold"]["rate"] > 0.5
    assert same["win_rate_gold"]["rate"] == same["win_rate"]["rate"] == 0.5
    assert good["score"]["mean"] == 2.0
    assert good["kl"]["mean"] == 0.5
    assert good["benchmarks"] == {"zog": {"rate": 0.5}}
    assert any("do not cover training noise" in text for text in found["caveats"])
    assert "KL coefficient" in (tmp_path / "report.html").read_text()


def test_what_a_run_took(tmp_path):
    """Seconds of its steps, by the phases that it logged or by its pairs; one slow step of several
    does not count."""
    rows = {
        "metrics": [{"dpo/valid_loss": 0.7}, {"dpo/pairs": 60}, {"dpo/pairs": 30}],
        "timings": [{"dpo/pairs_per_second": 20.0}, {"dpo/pairs_per_second": 30.0}],
    }
    for name, lines in rows.items():
        text = "".join(json.dumps(row) + "\n" for row in lines)
        (tmp_path / f"{name}.jsonl").write_text(text)
    (tmp_path / "results.json").write_text("{}")
    assert spent(tmp_path) == {"samples": 0, "seconds": 90 / 25}
    phases = [{"rloo/seconds_rollout": 1.0, "rloo/seconds_update": 2.0}] * 2
    phases.append({"rloo/seconds_rollout": 50.0, "rloo/seconds_update": 2.0})
    text = "".join(json.dumps(row) + "\n" for row in phases)
    (tmp_path / "timings.jsonl").write_text(text)
    (tmp_path / "results.json").write_text(json.dumps({"episodes": 64}))
    assert spent(tmp_path) == {"samples": 64, "seconds": 9.0}


def test_without_evaluations_on_the_way_there_is_no_score():
    assert at_the_end([], {}) == {}
