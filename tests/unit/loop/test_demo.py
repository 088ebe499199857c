"""The demo's plan and folder, without running it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from understudy.cli import main
from understudy.loop.ablation import AXES, ablation_plan
from understudy.loop.demo import DemoConfig, claim_folder, headline, show_plan
from understudy.loop.demo_build import Build
from understudy.loop.demo_evaluation import COLD, MODELS, TRAINED
from understudy.loop.demo_plan import demo_plan
from understudy.loop.recipe import load_recipe
from understudy.world.bases import base_model_path


@pytest.fixture
def recipe(tmp_path):
    """The quick recipe with a folder as the base model of every size."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    recipe = load_recipe("quick")
    base = str(tmp_path / "base")
    return replace(recipe, world=replace(recipe.world, policy_size=base, reward_size=base))


def test_every_stages_function_exists(recipe):
    import importlib

    for stage in demo_plan(recipe, seed=0).stages:
        module, _, name = stage.function.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), stage.function


def test_a_packaged_base_is_not_replaced_by_a_folder_of_its_name(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1m").mkdir()
    build = Build(recipe, 0, 0)
    assert build.base("1m") == base_model_path("1m")
    assert build.base("base") == Path("base")


def test_held_out_labelers_and_test_prompts_reach_no_training(recipe):
    """No training stage depends, however far back, on the test prompts."""
    plan = demo_plan(recipe, seed=0)
    for trained in ("sft", "rl_init", "reward", "ppo", "ppo_ptx"):
        inputs = [i for paths in plan[trained].input_lists().values() for i in paths]
        read = {getattr(i, "output", "") for i in inputs}
        assert not read & {"test.jsonl", "closed.jsonl", "rude.jsonl"}, trained
    rankings = plan["rankings"].input_lists()
    assert {i.output for i in (*rankings["prompts"], *rankings["valid"])} == {
        "rank.jsonl",
        "rank_valid.jsonl",
    }


def test_ppo_waits_for_the_gate_and_every_model_is_judged(recipe):
    plan = demo_plan(recipe, seed=0)
    assert "gate" in plan["ppo"].needs() & plan["ppo_ptx"].needs()
    judged = plan["judge_sampled"].needs()
    assert {f"sampled_{model}" for model in (*MODELS, *COLD.values())} <= judged
    assert {"gate", "greedy_sft"} <= judged  # best-of-n is picked there; SFT without noise
    assert "rl_init" in TRAINED
    assert all(f"tax_{model}" in plan["report"].needs() for model in TRAINED)


def test_baselines_are_sampled_at_the_papers_temperature_too(recipe):
    plan = demo_plan(recipe, seed=0)
    for model, cold in COLD.items():
        hot, other = plan[f"sampled_{model}"].config, dict(plan[f"sampled_{cold}"].config)
        assert other.pop("temperature") == 0.7
        assert {**other, "name": model} == hot


def test_only_new_requests_decide_and_the_others_are_reported_apart(recipe):
    plan = demo_plan(recipe, seed=0)
    inputs = plan["judge_sampled"].input_lists()
    assert [i.output for i in inputs["prompts"]] == ["test.jsonl"]
    assert {name: inputs[name][0].output for name in ("seen", "unclear")} == {
        "seen": "seen.jsonl",
        "unclear": "unclear.jsonl",
    }
    for name in ("judge_greedy", "gate", "adversaries"):
        outputs = [i.output for i in plan[name].input_lists()["prompts"]]
        assert outputs == ["test.jsonl"], name


@pytest.mark.parametrize("name", AXES)
def test_an_ablation_shares_what_the_demo_makes_and_changes_one_setting(recipe, name):
    demo, plan = demo_plan(recipe, 0), ablation_plan(recipe, 0, name)
    own = [stage for stage in plan.stages if stage.name not in {s.name for s in demo.stages}]
    shared = [stage for stage in plan.stages if stage not in own]
    assert all(stage == demo[stage.name] for stage in shared)
    assert "ppo_ptx" in {stage.name for stage in shared}
    runs = [s for s in own if s.function.endswith((":ppo", ":sft"))]
    for run in runs:
        like = demo["rl_init" if run.function.endswith(":sft") else run.group]
        changed = {k for k in run.config if run.config[k] != like.config.get(k)}
        # 10% of text and one epoch, or two and another share, differ in one of the two.
        assert len(changed) == 1 or name == "init", run.name
    report = plan[f"ablation_{name}"]
    stages = [arm["stage"] for arm in report.config["arms"]]
    assert {f"tax_{stage}" for stage in stages} <= report.needs()
    assert not any(stage.name.startswith(("sampled_", "judge_")) for stage in plan.stages)


def test_arms_of_an_ablation_are_multiples_of_the_recipe(recipe):
    plan = ablation_plan(recipe, 0, "epochs")
    own = recipe.ppo["episodes"]
    assert plan["epochs-ppo_ptx-4"].config["episodes"] == 4 * own
    values = [a["value"] for a in plan["ablation_epochs"].config["arms"] if a["series"] == "ppo"]
    assert values == [f"{own * factor:g}" for factor in (0.25, 0.5, 1, 2)]
    ptx = ablation_plan(recipe, 0, "ptx")["ablation_ptx"].config["arms"]
    assert [(a["stage"], a["value"]) for a in ptx if a["value"] == "0"] == [("ppo", "0")]


def test_where_rl_starts_without_text_reads_none(recipe):
    plan = ablation_plan(recipe, 0, "init")
    assert "text" not in plan["init-2-0-start"].inputs
    assert "text" in plan["init-1-0.5-start"].inputs
    assert plan["init-2-0"].input_lists()["model"][0].stage == "init-2-0-start"
    assert plan["ppo_ptx"].input_lists()["model"][0].stage == "rl_init"


def test_ppo_and_ppo_ptx_differ_in_the_mix_only(recipe):
    plan = demo_plan(recipe, seed=0)
    ppo, ptx = plan["ppo"], plan["ppo_ptx"]
    assert ppo.config["ptx_coef"] == 0
    assert ptx.config["ptx_coef"] > 0
    same = [k for k in ppo.config if not k.startswith("ptx")]
    assert {k: ppo.config[k] for k in same} == {k: ptx.config[k] for k in same}
    assert set(ptx.inputs) - set(ppo.inputs) == {"text"}


def test_a_larger_reward_model_gets_an_sft_of_its_own(recipe, tmp_path):
    (tmp_path / "large").mkdir()
    world = replace(recipe.world, reward_size=str(tmp_path / "large"))
    plan = demo_plan(replace(recipe, world=world), seed=0)
    assert plan["reward"].input_lists()["model"][0].stage == "sft_reward"
    assert demo_plan(recipe, 0)["reward"].input_lists()["model"][0].stage == "sft"


def test_another_seed_changes_every_stage(recipe):
    first, second = demo_plan(recipe, 0), demo_plan(recipe, 1)
    for one, other in zip(first.stages, second.stages, strict=True):
        assert one.config["seed"] != other.config["seed"], one.name


def test_the_null_check_is_another_draw_of_the_same_model(recipe):
    plan = demo_plan(recipe, 0)
    one, other = plan["sampled_sft"], plan["sampled_sft_null"]
    assert one.inputs == other.inputs
    assert {k for k in one.config if one.config[k] != other.config[k]} == {"name"}


def test_show_plan_says_what_would_run(recipe, tmp_path):
    lines = show_plan(demo_plan(recipe, 0), tmp_path / "none").splitlines()
    assert lines[0].split(maxsplit=1) == ["prompts", "not done yet"]
    assert "waits for demonstrations" in next(line for line in lines if line.startswith("sft"))


@pytest.mark.parametrize(
    ("config", "folder"),
    [
        (DemoConfig(), "runs/demo"),
        (DemoConfig(quick=True), "runs/quick"),
        (DemoConfig(seed=2), "runs/demo-seed2"),
        (DemoConfig(recipe="recipes/mine.toml"), "runs/mine"),
    ],
)
def test_each_demo_has_a_folder_of_its_own(config, folder):
    assert str(config.folder) == folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 3}, "--seeds is for --ablation or --study"),
        ({"seeds": 0, "study": "harm"}, "seeds is 0; it must be 1 or more"),
        ({"seeds": 2, "study": "methods", "label": 5}, "--label is for one seed"),
    ],
)
def test_several_seeds_are_for_what_is_pooled(options, message):
    with pytest.raises(ValueError, match=message):
        DemoConfig(**options)


def test_the_plan_of_several_seeds_is_shown_for_each(recipe, tmp_path, capsys):
    command = ["demo", "--study", "labelers", "--seeds", "2", "--show-plan"]
    assert main([*command, "--out", str(tmp_path / "demo")]) == 0
    shown = capsys.readouterr().out
    assert shown.count("prompts  ") == 2
    assert f"{tmp_path}/demo:\n" in shown
    assert f"{tmp_path}/demo-seed1:\n" in shown
    assert not list(tmp_path.glob("demo*"))


def test_a_folder_of_something_else_is_refused(tmp_path):
    claim_folder(tmp_path / "demo", DemoConfig())
    claim_folder(tmp_path / "demo", DemoConfig())  # the same again goes on
    with pytest.raises(ValueError, match=r"holds another demo .seed 0, recipe demo.; choose"):
        claim_folder(tmp_path / "demo", DemoConfig(seed=1))
    claim_folder(tmp_path / "demo", DemoConfig(seed=1, overwrite=True))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(ValueError, match=r"holds other files .thesis.txt"):
        claim_folder(tmp_path / "other", DemoConfig(overwrite=True))
    assert json.loads((tmp_path / "demo" / "demo.json").read_text())["seed"] == 1


def test_the_headline_has_both_judges(tmp_path):
    row = {"rate": 0.65, "low": 0.6, "high": 0.7, "n": 100}
    results = {"win_rates_vs_sft": {"ppo": row}, "win_rates_vs_sft_gold": {"ppo": row}}
    assert headline(results, tmp_path).count("65.0% (60.0% to 70.0%)") == 2
