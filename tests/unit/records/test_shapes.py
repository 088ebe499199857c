"""Public shapes: each is told by its keys and read as what it means, or refused in a line."""

import json

import pytest

from understudy.records import (
    Demonstration,
    Feedback,
    Message,
    Prompt,
    Ranking,
    RecordError,
    as_messages,
    read_records,
)
from understudy.records.layouts import LABELS
from understudy.records.reading import Found, read_found

USER, ANSWER = {"role": "user", "content": "x"}, {"role": "assistant", "content": "a"}
OTHER = ANSWER | {"content": "b"}
SYSTEM = {"role": "system", "content": "Be brief."}
HISTORY = [USER, ANSWER, {"role": "user", "content": "y"}]
HH = "\n\nHuman: x\n\nAssistant:"
SHAREGPT = [{"from": "human", "value": "x"}, {"from": "gpt", "value": "a"}]


def read(tmp_path, kind, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_records(path, kind)


def turns(prompt):
    return [(turn.role, turn.content) for turn in as_messages(prompt)]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "x", "completion": "a"},
        {"prompt": [USER], "completion": [ANSWER]},
        {"prompt": [USER], "completion": ANSWER},
        {"prompt": "x", "response": "a", "completion": "a"},
        {"prompt": HH, "response": " a"},
        {"messages": [USER, ANSWER]},
        {"messages": json.dumps([USER, ANSWER])},
        {"messages": [{"role": "User", "content": "x"}, {"role": "Assistant", "content": "a"}]},
        {"messages": [USER | {"content": [{"type": "text", "text": "x"}]}, ANSWER]},
        {"messages": [USER | {"role": "Human"}, ANSWER | {"role": "AI"}]},
        {"messages": [USER | {"role": "User"}, ANSWER | {"role": "Chatbot"}]},
        {"conversations": ["x", "a"], "source": "lima"},
        {"data": ["x", "a"], "id": "ultrachat"},
        {"conversation": [{"input": "x", "output": "a"}], "source": "capybara"},
        {"conversation": [USER | {"toxic": True}, ANSWER], "redacted": False, "turn": 1},
        {"prompt": "x", "response": "a", "conversation": "c-12"},
        {"prompt": "x", "response": "a", "messages": [USER]},
        {"messages": [USER, ANSWER], "prompt": "x", "prompt_id": "p", "extra": None},
        {"messages": [USER, ANSWER | {"tool_calls": None, "name": "bot"}], "tools": []},
        {"conversations": SHAREGPT, "system": ""},
        {"instruction": "x", "input": "", "output": "a", "text": "### x a"},
        {"instruction": "x", "context": None, "response": "a", "category": "qa"},
        {"instruction": "x", "input": "<noinput>", "output": "a", "response": "a"},
        {"instruction": "", "input": "x", "output": "a"},
        {"instruction": "x", "instances": [{"input": "", "output": "a"}]},
        {"Definition": ["x"], "Instances": [{"id": "t-1", "input": "", "output": ["a"]}]},
        {"definition": "x", "inputs": "", "targets": "a", "task_name": "t"},
        {"prompt": "x", "completion": "a", "label": True, "weight": 1.0},
    ],
)
def test_demonstrations(row, tmp_path):
    (found,) = read(tmp_path, Demonstration, row)
    assert turns(found.prompt) == [("user", "x")]
    assert found.response == "a"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "x", "chosen": "a", "rejected": "b", "reasoning": "a is true"},
        {"chosen": [USER, ANSWER], "rejected": [USER, OTHER], "context": ""},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER]},
        {"prompt": "x", "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
        {"prompt": "x", "chosen": ANSWER, "rejected": OTHER, "messages": [USER, ANSWER]},
        {"prompt": HH, "chosen": " a", "rejected": " b"},
        {"prompt": HH, "chosen": HH + " a", "rejected": HH + " b"},
        {"chosen": HH + " a", "rejected": HH + " b"},
        {"conversations": SHAREGPT[:1], "chosen": SHAREGPT[1], "rejected": OTHER},
        {"instruction": "x", "input": "", "chosen": "a", "rejected": "b"},
        {
            "input": {"messages": [USER]},
            "preferred_output": [ANSWER],
            "non_preferred_output": OTHER,
        },
        {"input": "x", "output_1": "a", "output_2": "b", "label": 1},
        {"prompt": "x", "responses": ["a", "b"], "ranks": [1, 2]},
        {"prompt": "x", "responses": ["a", "b"], "scores": [0.5, -1]},
        {"prompt": "x", "responses": [[ANSWER], OTHER], "scores": [0.5, -1], "labeler_id": 3},
        {
            "instruction": "x",
            "completions": [
                {"response": "a", "overall_score": 7},
                {"response": "b", "overall_score": 6.5, "annotations": {"Rating": "N/A"}},
            ],
        },
        {"system": "", "question": "x", "chosen": "a", "rejected": "b"},
        {"system": "", "input": "x", "chosen": "a", "rejected": "b", "status": "swapped"},
        {"history": "x", "human_ref_A": "a", "human_ref_B": "b", "labels": 1, "score_ratio": 2.0},
        {"prompt": "x", "response_0": "a", "response_1": "b", "better_response_id": 0},
        {
            "question": {"full_text": "x", "id": "q"},
            **{"answer_0": "a", "answer_1": "b", "score_0": 0.5, "score_1": -0.5},
        },
        {"context": [USER], "response1": "a", "response2": "b", "overall_preference": -2},
        {
            "prompt": HH,
            "answers": [{"answer": "a", "rank": 1.0}, {"answer": "b", "rank": 2.0}],
            "source": ["sharegpt"],
        },
        {"instruction": "x", "generations": ["a", "b"], "ratings": [4.0, 2.0]},
        {
            "conversation_a": [USER, ANSWER],
            "conversation_b": [USER, OTHER],
            "winner": "model_a",
            "judge": "person_1",
        },
        {
            "prompt": '["x"]',
            "response_a": '["a"]',
            "response_b": '["b"]',
            **{"winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0},
        },
    ],
)
def test_rankings(row, tmp_path):
    (ranking,) = read(tmp_path, Ranking, row)
    assert turns(ranking.prompt) == [("user", "x")]
    assert ranking.responses == ("a", "b")
    assert ranking.pairs() == [(0, 1)]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "x", "completion": "a", "label": True},
        {"prompt": [USER], "completion": [ANSWER], "label": True},
        {"prompt": "x", "response": "a", "desirable": True, "labeler_id": "u1"},
        {"prompt": "x", "completion": "a", "label": "Yes", "desirable": 1},
        {"messages": [USER, ANSWER], "kto_tag": True},
        {"conversations": SHAREGPT, "label": "true"},
        {"instruction": "x", "input": "", "output": "a", "label": 1},
        {"messages": [USER, ANSWER], "label": True, "system": ""},
        {"prompt": "x", "response": "a", "thumbs_up": True},
        {"prompt": "x", "response": "a", "thumbs": "Up"},
        {"prompt": "x", "response": "a", "thumb": "\U0001f44d"},
        {"prompt": "x", "response": "a", "category": {"drugs": True}, "is_safe": True},
    ],
)
def test_feedback(row, tmp_path):
    downs = {"thumbs": "down", "thumb": -1}
    labels = {key: downs.get(key, False) for key in LABELS if key in row}
    found = read(tmp_path, Feedback, row, row | labels)
    assert [turns(one.prompt) for one in found] == [[("user", "x")]] * 2
    assert [(one.response, one.desirable) for one in found] == [("a", True), ("a", False)]
    (learned,) = read(tmp_path, Demonstration, row, row | labels)
    assert learned.response == "a"
    path = tmp_path / "rows.jsonl"
    assert {type(record) for _, record in read_found(path, None, Found())} == {Feedback}


def test_rankings_of_every_shape_are_feedback_too(tmp_path, capsys):
    tree = {"prompt": {"text": "x", "role": "prompter", "replies": [
        {"text": text, "role": "assistant", "rank": rank} for rank, text in enumerate("acb")
    ]}}  # fmt: skip
    root = {"message_id": "m", "parent_id": None, "role": "prompter", "text": "x", "rank": None}
    replies = [
        {"message_id": text, "parent_id": "m", "role": "assistant", "text": text, "rank": rank}
        for rank, text in enumerate("ab")
    ]
    for rows in (
        [{"prompt": "x", "chosen": "a", "rejected": "b"}],
        [{"prompt": "x", "responses": ["b", "a"], "scores": [1, 2]}],
        [{"input": "x", "output_1": "a", "output_2": "b", "label": 1}],
        [tree],
        [root, *replies],
    ):
        found = read(tmp_path, Feedback, *rows)
        assert [(one.response, one.desirable) for one in found] == [("a", True), ("b", False)]
    assert "1 response left out: neither best nor worst" in capsys.readouterr().err


def test_a_ranking_without_a_difference_is_no_feedback(tmp_path, capsys):
    tied = {"prompt": "x", "responses": ["a", "b"], "tiers": [[0, 1]]}
    ranked = {"prompt": "x", "responses": ["a", "b", "c"], "tiers": [[0], [1, 2]]}
    found = read(tmp_path, Feedback, tied, ranked | {"labeler_role": "held_out", "split": "train"})
    assert [one.desirable for one in found] == [True, False, False]
    assert {(one.labeler_role, one.split) for one in found} == {("held_out", "train")}
    assert len({one.id for one in found}) == 3
    assert "1 row left out: all responses tie" in capsys.readouterr().err


def test_feedback_of_held_out_labelers_is_no_demonstration(tmp_path, capsys):
    row = {"prompt": "x", "completion": "y", "label": True}
    (found,) = read(tmp_path, Demonstration, row, row | {"labeler_role": "held_out"})
    assert found.response == "y"
    assert "1 row left out: by held-out labelers, who only" in capsys.readouterr().err


def test_a_label_of_something_else_is_no_feedback(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        {"messages": [USER], "label": "maths"},
        {"prompt": "x", "label": "maths"},
        {"prompt": "x", "completion": "a", "label": ""},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    kinds = [type(record) for _, record in read_found(path, None, Found())]
    assert kinds == [Prompt, Prompt, Demonstration]


def test_equal_scores_tie_and_margins_are_scores(tmp_path):
    row = {"prompt": "x", "responses": ["a", "b", "c"], "scores": [1, 3, 1]}
    pair = {"prompt": "x", "chosen": "a", "rejected": "b"}
    three, margin, both = read(
        tmp_path,
        Ranking,
        row,
        pair | {"margin": 2},
        pair | {"score_chosen": 4, "score_rejected": 4.0},
    )
    assert three.tiers == ((1,), (0, 2))
    assert (margin.scores, both.scores) == ((2.0, 0.0), (4.0, 4.0))
    assert both.pairs() == [(0, 1)]


def test_ties_and_second_places_of_the_public_sets(tmp_path):
    chat = {"conversation_a": [USER, ANSWER], "conversation_b": [USER, OTHER]}
    table = {"prompt": ["x", "y"], "response_a": ["c", "a"], "response_b": ["c", "b"]}
    found = read(
        tmp_path,
        Ranking,
        chat | {"winner": "tie (bothbad)"},
        chat | {"winner": "model_b"},
        table | {"winner": "model_b"},
        {"context": [USER], "response1": "a", "response2": "b", "overall_preference": 0},
        {"context": [USER], "response1": "a", "response2": "b", "overall_preference": 3},
        {"history": "x", "human_ref_A": "a", "human_ref_B": "b", "labels": "0"},
        {"prompt": "x", "chosen": "a", "rejected": "b", "is_tie": True},
        {"input": "x", "chosen": "a", "rejected": "b", "status": "tie", "rating": [9, 9]},
    )
    tied, second = ((0, 1),), ((1,), (0,))
    assert [r.tiers for r in found] == [tied, second, second, tied, second, second, tied, tied]
    assert turns(found[2].prompt) == [("user", "x"), ("assistant", "c"), ("user", "y")]
    assert found[4].scores == (0.0, 3.0)


def test_rated_rows_of_one_prompt_make_a_ranking(tmp_path):
    """HelpSteer2: a response of low helpfulness is not a demonstration unless one says so."""
    rows = [
        {"prompt": "x", "response": text, "helpfulness": value, "verbosity": 1}
        for text, value in (("a", 4), ("b", 1))
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = [record for _, record in read_found(path, None, Found())]
    assert (found.responses, found.pairs(), found.scores) == (("a", "b"), [(0, 1)], (4.0, 1.0))
    assert len(read(tmp_path, Demonstration, *rows)) == 2
    path.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(RecordError, match="no prompt has two to compare; --kind demonstrations"):
        list(read_found(path, None, Found()))


@pytest.mark.parametrize(
    "more", [{"responses": ["a", "b"], "best": 1}, {"answers_x": 1, "answer_1": "b"}, {"winner": 2}]
)
def test_a_prompt_with_responses_that_nobody_can_read_is_not_taken_for_a_prompt(more, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "x"} | more) + "\n")
    with pytest.raises(RecordError, match=r"which no known shape reads .* --kind prompts"):
        list(read_found(path, None, Found()))
    assert [p.prompt for p in read(tmp_path, Prompt, {"prompt": "x"} | more)] == ["x"]


def test_three_people_make_three_rankings(tmp_path):
    row = {"instruction": "x", "input": "z", "response1": "a", "response2": "b"}
    people = {"annotator1": 1, "annotator2": 2, "annotator3": 0}
    found = read(tmp_path, Ranking, row | people)
    assert [(r.labeler_id, r.tiers) for r in found] == [
        ("annotator1", ((0,), (1,))),
        ("annotator2", ((1,), (0,))),
        ("annotator3", ((0, 1),)),
    ]
    assert found[0].prompt == "x\n\nz"


def test_several_turns_are_kept(tmp_path):
    more = {"prompt": [USER], "completion": [ANSWER, HISTORY[2], OTHER]}
    chat = {"messages": [*HISTORY, OTHER]}
    transcript = {
        "chosen": HH + " a\n\nHuman: y\n\nAssistant: b",
        "rejected": HH + " a\n\nHuman: y\n\nAssistant: c",
    }
    whole = {"prompt": "x", "response": "a", "messages": [*HISTORY, OTHER]}
    pairs = {"conversation": [{"input": "x", "output": "a"}, {"input": "y", "output": "b"}]}
    texts = {"conversations": ["x", "a", "y", "b"]}
    of_one = [(row, Demonstration) for row in (more, chat, whole, pairs, texts)]
    for row, kind in (*of_one, (transcript, Ranking)):
        (found,) = read(tmp_path, kind, row)
        assert turns(found.prompt) == [("user", "x"), ("assistant", "a"), ("user", "y")]
    asked = {"instruction": "y", "output": "b", "history": [["x", "a"]], "system": "Be brief."}
    (found,) = read(tmp_path, Demonstration, asked)
    assert turns(found.prompt)[0] == ("system", "Be brief.")
    assert [text for _, text in turns(found.prompt)[1:]] == ["x", "a", "y"]


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        (Demonstration, {"prompt": "x", "response": "a", "system": "Be brief."}),
        (Demonstration, {"messages": [USER, ANSWER], "system_prompt": "Be brief."}),
        (Demonstration, {"messages": [SYSTEM, USER, ANSWER], "system": "Be brief. "}),
        (Demonstration, {"messages": [SYSTEM | {"role": "developer"}, USER, ANSWER]}),
        (Ranking, {"prompt": "x", "chosen": "a", "rejected": "b", "system": "Be brief."}),
        (
            Ranking,
            {"prompt": "x", "chosen": [SYSTEM, USER, ANSWER], "rejected": [SYSTEM, USER, OTHER]},
        ),
        (Prompt, {"prompt": "x", "system": "Be brief."}),
        (Prompt, {"prompt": "x", "messages": [SYSTEM, USER, ANSWER]}),
        (Prompt, {"prompt": "x", "chosen": [SYSTEM, USER, ANSWER], "rejected": []}),
    ],
)
def test_a_system_column_or_turn_is_used(kind, row, tmp_path):
    (found,) = read(tmp_path, kind, row)
    assert turns(found.prompt) == [("system", "Be brief."), ("user", "x")]


def test_answers_that_nobody_should_learn_are_left_out_and_counted(tmp_path, capsys):
    row = {"prompt": "x", "completion": "a"}
    found = read(
        tmp_path,
        Demonstration,
        row | {"label": "True"},
        row | {"label": False},
        row | {"kto_tag": False},
        row | {"weight": 0},
        {"messages": [USER, ANSWER | {"weight": 0}]},
    )
    assert len(found) == 1
    said = capsys.readouterr().err
    assert "1 row left out: label is false" in said
    assert "1 row left out: weight 0" in said
    assert "1 row left out: no turn has a weight of 1" in said


def test_turns_of_weight_0_are_context(tmp_path):
    unlearned = ANSWER | {"weight": 0}
    (early,) = read(tmp_path, Demonstration, {"messages": [USER, unlearned, USER, OTHER]})
    assert early.prompt[1] == Message("assistant", "a", 0)
    late = {"messages": [USER, ANSWER, USER, OTHER | {"train": False}]}
    (cut,) = read(tmp_path, Demonstration, late)
    assert (turns(cut.prompt), cut.response) == ([("user", "x")], "a")


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        (
            Ranking,
            {"history": "x", "human_ref_A": "a", "human_ref_B": "b", "labels": 2},
            "'labels' is 2; it must be one of 1, 0",
        ),
        (
            Ranking,
            {
                "conversation_a": [USER, ANSWER, USER, ANSWER],
                "conversation_b": [USER, OTHER, USER, ANSWER],
                "winner": "model_a",
            },
            "'conversation_a' and 'conversation_b' differ before the last response",
        ),
        (
            Ranking,
            {"prompt": "x", "response_a": "a", "response_b": "b", "winner_model_a": 0},
            "exactly one of the fields",
        ),
        (Demonstration, {"messages": []}, "ends with the assistant's"),
        (Demonstration, {"messages": [USER, USER]}, "ends with the assistant's"),
        (Demonstration, {"messages": [USER, ANSWER | {"content": None}]}, "must be text"),
        (
            Demonstration,
            {"messages": [USER, {"role": "tool", "content": "s"}]},
            "'tool'; it must",
        ),
        (
            Demonstration,
            {"messages": [USER, ANSWER | {"content": None, "tool_calls": [{"f": 1}]}]},
            "is a tool call",
        ),
        (Demonstration, {"messages": [USER, ANSWER], "tools": [{"name": "f"}]}, "'tools' is"),
        (
            Demonstration,
            {"messages": [USER, ANSWER | {"content": " "}, USER, ANSWER]},
            r"'messages\[1\]' is a turn without text",
        ),
        (Demonstration, {"messages": [USER, ANSWER | {"weight": 0.5}]}, "it must be 1"),
        (Demonstration, {"messages": [USER, ANSWER], "prompt": "z"}, "'prompt' is not among"),
        (
            Demonstration,
            {"messages": [SYSTEM, USER, ANSWER], "system": "z"},
            "differs from",
        ),
        (Demonstration, {"prompt": "x", "response": "a", "completion": "b"}, "differ; keep one"),
        (Demonstration, {"prompt": "x", "response": "a", "label": "sports"}, "'label' is 'sports'"),
        (Demonstration, {"prompt": "x", "response": "a", "weight": 0.3}, "'weight' is 0.3"),
        (
            Demonstration,
            {"prompt": "x", "response": "a", "input": "z"},
            "'input' is 'z': it",
        ),
        (Demonstration, {"prompt": "x", "response": "a", "images": ["i.png"]}, "only text"),
        (Demonstration, {"conversations": SHAREGPT, "image": "i.png"}, "only text"),
        (
            Ranking,
            {
                "input": {"messages": [USER], "tools": [{"type": "function"}]},
                "preferred_output": [ANSWER],
                "non_preferred_output": [OTHER],
            },
            "'input.tools' has tools",
        ),
        (
            Demonstration,
            {"question": "x", "context": "y", "response": "a"},
            "'context' is 'y': it is not part of the prompt",
        ),
        (Ranking, {"prompt": "x", "context": [USER], "chosen": "a", "rejected": "b"}, "'context'"),
        (
            Demonstration,
            {"prompt": "x", "thinking": "y", "response": "a"},
            "'thinking' is 'y': put",
        ),
        (Demonstration, {"messages": [USER, ANSWER | {"thought": "y"}]}, "text outside the"),
        (
            Demonstration,
            {"messages": [USER | {"content": [{"type": "image"}, {"type": "text", "text": "x"}]}]},
            r"content' has a part of type 'image'; only text",
        ),
        (
            Demonstration,
            {"prompt": "x", "response": "z", "messages": [USER, ANSWER]},
            "'response' is not among the turns of 'messages'; keep one",
        ),
        (Demonstration, {"conversations": ["x"]}, "ends with the assistant's"),
        (Demonstration, {"prompt": "x", "chosen": "a", "rejected": "b"}, "this is a ranking"),
        (Demonstration, {"prompt": "x", "Response": "a"}, "is it 'Response'"),
        (Demonstration, {"prompt": "x", "response": None}, "field 'response' is empty"),
        (Ranking, {"prompt": "x", "responses": ["a", "b"], "scores": ["1", 2]}, "a number per"),
        (Ranking, {"prompt": "x", "responses": ["a", "b"], "ranks": [1]}, "exactly one tier"),
        (Ranking, {"prompt": "x", "chosen": "a"}, "'rejected' is missing"),
        (Ranking, {"chosen": "a", "rejected": "b"}, "'prompt' is missing"),
        (Ranking, {"chosen": [ANSWER], "rejected": [OTHER]}, "'prompt' is missing"),
        (
            Ranking,
            {"prompt": "x", "chosen": "a", "rejected": "b", "label": 1},
            "already says which",
        ),
        (
            Ranking,
            {"prompt": "x", "chosen": "a", "rejected": "b", "margin": float("nan")},
            "'margin' is",
        ),
        (
            Ranking,
            {"prompt": "x", "chosen": "a", "rejected": "b", "score_chosen": 1, "score_rejected": 2},
            "contradict which response was chosen",
        ),
        (
            Ranking,
            {"chosen": [*HISTORY, ANSWER], "rejected": [USER, OTHER]},
            "differ before the",
        ),
        (
            Ranking,
            {"prompt": "z", "chosen": [USER, ANSWER], "rejected": [USER, OTHER]},
            "neither begins with the prompt",
        ),
        (
            Ranking,
            {"instruction": "x", "completions": [{"response": "a", "overall_score": "N/A"}]},
            "overall_score' is",
        ),
        (Prompt, {"prompt": {"text": "x"}}, r"'prompt\[0\]\.role' is missing"),
        (Prompt, {"prompt": 3}, "'prompt' is 3; it must be"),
        (Prompt, {"prompt": "x", "Consent": False}, "'Consent' is not read; call it 'consent'"),
        (Prompt, {"prompt": "x", "userId": 3}, "'userId' is not read; call it 'user_id'"),
        (Prompt, {"prompt": "x", "opt_out": True}, "'opt_out' is True: say it as 'consent'"),
        (Demonstration, {"instruction": "x", "output": "a", "response": "b"}, "differ; keep one"),
        (
            Demonstration,
            {"messages": [USER, ANSWER | {"train_detail": [{"train": 0}]}]},
            "must be 1",
        ),
        (
            Ranking,
            {"prompt": "x", "responses": ["a", "b"], "tiers": [[], [0], [1]]},
            "no tier empty",
        ),
        (Demonstration, {"instruction": "x", "output": "a", "history": 3}, "'history' is 3; it"),
        (
            Demonstration,
            {"Definition": "x", "Instances": [{"input": "z", "output": [{}]}]},
            r"'Instances\[0\].output' is",
        ),
        (Ranking, {"prompt": "x", "responses": ["a", "b"], "scores": [10**400, 1]}, "a number per"),
    ],
)
def test_what_cannot_be_used_is_refused_by_line(kind, row, message, tmp_path):
    with pytest.raises(RecordError, match=f"rows.jsonl line 1: .*{message}"):
        read(tmp_path, kind, row)


def test_an_instruction_has_context_and_input(tmp_path):
    row = {"instruction": "x", "context": "y", "input": "z", "output": "a"}
    (found,) = read(tmp_path, Demonstration, row)
    assert found.prompt == "x\n\ny\n\nz"


def test_natural_instructions_have_one_demonstration_for_each_right_output(tmp_path):
    task = {
        "Definition": ["Translate."],
        "Positive Examples": [],
        "Instances": [{"id": "t-1", "input": "un", "output": ["one", "a", "one"]}],
    }
    found = read(tmp_path, Demonstration, task)
    assert [(d.prompt_id, d.prompt, d.response) for d in found] == [
        ("t-1", "Translate.\n\nun", "one"),
        ("t-1", "Translate.\n\nun", "a"),
    ]


def test_prompts_of_any_shape(tmp_path):
    rows = [
        {"prompt": HH},
        "x",
        {"messages": [USER]},
        {"instruction": "x"},
        {"chosen": HH + " a", "rejected": HH + " b"},
        {"messages": [USER, ANSWER]},
    ]
    assert [turns(p.prompt) for p in read(tmp_path, Prompt, *rows)] == [[("user", "x")]] * len(rows)


def test_a_row_is_read_as_the_first_shape_that_fits(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": "x", "chosen": "a", "rejected": "b", "lang": "en", "text": None},
        {"text": "t"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = Found()
    kinds = [type(record) for _, record in read_found(path, None, found)]
    assert kinds == [Ranking, str]
    assert dict(found.shapes) == {"prompt/chosen/rejected": 1, "plain text": 1}
    assert dict(found.ignored) == {"lang": 1}


def test_rated_rows_keep_their_system_turn_split_and_conversation(tmp_path, capsys):
    shared = {"prompt": [USER], "system": "Be brief.", "split": "validation"}
    rows = [
        shared | {"response": "a", "helpfulness": 4},
        shared | {"response": "b", "helpfulness": 2},
        {"prompt": "alone", "response": "c", "helpfulness": 3},
        {"prompt": "alone", "response": "d", "helpfulness": 1, "weight": 0},
    ]
    (found,) = read(tmp_path, Ranking, *rows)
    assert turns(found.prompt) == [("system", "Be brief."), ("user", "x")]
    assert (found.responses, found.split) == (("a", "b"), "valid")
    said = capsys.readouterr().err
    assert "1 row left out: weight 0" in said
    assert "1 row left out: the only response to its prompt" in said


def test_a_bad_rated_row_is_named_and_costs_no_other(tmp_path):
    rows = [
        {"prompt": prompt, "response": text, "helpfulness": value}
        for prompt, text, value in (("x", "a", 4), ("x", 5, 3), ("y", "a", 4), ("y", "b", 1))
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = Found(lenient=True)
    assert [record.prompt for _, record in read_found(path, Ranking, found)] == ["y"]
    assert found.bad == ["line 2: field 'response' is 5; it must be text"]


@pytest.mark.parametrize("prompt", ["x", json.dumps([USER])])
def test_turns_that_a_table_holds_as_text(prompt, tmp_path):
    pair = {"chosen": [USER, ANSWER], "rejected": [USER, OTHER]}
    written = {"prompt": prompt} | {name: json.dumps(value) for name, value in pair.items()}
    (found,) = read(tmp_path, Ranking, written)
    assert (turns(found.prompt), found.responses) == ([("user", "x")], ("a", "b"))
    answer = {"prompt": json.dumps([USER]), "completion": json.dumps([ANSWER])}
    (learned,) = read(tmp_path, Demonstration, answer)
    assert (turns(learned.prompt), learned.response) == ([("user", "x")], "a")
    for row in (
        {"prompt": prompt} | {name: str(value) for name, value in pair.items()},
        {"messages": str([{"content": "x", "role": "user"}, ANSWER])},
    ):
        with pytest.raises(RecordError, match="a list of turns as Python prints it"):
            read(tmp_path, Demonstration if "messages" in row else Ranking, row)


def test_json_that_is_an_answer_stays_text(tmp_path):
    row = {"prompt": "x", "chosen": '{"role": "admin"}', "rejected": '[{"from": "Rome"}]'}
    (found,) = read(tmp_path, Ranking, row)
    assert found.responses == (row["chosen"], row["rejected"])


def test_turns_with_the_keys_of_two_conventions(tmp_path):
    ours = [turn | {"from": None, "value": None} for turn in (USER, ANSWER)]
    theirs = [turn | {"role": None, "content": None} for turn in SHAREGPT]
    mixed = [{"role": "user", "value": "x"}, {"from": "gpt", "content": "a"}]
    found = read(tmp_path, Demonstration, *({"messages": turns} for turns in (ours, theirs, mixed)))
    assert [(turns(one.prompt), one.response) for one in found] == [([("user", "x")], "a")] * 3
