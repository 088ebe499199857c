"""Exports for other programs: loaded by the library where there is one, else held against the
schema that it documents; each reads back here as the same pairs and answers."""

import json
from pathlib import Path

import pytest
from tests.fixtures_models import make_tokenizer

from understudy.records import Demonstration, Message, Ranking, as_messages, read_records
from understudy.store.exports.formats import SUFFIXES, format_of, lines_of

CHAT = (
    Message("system", "Be brief."),
    Message("user", "Hi"),
    Message("assistant", "Hello"),
    Message("user", "Name a prime."),
)
RANKINGS = [
    Ranking(
        id=f"k{i}",
        prompt_id=f"p{i}",
        prompt=prompt,
        responses=("8", "7", "nine"),
        tiers=((1,), (0, 2)),
        labeler_id="l1",
    )
    for i, prompt in enumerate(("Name a prime.", CHAT))
]
DEMONSTRATIONS = [
    Demonstration(id=f"d{i}", prompt_id=f"p{i}", prompt=prompt, response="7", labeler_id="l1")
    for i, prompt in enumerate(("Name a prime.", CHAT))
]
PAIRS = [("7", "8"), ("7", "nine")]
"""What each ranking says; the tie of "8" and "nine" says nothing."""


def written(folder: Path, form: str, records: list) -> Path:
    path = folder / f"data{SUFFIXES[form]}"
    path.write_bytes(b"".join(lines_of(form, records)))
    return path


def loaded(path: Path):
    datasets = pytest.importorskip("datasets")
    return datasets.load_dataset("json", data_files=str(path), split="train", keep_in_memory=True)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_the_name_says_the_format():
    assert {name: format_of(Path(f"a.b{suffix}")) for name, suffix in SUFFIXES.items()} == {
        name: name for name in SUFFIXES
    }


@pytest.mark.parametrize("form", ["trl", "openrlhf", "llama-factory"])
def test_pairs_and_answers_read_back_here(form, tmp_path):
    path = written(tmp_path, form, RANKINGS)
    rankings = read_records(path, Ranking)
    assert [r.responses for r in rankings] == PAIRS * 2
    assert [as_messages(r.prompt) for r in rankings[1:3]] == [
        as_messages(r.prompt) for r in RANKINGS
    ]
    demonstrations = read_records(written(tmp_path, form, DEMONSTRATIONS), Demonstration)
    found = [(as_messages(d.prompt), d.response) for d in demonstrations]
    assert found == [(as_messages(d.prompt), d.response) for d in DEMONSTRATIONS]


def test_trl_tokenizes_what_we_meant(tmp_path):
    trl = pytest.importorskip("trl")
    tokenizer = make_tokenizer()
    for records, answers in ((RANKINGS, ("chosen", "rejected")), (DEMONSTRATIONS, ("completion",))):
        rows = loaded(written(tmp_path, "trl", records))
        assert trl.is_conversational(rows[0])
        texts = [trl.apply_chat_template(row, tokenizer) for row in rows]
        prompts = {text["prompt"] for text in texts}
        assert prompts == {
            tokenizer.apply_chat_template(
                [{"role": t.role, "content": t.content} for t in as_messages(r.prompt)],
                tokenize=False,
                add_generation_prompt=True,
            )
            for r in records
        }
        assert {text[name].strip() for text in texts for name in answers} <= {
            f"{answer}<eos>" for answer in ("7", "8", "nine")
        }


def test_openrlhf_renders_the_prompt_and_then_the_answer(tmp_path):
    """As its reward_dataset.py and sft_dataset.py do: the template over prompt + answer, from where
    the prompt ends."""
    tokenizer = make_tokenizer()
    for records, names in ((RANKINGS, ("chosen", "rejected")), (DEMONSTRATIONS, ("response",))):
        for row in loaded(written(tmp_path, "openrlhf", records)):
            prompt = tokenizer.apply_chat_template(
                row["prompt"], tokenize=False, add_generation_prompt=True
            )
            for name in names:
                whole = tokenizer.apply_chat_template(row["prompt"] + row[name], tokenize=False)
                assert whole.startswith(prompt)
                assert whole[len(prompt) :].strip() == f"{row[name][0]['content']}<eos>"


def test_llama_factory_takes_alternating_turns_only(tmp_path):
    """As its converter.py wants: human and gpt by turns after the system's; an odd number of turns
    in a ranking and an even one in a demonstration."""
    for records, odd in ((RANKINGS, 1), (DEMONSTRATIONS, 0)):
        for row in loaded(written(tmp_path, "llama-factory", records)):
            speakers = [turn["from"] for turn in row["conversations"]]
            speakers = speakers[1:] if speakers[0] == "system" else speakers
            assert speakers == (["human", "gpt"] * len(speakers))[: len(speakers)]
            assert len(speakers) % 2 == odd
            assert all(row[n]["from"] == "gpt" for n in ("chosen", "rejected") if n in row)
    turns = (Message("user", "Hi"), Message("user", "there?"))
    odd = Demonstration(id="d9", prompt_id="p", prompt=turns, response="7", labeler_id="l1")
    with pytest.raises(ValueError, match="d9: the turns of its prompt do not alternate"):
        list(lines_of("llama-factory", [odd]))


def test_argilla_reads_records_with_the_order_as_a_suggestion(tmp_path):
    pytest.importorskip("argilla")
    from argilla.records._io import JsonIO

    ranked = JsonIO._records_from_json(written(tmp_path, "argilla", RANKINGS))
    assert [record.id for record in ranked] == ["k0", "k1"]
    assert ranked[1].fields["prompt"][0] == {"role": "system", "content": "Be brief."}
    assert ranked[0].fields["response-2"] == "7"
    (suggestion,) = ranked[0].suggestions
    assert (suggestion.question_name, suggestion.agent) == ("ranking", "l1")
    assert suggestion.value == [
        {"value": "response-2", "rank": 1},
        {"value": "response-1", "rank": 2},
        {"value": "response-3", "rank": 2},
    ]
    shown = JsonIO._records_from_json(written(tmp_path, "argilla", DEMONSTRATIONS))
    assert [s.value for record in shown for s in record.suggestions] == ["7", "7"]


def test_label_studio_gets_tasks_with_annotations(tmp_path):
    """As its task format documents: `data` and `annotations` with `result`; the chosen side is the
    better answer."""
    tasks = json.loads(written(tmp_path, "label-studio", RANKINGS).read_text())
    found = []
    for task in tasks:
        (annotation,) = task["annotations"]
        (result,) = annotation["result"]
        assert (result["from_name"], result["to_name"]) == ("better", "answer1,answer2")
        assert result["type"] == "pairwise"
        texts = {"left": task["data"]["answer1"], "right": task["data"]["answer2"]}
        better = texts.pop(result["value"]["selected"])
        found.append((better, *texts.values()))
    assert found == PAIRS * 2
    assert {next(iter(t["annotations"][0]["result"]))["value"]["selected"] for t in tasks} == {
        "left",
        "right",
    }
    (task, _) = json.loads(written(tmp_path, "label-studio", DEMONSTRATIONS).read_text())
    assert task["annotations"][0]["result"][0]["value"] == {"text": ["7"]}
    assert json.loads(written(tmp_path, "label-studio", []).read_text()) == []
