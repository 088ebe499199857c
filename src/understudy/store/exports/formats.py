"""Datasets in other programs' formats: for each program, the rows that a record becomes.

A ranking becomes its pairs for programs that learn from pairs; ties yield none. A file's name says
its format (`rankings.trl.jsonl`), so that a dataset's file can be rewritten.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from understudy.records import (
    Conversation,
    Demonstration,
    Feedback,
    Ranking,
    as_messages,
    prompt_text,
)

Format = Literal["jsonl", "csv", "trl", "openrlhf", "llama-factory", "argilla", "label-studio"]
Row = dict[str, Any]
_FROM = {"system": "system", "user": "human", "assistant": "gpt"}


def _turns(prompt: Conversation) -> list[Row]:
    return [{"role": turn.role, "content": turn.content} for turn in as_messages(prompt)]


def _turn(text: str) -> list[Row]:
    return [{"role": "assistant", "content": text}]


def trl(record: Demonstration | Ranking | Feedback) -> Iterator[Row]:
    """TRL's conversational formats: preference with an explicit prompt, prompt-completion, and
    unpaired preference for KTO."""
    prompt = _turns(record.prompt)
    if isinstance(record, Feedback):
        yield {"prompt": prompt, "completion": _turn(record.response), "label": record.desirable}
        return
    if isinstance(record, Demonstration):
        yield {"prompt": prompt, "completion": _turn(record.response)}
        return
    for chosen, rejected in _pairs(record):
        yield {
            "prompt": prompt,
            "chosen": _turn(chosen),
            "rejected": _turn(rejected),
        }


def openrlhf(record: Demonstration | Ranking) -> Iterator[Row]:
    """OpenRLHF with its option for chat templates: the response is the turn after the prompt."""
    if isinstance(record, Ranking):
        yield from trl(record)
        return
    yield {"prompt": _turns(record.prompt), "response": _turn(record.response)}


def llama_factory(record: Demonstration | Ranking) -> Iterator[Row]:
    """LLaMA-Factory's `sharegpt` formatting; ValueError where user and assistant do not alternate,
    since it would skip such a row."""
    turns = [{"from": _FROM[t.role], "value": t.content} for t in as_messages(record.prompt)]
    spoken = [turn["from"] for turn in turns[turns[0]["from"] == "system" :]]
    if spoken != ["human", "gpt"] * (len(spoken) // 2) + ["human"]:
        raise ValueError(
            f"{record.id}: the turns of its prompt do not alternate between user and assistant, "
            "and LLaMA-Factory skips such rows; export this dataset as trl or jsonl"
        )
    if isinstance(record, Demonstration):
        yield {"conversations": [*turns, {"from": "gpt", "value": record.response}]}
        return
    for chosen, rejected in _pairs(record):
        texts = {"chosen": chosen, "rejected": rejected}
        sides = {name: {"from": "gpt", "value": text} for name, text in texts.items()}
        yield {"conversations": turns, **sides}


def argilla(record: Demonstration | Ranking) -> Iterator[Row]:
    """Argilla's records, the label as a suggestion: a response would need its author's account."""
    fields: Row = {"prompt": _turns(record.prompt)}
    if isinstance(record, Demonstration):
        question: str = "response"
        value: Any = record.response
    else:
        names = [f"response-{place}" for place in range(1, len(record.responses) + 1)]
        fields |= dict(zip(names, record.responses, strict=True))
        order = [place for tier in record.tiers for place in tier]
        ranks = record.ranks
        question = "ranking"
        value = [{"value": names[place], "rank": ranks[place] + 1} for place in order]
    yield {
        "id": record.id,
        "fields": fields,
        "suggestions": {question: {"value": value, "agent": record.labeler_id}},
        "metadata": {"labeler": record.labeler_id, "prompt_id": record.prompt_id},
    }


def label_studio(record: Demonstration | Ranking) -> Iterator[Row]:
    """Label Studio's tasks with their annotations: a Pairwise choice, or a text."""
    data: Row = {"prompt": prompt_text(record.prompt), "labeler": record.labeler_id}
    if isinstance(record, Demonstration):
        yield _task(data, "response", "prompt", "textarea", {"text": [record.response]})
        return
    for chosen, rejected in _pairs(record):
        # Varies the side of the better response, so that it reveals nothing; stable across exports.
        left = (len(chosen) + len(rejected)) % 2 == 0
        first, second = (chosen, rejected) if left else (rejected, chosen)
        value = {"selected": "left" if left else "right"}
        texts = {"answer1": first, "answer2": second}
        yield _task(data | texts, "better", "answer1,answer2", "pairwise", value)


def _task(data: Row, name: str, to_name: str, kind: str, value: Row) -> Row:
    result = {"from_name": name, "to_name": to_name, "type": kind, "value": value}
    return {"data": data, "annotations": [{"result": [result], "was_cancelled": False}]}


def _pairs(record: Ranking) -> Iterator[tuple[str, str]]:
    for better, worse in record.pairs():
        yield record.responses[better], record.responses[worse]


_ROWS: dict[str, Callable[[Any], Iterator[Row]]] = {
    "trl": trl,
    "openrlhf": openrlhf,
    "llama-factory": llama_factory,
    "argilla": argilla,
    "label-studio": label_studio,
}
SUFFIXES: dict[str, str] = {
    "jsonl": ".jsonl",
    "csv": ".csv",
    "trl": ".trl.jsonl",
    "openrlhf": ".openrlhf.jsonl",
    "llama-factory": ".llama-factory.jsonl",
    "argilla": ".argilla.json",
    "label-studio": ".label-studio.json",
}
"""The suffix of a file's name, which says its format."""


def format_of(path: Path) -> str:
    """The format of a dataset's file, by its name."""
    longest = sorted(SUFFIXES.items(), key=lambda item: -len(item[1]))
    return next((name for name, suffix in longest if path.name.endswith(suffix)), "jsonl")


def lines_of(form: str, records: Iterable[Any]) -> Iterator[bytes]:
    """The bytes of a file of another program's format: JSON Lines, or one JSON array."""
    rows = (row for record in records for row in _ROWS[form](record))
    texts = (json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows)
    if SUFFIXES[form].endswith(".jsonl"):
        yield from (f"{text}\n".encode() for text in texts)
        return
    before = "[\n"
    for text in texts:
        yield f"{before}{text}".encode()
        before = ",\n"
    yield b"[]\n" if before == "[\n" else b"\n]\n"
