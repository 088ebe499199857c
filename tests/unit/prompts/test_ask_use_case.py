"""Use cases by a model: its word counts if it is one of the ten, and never more than that."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from understudy.prompts import IntakeConfig, build_prompts
from understudy.prompts.ask_use_case import KEY_VARIABLE, named_in
from understudy.records import Prompt


class Model(BaseHTTPRequestHandler):
    """Says "extract" of texts about plums, nonsense of those about oaks, and fails about ashes."""

    seen: list[tuple[str | None, dict]]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.headers["Authorization"], asked))
        text = asked["messages"][0]["content"]
        said = "Extract." if "plum" in text else "As you wish, my dear"
        body = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
        self.send_response(500 if "ash" in text else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def model():
    handler = type("Handler", (Model,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", handler.seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def prompt(number: int, text: str, **more: str) -> Prompt:
    return Prompt(id=f"p{number}", prompt=text, user_id=f"u{number}", **more)


def test_the_labeler_then_the_model_then_the_rules(monkeypatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    given = [
        prompt(0, "Write a poem about a plum.", use_case="rewrite"),
        prompt(1, "Write a poem about a plum tree."),
        prompt(2, "Write a poem about an oak." + " x" * 2000),
    ]
    with model() as (url, seen):
        config = IntakeConfig(use_case_url=f"{url}/", use_case_model="m", max_prompt_tokens=5000)
        kept, _ = build_prompts(given, config)
    assert [one.use_case for one in kept] == ["rewrite", "extract", "generation"]
    assert {key for key, _ in seen} == {"Bearer secret"}
    assert {asked["model"] for _, asked in seen} == {"m"}
    assert len(seen) == 2  # the tagged one is nobody's question
    assert max(len(asked["messages"][0]["content"]) for _, asked in seen) < 3500


@pytest.mark.parametrize("down", [False, True])
def test_a_server_that_fails_or_is_not_there(down: bool) -> None:
    with model() as (url, _):
        if not down:
            with pytest.raises(OSError, match=r"asking http.*500"):
                build_prompts([prompt(0, "Name an ash.")], IntakeConfig(use_case_url=url))
    if down:
        with pytest.raises(OSError, match="start the server there, or leave --use-case-url out"):
            build_prompts([prompt(0, "Name an oak.")], IntakeConfig(use_case_url=url))
    with pytest.raises(ValueError, match="it must be like http://127"):
        IntakeConfig(use_case_url="localhost:8000")


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("closed_qa", "closed_qa"),
        ("Open QA, I think", "open_qa"),
        ("**Closed-QA**", "closed_qa"),
        ("Neither chatty nor others", None),
        ("brainstorming or chat", "brainstorming"),
        ("", None),
    ],
)
def test_what_an_answer_names(answer: str, name: str | None) -> None:
    assert named_in(answer) == name
