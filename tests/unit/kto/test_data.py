import json
import re
from dataclasses import replace

import pytest
from tests.fixtures_data import write_feedback, write_rankings
from tests.fixtures_models import make_tokenizer

from understudy.kto.config import KTOConfig
from understudy.kto.data import Judged, mismatched, note_unpaired, read_feedback, rotated
from understudy.records import Ranking, RecordError, read_records


@pytest.fixture
def config(tmp_path):
    return KTOConfig(
        model="base", data=write_feedback(tmp_path / "feedback.jsonl"), out=tmp_path / "run"
    )


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


GOOD = {"prompt": "the cat", "completion": "a dog", "label": True}
BAD = {"prompt": "a house", "completion": "the mat", "label": False}


def test_a_file_of_thumbs_is_read_as_it_is(config, tmp_path, capsys):
    data = write(tmp_path / "kto.jsonl", GOOD, BAD, BAD | {"label": 0}, GOOD | {"label": "yes"})
    train, valid = read_feedback(replace(config, data=data), make_tokenizer(), 256)
    assert valid is None
    assert [row.desirable for row in train.rows] == [True, False, False, True]
    assert [row.response_ids[0][-1] for row in train.rows] == [0] * 4
    assert capsys.readouterr().err == ""


def test_rankings_give_their_best_and_worst_responses(config, tmp_path, capsys):
    data = write_rankings(tmp_path / "rankings.jsonl", count=40)
    rankings = [r for r in read_records(data, Ranking) if len(r.tiers) > 1]
    train, _ = read_feedback(replace(config, data=data), make_tokenizer(), 256)
    assert train.num_desirable == sum(len(r.tiers[0]) for r in rankings)
    assert len(train.rows) == sum(len(r.tiers[0]) + len(r.tiers[-1]) for r in rankings)
    between = sum(len(tier) for r in rankings for tier in r.tiers[1:-1])
    said = capsys.readouterr().err
    assert f"{between:,} responses left out: neither best nor worst" in said
    assert f"{40 - len(rankings)} rows left out: all responses tie" in said


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([GOOD, GOOD], "no response is undesirable .*; use understudy sft"),
        ([BAD], r"no response is desirable .* KTO needs both kinds$"),
        ([GOOD, BAD | {"prompt": "the cat " * 60}], "no response is undesirable \\(of 2, 1 with"),
    ],
)
def test_one_kind_alone_is_refused(config, tmp_path, rows, message):
    data = write(tmp_path / "kto.jsonl", *rows)
    with pytest.raises(ValueError, match=message):
        read_feedback(replace(config, data=data, max_prompt_tokens=40), make_tokenizer(), 256)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (GOOD | {"label": "good"}, "line 2: field 'label' is 'good'; it must be true or false"),
        (GOOD | {"label": 0.5}, "line 2: field 'label' is 0.5; it must be true or false"),
        (GOOD | {"label": None}, "line 2: field 'label' is empty; this is a demonstration"),
        (GOOD | {"kto_tag": False}, "line 2: fields 'label' and 'kto_tag' disagree"),
        ({"prompt": "a", "completion": "b"}, "line 2: field 'label' is missing for the nearest"),
        ({"prompt": "a", "label": True}, "line 2: field 'response' is missing"),
    ],
)
def test_bad_labels_are_one_line(config, tmp_path, row, message):
    data = write(tmp_path / "kto.jsonl", BAD, row)
    with pytest.raises(RecordError, match=message):
        read_feedback(replace(config, data=data), make_tokenizer(), 256)


def test_held_out_labelers_never_train(config, tmp_path):
    data = write_feedback(tmp_path / "held.jsonl", role="held_out")
    with pytest.raises(ValueError, match=r"held.jsonl record 1: labeler held_out-0 is held out"):
        read_feedback(replace(config, data=data), make_tokenizer(), 256)
    _, valid = read_feedback(replace(config, valid_data=data), make_tokenizer(), 256)
    assert len(valid.rows) == 16


@pytest.mark.parametrize(
    ("good", "bad", "weights", "advice"),
    [
        (3, 3, {}, ""),
        (4, 3, {}, ""),
        (4, 3, {"undesirable_weight": 0.9}, "1.48 to 1; .* --undesirable-weight 1 to 1.33$"),
        (2, 20, {}, "0.1 to 1; .* --desirable-weight 10 to 13.3$"),
        (2, 20, {"desirable_weight": 10}, ""),
        (2, 20, {"desirable_weight": 13.33}, ""),
        (9, 1, {}, "9 to 1; .* --undesirable-weight 6.75 to 9$"),
        (9, 1, {"undesirable_weight": 6.75}, ""),
    ],
)
def test_weights_outside_the_papers_range_are_noted(
    config, tmp_path, capsys, good, bad, weights, advice
):
    rows = [GOOD | {"prompt": f"cat {i}"} for i in range(good)]
    rows += [BAD | {"prompt": f"dog {i}"} for i in range(bad)]
    data = write(tmp_path / "kto.jsonl", *rows)
    read_feedback(replace(config, data=data, **weights), make_tokenizer(), 256)
    said = capsys.readouterr().err.strip()
    assert bool(said) == bool(advice)
    assert re.search(advice, said)


def test_batches_of_one_prompt_are_noted(config, capsys):
    rows = [Judged(prompt_ids=[i], response_ids=[[7, 0]], desirable=True) for i in (5, 5, 6)]
    batches = [rows[:2], rows[1:]]
    note_unpaired([mismatched(batch, None) for batch in batches], "f.jsonl")
    assert "f.jsonl: 1 of 2 batches have only one prompt" in capsys.readouterr().err
    note_unpaired([mismatched(batches[1], None)], "f.jsonl")
    assert capsys.readouterr().err == ""


def test_without_repeated_prompts_responses_rotate_by_one():
    assert rotated(list("abcd")) == [(0, 1), (1, 2), (2, 3), (3, 0)]


@pytest.mark.parametrize("prompts", ["aabb", "abab", "aaabbc", "abcabcabc", "aabcd", "abbbaacdd"])
def test_no_prompt_meets_its_own_response_and_each_is_used_once(prompts):
    pairs = rotated(list(prompts))
    assert sorted(i for i, _ in pairs) == sorted(j for _, j in pairs) == list(range(len(prompts)))
    assert all(prompts[i] != prompts[j] for i, j in pairs)


def test_a_prompt_with_most_of_the_batch_leaves_some_without_a_pair():
    assert rotated(list("aaaab")) == [(0, 4), (4, 3)]
    assert rotated(list("aaa")) == rotated(["a"]) == rotated([]) == []


def test_a_response_that_meets_a_longer_prompt_is_cut_to_the_context():
    rows = [
        Judged(prompt_ids=[5] * 6, response_ids=[[7, 0]], desirable=True),
        Judged(prompt_ids=[8], response_ids=[[9] * 6 + [0]], desirable=False),
    ]
    first, second = mismatched(rows, 8)
    assert (first.prompt_ids, first.response_ids) == ([5] * 6, [[9, 9]])
    assert (second.prompt_ids, second.response_ids) == ([8], [[7, 0]])
    assert mismatched(rows, None)[0].response_ids == [[9] * 6 + [0]]
