"""The plan of a study: what its arms share, and where they differ."""

import importlib
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from understudy.cli import main
from understudy.evaluation.bestofn import kl_bound
from understudy.evaluation.figures import ablation_figure, gains_figure
from understudy.evaluation.points import value_of
from understudy.evaluation.readings import gains_reading
from understudy.evaluation.sections import ablation_section
from understudy.evaluation.study_sections import study_section
from understudy.loop.ablation import ablation_plan
from understudy.loop.recipe import load_recipe
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.studied import mean_ranking, rank, soft_pairs
from understudy.loop.stages.studied_overoptimisation import (
    ends,
    gains,
    halves,
    ppo_curve,
    start_of,
)
from understudy.loop.study import FACTORS, OFFLINE, study_plan
from understudy.loop.study_labelers import DESIGNS
from understudy.loop.study_overoptimisation import ARMS, SHARES, SIZES
from understudy.records import Prompt, Ranking, Response, read_records, write_records
from understudy.world.world import World

METHODS = {"ppo", "rloo", "grpo", "raft", "dpo", "kto"}


@pytest.fixture
def recipe(tmp_path):
    """The demo's recipe with a folder as the base model of every size."""
    (tmp_path / "config.json").write_text("{}")
    recipe = load_recipe("demo")
    base = str(tmp_path)
    return replace(recipe, world=replace(recipe.world, policy_size=base, reward_size=base))


def test_every_method_starts_alike_and_has_the_same_budget_and_sweep(recipe):
    plan = study_plan(recipe, 0, "methods")
    arms = plan["study_methods"].config["arms"]
    assert {arm["series"] for arm in arms} == METHODS
    for method in METHODS:
        runs = [plan[arm["stage"]] for arm in arms if arm["series"] == method]
        assert [run.config["lr"] / recipe.ppo["lr"] for run in runs] == list(FACTORS)
        assert {run.input_lists()["model"][0].stage for run in runs} == {"rl_init"}
        if method not in OFFLINE:
            assert {run.config["episodes"] for run in runs} == {recipe.ppo["episodes"]}
            assert {run.config["batch_size"] for run in runs} == {recipe.ppo["batch_size"]}
            assert {run.input_lists()["prompts"][0].output for run in runs} == {"ppo.jsonl"}
    for stage in plan.stages:
        module, _, name = stage.function.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), stage.function


def test_ppos_arms_are_those_of_the_ablation_of_its_rate(recipe):
    study, ablation = study_plan(recipe, 0, "methods"), ablation_plan(recipe, 0, "lr")
    shared = ["ppo", "lr-ppo-0.5", "lr-ppo-2", "ablated_ppo", "tax_ppo"]
    assert all(study[name] == ablation[name] for name in shared)


def test_a_study_and_an_ablation_exclude_each_other(capsys):
    assert main(["demo", "--study", "methods", "--ablation", "lr"]) == 2
    assert "give --ablation or --study, not both" in capsys.readouterr().err


def test_the_report_has_a_row_per_method_at_its_best_rate():
    arm = {"benchmarks": {}, "samples": 6144, "seconds": 90.0, "win_rate": {"rate": 0.5}}
    arms = [
        {**arm, "series": series, "value": value, "win_rate_gold": {"rate": rate}}
        for series, value, rate in (
            ("ppo", "0.1", 0.61),
            ("ppo", "0.2", 0.64),
            ("dpo", "0.1", 0.66),
            ("dpo", "0.2", 0.58),
        )
    ]
    html = ablation_section({"ablation": {"axis": "rate", "arms": arms}})
    table = html[: html.index("</table>")]
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in table.split("<tr>")[2:]]
    assert [row[:4] for row in rows] == [
        ["PPO", "0.2", "6,144", "50%"],
        ["DPO", "0.1", "6,144", "50%"],
    ]
    assert "best of its settings by the gold judge" in html
    del arms[0]["seconds"]
    assert "best of its" not in ablation_section({"ablation": {"axis": "rate", "arms": arms}})


def test_the_designs_of_labels_share_all_but_the_rankings(recipe):
    plan = study_plan(recipe, 0, "labelers")
    own = {design: plan[f"labeled-{design}"] for design in DESIGNS}
    assert plan["labeled-majority"].config["epochs"] == 3 * recipe.reward.get("epochs", 1)
    for design, run in own.items():
        kept = {key: run.config.get(key) for key in ("epochs", "batch_size")}
        assert {**run.config, **kept} == {**plan["labeled-once"].config, **kept}
        inputs = {name for name in run.inputs if name != "weights"}
        assert inputs == {"model", "data", "valid_data", "demonstrations"}
        assert ("weights" in run.inputs) == (design in ("weighted", "posterior"))
        assert plan[f"labeled-{design}-best"].config["stop_at_gate"] is False
    for stage in plan.stages:
        module, _, name = stage.function.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), stage.function


def test_the_mean_of_three_rankings_by_hand():
    """In another order each time; ties take the mean of their places."""
    texts = ("a", "b", "c")

    def ranking(order, *tiers):
        at = {text: index for index, text in enumerate(order)}
        indices = tuple(tuple(at[text] for text in tier) for tier in tiers)
        return Ranking(
            id="x", prompt_id="p", prompt="q", responses=tuple(order), tiers=indices, labeler_id="l"
        )

    # Places: a 0, b 1, c 2; c 0, a and b 1.5 each; a and c 0.5, b 2: in sum a 2, b 4.5, c 2.5.
    rows = [
        ranking(texts, "a", "b", "c"),
        ranking(("c", "b", "a"), "c", "ab"),
        ranking(("b", "a", "c"), "ac", "b"),
    ]
    found = mean_ranking(rows)
    assert [tuple(found.responses[i] for i in tier) for tier in found.tiers] == [
        ("a",),
        ("c",),
        ("b",),
    ]
    even = mean_ranking([ranking(texts, "a", "b", "c"), ranking(texts, "b", "a", "c")])
    assert even.tiers == ((0, 1), (2,))


def test_the_settings_of_methods_that_differ_are_drawn_in_order():
    """A text that is no number comes first."""
    arms = [
        {"series": name, "value": value, "kl": 1.0}
        for name, value in (("ppo", "0.0003"), ("ppo", "6e-4"), ("dpo", "5e-05"), ("sft", "none"))
    ]
    svg = ablation_figure(arms, "rate", {"kl": ("KL", None)})
    places = [svg.index(f">{value}<") for value in ("none", "5e-05", "0.0003", "6e-4")]
    assert places == sorted(places)


@pytest.mark.parametrize("design", DESIGNS)
def test_every_design_has_the_same_number_of_labels(design, tmp_path):
    world = World(0)
    prompts = [replace(p, split="train") for p in world.closed_domain_prompts(30)]
    write_records(tmp_path / "prompts.jsonl", prompts)
    texts = ("you fool.", "the passage does not say.", "yes.")
    rows = [
        Response(id=f"{p.id}-{i}", prompt_id=p.id, prompt=p.prompt, response=text, model="m")
        for p in prompts
        for i, text in enumerate(texts)
    ]
    write_records(tmp_path / "responses.jsonl", rows)
    names = [labeler.info.id for labeler in world.labelers("training")]
    (tmp_path / "labelers.json").write_text(json.dumps({"accepted": names}))
    inputs = {
        "prompts": (tmp_path / "prompts.jsonl",),
        "responses": (tmp_path / "responses.jsonl",),
        "labelers": (tmp_path / "labelers.json",),
    }
    config = {"seed": 0, "design": design, "labels": 3}
    rank(StageCall(name="x", inputs=inputs, config=config, out=tmp_path, root=tmp_path))
    rankings = read_records(tmp_path / "rankings.jsonl", Ranking)
    asked = {ranking.prompt_id for ranking in rankings}
    expected = {"once": (30, 30), "majority": (10, 10), "posterior": (60, 10)}.get(design, (30, 10))
    assert (len(rankings), len(asked)) == expected
    weights = json.loads((tmp_path / "weights.json").read_text())
    assert bool(weights) == (design in ("weighted", "posterior"))
    if design == "posterior":
        each = sum(weights[ranking.labeler_id] for ranking in rankings)
        assert each == pytest.approx(10, abs=0.01), "a prompt weighs as much as a ranking"
    if design == "share":
        assert len({(r.prompt_id, r.labeler_id) for r in rankings}) == 30


def test_a_pairs_two_rankings_weigh_what_the_labelers_made_probable():
    """Three labelers on 20 prompts; on the last, one of them differs."""
    rankings = [
        Ranking(
            id=f"{prompt}-{labeler}",
            prompt_id=prompt,
            prompt="q",
            responses=("a", "b"),
            tiers=((1,), (0,)) if (prompt, labeler) == ("p19", "l3") else ((0,), (1,)),
            labeler_id=labeler,
        )
        for prompt in (f"p{i}" for i in range(20))
        for labeler in ("l1", "l2", "l3")
    ]
    found, weights = soft_pairs(rankings)
    assert [row.responses for row in found] == [("a", "b"), ("b", "a")] * 20
    each = [weights[row.labeler_id] for row in found]
    agreed, against, disputed, disputed_against = each[0], each[1], each[-2], each[-1]
    assert agreed > disputed > 0.5 > disputed_against > against > 0
    assert agreed + against == pytest.approx(1, abs=2e-4)
    assert disputed + disputed_against == pytest.approx(1, abs=2e-4)


def test_the_runs_of_the_study_of_overoptimisation_differ_in_their_remedy(recipe):
    plan = study_plan(recipe, 0, "overoptimisation")
    plain = plan["far-plain"]
    assert plain.config["beta"] == 0.0
    for name in ARMS:
        run = plan[f"far-{name}"]
        changed = {key for key in run.config if run.config[key] != plain.config.get(key)}
        assert changed <= {"ensemble_rule", "judge_patience"}
        more = set(run.inputs) - set(plain.inputs)
        own = {"plain": set(), "judge": {"judge"}, "people": {"judges"}}
        expected = own.get(name, {"ensemble"})
        assert more == expected
    judge, scored = plan["far-reward-judge"], plan["far-reward-a"]
    assert judge.input_lists()["data"][0].output == "judge.jsonl"
    assert scored.input_lists()["data"][0].output == "a.jsonl"
    members = [plan[f"far-reward-{name}"] for name in ("a", "a2", "a3")]
    assert len({one.config["seed"] for one in members}) == 3
    assert len({one.input_lists()["data"][0].output for one in members}) == 1


def test_either_half_of_the_labelers_ranks_for_one_reward_model_only(tmp_path):
    rankings = [
        Ranking(
            id=f"r{i}",
            prompt_id=f"p{i}",
            prompt="q",
            responses=("a", "b"),
            tiers=((0,), (1,)),
            labeler_id=f"l{i % 5}",
        )
        for i in range(40)
    ]
    write_records(tmp_path / "rankings.jsonl", rankings)
    inputs = {"rankings": (tmp_path / "rankings.jsonl",)}
    config = {"seed": 0, "number": 10, "fewer": [4]}
    halves(StageCall(name="x", inputs=inputs, config=config, out=tmp_path, root=tmp_path))
    ours, judges = (
        {row.labeler_id for row in read_records(tmp_path / f"{name}.jsonl", Ranking)}
        for name in ("a", "judge")
    )
    assert ours <= {"l0", "l2", "l4"}
    assert judges <= {"l1", "l3"}
    assert len(read_records(tmp_path / "a.jsonl", Ranking)) == 10
    assert (
        read_records(tmp_path / "a-4.jsonl", Ranking)
        == read_records(tmp_path / "a.jsonl", Ranking)[:4]
    )


def test_reward_models_of_every_size_and_number_of_rankings_choose_among_the_same_responses(recipe):
    plan = study_plan(recipe, 0, "overoptimisation")
    report = plan["study_overoptimisation"]
    own = Path(recipe.world.reward_size).name
    rewards = {(one["size"], one["rankings"]): one["stage"] for one in report.config["rewards"]}
    assert set(rewards) == {(s, 1000 // n) for s in (*SIZES, own) for n in SHARES}
    assert rewards[own, 1000] == "far-reward-a"
    steps: dict[str, set[float]] = {}
    for (size, number), stage in rewards.items():
        run, inputs = plan[stage], plan[stage].input_lists()
        steps.setdefault(size, set()).add(run.config["epochs"] * number / run.config["batch_size"])
        assert inputs["data"][0].output == ("a.jsonl" if number == 1000 else f"a-{number}.jsonl")
        assert inputs["model"][0].stage == ("sft" if size == own else f"far-sft-{size}")
        scored = report.input_lists()[f"scores_{stage}"][0].stage
        assert plan[scored].input_lists()["responses"][0].stage == "far-start"
    expected = {key: {500.0} for key in (*SIZES, own)}
    assert steps == {**expected, "3m": {250.0}}
    optimised = {name for name in report.inputs if name.startswith("ppo_")}
    assert optimised == {
        "ppo_far-reward-a",
        f"ppo_far-reward-{own}-125",
        f"ppo_far-reward-{SIZES[0]}-1000",
    }


def test_a_run_that_a_judge_ended_is_reported_where_it_was_saved(tmp_path):
    def curve(*means):
        golds = ({"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 9} for mean in means)
        return [{"iteration": 2 * i, "kl": i / 2, "gold": gold} for i, gold in enumerate(golds)]

    made = {
        "none": {"iterations": 6, "stopped_by": "episodes"},
        "people": {"iterations": 4, "stopped_by": "judge", "judge_best_iteration": 2},
    }
    paths = {name: tmp_path / f"{name}.json" for name in made}
    for name, path in paths.items():
        path.write_text(json.dumps(made[name]))
    found = ends({"none": curve(3.0, 3.5, 3.4, 2.5), "people": curve(3.0, 3.4, 3.5)}, paths)
    values = {column: [value_of(one) for one in table.values()] for column, table in found.items()}
    assert values == {
        "Last iteration": [6, 4],
        "Saved iteration": [6, 2],
        "KL there, nats": [1.5, 0.5],
        "Gold score there": [2.5, 3.4],
        "Share of the best gain": [-1.0, pytest.approx(0.8)],
    }
    html = study_section({"study": {"panels": {"Gold judge": {"none": 0.3}}, "ends": found}})
    assert "3.40 (3.30 to 3.50), n = 9" in html
    assert "<td>0.8</td>" in html
    assert "<td>6</td>" in html


def test_gains_of_ppo_are_measured_from_the_same_prompts_responses_at_the_start():
    """By hand: the scores at the start have a spread of 1; PPO was measured on two of three
    prompts."""
    world = World(0)
    prompts = [
        Prompt(id=f"p{i}", prompt="write a sentence about the cat.", user_id=f"u{i}")
        for i in range(3)
    ]
    texts = ("the cat sleeps.", "you fool.")
    start = start_of(
        world,
        prompts,
        [
            Response(id=f"{p.id}-{i}", prompt_id=p.id, prompt=p.prompt, response=text, model="m")
            for p in prompts
            for i, text in enumerate(texts)
        ],
    )
    assert start.gold_PN[0, 0] > start.gold_PN[0, 1]
    half = 0.5**0.5
    scores_PN = np.array([[half, -half], [5 + half, 5 - half], [half, -half]])
    rows = [
        {"step": step, "prompt_id": f"p{i}", "response": texts[step > 0], "kl": kl, "raw_score": s}
        for step, kl, gained in ((0, 0.0, 0.0), (2, 1.0, 1.0), (4, 4.0, 3.0))
        for i, s in enumerate((gained, 5 + gained))
    ]
    found = ppo_curve(world, rows, start, scores_PN, 0)
    assert [point["kl"] for point in found["points"]] == [0.0, 1.0, 4.0]
    assert [point["proxy"]["mean"] for point in found["points"]] == pytest.approx([0, 1, 3])
    # d is 1 and 2, R is 1 and 3: a = 1, and 2 (1 - b log 2) = 3.
    assert found["fits"]["proxy"]["a"]["mean"] == pytest.approx(1.0)
    assert found["fits"]["proxy"]["b"]["mean"] == pytest.approx(-0.5 / math.log(2))
    gold = [point["gold"]["mean"] for point in found["points"]]
    assert gold[0] == pytest.approx(half)
    assert gold[1:] == pytest.approx([-half, -half])


def test_a_reward_model_that_is_gold_gains_what_gold_gains(tmp_path):
    """The panels of the report, from the files of its stage."""
    world = World(0)
    prompts = [
        Prompt(id=f"p{i}", prompt="write a sentence about the cat.", user_id=f"u{i}")
        for i in range(6)
    ]
    texts = ("the cat sleeps.", "you fool.", "the cat", "the cat sleeps.")
    rows = [
        Response(id=f"{p.id}-{i}", prompt_id=p.id, prompt=p.prompt, response=text, model="m")
        for p in prompts
        for i, text in enumerate(texts)
    ]
    write_records(tmp_path / "start.jsonl", rows)
    scores = {r.id: world.judge.score(r.prompt, r.response).total for r in rows}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    optimised = [
        {"step": step, "prompt_id": p.id, "response": texts[step == 2], "kl": kl, "raw_score": 3.8}
        for step, kl in ((0, 0.0), (1, 1.0), (2, 9.0))
        for p in prompts
    ]
    lines = "".join(json.dumps(row) + "\n" for row in optimised)
    (tmp_path / "samples.jsonl").write_text(lines)
    files = {"start": "start.jsonl", "scores_x": "scores.json", "ppo_x": "samples.jsonl"}
    inputs = {name: (tmp_path / file,) for name, file in files.items()}
    config = {"seed": 0, "rewards": [{"stage": "x", "size": "1m", "rankings": 1000}]}
    call = StageCall(name="x", inputs=inputs, config=config, out=tmp_path, root=tmp_path)
    panels = gains(call, world, prompts)
    best_of = panels["Best-of-n, reward model of 1m"]["1,000 rankings"]
    spent = [point["kl"] for point in best_of["points"]]
    assert spent == pytest.approx([kl_bound(n) for n in (1, 2, 4)])
    assert best_of["fits"]["gold"] == best_of["fits"]["proxy"]
    assert best_of["points"][-1]["gold"]["mean"] > 0
    assert best_of["agreement"]["rate"] == 1.0
    ppo = panels["PPO"]["1m, 1,000 rankings"]
    assert ppo["points"][1]["gold"]["mean"] > 0 > ppo["points"][2]["gold"]["mean"]
    assert "1m, 1,000 rankings falls after a KL of" in gains_reading(panels)
    assert "<svg" in gains_figure(panels)
