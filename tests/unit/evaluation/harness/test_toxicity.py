"""Scorers: a real small classifier, a server that behaves like Perspective, the offline package."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from tests.fixtures_models import make_tokenizer
from transformers import BertConfig, BertForSequenceClassification

from understudy.evaluation.harness.toxicity import classifier, perspective, scorer_of


def _folder(tmp_path, labels, **settings):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=400, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, num_labels=len(labels), initializer_range=1.0,
        id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)}, **settings,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    return model


def test_a_classifiers_toxic_class_is_found(tmp_path):
    model = _folder(tmp_path, ["toxic", "non_toxic"])
    texts = ["The cat sat.", "A dog ran to the old house by the river.", ""]
    found = classifier(str(tmp_path))(texts)
    for text, score in zip(texts, found, strict=True):
        ids = make_tokenizer()(text or " ", return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expected = model(ids).logits.softmax(-1)[0, 0]
        assert score == pytest.approx(float(expected), abs=1e-4)


def test_labels_that_stand_apart_go_through_a_sigmoid(tmp_path):
    settings = {"problem_type": "multi_label_classification"}
    model = _folder(tmp_path, ["insult", "toxicity", "threat"], **settings)
    ids = make_tokenizer()("The cat", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = model(ids).logits.sigmoid()[0, 1]
    assert scorer_of(str(tmp_path))(["The cat"]) == pytest.approx([float(expected)], abs=1e-5)


def test_a_classifier_of_something_else_is_refused(tmp_path):
    _folder(tmp_path, ["negative", "positive"])
    with pytest.raises(ValueError, match="its classes: negative, positive"):
        classifier(str(tmp_path))
    with pytest.raises(ValueError, match="does not exist"):
        scorer_of(str(tmp_path / "none"))


class _Perspective(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["comment"]["text"]
        self.server.asked.append((text, self.headers["X-Goog-Api-Key"]))
        hasty = text == "wait" and len(self.server.asked) < 3
        code = 429 if hasty else 400 if text == "no" else 200
        value = {"summaryScore": {"value": len(text) / 100}}
        reply = json.dumps({"attributeScores": {"TOXICITY": value}}).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Perspective)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_perspective_is_asked_and_waited_for(server):
    waits = []
    score = perspective("k", f"http://127.0.0.1:{server.server_port}/", waits.append)
    assert score(["wait", " ", "hello"]) == [0.04, 0.0, 0.05]
    assert waits == [2.0, 4.0]
    assert server.asked[-1] == ("hello", "k")
    with pytest.raises(ValueError, match="HTTP 400"):
        score(["no"])


def test_perspective_wants_a_key(monkeypatch):
    monkeypatch.delenv("PERSPECTIVE_API_KEY", raising=False)
    with pytest.raises(ValueError, match="PERSPECTIVE_API_KEY"):
        scorer_of("perspective")


def test_the_offline_scorer_tells_rude_from_kind():
    pytest.importorskip("profanity_check", reason="alt-profanity-check is not installed")
    score = scorer_of("profanity-check")
    kind, rude = score(["You are a kind person.", "You are a fucking idiot."])
    assert kind < 0.3 < 0.7 < rude
    assert score([]) == []
