"""A language model, at an address, ends a run of RL when it no longer sees progress."""

import json
from dataclasses import replace

import pytest
from tests.fixtures_ppo import write_world
from tests.judges import ScriptedJudge, serving

from understudy.loop.judge import KEY_VARIABLE
from understudy.loop.judged_training import rloo
from understudy.loop.model_as_judge import ModelJudge
from understudy.records import Prompt
from understudy.rl.stopping import Said
from understudy.rloo.config import RLOOConfig
from understudy.rloo.train import train_rloo
from understudy.training.run import read_lines


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    world = write_world(folder)
    held_out = folder / "held_out.jsonl"
    held_out.write_bytes(world["prompts"].read_bytes())
    return {n: world[n] for n in ("model", "reward_model", "prompts")} | {"eval_prompts": held_out}


def config(world, out, url, **changes):
    settings = dict(episodes=512, batch_size=64, beta=0.0, lr=3e-3, missing_eos_score=None)
    settings |= dict(max_response_tokens=6, save_every=1, warmup_iterations=0, eval_every=1)
    settings |= dict(judge_url=url, judge_model="m", judge_patience=2)
    return RLOOConfig(**(world | settings | dict(out=out) | changes))


def test_it_compares_with_the_first_responses_and_its_replies_are_kept(
    world, tmp_path, monkeypatch
):
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    judge = ScriptedJudge(lambda request, a, b: "B" if a > b else "A")
    with serving(judge) as url:
        out = rloo(config(world, tmp_path / "run", url))
    assert {head[b"authorization"] for head in judge.headers} == {b"Bearer secret"}
    results = json.loads((out / "results.json").read_text())
    rows = read_lines(out / "samples.jsonl")
    assert {row["judge_outcome"] for row in rows if row["step"] == 0} == {0.5}
    first = {row["prompt_id"]: row["response"] for row in rows if row["step"] == 0}
    for row in rows:  # the one that sorts first wins in both orders
        old, new = first[row["prompt_id"]], row["response"]
        assert row["judge_outcome"] == (0.5 if old == new else float(new < old))
    rates = [row["rloo/eval_judge"] for row in read_lines(out / "metrics.jsonl")]
    assert max(rates) == results["judge_win_rate"]
    asked = [json.dumps(one, sort_keys=True) for one in judge.seen[1:]]  # the first one tries it
    assert len(asked) == len(set(asked)) == len(read_lines(out / "judge.jsonl"))
    assert "secret" not in (out / "judge.jsonl").read_text()


def test_it_ends_a_run_in_which_it_sees_no_progress(world, tmp_path):
    with serving(ScriptedJudge(lambda request, a, b: "tie")) as url:
        out = rloo(config(world, tmp_path / "run", url))
    results = json.loads((out / "results.json").read_text())
    assert (results["stopped_by"], results["iterations"]) == ("judge", 2)
    assert results["judge_best_iteration"] == 0


def test_both_orders_count(tmp_path, capsys):
    prompts = [Prompt.from_json({"prompt": text}) for text in ("one", "two", "three")]
    first = [Said("b", True), Said("b", True), Said("same", True)]
    now = [Said("a", True), Said("c", True), Said("same", True)]
    for judge, expected in (
        (ScriptedJudge(lambda request, a, b: "B" if a > b else "A"), [1.0, 0.0, 0.5]),
        (ScriptedJudge(lambda request, a, b: "A", stubborn=1.0), [0.5, 0.5, 0.5]),
    ):
        with serving(judge) as url:
            kept = tmp_path / f"{id(judge)}.jsonl"
            assert ModelJudge(url, "m", kept).outcomes(prompts, now, first) == expected
    assert capsys.readouterr().err == "judge: asks m about 2 pairs\n" * 2


def outcomes_of_40_pairs(tmp_path, mute):
    prompts = [Prompt.from_json({"prompt": f"ask {i}"}) for i in range(40)]
    first, now = [Said("b", True)] * 40, [Said("a", True)] * 40
    judge = ScriptedJudge(lambda request, a, b: "B" if a > b else "A", mute=mute)
    with serving(judge) as url:
        return ModelJudge(url, "m", tmp_path / "judge.jsonl").outcomes(prompts, now, first)


def test_a_few_verdicts_that_cannot_be_read_count_as_ties(tmp_path, capsys):
    outcomes = outcomes_of_40_pairs(tmp_path, mute=0.1)
    unread = outcomes.count(0.5)
    assert 0 < unread < 20
    assert outcomes.count(1.0) == 40 - unread
    said = f"no readable verdict on {unread} of 40 pairs, taken for ties"
    assert said in capsys.readouterr().err


def test_no_verdicts_at_all_end_the_run_and_keep_the_replies(tmp_path):
    with pytest.raises(ValueError, match=r"on 40 of 40 pairs; .*judge.jsonl.*--resume"):
        outcomes_of_40_pairs(tmp_path, mute=1.0)
    assert len(read_lines(tmp_path / "judge.jsonl")) == 80


def test_a_model_without_verdicts_is_refused_before_training(world, tmp_path):
    refused = pytest.raises(ValueError, match=r"ends with no line 'Verdict: A'.*give another model")
    with serving(ScriptedJudge(lambda request, a, b: "A", mute=1.0)) as url, refused:
        rloo(config(world, tmp_path / "run", url))
    assert not (tmp_path / "run").exists()


def test_a_wrong_address_is_named_by_its_setting(world, tmp_path):
    for url in ("ftp://x", "http://h/v1?key=1"):
        with pytest.raises(ValueError, match=r"^judge_url is .*UNDERSTUDY_JUDGE_KEY"):
            rloo(config(world, tmp_path / "run", url))


def test_in_python_the_trainer_gets_the_judge_itself(world, tmp_path):
    wanted = replace(config(world, tmp_path / "run", "http://127.0.0.1:9/v1"), judge_patience=3)
    with pytest.raises(ValueError, match="in Python, give the trainer a judge"):
        train_rloo(wanted)
