import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.records import (
    FLAGS,
    Comparison,
    Demonstration,
    Judgment,
    LabelerInfo,
    Message,
    Prompt,
    Ranking,
    Rating,
    RecordError,
    Response,
    as_messages,
    prompt_text,
)

CHAT = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Name a prime."))
RECORDS = [
    Prompt(id="p1", prompt="Name a prime.", user_id="u1", split="train", tags={"use_case": "qa"}),
    Prompt(id="p2", prompt=CHAT, user_id="u1", consent=False),
    Demonstration(id="d1", prompt_id="p1", prompt=CHAT, response="7", labeler_id="l1"),
    Response(id="r1", prompt_id="p1", prompt="x", response="7", model="sft", logprob=-1.5),
    Rating(
        id="a1",
        prompt_id="p1",
        response_id="r1",
        labeler_id="l1",
        likert=7,
        flags={"hallucination": True},
    ),
    Ranking(
        id="k1",
        prompt_id="p1",
        prompt="x",
        responses=("a", "b", "c"),
        tiers=((2,), (0, 1)),
        labeler_id="l1",
    ),
    Comparison(prompt_id="p1", prompt="x", first="a", second="b", preferred="tie", labeler_id="l1"),
    LabelerInfo(id="l1", role="held_out", screening={"ranking_agreement": 0.8}),
    Judgment(helpful=1, truthful=1.0, harmless=1.0, finished=1.0, total=3.5, flags={}),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_json_and_back(record):
    assert type(record).from_json(record.to_json()) == record


def test_eleven_flags_as_in_table_3():
    assert len(FLAGS) == len(set(FLAGS)) == 11


def test_a_string_is_one_user_turn():
    assert as_messages("Hi") == (Message("user", "Hi"),)
    assert as_messages(CHAT) == CHAT
    assert prompt_text(CHAT).splitlines()[1] == "assistant: Hello"


def test_hand_written_rows_need_no_ids():
    row = {"prompt": "Name a prime.", "response": "7"}
    first, again = Demonstration.from_json(row), Demonstration.from_json(dict(row))
    other = Demonstration.from_json(row | {"response": "9"})
    assert first == again
    assert first.id != other.id
    assert first.prompt_id == other.prompt_id
    assert first.labeler_id == "unknown"
    assert Prompt.from_json({"prompt": "a"}).user_id != Prompt.from_json({"prompt": "b"}).user_id


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        (Demonstration, {"prompt": "x"}, "'response' is missing; each demonstration needs"),
        (Demonstration, {"response": "x"}, "'prompt_id' is missing|'prompt' is missing|'id' is"),
        (Demonstration, {"prompt": "x", "response": " "}, "'response' is empty"),
        (Demonstration, {"prompt": 3, "response": "x"}, "'prompt' is 3; it must be text"),
        (
            Demonstration,
            {"prompt": [{"role": "me", "content": "x"}], "response": "x"},
            r"'prompt\[0\].role' is 'me'; it must be one of 'system', 'user', 'assistant'",
        ),
        (
            Demonstration,
            {"prompt": [{"role": "assistant", "content": "x"}], "response": "x"},
            "must end with a user turn",
        ),
        (Ranking, {"prompt": "x", "responses": ["a"], "tiers": [[0]]}, "has 1; a ranking needs"),
        (
            Ranking,
            {"prompt": "x", "responses": ["a", "b"], "tiers": [[0]]},
            "each of the indices 0 to 1 must be in exactly one tier",
        ),
        (
            Ranking,
            {"prompt": "x", "responses": ["a", "b"], "tiers": [[0], [0, 1]]},
            "exactly one tier",
        ),
        (Rating, {"prompt_id": "p", "response_id": "r", "likert": 8}, "'likert' is 8; it must be"),
        (Rating, {"prompt_id": "p", "response_id": "r", "likert": True}, "a whole number"),
        (Prompt, {"prompt": "x", "consent": "perhaps"}, "'consent' is 'perhaps'; it must be true"),
        (Prompt, {"prompt": "x", "id": True}, "'id' is True; it must be text"),
        (Prompt, {"prompt": "Smile \ud83d"}, r"half of a surrogate pair at character 7 \(.ud83d\)"),
        (Prompt, {"prompt": "x", "tags": {"a": ["\udc00"]}}, r"'tags\.a\[0\]' has half"),
        (
            Ranking,
            {
                "prompt": "x",
                "responses": ["a", "b"],
                "tiers": [[0, 1]],
                "scores": [1, float("nan")],
            },
            r"'scores\[1\]' is nan; it must be a finite number",
        ),
        (
            Rating,
            {"prompt_id": "p", "response_id": "r", "likert": 1, "flags": {"rude": True}},
            "'flags' has 'rude'; known flags: fails_instruction",
        ),
        (Prompt, ["x"], "this is list, not an object"),
    ],
)
def test_bad_rows_say_what_is_wrong(kind, row, message):
    with pytest.raises(RecordError, match=message):
        kind.from_json(row)


def test_ids_may_be_numbers():
    row = {"id": 17, "prompt_id": 3.0, "prompt": "x", "response": "y", "labeler_id": 2}
    found = Demonstration.from_json(row)
    assert (found.id, found.prompt_id, found.labeler_id) == ("17", "3", "2")


def test_ranking_worked_by_hand():
    # Tiers: c best, then a and b tied, then d: pairs c>a, c>b, c>d, a>d, b>d; one tie.
    ranking = Ranking(
        id="k",
        prompt_id="p",
        prompt="x",
        responses=("a", "b", "c", "d"),
        tiers=((2,), (0, 1), (3,)),
        labeler_id="l",
    )
    assert ranking.ranks == (1, 1, 0, 2)
    assert ranking.pairs() == [(2, 0), (2, 1), (2, 3), (0, 3), (1, 3)]
    assert ranking.num_ties == 1


@given(st.lists(st.integers(0, 4), min_size=2, max_size=9))
def test_pairs_are_all_pairs_with_different_ranks(levels):
    ranks = sorted(set(levels))
    tiers = tuple(tuple(i for i, v in enumerate(levels) if v == rank) for rank in ranks)
    ranking = Ranking(
        id="k",
        prompt_id="p",
        prompt="x",
        responses=tuple(map(str, range(len(levels)))),
        tiers=tiers,
        labeler_id="l",
    )
    size = len(levels)
    naive = {(i, j) for i in range(size) for j in range(size) if levels[i] < levels[j]}
    assert set(ranking.pairs()) == naive
    assert len(ranking.pairs()) + ranking.num_ties == size * (size - 1) // 2


def test_swapping_a_comparison_twice_changes_nothing():
    comparison = Comparison(
        prompt_id="p",
        prompt="x",
        first="a",
        second="b",
        preferred="first",
        labeler_id="l",
        first_model="sft",
        second_model="ppo",
    )
    swapped = comparison.swap()
    assert (swapped.first, swapped.preferred, swapped.first_model) == ("b", "second", "ppo")
    assert swapped.swap() == comparison


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (True, True),
        (1, True),
        (" YES ", True),
        (False, False),
        ("no", False),
        (0.0, False),
        (None, False),
        ("  ", False),
    ],
)
def test_blank_consent_is_no_consent(given, expected):
    assert Prompt.from_json({"prompt": "x", "consent": given}).consent is expected
    assert Prompt.from_json({"prompt": "x"}).consent


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-03-04T12:00:00Z", "2026-03-04T12:00:00Z"),
        ("2026-03-04T14:00:00+02:00", "2026-03-04T12:00:00+00:00"),
        ("2026-03-04", "2026-03-04"),
        (1772625600, "2026-03-04T12:00:00+00:00"),
        ("1772625600000", "2026-03-04T12:00:00+00:00"),
        ("", None),
        (None, None),
    ],
)
def test_times_are_iso_text_in_utc(given, expected):
    assert Prompt.from_json({"prompt": "x", "created_at": given}).created_at == expected


@pytest.mark.parametrize("given", ["3/4/2026", "yesterday", "2026-13-40T00:00:00", 7])
def test_a_time_that_can_be_misread_is_refused(given):
    with pytest.raises(RecordError, match=r"'created_at' is .*; write the time as ISO 8601"):
        Prompt.from_json({"prompt": "x", "created_at": given})


def test_a_turn_that_is_not_learned_says_so_and_others_say_nothing():
    turns = (Message("user", "x"), Message("assistant", "a", 0), Message("user", "y"))
    row = Prompt(id="p", prompt=turns, user_id="u").to_json()
    assert [turn.get("weight") for turn in row["prompt"]] == [None, 0, None]
    assert Prompt.from_json(row).prompt == turns


def test_a_blank_id_is_none_and_nan_is_refused():
    first, second = (Prompt.from_json({"prompt": p, "id": "", "user_id": ""}) for p in "xy")
    assert first.id
    assert first.id != second.id
    assert first.user_id != second.user_id
    with pytest.raises(RecordError, match="'user_id' is nan"):
        Prompt.from_json({"prompt": "x", "user_id": float("nan")})
