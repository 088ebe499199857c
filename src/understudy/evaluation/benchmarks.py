"""Small benchmarks for the alignment tax (s4.1, App. D), run over any causal language model.

A benchmark is a JSON Lines file, named by the file's stem, with an item per line:

    {"context": "few-shot examples\\n", "question": "Fish live in", "choices": ["sea", "sky"],
     "answer": 0}
    {"question": "English: cat\\nZog:", "answer": "miu"}

The answer is a choice or its index; without choices it is a text, a number or a list of them.

In multiple choice, the pick is the choice with the HIGHEST mean log-probability per token. (The
paper's App. D prints "lowest", which would pick the worst.) Prompt and choice are encoded as one
text, and the tokens that contain the choice's characters count. Without choices, the model
generates text at temperature 0, which is cut at the first newline and scored by exact match and by
F1 over words after SQuAD's normalisation. `context` and `question` are text as a base model reads
it: no chat template.
"""

import json
import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.evaluation.choices import Ids, encode, score_pairs
from understudy.evaluation.continuations import continue_texts
from understudy.evaluation.statistics import Interval, proportion, win_rate
from understudy.models.policies import Policy
from understudy.models.trunk import context_length
from understudy.records.files import iter_rows
from understudy.training.run import write_atomic

ITEMS = "benchmark_items.jsonl"
"""Each model's picks and texts, an item per line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question: `Item(question="2 + 2 =", choices=("3", "4"), answers=("4",))`."""

    question: str
    """The text that the model continues."""
    answers: tuple[str, ...]
    """Right answers; the one that matches best counts."""
    choices: tuple[str, ...] = ()
    """The choices of a multiple-choice item; empty if the model generates the answer."""
    context: str = ""
    """What comes before the question: few-shot examples, a passage."""

    @property
    def prompt(self) -> str:
        """The text that the model reads: a newline goes between context and question unless either
        supplies whitespace."""
        apart = not self.context or self.context[-1].isspace() or self.question[:1].isspace()
        return self.context + ("" if apart else "\n") + self.question


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A named list of items, all multiple choice or all generated."""

    name: str
    items: tuple[Item, ...]

    @property
    def is_choice(self) -> bool:
        """Whether the items are multiple choice."""
        return bool(self.items[0].choices)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A model's results on a benchmark."""

    scores: dict[str, Interval]
    """{"accuracy"} for multiple choice, {"exact_match", "f1"} for generated answers."""
    items: list[dict[str, Any]]
    """A row per item: the pick or text, and whether it is right."""


def read_benchmark(path: Path | str) -> Benchmark:
    """The benchmark in a JSON Lines file; ValueError names the line at fault."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"benchmark {path} does not exist; give a .jsonl file")
    items = []
    for place, row in iter_rows(path):
        try:
            items.append(item_of(row))
        except ValueError as error:
            raise ValueError(f"{path} {place}: {error}") from None
    if not items:
        raise ValueError(f"benchmark {path} is empty; each line must be an item")
    if len({bool(item.choices) for item in items}) > 1:
        raise ValueError(f"{path} must hold items that all have choices, or that all have none")
    return Benchmark(path.stem, tuple(items))


def item_of(row: Any) -> Item:
    """An item from its JSON object; ValueError says what is wrong with it."""
    if not isinstance(row, Mapping):
        raise ValueError("each line must be an object with question and answer")
    if "question" not in row or "answer" not in row:
        raise ValueError(f"'question' and 'answer' are needed; the keys are {', '.join(row)}")
    question = _text("question", row["question"])
    context = _text("context", "" if row.get("context") is None else row["context"])
    if not (context + question).strip():
        raise ValueError("'question' is blank; the model needs text to continue")
    choices = _choices(row.get("choices"))
    for name, key in ((n, k) for n, keys in _OTHER_NAMES.items() for k in keys):
        if row.get(key) and not row.get(name):
            raise ValueError(f"'{key}' is not read; call it '{name}'")
    answers = _answers(row["answer"], choices)
    return Item(question=question, answers=answers, choices=choices, context=context)


_OTHER_NAMES = {
    "choices": ("options", "endings", "candidates", "answer_choices"),
    "context": ("passage", "paragraph", "article", "document", "story"),
}
"""Keys of public benchmarks for what is called otherwise here."""


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name!r} must be text, not {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name!r} has half of a surrogate pair, which is not text") from None
    return value


def _choices(value: Any) -> tuple[str, ...]:
    if value is None or value == []:
        return ()
    if not isinstance(value, list):
        raise ValueError(f"'choices' must be a list of texts, not {value!r}")
    choices = tuple(_text("choices", choice) for choice in value)
    if not all(choice.strip() for choice in choices):
        raise ValueError("a choice is blank")
    if len(choices) < 2 or len({choice.strip() for choice in choices}) < len(choices):
        raise ValueError(f"'choices' must be two or more different texts, not {value!r}")
    return choices


def _answers(value: Any, choices: Sequence[str]) -> tuple[str, ...]:
    """The right answers: with choices, each is a choice or its index; else a text or number."""
    answers = tuple(
        _answer(one, choices) for one in (value if isinstance(value, list) else [value])
    )
    if not answers:
        raise ValueError("'answer' is an empty list; give at least one right answer")
    return answers


def _answer(value: Any, choices: Sequence[str]) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not choices:
        if number and math.isfinite(value):
            return str(value)
        if isinstance(value, str) and "\n" in value.strip():
            raise ValueError(
                "'answer' has several lines, but responses are cut at the first newline; give the "
                "last line alone"
            )
        if isinstance(value, str) and value.strip():
            return _text("answer", value)
        raise ValueError(f"'answer' must be a text or a number, not {value!r}")
    if isinstance(value, str) and value in choices:
        return value
    if isinstance(value, str):
        raise ValueError(
            f"'answer' {value!r} is not among the choices; give a choice's text or its index from 0"
        )
    if not number or isinstance(value, float):
        raise ValueError(f"'answer' must be a choice or its index from 0, not {value!r}")
    if not 0 <= value < len(choices):
        raise ValueError(f"'answer' is {value}, but the {len(choices)} choices count from 0")
    return choices[value]


def run_benchmark(
    model: Policy,
    tokenizer: Tokenizer,
    benchmark: Benchmark,
    *,
    max_new_tokens: int = 32,
    batch_tokens: int = 8192,
) -> Outcome:
    """Scores with their intervals, and every item's outcome."""
    items = benchmark.items
    if benchmark.is_choice:
        means = choice_means(model, tokenizer, items, batch_tokens)
        rows = []
        for item, means_of in zip(items, means, strict=True):
            pick = item.choices[max(range(len(means_of)), key=means_of.__getitem__)]
            row = {"pick": pick, "right": pick in item.answers, "mean_logprobs": means_of}
            rows.append({**_asked(item), "choices": list(item.choices), **row})
        right = sum(row["right"] for row in rows)
        return Outcome({"accuracy": proportion(right, len(items))}, rows)
    texts = generate_answers(model, tokenizer, items, max_new_tokens)
    rows = []
    for text, item in zip(texts, items, strict=True):
        exact = max(float(_agree(text, a)) for a in item.answers)
        overlap = max(word_f1(text, a) for a in item.answers)
        rows.append({**_asked(item), "text": text, "exact_match": exact, "f1": overlap})
    names = ("exact_match", "f1")
    return Outcome({name: win_rate([row[name] for row in rows]) for name in names}, rows)


def _asked(item: Item) -> dict[str, Any]:
    return {"question": item.question, "answers": list(item.answers)}


def run_all(
    model: Policy, tokenizer: Tokenizer, benchmarks: Sequence[Benchmark]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(main score of each benchmark by name, as in results.json; every item's row)."""
    scores, rows = {}, []
    for benchmark in benchmarks:
        outcome = run_benchmark(model, tokenizer, benchmark)
        scores[benchmark.name] = main_score(outcome.scores).to_json()
        rows += [
            {"benchmark": benchmark.name, "item": number, **row}
            for number, row in enumerate(outcome.items, start=1)
        ]
    return scores, rows


def write_items(folder: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write benchmark_items.jsonl, with each model's row for each item; no file without rows."""
    lines = [
        json.dumps({"model": model, **row}, ensure_ascii=False) + "\n"
        for model, found in rows.items()
        for row in found
    ]
    if lines:
        write_atomic(folder / ITEMS, "".join(lines))


def main_score(scores: Mapping[str, Interval]) -> Interval:
    """The figure that stands for a benchmark: accuracy, or F1, as the paper has it for reading."""
    return scores["accuracy"] if "accuracy" in scores else scores["f1"]


def choice_means(
    model: Policy, tokenizer: Tokenizer, items: Sequence[Item], batch_tokens: int = 8192
) -> list[list[float]]:
    """Mean log-probability per token, in nats, of every item's choices."""
    room = context_length(model)
    pairs = []
    for number, item in enumerate(items, start=1):
        for choice in item.choices:
            context, ids = encode_choice(tokenizer, item.prompt, choice)
            if room is not None and len(context) + len(ids) > room:
                raise ValueError(
                    f"item {number} has {len(context) + len(ids)} tokens with its choice, but the "
                    f"model's context is {room}"
                )
            pairs.append((context, ids))
    scores = iter(score_pairs(model, pairs, batch_tokens))
    return [
        [score.logprob / score.num_tokens for score in (next(scores) for _ in item.choices)]
        for item in items
    ]


def encode_choice(tokenizer: Tokenizer, prompt: str, choice: str) -> tuple[Ids, Ids]:
    """(ids before the choice, ids of the tokens that hold its characters), from the joined text.

    A space goes between prompt and choice unless either supplies whitespace. If the tokenizer gives
    no character offsets, the choice begins where the tokens differ from the prompt's.
    """
    space = "" if prompt[-1:].isspace() or choice[:1].isspace() else " "
    before, text = prompt + space, prompt + space + choice
    ids = encode(tokenizer, text)
    start = len(before) + len(choice) - len(choice.lstrip())
    if tokenizer.is_fast:
        bos = tokenizer.bos_token
        special = not (bos and text.startswith(bos))
        found = tokenizer(
            text, add_special_tokens=special, return_offsets_mapping=True, verbose=False
        )
        ends = [end for _, end in found["offset_mapping"]][: len(ids)]
        first = next((i for i, end in enumerate(ends) if end > start), len(ids))
    else:
        known = encode(tokenizer, prompt.rstrip() or prompt)
        pairs = zip(known, ids, strict=False)
        first = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(known), len(ids)))
    if not 0 < first < len(ids):
        raise ValueError(f"prompt {prompt!r} and choice {choice!r} must both have tokens")
    return tuple(ids[:first]), tuple(ids[first:])


def generate_answers(
    model: Policy, tokenizer: Tokenizer, items: Sequence[Item], max_new_tokens: int = 32
) -> list[str]:
    """Greedy continuations, cut at EOS and at the first newline."""
    texts = continue_texts(
        model,
        tokenizer,
        [item.prompt.rstrip(" ") for item in items],
        until=("\n",),
        max_new_tokens=max_new_tokens,
    )
    return [first_line(text) for text in texts]


def first_line(text: str) -> str:
    """The text up to its first newline, stripped."""
    return text.split("\n", 1)[0].strip()


def normalise(text: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no articles, single spaces."""
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def _agree(text: str, answer: str) -> bool:
    """Whether two texts are equal once normalised; an answer of which that leaves nothing, such as
    "+", must be equal as it is."""
    expected = normalise(answer)
    if not expected and answer.strip():
        return text.strip() == answer.strip()
    return normalise(text) == expected


def word_f1(text: str, answer: str) -> float:
    """F1 of the words in common, counting repeats; 1 for two empty texts."""
    words, expected = normalise(text).split(), normalise(answer).split()
    if not words or not expected:
        return float(_agree(text, answer))
    common = sum((Counter(words) & Counter(expected)).values())
    return 2 * common / (len(words) + len(expected))
