"""A model as judge, beside people: what meets, what is refused, what the report says."""

import json
from dataclasses import replace

import pytest
from tests.unit.evaluation.helpers import answer, prompt

from understudy.evaluation.config import EvaluateConfig
from understudy.evaluation.model_judge import judge_results, pairs_of, votes_of
from understudy.evaluation.run import evaluate
from understudy.records import Comparison, Ranking, read_records, write_records

PROMPTS = [prompt(f"p{i}", user=f"u{i % 4}") for i in range(8)]


def compared(i, preferred, *, labeler="kim", role="held_out", first="ppo", second="sft"):
    return Comparison(
        prompt_id=PROMPTS[i].id,
        prompt=PROMPTS[i].prompt,
        first=f"{first} {i}",
        second=f"{second} {i}",
        preferred=preferred,
        labeler_id=labeler,
        labeler_role=role,
        first_model=first,
        second_model=second,
    )


def judged(i, one, other):
    """A model's two verdicts, `other` in the other order."""
    by = {"labeler": "m", "role": "model"}
    return [compared(i, one, **by), compared(i, other, first="sft", second="ppo", **by)]


VERDICTS = [
    *judged(0, "first", "second"),  # ppo wins
    *judged(1, "first", "first"),  # changes with the order: a tie
    *judged(2, "second", "first"),  # sft wins
    *judged(3, "tie", "second"),  # three quarters
    *judged(4, "first", "second"),
    *judged(5, "first", "second"),
    *judged(6, "first", "second"),
    *judged(7, "second", "first"),
]


def test_worked_by_hand():
    people = [compared(0, "first"), compared(1, "first"), compared(2, "first"), compared(3, "tie")]
    others = [compared(0, "second", labeler="lee"), compared(3, "first", labeler="lee")]
    results = judge_results(pairs_of(VERDICTS), votes_of(people + others), PROMPTS, "sft")
    about = results["model_judge"]
    assert (about["model"], about["pairs"]) == ("m", 8)
    assert about["flipped"]["rate"] == 2 / 8
    assert about["first_shown"]["rate"] == (6 + 2 + 0.5) / 16  # of six pairs once each
    assert about["ties"]["rate"] == 1 / 8
    # kim 1, 1/2, 0, 3/4; lee 0, 3/4
    assert about["people"]["agreement"]["rate"] == pytest.approx(3 / 6)
    assert about["people"]["agreement_untied"] == pytest.approx(
        about["people"]["agreement_untied"] | {"rate": 2 / 4, "n": 4}
    )
    assert about["people"]["among_people"]["rate"] == pytest.approx((0 + 0.5) / 2)
    assert about["people"]["pairs"] == 4
    wins = results["win_rates_vs_sft_model_judge"]["ppo"]
    assert (wins["rate"], wins["n"]) == (pytest.approx((4 + 0.5 + 0.75) / 8), 8)
    corrected = results["win_rates_vs_sft_model_judge_corrected"]["ppo"]
    assert (corrected["n"], corrected["people"]) == (4, "held_out")
    # people's means of pairs 0 to 3: 1/2, 1, 1, 3/4
    assert corrected["people_alone"]["rate"] == pytest.approx(3.25 / 4)
    moved = corrected["weight"] * (3 / 4 - 2.25 / 4)
    assert corrected["rate"] == pytest.approx(min(1, 3.25 / 4 + moved))


def test_rankings_meet_the_same_pairs_and_other_prompts_do_not():
    texts = ("sft 0", "ppo 0", "base 0")
    ranking = Ranking(
        id="k",
        prompt_id="another id",
        prompt=PROMPTS[0].prompt,
        responses=texts,
        tiers=((1,), (0, 2)),
        labeler_id="kim",
    )
    other = replace(ranking, prompt="Say something else.")
    results = judge_results(pairs_of(VERDICTS), votes_of([ranking, other]), PROMPTS, "sft")
    people = results["model_judge"]["people"]
    assert (people["pairs"], people["agreement"]["rate"]) == (1, 1)
    assert results["win_rates_vs_sft_model_judge_corrected"]["ppo"]["people"] == "training"


def test_what_was_labeled_first_or_shown_first_does_not_matter():
    votes = votes_of([compared(0, "first"), compared(3, "tie")])
    swapped = votes_of([compared(3, "tie").swap(), compared(0, "first").swap()])
    plain = judge_results(pairs_of(VERDICTS), votes, PROMPTS, "sft")
    turned = judge_results(pairs_of(VERDICTS[::-1]), swapped, PROMPTS, "sft")
    assert plain["model_judge"]["people"] == turned["model_judge"]["people"]
    for key in ("win_rates_vs_sft_model_judge", "win_rates_vs_sft_model_judge_corrected"):
        assert plain[key]["ppo"]["rate"] == pytest.approx(turned[key]["ppo"]["rate"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (VERDICTS[:1], "judged in one order only"),
        ([compared(0, "first")], "by held_out labeler kim"),
        ([*VERDICTS[:2], *(replace(c, labeler_id="n") for c in VERDICTS[2:4])], "is by m, n"),
    ],
)
def test_comparisons_that_are_not_one_models(rows, message):
    with pytest.raises(ValueError, match=message):
        pairs_of(rows)


@pytest.fixture
def files(tmp_path):
    """An evaluation's responses, a model's comparisons of them, and people's of three."""
    rows = [
        answer(p, model, f"{model} {i}") for i, p in enumerate(PROMPTS) for model in ("sft", "ppo")
    ]
    write_records(tmp_path / "responses.jsonl", rows)
    write_records(tmp_path / "prompts.jsonl", PROMPTS)
    write_records(tmp_path / "model.jsonl", VERDICTS)
    people = [compared(0, "first"), compared(2, "first"), compared(4, "second")]
    write_records(tmp_path / "people.jsonl", people)
    for name in ("sft", "ppo"):
        (tmp_path / name).mkdir()
    return tmp_path


def run(files, **changes):
    config = EvaluateConfig(
        models=(f"sft={files / 'sft'}", f"ppo={files / 'ppo'}"),
        prompts=files / "prompts.jsonl",
        responses=files / "responses.jsonl",
        out=files / "eval",
        **{name: files / path for name, path in changes.items()},
    )
    folder = evaluate(config)
    return json.loads((folder / "results.json").read_text()), (folder / "report.html").read_text()


def test_the_report_shows_it_apart_from_people_and_with_its_agreement(files):
    results, report = run(files, comparisons="people.jsonl", model_comparisons="model.jsonl")
    assert results["win_rates_vs_sft"]["ppo"]["n"] == 3  # people's alone
    assert results["win_rates_vs_sft_model_judge"]["ppo"]["n"] == 8
    assert results["first_shown"]["n"] == 3
    agreement = results["model_judge"]["people"]["agreement"]
    assert agreement["rate"] == pytest.approx(1 / 3)
    ends = f"{100 * agreement['low']:.0f} to {100 * agreement['high']:.0f}"
    assert f"Model as judge (agrees with people on 33% ({ends}))" in report
    assert "People, estimated with the model" in report
    assert "which is right only if the labeled pairs were chosen at random" in report
    assert "no person has judged them" not in report
    written = read_records(files / "eval" / "comparisons.jsonl", Comparison)
    assert sum(c.labeler_role == "model" for c in written) == len(VERDICTS)


def test_alone_it_says_that_nobody_has_judged(files):
    results, report = run(files, model_comparisons="model.jsonl")
    assert "win_rates_vs_sft" not in results
    assert "first_shown" not in results
    assert "Model as judge (agreement with people unknown)" in report
    assert "no person has judged them" in report
    assert "a model's verdicts, not people's" in report.replace("&#x27;", "'")


def test_it_is_not_shown_beside_people_who_have_judged_nothing_of_it(files):
    strangers = [replace(compared(0, "first"), first="something else")]
    write_records(files / "strangers.jsonl", strangers)
    with pytest.raises(ValueError, match="no pair of responses in common"):
        run(files, comparisons="strangers.jsonl", model_comparisons="model.jsonl")
    assert not (files / "eval").exists()


def test_a_models_comparisons_are_not_taken_for_peoples(files):
    with pytest.raises(ValueError, match=r"16 of 16 comparisons are by models \(m\); give a model"):
        run(files, comparisons="model.jsonl")
