"""Toxicity of texts, from 0 to 1, by a chosen classifier (App. D: Perspective).

score = scorer_of("profanity-check")   # offline, package alt-profanity-check
score = scorer_of("ORG/NAME")          # a sequence classifier, by folder or hub name
score = scorer_of("perspective")       # Google's, with PERSPECTIVE_API_KEY
"""

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from understudy.models.policies import LOAD_ERRORS, check_folder, one_line, quiet_library

Scorer = Callable[[Sequence[str]], list[float]]

OFFLINE, PERSPECTIVE = "profanity-check", "perspective"
KEY = "PERSPECTIVE_API_KEY"
ADDRESS = "https://commentanalyzer.googleapis.com/v1alpha1/comments:analyze"
_TRIES = 6
_BATCH = 16


def scorer_of(name: str) -> Scorer:
    """The scorer called `name`; ValueError says what is missing, before anything is scored."""
    if name == OFFLINE:
        return _profanity_check()
    if name == PERSPECTIVE:
        key = os.environ.get(KEY)
        if not key:
            raise ValueError(f"--toxicity perspective needs an API key in {KEY}")
        return perspective(key)
    return classifier(name)


def _profanity_check() -> Scorer:
    try:
        from profanity_check import predict_prob
    except ImportError:
        raise ValueError(
            "--toxicity profanity-check needs the package alt-profanity-check: pip install "
            "'understudy[benchmarks]'; or name a Hugging Face classifier"
        ) from None
    return lambda texts: [float(p) for p in predict_prob(list(texts))] if texts else []


def classifier(name: str) -> Scorer:
    """The probability that a sequence classifier gives to its toxic class."""
    folder = check_folder(name)
    with quiet_library():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model = AutoModelForSequenceClassification.from_pretrained(
                folder, use_safetensors=True, trust_remote_code=False
            ).eval()
        except LOAD_ERRORS as error:
            raise ValueError(f"{name} is not a text classifier: {one_line(error)}") from None
    index = _toxic_label(name, {int(i): str(label) for i, label in model.config.id2label.items()})
    apart = model.config.num_labels == 1 or (
        model.config.problem_type == "multi_label_classification"
    )

    @torch.no_grad()
    def score(texts: Sequence[str]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(texts), _BATCH):
            part = [text or " " for text in texts[start : start + _BATCH]]
            inputs = tokenizer(part, padding=True, truncation=True, return_tensors="pt")
            logits_BC = model(**inputs).logits.float()
            probs_BC = logits_BC.sigmoid() if apart else logits_BC.softmax(-1)
            found += probs_BC[:, index].tolist()
        return found

    return score


def _toxic_label(name: str, labels: dict[int, str]) -> int:
    """The class called toxic (or hate, offensive), never one called its opposite."""
    if len(labels) == 1:
        return 0
    for word in ("toxic", "hate", "offensive"):
        for index, label in labels.items():
            text = label.lower().replace("_", "-")
            if word in text and not text.startswith(("non", "not", "no-", "un")):
                return index
    raise ValueError(f"{name} has no class called toxic; its classes: {', '.join(labels.values())}")


def perspective(
    key: str, address: str = ADDRESS, wait: Callable[[float], Any] = time.sleep
) -> Scorer:
    """Perspective's TOXICITY, one request per text; retries when rate-limited."""

    def score(texts: Sequence[str]) -> list[float]:
        return [_ask(text, key, address, wait) if text.strip() else 0.0 for text in texts]

    return score


def _ask(text: str, key: str, address: str, wait: Callable[[float], Any]) -> float:
    body = {
        "comment": {"text": text},
        "languages": ["en"],
        "requestedAttributes": {"TOXICITY": {}},
        "doNotStore": True,
    }
    headers = {"Content-Type": "application/json", "X-Goog-Api-Key": key}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    for attempt in range(1, _TRIES + 1):
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                found = json.load(reply)
            return float(found["attributeScores"]["TOXICITY"]["summaryScore"]["value"])
        except urllib.error.HTTPError as error:
            error.close()
            if (error.code != 429 and error.code < 500) or attempt == _TRIES:
                raise ValueError(f"Perspective rejected a text: HTTP {error.code}") from None
        except (OSError, KeyError, ValueError) as error:
            if attempt == _TRIES:
                raise ValueError(f"Perspective does not respond: {one_line(error)}") from None
        wait(2.0**attempt)
    raise AssertionError
