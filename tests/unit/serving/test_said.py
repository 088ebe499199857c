"""What another server said, made safe."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.serving.said import MOST_TOKENS, BadResponse, Halves, choices_of, parse, usage_of
from understudy.serving.wire import usage

WRONG = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "choices index delta message content text error logprobs role usage".split()
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(WRONG, st.sampled_from(["message", "delta", "text"]))
def test_whatever_is_said_can_be_sent_or_is_no_answer(said: object, part: str) -> None:
    try:
        found = choices_of(said, part, 2)
    except BadResponse:
        return
    assert json.dumps(found, allow_nan=False, ensure_ascii=False).encode() is not None
    for choice in found:
        text = choice[part] if part == "text" else choice[part].get("content", "")
        assert choice["index"] in (0, 1)
        assert text is None or isinstance(text, str)


def test_halves_of_a_character_are_joined_and_a_lone_one_is_replaced() -> None:
    halves = Halves()

    def said(text: str, index: int = 0) -> str:
        chunk = {"choices": [{"index": index, "delta": {"content": text}}]}
        return choices_of(chunk, "delta", 2, halves)[0]["delta"]["content"]

    assert said("a\ud83d") == "a"
    assert said("\ud83d", 1) == ""
    assert said("\ude00b") == "\U0001f600b"
    assert said("c", 1) == "\ufffdc"
    assert choices_of({"choices": [{"text": "\udc00x"}]}, "text", 1)[0]["text"] == "\ufffdx"
    assert choices_of({"choices": [{"text": "x\ud83d"}]}, "text", 1)[0]["text"] == "x\ufffd"


def test_a_half_at_the_end_of_a_response_is_replaced() -> None:
    halves = Halves()

    def delta(**choice):
        return choices_of({"choices": [{"index": 0, **choice}]}, "delta", 1, halves)[0]["delta"]

    assert delta(delta={"content": "a\ud83d"}) == {"content": "a"}
    assert delta(delta={}) == {}
    assert delta(delta={}, finish_reason="stop") == {"content": "\ufffd"}


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("stop", "stop"),
        ("eos_token", "stop"),
        ("MAX_TOKENS", "length"),
        ("max_output_tokens", "length"),
        ("SAFETY", "content_filter"),
        ("", None),
        (None, None),
    ],
)
def test_reasons_to_end_have_openais_names(given, ours) -> None:
    choice = {"index": 0, "message": {"content": "x"}, "finish_reason": given}
    assert choices_of({"choices": [choice]}, "message", 1)[0]["finish_reason"] == ours


@pytest.mark.parametrize("reason", ["error", "ABORT", "insufficient_system_resource"])
def test_a_reason_that_is_a_failure_is_no_response(reason) -> None:
    choice = {"index": 0, "message": {"content": "x"}, "finish_reason": reason}
    with pytest.raises(BadResponse):
        choices_of({"choices": [choice]}, "message", 1)


@pytest.mark.parametrize(
    "counts",
    [
        None,
        {},
        {"prompt_tokens": -1, "completion_tokens": 2},
        {"prompt_tokens": 10**30, "completion_tokens": 2},
        {"prompt_tokens": "3", "completion_tokens": 2},
        {"prompt_tokens": True, "completion_tokens": 2},
        {"prompt_tokens": 1.5, "completion_tokens": MOST_TOKENS + 1},
    ],
)
def test_counts_that_cannot_be_true_are_none(counts: object) -> None:
    assert usage_of({"usage": counts}) is None
    true = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 99}
    assert usage_of({"usage": true}) == usage(3, 4)


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"\xff", b"1" * 5000])
def test_what_is_no_json_is_no_answer(data: bytes) -> None:
    with pytest.raises(BadResponse):
        parse(data)


def test_numbers_that_are_none_and_bytes_that_are_no_character_are_replaced() -> None:
    assert parse(b'{"a": [NaN, Infinity], "b": "x\xf0\x9f"}') == {"a": [None, None], "b": "x\ufffd"}


LETTERS = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=5)
SAID = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | LETTERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LETTERS, inner, max_size=3),
    max_leaves=8,
)


@given(SAID, st.booleans())
def test_json_is_read_as_the_standard_library_reads_it(said: object, ascii_only: bool) -> None:
    """Also halves of surrogate pairs, which a chunk may end in, in escapes and in raw bytes."""
    data = json.dumps(said, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert parse(data) == json.loads(data.decode("utf-8", "replace"), parse_constant=lambda _: None)
