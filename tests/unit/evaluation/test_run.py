"""The stage on a user's own files: hand-written prompts and random models, no tiny world."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fixtures_models import make_policy, make_tokenizer, save_model_folder
from tests.unit.evaluation.helpers import LengthJudge, labeler, prompt

from understudy.evaluation.config import EvaluateConfig, model_folders
from understudy.evaluation.run import evaluate, lengths
from understudy.models.scalar import ScalarModel
from understudy.records import Comparison, Prompt, Rating, Response, read_records, write_records


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two models, a reward model, prompts, a benchmark, text and words."""
    root = tmp_path_factory.mktemp("user")
    for seed, name in enumerate(("sft", "ppo")):
        save_model_folder(root / name, seed=seed)
    for seed, name in ((2, "reward"), (3, "second")):
        ScalarModel.from_policy(make_policy(seed=seed)).save(root / name, make_tokenizer())
    prompts = [prompt(f"p{i}", user=f"u{i % 3}", use_case="chat") for i in range(6)]
    write_records(root / "prompts.jsonl", prompts)
    item = {"question": "Anna lives in", "choices": ["Lund", "a boat"], "answer": 0}
    (root / "facts.jsonl").write_text(json.dumps(item))
    (root / "web.txt").write_text("The cat sat on the mat. A dog ran to the old house.")
    (root / "words.txt").write_text("fool\n")
    return root


def _config(files, out, **changes):
    settings = {
        "models": (f"sft={files / 'sft'}", f"ppo={files / 'ppo'}"),
        "prompts": files / "prompts.jsonl",
        "out": out,
        "max_response_tokens": 6,
    }
    return EvaluateConfig(**(settings | changes))


def _results(folder):
    return json.loads((folder / "results.json").read_text())


def test_everything_at_once(files, tmp_path):
    config = _config(
        files,
        tmp_path / "eval",
        reward_model=files / "reward",
        second_reward_model=files / "second",
        best_of=2,
        benchmarks=(files / "facts.jsonl",),
        text=files / "web.txt",
        rude_words=files / "words.txt",
    )
    folder = evaluate(
        config, judges={"held_out": [labeler("h")]}, raters=[labeler("h")], gold=LengthJudge()
    )
    results = _results(folder)
    names = {"ppo", "sft_null", "best_of_n"}
    for key in ("", "_gold", "_reward_model", "_second_reward_model"):
        assert set(results[f"win_rates_vs_sft{key}"]) == names
    assert set(results["greedy"]["win_rates_vs_sft_gold"]) == {"ppo"}
    assert results["win_rates_vs_sft_reward_model"]["best_of_n"]["n"] == 6
    for key in ("gold", "likert", "answers", "score_reward_model", "score_second_reward_model"):
        assert set(results[key]) == names | {"sft"}
    assert results["score_reward_model"] != results["score_second_reward_model"]
    assert "users" not in results
    assert {"fails_instruction", "rude_plain", "rude_respectful_prefix"} <= set(
        results["flags"]["ppo"]
    )
    assert set(results["benchmarks"]) == set(results["pretraining_loss"]) == {"sft", "ppo"}
    assert results["benchmarks"]["sft"]["facts"]["n"] == 1
    assert set(results["examples"][0]["answers"]) == names | {"sft"}
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    comparisons = read_records(folder / "comparisons.jsonl", Comparison)
    assert len(comparisons) == 3 * 6 * 4 + 4 * 6


def test_answers_are_measured_in_words_and_by_how_they_end():
    prompts = [prompt(f"p{i}", user=f"u{i}") for i in range(2)]
    answers = [
        Response.from_json({"prompt_id": p.id, "prompt": p.prompt, "response": text, "model": "m"})
        for p, text in zip(prompts, ("a b c", "d"), strict=True)
    ]
    cut = replace(answers[0], finished=False)
    found = lengths(prompts, [cut, answers[1]])["m"]
    assert (found["words"]["mean"], found["ended"]["rate"]) == (2.0, 0.5)
    assert found["words_if_ended"]["mean"] == 1.0
    assert "words_if_ended" not in lengths(prompts, [cut])["m"]
    assert lengths(prompts, answers)["m"]["ended"]["high"] <= 1.0
    assert 0.0 < lengths(prompts, answers)["m"]["ended"]["low"] < 1.0


def test_prompts_of_the_test_split_are_known_to_be(files, tmp_path):
    rows = [replace(p, split="test") for p in read_records(files / "prompts.jsonl", Prompt)]
    path = write_records(tmp_path / "test.jsonl", rows)
    folder = evaluate(_config(files, tmp_path / "e", prompts=path, greedy=False))
    assert _results(folder)["users"] == "test_split"


def test_people_judge_in_a_second_pass(files, tmp_path):
    first = evaluate(_config(files, tmp_path / "first", greedy=False, null_check=False))
    assert not any(key.startswith("win_rates") for key in _results(first))
    responses = read_records(first / "responses.jsonl", Response)
    by_model = {m: [r for r in responses if r.model == m] for m in ("sft", "ppo")}
    comparisons = [
        Comparison(
            prompt_id=a.prompt_id,
            prompt=a.prompt,
            first=a.response,
            second=b.response,
            first_model="ppo",
            second_model="sft",
            preferred="first" if i < 4 else "tie",
            labeler_id="kim",
            labeler_role="held_out",
        )
        for i, (a, b) in enumerate(zip(by_model["ppo"], by_model["sft"], strict=True))
    ]
    write_records(tmp_path / "comparisons.jsonl", comparisons)
    flags = {"fails_instruction": True}
    ratings = [
        Rating(
            id=r.id,
            prompt_id=r.prompt_id,
            response_id=r.id,
            labeler_id="kim",
            likert=3,
            flags=flags,
        )
        for r in responses
    ]
    write_records(tmp_path / "ratings.jsonl", ratings)
    second = evaluate(
        _config(
            files,
            tmp_path / "second",
            responses=first / "responses.jsonl",
            comparisons=tmp_path / "comparisons.jsonl",
            ratings=tmp_path / "ratings.jsonl",
        )
    )
    results = _results(second)
    assert results["win_rates_vs_sft"]["ppo"]["rate"] == pytest.approx(5 / 6)
    assert results["likert"]["sft"]["mean"] == 3
    assert results["flags"]["ppo"]["fails_instruction"]["rate"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": Path("no.jsonl")}, "no.jsonl does not exist"),
        ({"models": ("sft=no/such/folder", "ppo=x")}, "no/such/folder does not exist"),
        ({"reward_model": Path("no/reward")}, "no/reward does not exist"),
        ({"benchmarks": (Path("no.jsonl"),)}, "benchmark no.jsonl does not exist"),
        ({"text": Path("no.txt")}, "no.txt does not exist"),
        ({"rude_words": Path("no.txt")}, "rude_words no.txt does not exist"),
        ({"responses": Path("no.jsonl")}, "no.jsonl does not exist"),
        ({"comparisons": Path("no.jsonl")}, "no.jsonl does not exist"),
    ],
)
def test_wrong_input_takes_no_folder_and_costs_no_evaluation(files, tmp_path, changes, message):
    out = tmp_path / "eval"
    with pytest.raises(ValueError, match=message):
        evaluate(_config(files, out, **changes))
    assert not out.exists()
    out.mkdir()
    (out / "run.json").write_text('{"stage": "evaluate"}')
    (out / "responses.jsonl").write_text("answers that took long")
    with pytest.raises(ValueError, match=message):
        evaluate(_config(files, out, overwrite=True, **changes))
    assert (out / "responses.jsonl").read_text() == "answers that took long"


def test_what_is_to_be_read_is_not_overwritten(files, tmp_path):
    out = tmp_path / "eval"
    out.mkdir()
    (out / "run.json").write_text('{"stage": "evaluate"}')
    (out / "responses.jsonl").write_text("answers that took long")
    with pytest.raises(ValueError, match="which would be overwritten; choose another --out"):
        evaluate(_config(files, out, responses=out / "responses.jsonl", overwrite=True))
    assert (out / "responses.jsonl").exists()


def test_an_evaluation_is_not_written_over_unless_asked(files, tmp_path):
    config = _config(files, tmp_path / "eval", greedy=False)
    evaluate(config)
    with pytest.raises(ValueError, match="already holds this run"):
        evaluate(config)
    evaluate(_config(files, tmp_path / "eval", greedy=False, seed=1, overwrite=True))
    assert _results(tmp_path / "eval")["seed"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": "base"}, r"baseline 'base' is not among the models \(sft, ppo\)"),
        ({"best_of": 4}, "best_of needs a reward_model"),
        ({"ratings": "r.jsonl"}, "give their file as responses"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"strata": "use_case"}, "--strata and --shares go together"),
        ({"models": ("sft",)}, "'sft' must be name=folder"),
        ({"models": ("sft=a", "sft=b")}, "two models are called 'sft'"),
    ],
)
def test_settings_that_cannot_work_are_refused(files, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        _config(files, tmp_path, **changes)


def test_model_folders_keep_equal_signs_in_paths():
    assert model_folders(("sft=runs/a=b",)) == {"sft": "runs/a=b"}
