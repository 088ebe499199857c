"""Rows into the paper's formats, each from a small row of our own with the hub's columns."""

import importlib.util

import pytest

pytest.importorskip("lm_eval", reason="the extra 'benchmarks' is not installed")

from datasets import Dataset

from understudy.evaluation.harness.task_list import OURS

_SPEC = importlib.util.spec_from_file_location("formats", OURS / "formats.py")
formats = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(formats)


def test_squadv2_asks_after_what_was_asked_before():
    shared = {"title": "Lund", "context": "Anna lives in Lund. "}
    rows = [
        {**shared, "question": "Who?", "answers": {"text": ["Anna", "Anna"]}},
        {**shared, "question": "Why?", "answers": {"text": []}},
    ]
    first, second = formats.squadv2(rows)
    assert first["prompt"] == "Title: Lund\n\nBackground: Anna lives in Lund.\n\nQ: Who?\n\nA:"
    assert first["answers"] == ["Anna"]
    assert second["prompt"].endswith("Q: Who?\n\nA: Anna\n\nQ: Why?\n\nA:")
    assert second["answers"] == ["Not in background."]
    assert formats.words_result(second, [" not in background"])["exact_match"] == 1
    assert formats.words_result(first, [" Anna Berg"])["f1"] == pytest.approx(2 / 3)


def test_quac_goes_through_the_dialogue():
    row = {
        "wikipedia_page_title": "Lund",
        "context": "Anna lives there. CANNOTANSWER",
        "questions": ["Who lives there?", "Why?"],
        "answers": {"texts": [["Anna", "Anna lives"], ["CANNOTANSWER"]]},
        "orig_answers": {"texts": ["Anna", "CANNOTANSWER"]},
    }
    first, second = formats.quac([row])
    assert first["prompt"].startswith("TITLE: Lund\n\nPARAGRAPH: Anna lives there.\n\nQ: Who")
    assert first["answers"] == ["Anna", "Anna lives"]
    assert second["prompt"].endswith("A: Anna\n\nQ: Why?\n\nA:")
    assert second["answers"] == ["I don't know."]


def test_wsc_marks_the_pronoun_and_matches_by_containment():
    doc = {
        "text": "Jane gave Joan candy because she was hungry.", "span1_text": "Joan",
        "span2_text": "she", "span2_index": 5, "label": 1,
    }  # fmt: skip
    assert "because **she** was" in formats.wsc_text(doc)
    assert 'the pronoun "**she**" refer to?\nAnswer:' in formats.wsc_text(doc)
    assert formats.wsc_result(doc, [" Joan."]) == {"acc": 1.0}
    assert formats.wsc_result(doc, [" Jane"]) == {"acc": 0.0}
    assert formats.wsc_result(doc, [""]) == {"acc": 0.0}
    assert formats.wsc_result(doc | {"label": 0}, [" Jane"]) == {"acc": 1.0}
    assert len(formats.wsc_true(Dataset.from_list([doc, doc | {"label": 0}]))) == 1


def test_pairs_and_their_entropy():
    names = ("baker.guest.0", "baker.someone.0")
    rows = [
        {"sentid": f"{n}.{g}.txt", "sentence": f"{n} {g}", "gender": g}
        | {"participant": n.split(".")[1]}
        for n in names
        for g in ("male", "female", "neutral")
    ]  # fmt: skip
    assert list(formats.winogender(rows)) == [
        {"pair": ["baker.guest.0 male", "baker.guest.0 female"]}
    ]
    (pair,) = formats.crows_pairs([{"sent_more": "a", "sent_less": "b"}])
    assert pair == {"pair": ["a", "b"]}
    for gap, bits in ((0.0, 1.0), (1.0986123, 0.811278), (2000.0, 0.0)):  # 1:1, 3:1, certain
        for results in ([(-gap, False), (0.0, True)], [(0.0, True), (-gap, False)]):
            assert formats.entropy_result({}, results)["entropy"] == pytest.approx(bits, abs=1e-5)


def test_rte_summaries_and_translation():
    doc = {"premise": "Maglev is ready. ", "hypothesis": "Maglev is used."}
    assert formats.rte_text(doc) == (
        "Passage: Maglev is ready.\nQuestion: From this passage can one reasonably conclude that "
        "Maglev is used?\nAnswer:"
    )
    assert formats.tldr_text({"prompt": "POST: I ran.\nTL;DR:"}) == "POST: I ran.\n\nTL;DR:"
    same = formats.tldr_result({"label": "I ran home"}, ["I ran home"])
    assert same == {"rougeL": 1.0}
    row = formats.bleu_result({"translation": {"fr": "x", "en": "the cat sat on it"}}, ["the cat"])
    assert row["bleu"][:2] == [2, 5]
    assert formats.corpus_bleu([[5, 5, 5, 4, 3, 2, 5, 4, 3, 2]]) == pytest.approx(100)


def test_toxicity_takes_about_as_many_of_each_tenth(monkeypatch):
    monkeypatch.setattr(formats, "TOXICITY_ITEMS", 20)
    rows = [
        {"prompt": {"text": f"{score}", "toxicity": score}}
        for score in [0.05] * 500 + [i / 100 for i in range(100)] + [None]
    ]
    taken = [float(row["text"]) for row in formats.toxicity(rows)]
    assert len(taken) == 20
    assert all(sum(int(score * 10) == tenth for score in taken) == 2 for tenth in range(10))
    assert formats.toxicity_result({}, ["two words"]) == {"words": 2.0}


def test_truthfulqa_counts_passing():
    doc = {"correct_answers": ["No, it passes."], "incorrect_answers": ["It grows a tree."]}
    found = formats.truthfulqa_result(doc, [" No, it passes."])
    assert found["bleu_acc"] == found["rougeL_acc"] == 1
    assert found["no_comment"] == 0
    assert formats.truthfulqa_result(doc, [" I have no comment."])["no_comment"] == 1


def test_drop_is_scored_as_the_harness_scores_it():
    doc = {"answers": [("7761",), ("about 7761",)]}
    assert formats.drop_result(doc, [" 7761"]) == {"em": 1.0, "f1": 1.0}
