"""Rows from files, in our layout and in the authors' own."""

import bz2
import json

import pytest

from understudy.evaluation.harness.data import _parts, find_rows, names_of


def _write(folder, name, text, encoding="utf-8"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding=encoding)


def test_a_file_per_data_set_or_none(tmp_path):
    assert find_rows(tmp_path, "rte") is None
    _write(tmp_path / "super_glue", "rte.jsonl", '{"premise": "a"}\n')
    assert find_rows(tmp_path, "rte") == [{"premise": "a"}]
    _write(tmp_path, "rte.jsonl", '{"premise": "b"}\n\n')
    assert find_rows(tmp_path, "rte") == [{"premise": "b"}]
    assert names_of("rte") == "rte.jsonl"
    assert names_of("winogender") == "winogender.jsonl or all_sentences.tsv"


@pytest.mark.parametrize(
    ("context", "parts"),
    [
        ("Boil water. Is it hot? then the cook", ("Boil water. Is it hot?", "then the cook")),
        ("Boil the water.", ("Boil the water.", "")),
        ("Boil water. Mix it with flour", ("Boil water. Mix it with flour", "")),
        ("the cook", ("the cook", "")),
    ],
)
def test_hellaswag_begins_a_sentence_that_the_endings_go_on_with(context, parts):
    assert _parts(context) == parts


def test_hellaswag_as_six_lines(tmp_path):
    text = "Cooking: A cook stirs. she\n2\nflies.\nsings.\nadds salt.\nsleeps.\n"
    (tmp_path / "hellaswag_val_full.txt.bz2").write_bytes(bz2.compress(text.encode()))
    (row,) = find_rows(tmp_path, "hellaswag")
    assert row == {
        "activity_label": "Cooking",
        "ctx_a": "A cook stirs.",
        "ctx_b": "she",
        "endings": ["flies.", "sings.", "adds salt.", "sleeps."],
        "label": "2",
    }
    _write(tmp_path, "hellaswag_val_full.txt", text.replace("2\n", "two\n"))
    with pytest.raises(ValueError, match=r"hellaswag_val_full.txt line 2"):
        find_rows(tmp_path, "hellaswag")


def test_truthfulqa_as_its_authors_have_it(tmp_path):
    head = "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\n"
    row = 'Adversarial,Food,Do pips grow?,"No, they pass",No; They pass; ,"Yes; In you, a tree",x\n'
    _write(tmp_path, "TruthfulQA.csv", head + row, "utf-8-sig")
    assert find_rows(tmp_path, "truthfulqa") == [
        {
            "question": "Do pips grow?",
            "best_answer": "No, they pass",
            "correct_answers": ["No", "They pass"],
            "incorrect_answers": ["Yes", "In you, a tree"],
        }
    ]
    targets = {"mc1_targets": {"No": 1, "Yes": 0}, "mc2_targets": {"No": 1, "Never": 1, "Yes": 0}}
    _write(tmp_path, "mc_task.json", json.dumps([{"question": "Do pips grow?", **targets}]))
    (row,) = find_rows(tmp_path, "truthfulqa_mc")
    assert row["mc2_targets"] == {"choices": ["No", "Never", "Yes"], "labels": [1, 1, 0]}


def test_bias_sets_as_their_authors_have_them(tmp_path):
    _write(tmp_path, "all_sentences.tsv", "sentid\tsentence\nbaker.guest.0.male.txt\tHe bakes.\n")
    (row,) = find_rows(tmp_path, "winogender")
    assert (row["occupation"], row["participant"], row["gender"]) == ("baker", "guest", "male")
    head = ",sent_more,sent_less,stereo_antistereo,bias_type,annotations\n"
    _write(tmp_path, "crows_pairs_anonymized.csv", head + '0,"A, b",c,stereo,age,x\n')
    (row,) = find_rows(tmp_path, "crows_pairs")
    assert (row["sent_more"], row["sent_less"]) == ("A, b", "c")


@pytest.mark.parametrize(
    ("data", "name", "text", "message"),
    [
        ("rte", "rte.jsonl", "[1]\n", "row 1: each line must be an object"),
        ("rte", "rte.jsonl", "{\n", "line 1: not valid JSON"),
        ("rte", "rte.jsonl", "", "has no rows"),
        ("truthfulqa", "TruthfulQA.csv", "a,b\n1,2\n", "is not the file that truthfulqa needs"),
        ("truthfulqa_mc", "mc_task.json", "{", "cannot be read"),
        ("truthfulqa_mc", "mc_task.json", "[3]", "is not the file"),
        ("winogender", "all_sentences.tsv", "sentid\tsentence\nx\ty\n", "all_sentences.tsv"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, data, name, text, message):
    _write(tmp_path, name, text)
    with pytest.raises(ValueError, match=message):
        find_rows(tmp_path, data)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="is not a folder"):
        find_rows(tmp_path / "none", "rte")
