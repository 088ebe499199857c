"""The gateway before a model in its process, spoken to by OpenAI's own client."""

import threading
from pathlib import Path

import openai
import pytest
from tests.fixtures_models import make_policy, make_tokenizer
from tests.gateways import make_key, running
from tests.stores import make_project

from understudy.engines.generation import generate
from understudy.models.chat import decode_response, render_prompt
from understudy.serving.app import build_app
from understudy.serving.gateway import Settings
from understudy.serving.local import LocalModel
from understudy.store.prompts.log import PromptLog

ASK = [{"role": "user", "content": "Name a prime number."}]


@pytest.fixture(scope="module")
def model():
    return make_policy("llama"), make_tokenizer()


@pytest.fixture(scope="module")
def backend(model):
    return LocalModel(*model, name="tiny", slots=6, max_prompt_tokens=100, max_response_tokens=120)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project("sqlite", tmp_path_factory.mktemp("gateway") / "project")


@pytest.fixture(scope="module")
def client(backend, project):
    key = make_key(project, "u1")
    settings = Settings(log=project.log, requests_per_minute=10_000)
    app = build_app(settings, project.open_store(), backend)
    with (
        running(app) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as made,
    ):
        yield made


def test_the_models(client) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]


def test_a_greedy_answer_is_the_rollout_engines(client, model) -> None:
    policy, tokenizer = model
    ids = render_prompt(tokenizer, "Name a prime number.")
    (expected,) = generate(
        policy, [ids], max_new_tokens=20, greedy=True, seed=0, stop_ids=[0], pad_id=1
    )
    answer = client.chat.completions.create(
        model="tiny", messages=ASK, temperature=0, max_tokens=20
    )
    (choice,) = answer.choices
    assert choice.message.content == decode_response(tokenizer, expected.ids)
    assert choice.finish_reason == ("stop" if expected.finished else "length")
    assert answer.usage.prompt_tokens == len(ids)
    assert answer.usage.completion_tokens == len(expected.ids)
    assert answer.id.startswith("chatcmpl-")


def test_streaming_says_the_same(client) -> None:
    asked = dict(model="tiny", messages=ASK, temperature=0.7, seed=3, max_tokens=30)
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert [c.usage for c in chunks if c.usage] == [whole.usage]
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == (
        whole.choices[0].finish_reason
    )
    plain = list(client.chat.completions.create(**asked, stream=True))
    assert all(chunk.choices for chunk in plain)


def test_a_seed_gives_the_same_answer_whoever_runs_beside_it(client) -> None:
    def ask(seed: int, **more: object) -> str:
        answer = client.chat.completions.create(
            model="tiny", messages=ASK, seed=seed, max_tokens=25, top_p=0.9, **more
        )
        return answer.choices[0].message.content

    alone = [ask(seed) for seed in range(8)]
    assert len(set(alone)) > 4
    beside: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda s=seed: beside.setdefault(s, ask(s))) for seed in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [beside[seed] for seed in range(8)] == alone


def test_n_answers_differ_and_are_counted(client) -> None:
    answer = client.chat.completions.create(model="tiny", messages=ASK, n=3, seed=5, max_tokens=12)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3


def test_a_stop_sequence_ends_the_answer_before_it(client) -> None:
    asked = dict(model="tiny", messages=ASK, temperature=0, max_tokens=40)
    text = client.chat.completions.create(**asked).choices[0].message.content
    stop = text[5:8]
    cut = client.chat.completions.create(**asked, stop=["@@@", stop]).choices[0]
    assert cut.message.content == text[: text.find(stop)].strip()
    assert cut.finish_reason == "stop"
    chunks = client.chat.completions.create(**asked, stop=stop, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == cut.message.content


def test_logprobs_are_the_models(client, model) -> None:
    asked = dict(model="tiny", messages=ASK, temperature=0, max_tokens=6)
    answer = client.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    assert 1 <= len(content) <= 6
    for token in content:
        assert len(token.top_logprobs) == 3
        assert token.logprob == pytest.approx(token.top_logprobs[0].logprob)  # greedy
        assert bytes(token.bytes).decode("utf-8", "replace") == token.token
    prompt = render_prompt(model[1], "Name a prime number.")
    (expected,) = generate(
        model[0], [prompt], max_new_tokens=6, greedy=True, seed=0, stop_ids=[0], pad_id=1
    )
    logprobs = [token.logprob for token in content]
    assert logprobs == pytest.approx(expected.logprobs[: len(logprobs)], abs=1e-4)


def test_a_token_that_is_part_of_a_character_has_its_bytes(backend, model) -> None:
    _, tokenizer = model
    ids = tokenizer("\U0001f600", add_special_tokens=False)["input_ids"]
    found = [backend._shown(token, 0.0)["bytes"] for token in ids]
    assert len(found) > 1
    assert bytes(byte for part in found for byte in part).decode().strip() == "\U0001f600"


def test_completions_continue_texts(client) -> None:
    answer = client.completions.create(
        model="tiny", prompt=["The cat", "A dog ran"], temperature=0, max_tokens=8, logprobs=2, n=1
    )
    first, second = answer.choices
    assert (first.index, second.index) == (0, 1)
    assert "".join(first.logprobs.tokens) == first.text
    assert len(first.logprobs.top_logprobs[0]) == 2
    chunks = client.completions.create(
        model="tiny", prompt="The cat", temperature=0, max_tokens=8, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in chunks) == first.text
    assert answer.usage.completion_tokens >= len(first.logprobs.tokens)


def test_an_answer_goes_back_into_the_conversation(client) -> None:
    messages = [*ASK]
    for turn in range(3):
        answer = client.chat.completions.create(model="tiny", messages=messages, max_tokens=5)
        message = answer.choices[0].message
        messages += [
            message if turn else message.model_dump(),
            {"role": "user", "content": "Go on"},
        ]
    raw = client.chat.completions.with_raw_response.create(model="tiny", messages=messages)
    assert raw.headers["x-request-id"] == raw.parse().id
    assert int(raw.headers["x-ratelimit-remaining-requests"]) < 10_000
    assert raw.headers["x-ratelimit-limit-tokens"] == "1000000"


def test_a_model_is_looked_up_by_name(client) -> None:
    assert client.models.retrieve("tiny").owned_by == "understudy"
    with pytest.raises(
        openai.NotFoundError, match="'org/other'; the gateway serves 'tiny'"
    ) as caught:
        client.models.retrieve("org/other")
    assert caught.value.code == "model_not_found"


def test_every_chunk_has_a_usage_where_it_is_asked_for(client) -> None:
    chunks = client.chat.completions.create(
        model="tiny",
        messages=ASK,
        max_tokens=4,
        stream=True,
        stream_options={"include_usage": True},
    )
    sent = [chunk.model_dump(exclude_unset=True) for chunk in chunks]
    assert all("usage" in chunk for chunk in sent)
    assert [bool(chunk["usage"]) for chunk in sent] == [False] * (len(sent) - 1) + [True]


def test_conversations_keep_their_turns(client, project) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": [{"type": "text", "text": "Bye"}]},
    ]
    answer = client.chat.completions.create(model="tiny", messages=turns, max_tokens=3)
    log = PromptLog(Path(project.log))
    logged = [e.body for _, e in log.events() if e.request_id == answer.id and e.kind == "prompt"]
    log.close()
    assert [turn["content"] for turn in logged[0]["prompts"][0]] == [
        "Be brief.",
        "Hello",
        "Hi.",
        "Bye",
    ]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model": "gpt"}, openai.NotFoundError, "there is no model 'gpt'"),
        ({"messages": []}, openai.BadRequestError, "messages"),
        ({"temperature": 3}, openai.BadRequestError, "temperature"),
        ({"n": 99}, openai.BadRequestError, "n:"),
        ({"tools": [{"type": "function"}]}, openai.BadRequestError, "tools: the gateway has no"),
        ({"response_format": {"type": "json_object"}}, openai.BadRequestError, "only .*text"),
        ({"logit_bias": {"17": 5}}, openai.BadRequestError, "logit_bias"),
        ({"extra_body": {"top_k": 5}}, openai.BadRequestError, "Unknown parameter: 'top_k'"),
        ({"top_logprobs": 2}, openai.BadRequestError, "needs logprobs"),
        ({"messages": [{"role": "user", "content": " "}]}, openai.BadRequestError, "empty"),
        (
            {"messages": [{"role": "user", "content": "word " * 200}]},
            openai.BadRequestError,
            "the limit is 100",
        ),
    ],
)
def test_mistakes_are_errors_in_openais_shape(client, change, error, words) -> None:
    asked = {"model": "tiny", "messages": ASK, **change}
    with pytest.raises(error, match=words) as caught:
        client.chat.completions.create(**asked)
    assert caught.value.body["type"] == "invalid_request_error"


def test_a_wrong_key_is_refused(client) -> None:
    for key in ("us-nobody-at-all", "x", "us-\u00e9"):
        other = client.with_options(api_key=key)
        with pytest.raises((openai.AuthenticationError, UnicodeEncodeError)):
            other.models.list()
