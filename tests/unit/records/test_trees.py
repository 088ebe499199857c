"""Open Assistant's trees, as trees and as one message per row."""

import json

import pytest

from understudy.records import Demonstration, Prompt, Ranking, RecordError, read_records


def message(name, text, rank=None, *replies, role="assistant", **more):
    return {
        "message_id": name,
        "text": text,
        "role": role,
        "rank": rank,
        "replies": list(replies),
        **more,
    }


ANOTHER = message("m4", "Another?", None, message("m5", "Elm."), role="prompter")
TREE = message(
    "m0",
    "Name a tree.",
    None,
    message("m1", "Car.", 1),
    message(
        "m2", "Oak.", 0, message("m4", "Another?", None, message("m5", "Elm."), role="prompter")
    ),
    message("m3", "Go away.", 0, deleted=True),
    role="prompter",
)


def flat(node, parent=None):
    row = {key: value for key, value in node.items() if key != "replies"}
    yield row | {"parent_id": parent}
    for reply in node["replies"]:
        yield from flat(reply, node["message_id"])


@pytest.fixture(params=["tree", "messages", "messages, answers first"])
def source(request, tmp_path):
    path = tmp_path / "oasst.jsonl"
    rows = list(flat(TREE)) if "messages" in request.param else [{"prompt": TREE}]
    rows = rows[::-1] if "first" in request.param else rows
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_siblings_by_rank(source):
    (ranking,) = read_records(source, Ranking)
    better, worse = ranking.pairs()[0]
    assert (ranking.responses[better], ranking.responses[worse]) == ("Oak.", "Car.")
    assert [turn.content for turn in ranking.prompt] == ["Name a tree."]


def test_the_best_reply_is_a_demonstration(source):
    first, second = read_records(source, Demonstration)
    assert (first.response, second.response) == ("Oak.", "Elm.")
    assert [turn.role for turn in second.prompt] == ["user", "assistant", "user"]


def test_the_first_message_is_the_prompt(tmp_path):
    path = tmp_path / "trees.jsonl"
    path.write_text(json.dumps({"message_tree_id": "t", "prompt": TREE}))
    assert [prompt.prompt for prompt in read_records(path, Prompt)] == ["Name a tree."]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"message_id": "a", "parent_id": "b", "text": "x", "role": "prompter"}, "replies to 'b'"),
        ({"message_id": "a", "text": "x", "role": "robot"}, "'role' is 'robot'"),
        ({"message_id": ["a"], "text": "x", "role": "prompter"}, "'message_id' is"),
        ({"prompt": message("a", 3, role="prompter")}, "'text' is 3"),
        ({"prompt": message("a", "x", None, "no", role="prompter")}, "is not a message"),
        (
            {"prompt": message("a", "x", None, message("b", "y", "first"), role="prompter")},
            "'rank'",
        ),
    ],
)
def test_what_is_no_tree_is_refused(row, says, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(RecordError, match=f"bad.jsonl line 1: .*{says}"):
        read_records(path, Ranking)


def test_flags_as_text_of_a_table(tmp_path):
    path = tmp_path / "oasst.csv"
    path.write_text(
        "message_id,parent_id,role,text,rank,deleted,review_result\n"
        "1,,prompter,Name a fish.,,False,True\n2,1,assistant,Cow,1.0,False,True\n"
        "3,1,assistant,Eel,0.0,False,True\n4,1,assistant,Bad,2.0,False,False\n"
    )
    (found,) = read_records(path, Ranking)
    assert [found.responses[tier[0]] for tier in found.tiers] == ["Eel", "Cow"]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("1", None, "x"), ("2", "1", "a"), ("2", "1", "b")], "two messages have .* '2'"),
        ([("1", "2", "x"), ("2", "1", "a")], "message '1' is in a cycle"),
    ],
)
def test_messages_that_would_be_lost_are_refused(rows, says, tmp_path):
    path = tmp_path / "oasst.jsonl"
    names = ("message_id", "parent_id", "text")
    made = [dict(zip(names, row, strict=True)) | {"role": "prompter"} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    with pytest.raises(RecordError, match=says):
        read_records(path, Ranking)
