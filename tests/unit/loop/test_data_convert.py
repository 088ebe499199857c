"""`understudy data convert`: any shape as records, what was read as what, nothing written if a row
is bad."""

import json

import pytest

from understudy.cli import main
from understudy.records import Demonstration, Feedback, Prompt, Ranking, read_records

HUMAN, DIFFERENT = "\n\nHuman: Hi\n\nAssistant: ", "\n\nHuman: Ho\n\nAssistant: No"
PAIR = {"chosen": HUMAN + "Good day", "rejected": HUMAN + "Go", "lang": "en"}


def convert(source, out, *more):
    return main(["data", "convert", str(source), "--out", str(out), *more])


@pytest.fixture
def source(tmp_path):
    def write(*rows):
        path = tmp_path / "in.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def test_it_says_what_was_read_as_what(source, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    assert convert(source(PAIR), out) == 0
    said = capsys.readouterr().out
    assert "1 row of HH-RLHF transcripts" in said
    assert "ignored keys (rows): lang (1)" in said
    assert f"{out}: 1 ranking" in said
    (ranking,) = read_records(out, Ranking)
    assert (ranking.prompt, ranking.responses) == ((*ranking.prompt,), ("Good day", "Go"))
    before = out.read_bytes()
    assert convert(source(PAIR), out) == 2
    assert "exists; pass --overwrite" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_a_bad_row_writes_nothing_unless_it_may_be_skipped(source, tmp_path, capsys):
    out = tmp_path / "out.parquet"
    path = source(PAIR, PAIR | {"rejected": DIFFERENT})
    assert convert(path, out) == 2
    assert "line 2: fields 'chosen' and 'rejected' differ" in capsys.readouterr().err
    assert not out.exists()
    assert convert(path, out, "--skip-bad") == 0
    assert "1 bad row skipped" in capsys.readouterr().out
    assert len(read_records(out, Ranking)) == 1


def test_the_kind_can_be_chosen(source, tmp_path, capsys):
    replies = [{"text": text, "role": "assistant", "rank": i} for i, text in enumerate("ab")]
    tree = {"prompt": {"text": "Hi", "role": "prompter", "replies": replies}}
    kinds = {"rankings": Ranking, "demonstrations": Demonstration, "prompts": Prompt}
    for kind, record in (kinds | {"feedback": Feedback}).items():
        out = tmp_path / f"{kind}.jsonl"
        assert convert(source(tree), out, "--kind", kind) == 0
        assert len(read_records(out, record)) == (2 if kind == "feedback" else 1)


def test_a_file_of_thumbs_is_feedback_unless_demonstrations_are_wanted(source, tmp_path, capsys):
    path = source(*({"prompt": "x", "completion": y, "label": y == "7"} for y in "789"))
    out = tmp_path / "out.jsonl"
    assert convert(path, out) == 0
    said = capsys.readouterr().out
    assert "3 rows of prompt/completion with a label" in said
    assert f"{out}: 3 feedback records" in said
    assert [one.desirable for one in read_records(out, Feedback)] == [True, False, False]
    assert convert(out, out, "--overwrite", "--kind", "demonstrations") == 0
    assert "2 rows left out: desirable is false" in capsys.readouterr().out
    (kept,) = read_records(out, Demonstration)
    assert kept.response == "7"


RESPONSES = [
    {"id": f"r{i}", "prompt": "Hi", "response": text, "model": "sft"} for i, text in enumerate("ab")
]


def rating(response, likert):
    return {"prompt_id": "p", "response_id": response, "likert": likert, "labeler_id": "ann"}


def test_ratings_become_feedback_from_a_threshold_on(source, tmp_path, capsys):
    responses, out = tmp_path / "responses.jsonl", tmp_path / "out.jsonl"
    responses.write_text("".join(json.dumps(row) + "\n" for row in RESPONSES))
    path = source(rating("r0", 5), rating("r1", 4), rating("r1", 6))
    assert convert(path, out, "--responses", str(responses)) == 0
    found = read_records(out, Feedback)
    assert [(one.response, one.desirable) for one in found] == [
        ("a", True), ("b", False), ("b", True),
    ]  # fmt: skip
    assert {(one.prompt, one.labeler_id) for one in found} == {("Hi", "ann")}
    more = ("--responses", str(responses), "--desirable-from", "6", "--overwrite")
    assert convert(path, out, *more) == 0
    assert [one.desirable for one in read_records(out, Feedback)] == [False, False, True]
    before = out.read_bytes()
    capsys.readouterr()
    assert convert(source(rating("r7", 5)), out, *more) == 2
    assert "line 1: response r7 is not in" in capsys.readouterr().err
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--responses", "r.jsonl", "--best"), "--responses turns ratings into feedback"),
        (
            ("--responses", "r.jsonl", "--kind", "prompts"),
            "--responses turns ratings into feedback",
        ),
        (("--desirable-from", "1"), "desirable_from is 1; it must be 2 to 7"),
        (("--desirable-from", "8"), "desirable_from is 8; it must be 2 to 7"),
        (("--desirable-from", "6"), "desirable_from needs responses"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(source, tmp_path, capsys, more, message):
    assert convert(source(PAIR), tmp_path / "out.jsonl", *more) == 2
    assert message in capsys.readouterr().err


def test_several_kinds_and_plain_text_are_refused(source, tmp_path, capsys):
    mixed = source(PAIR, {"prompt": "x", "response": "y"})
    assert convert(mixed, tmp_path / "o.jsonl") == 2
    assert (
        "this is a demonstration, and the rows before it were rankings" in capsys.readouterr().err
    )
    assert convert(source({"text": "x"}), tmp_path / "o.jsonl") == 2
    bad = source({"prompt": "x", "completion": "y", "label": 0})
    assert convert(bad, tmp_path / "o.jsonl", "--kind", "demonstrations") == 2
    assert "has nothing to write" in capsys.readouterr().err
    assert not (tmp_path / "o.jsonl").exists()


def test_the_best_response_of_a_ranking_is_a_demonstration(source, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    tie = {"prompt": "Hi", "responses": ["a", "b", "c"], "tiers": [[0, 1], [2]]}
    ranked = {**tie, "tiers": [[2], [0, 1]], "labeler_id": "ann"}
    held_out = {**ranked, "labeler_role": "held_out", "labeler_id": "eve"}
    assert convert(source(tie, ranked, held_out), out, "--best") == 0
    said = capsys.readouterr().out
    assert "1 row left out: the best responses tie" in said
    assert "1 row left out: by held-out labelers, who only evaluate" in said
    (made,) = read_records(out, Demonstration)
    assert (made.prompt, made.response, made.labeler_id) == ("Hi", "c", "ann")


def test_only_rankings_have_a_best_response(source, tmp_path, capsys):
    assert convert(source(PAIR), tmp_path / "out.jsonl", "--best", "--kind", "prompts") == 2
    assert "--best takes rankings" in capsys.readouterr().err


def test_an_unknown_shape_is_told_which_keys_would_do(tmp_path, capsys):
    data = tmp_path / "rows.jsonl"
    data.write_text('{"question": "a", "answer": "b"}\n')
    assert main(["data", "convert", str(data), "--out", str(tmp_path / "out.jsonl")]) == 2
    said = capsys.readouterr().err
    assert "the keys are question, answer" in said
    assert "such as prompt and response for SFT, or prompt, chosen and rejected" in said
