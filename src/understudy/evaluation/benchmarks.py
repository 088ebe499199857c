"""Small benchmarks for the alignment tax (s4.1, App. D), run over any causal language model.

A benchmark is a JSON Lines file, its name the file's stem; each line one item:

    {"context": "few-shot examples\\n", "question": "Fish live in", "choices": ["sea", "sky"],
     "answer": 0}
    {"question": "English: cat\\nZog:", "answer": "miu"}

The answer is a choice or its index, or, without choices, a text or several in a list.

Multiple choice takes the choice with the HIGHEST mean log-probability per token. (The paper's App.
D prints "lowest", which would pick the worst.) Otherwise the model generates at temperature 0,
cut at the first newline, and is scored by exact match and by F1 over words after SQuAD's
normalisation. `context` and `question` are text as a base model reads it: no chat template.
"""

import json
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.core.batching import by_token_budget, pad
from understudy.core.chat import padding_id, stop_ids
from understudy.core.generation import generate
from understudy.core.models import context_length, device_of, policy_logprobs
from understudy.evaluation.statistics import Interval, proportion, win_rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question: `Item(question="2 + 2 =", choices=("3", "4"), answers=("4",))`."""

    question: str
    """The text to go on from."""
    answers: tuple[str, ...]
    """Right answers; of several the best match counts."""
    choices: tuple[str, ...] = ()
    """The alternatives of a multiple choice; none for a generated answer."""
    context: str = ""
    """Few-shot examples before the question, with the newline between them."""

    @property
    def prompt(self) -> str:
        """What the model reads."""
        return self.context + self.question


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A named list of items, all multiple choice or all generated."""

    name: str
    items: tuple[Item, ...]

    @property
    def is_choice(self) -> bool:
        """Whether it is multiple choice."""
        return bool(self.items[0].choices)


def read_benchmark(path: Path | str) -> Benchmark:
    """The benchmark in a JSON Lines file; ValueError names the line that is wrong."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"benchmark {path} does not exist; give a .jsonl file")
    items = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                items.append(item_of(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path} line {number}: {error}") from None
    if not items or len({bool(item.choices) for item in items}) > 1:
        raise ValueError(f"{path} must hold items that all have choices, or that all have none")
    return Benchmark(path.stem, tuple(items))


def item_of(row: Mapping[str, Any]) -> Item:
    """An item from its JSON object."""
    if not isinstance(row, Mapping):
        raise ValueError("each line must be an object with question and answer")
    if not isinstance(row.get("question"), str) or "answer" not in row:
        raise ValueError("'question' (text) and 'answer' are needed")
    choices, answer = tuple(row.get("choices") or ()), row["answer"]
    if choices and isinstance(answer, int):
        if not 0 <= answer < len(choices):
            raise ValueError(f"'answer' is {answer}, but there are {len(choices)} choices from 0")
        answer = choices[answer]
    answers = (answer,) if isinstance(answer, str) else tuple(answer)
    if not all(isinstance(text, str) and text for text in (*choices, *answers)) or not answers:
        raise ValueError("'choices' and 'answer' must be text (or 'answer' the index of a choice)")
    if choices and not set(answers) & set(choices):
        raise ValueError(f"'answer' {answers[0]!r} is not among the choices")
    return Item(
        question=row["question"], answers=answers, choices=choices, context=row.get("context", "")
    )


def run_benchmark(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    benchmark: Benchmark,
    *,
    max_new_tokens: int = 32,
    batch_tokens: int = 8192,
) -> dict[str, Interval]:
    """{"accuracy"} of a multiple choice, {"exact_match", "f1"} of generated answers."""
    items = benchmark.items
    if benchmark.is_choice:
        picked = pick_choices(model, tokenizer, items, batch_tokens)
        right = sum(choice in item.answers for choice, item in zip(picked, items, strict=True))
        return {"accuracy": proportion(right, len(items))}
    texts = generate_answers(model, tokenizer, items, max_new_tokens)
    pairs = list(zip(texts, items, strict=True))
    exact = [max(float(normalise(t) == normalise(a)) for a in item.answers) for t, item in pairs]
    overlap = [max(word_f1(t, a) for a in item.answers) for t, item in pairs]
    return {"exact_match": win_rate(exact), "f1": win_rate(overlap)}


def main_score(scores: Mapping[str, Interval]) -> Interval:
    """The one figure of a benchmark in tables: accuracy, or F1 as for the paper's reading sets."""
    return scores["accuracy"] if "accuracy" in scores else scores["f1"]


def pick_choices(
    model: PreTrainedModel, tokenizer: Tokenizer, items: Sequence[Item], batch_tokens: int = 8192
) -> list[str]:
    """Each item's choice with the highest mean log-probability per token; ties go to the first."""
    encoded = [encode_choice(tokenizer, item.prompt, c) for item in items for c in item.choices]
    means = iter(mean_logprobs(model, tokenizer, encoded, batch_tokens))
    picked = []
    for item in items:
        scores = [next(means) for _ in item.choices]
        picked.append(item.choices[max(range(len(scores)), key=scores.__getitem__)])
    return picked


def encode_choice(tokenizer: Tokenizer, prompt: str, choice: str) -> tuple[list[int], int]:
    """(ids of prompt and choice together, how many of them are the choice's).

    A space goes between them unless one is there. White space at the prompt's end is encoded
    with the choice, as tokenizers keep a space with the word that follows it.
    """
    stem = prompt.rstrip()
    space = prompt[len(stem) :] or " "
    prompt_ids = tokenizer(stem, verbose=False)["input_ids"]
    if prompt_ids and prompt_ids[-1] == tokenizer.eos_token_id:
        prompt_ids = prompt_ids[:-1]
    choice_ids = tokenizer(space + choice, add_special_tokens=False, verbose=False)["input_ids"]
    if not prompt_ids or not choice_ids:
        raise ValueError(f"prompt {prompt!r} and choice {choice!r} must both have tokens")
    return [*prompt_ids, *choice_ids], len(choice_ids)


@torch.no_grad()
def mean_logprobs(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    encoded: Sequence[tuple[list[int], int]],
    batch_tokens: int = 8192,
) -> list[float]:
    """Mean log-probability per token, in nats, of the last `count` tokens of each (ids, count)."""
    room = context_length(model)
    too_long = max((len(ids) for ids, _ in encoded), default=0)
    if room is not None and too_long > room:
        raise ValueError(f"an item has {too_long} tokens and the model's context is {room}")
    means = [0.0] * len(encoded)
    device = device_of(model)
    for group in by_token_budget([len(ids) for ids, _ in encoded], batch_tokens):
        ids_BT, mask_BT = pad([encoded[i][0] for i in group], padding_id(tokenizer))
        at_BT = torch.zeros_like(mask_BT)
        for row, i in enumerate(group):
            end, count = len(encoded[i][0]), encoded[i][1]
            at_BT[row, end - count : end] = 1
        logprobs_BT, _ = policy_logprobs(
            model, ids_BT.to(device), mask_BT.to(device), at_BT=at_BT.to(device)
        )
        for i, total in zip(group, logprobs_BT.sum(-1).tolist(), strict=True):
            means[i] = total / encoded[i][1]
    return means


def generate_answers(
    model: PreTrainedModel, tokenizer: Tokenizer, items: Sequence[Item], max_new_tokens: int = 32
) -> list[str]:
    """Greedy continuations, cut at EOS and at the first newline."""
    prompts = [tokenizer(item.prompt.rstrip(" "), verbose=False)["input_ids"] for item in items]
    eos = int(tokenizer.eos_token_id)
    prompts = [ids[:-1] if ids and ids[-1] == eos else ids for ids in prompts]
    generations = generate(
        model,
        prompts,
        max_new_tokens=max_new_tokens,
        greedy=True,
        seed=0,
        stop_ids=stop_ids(tokenizer),
        pad_id=padding_id(tokenizer),
    )
    texts = [tokenizer.decode(g.ids, skip_special_tokens=True) for g in generations]
    return [first_line(text) for text in texts]


def first_line(text: str) -> str:
    """The text up to its first newline, stripped."""
    return text.split("\n", 1)[0].strip()


def normalise(text: str) -> str:
    """SQuAD's: lower case, no punctuation, no articles, single spaces."""
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def word_f1(text: str, answer: str) -> float:
    """F1 of the words in common, counted with repeats; two empty texts agree."""
    words, expected = normalise(text).split(), normalise(answer).split()
    if not words or not expected:
        return float(words == expected)
    common = sum((Counter(words) & Counter(expected)).values())
    return 2 * common / (len(words) + len(expected))
