"""What a request may say."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.gateways import FakeUpstream, make_key, plain_client, running
from tests.stores import make_project

from understudy.serving.app import build_app
from understudy.serving.gateway import Settings
from understudy.serving.upstream import Upstream
from understudy.serving.wire import ApiError, ChatRequest, CompletionRequest, invalid

RECORDED = Path(__file__).with_name("recorded.jsonl")
"""Ten turns with OpenAI's own client, the newest and one a year older, as it sent them."""
TURNS = [{"role": "user", "content": "Hi"}]


def chat(**fields: object) -> ChatRequest:
    body = {"model": "m", "messages": TURNS, **fields}
    try:
        return ChatRequest.model_validate_json(json.dumps(body))
    except ValidationError as error:
        raise invalid(error) from None


@pytest.mark.parametrize("client", ["openai 2.8.1", "openai 3.54.0"])
def test_a_recorded_conversation_of_ten_turns(tmp_path: Path, client: str) -> None:
    recorded = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    mine = [request for request in recorded if request["client"] == client]
    assert len(mine) == 12
    project = make_project("sqlite", tmp_path / "project")
    header = {"Authorization": f"Bearer {make_key(project, 'ann')}"}
    upstream = FakeUpstream()
    with running(upstream) as address:
        backend = Upstream(f"{address}/v1", name="m")
        app = build_app(Settings(log=project.log), project.open_store(), backend)
        with running(app) as url, plain_client(headers=header) as http:
            for sent in mine:
                reply = http.request(
                    sent["method"],
                    url + sent["path"],
                    headers=sent["headers"],
                    content=None if sent["body"] is None else json.dumps(sent["body"]),
                )
                assert reply.status_code == 200, reply.text
    assert len(upstream.seen) == 10
    last = upstream.seen[-1]
    assert [turn["role"] for turn in last["messages"]] == [
        "developer",
        *["user", "assistant"] * 9,
        "user",
    ]
    assert set(last) == {"model", "messages", "stream", "stream_options", "max_tokens"}
    assert all(set(turn) == {"role", "content"} for turn in last["messages"])


@pytest.mark.parametrize(
    "idle",
    [
        {"presence_penalty": 0.0, "frequency_penalty": 0},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": False},
        {"functions": None, "function_call": "none"},
        {"logit_bias": {}, "service_tier": "default", "modalities": ["text"]},
        {"response_format": {"type": "text"}, "top_logprobs": 0, "logprobs": False},
        {"user": "u", "metadata": {"k": "v"}, "safety_identifier": "s", "prompt_cache_key": None},
        {"stop": None, "n": 1, "seed": None, "max_tokens": None, "stream": False},
        {"stream": True, "stream_options": {"include_usage": None, "include_obfuscation": False}},
        {"stream": True, "stream_options": {"include_obfuscation": True}},
    ],
)
def test_what_asks_for_nothing_is_accepted_and_goes_no_further(idle: dict) -> None:
    kept = {"top_logprobs", "logprobs", "n", "stream"} & set(idle)
    assert set(chat(**idle).sent()) == {"model", "messages"} | kept


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}], "unsupported_value"),
        ("tool_choice", "required", "unsupported_value"),
        ("response_format", {"type": "json_schema", "json_schema": {}}, "unsupported_value"),
        ("logit_bias", {"50256": -100}, "unsupported_value"),
        ("presence_penalty", 0.5, "unsupported_value"),
        ("presence_penalty", False, "unsupported_value"),
        ("modalities", ["text", "audio"], "unsupported_value"),
        ("prediction", {"type": "content", "content": "x"}, "unsupported_value"),
        ("temp", 1, "unknown_parameter"),
        ("temperature", float("nan"), "invalid_value"),
        ("max_tokens", 10**400, "invalid_value"),
    ],
)
def test_what_asks_for_more_is_refused_by_name(field: str, value: object, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat(**{field: value})
    error = caught.value.body["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", field, code)
    assert field in error["message"]


@pytest.mark.parametrize(
    ("turn", "param"),
    [
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
            "messages[1].content",
        ),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[1].content"),
        ({"role": "user", "content": None}, "messages[1]"),
        ({"role": "tool", "content": "4", "tool_call_id": "c"}, "messages[1]"),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}, "messages[1]"),
        ({"role": "robot", "content": "x"}, "messages[1].role"),
        ({"role": "user", "content": "x", "mood": "good"}, "messages[1].mood"),
        ({"role": "user", "content": 3}, "messages[1].content"),
    ],
)
def test_a_turn_that_cannot_be_used_is_named(turn: dict, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat(messages=[*TURNS, turn, *TURNS])
    assert caught.value.body["error"]["param"] == param


@pytest.mark.parametrize(
    ("turn", "text"),
    [
        ({"content": ""}, ""),
        ({"content": None, "refusal": "I will not."}, "I will not."),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "No."),
        ({"content": "x", "annotations": [{"type": "url_citation"}], "audio": None}, "x"),
        ({"content": "x", "reasoning_content": "hm", "tool_calls": [], "function_call": None}, "x"),
        ({"content": "x", "provider_specific_fields": None, "thinking_blocks": None}, "x"),
        ({"content": "x", "reasoning_details": [{"type": "reasoning.text"}]}, "x"),
    ],
)
def test_an_earlier_answer_comes_back_as_its_text(turn: dict, text: str) -> None:
    asked = chat(messages=[*TURNS, {"role": "assistant", **turn}, *TURNS])
    assert asked.sent()["messages"][1] == {"role": "assistant", "content": text}
    assert asked.messages[1].plain() == ("assistant", text)


@pytest.mark.parametrize(
    ("stop", "says"),
    [
        (["a", "b", "c", "d", "e"], "stop: List should have at most 4 items"),
        (["a", 5], r"stop\[1\]: Input should be a valid string"),
        (5, "stop: Input should be a valid string"),
    ],
)
def test_what_may_be_a_text_or_a_list_is_judged_as_what_it_is(stop: object, says: str) -> None:
    with pytest.raises(ApiError, match=says):
        chat(stop=stop, max_tokens=0)


def test_best_of_is_n_or_refused() -> None:
    assert "best_of" not in CompletionRequest(model="m", prompt="x", n=3, best_of=3).sent()
    with pytest.raises(ValidationError, match="best_of must equal n"):
        CompletionRequest(model="m", prompt="x", best_of=2)
