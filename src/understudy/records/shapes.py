"""The shapes that public data sets have, turned into the fields of our records."""

from collections.abc import Mapping
from typing import Any

from understudy.records.convert import Json, RecordError


def split_turns(turns: Any, name: str) -> tuple[Any, Any]:
    """(prompt, answer) of a list of turns that ends with the assistant's."""
    last = turns[-1] if isinstance(turns, list) and len(turns) > 1 else None
    if not isinstance(last, Mapping) or last.get("role") != "assistant":
        raise RecordError(f"field '{name}' must be a list of turns that ends with the assistant's")
    return turns[:-1], last.get("content")


def answer_of(value: Any, name: str) -> Any:
    """An answer given as text or as a list with one assistant turn."""
    if isinstance(value, str):
        return value
    return split_turns([{}, *value] if isinstance(value, list) else value, name)[1]


def read_chosen_rejected(row: Json) -> None:
    """prompt, chosen, rejected as a ranking of two; the prompt may be the turns they share.

    A `margin`, or `score_chosen` and `score_rejected`, becomes the scores.
    """
    answers = []
    for name in ("chosen", "rejected"):
        if isinstance(row[name], list) and row.get("prompt") is None:
            row["prompt"], answer = split_turns(row[name], name)
            answers.append(answer)
        elif isinstance(row[name], list):
            answers.append(answer_of(row[name][-1:], name))
        else:
            answers.append(row[name])
    row["responses"], row["tiers"] = answers, [[0], [1]]
    if row.get("margin") is not None:
        row["scores"] = [row["margin"], 0.0]
    elif row.get("score_chosen") is not None and row.get("score_rejected") is not None:
        row["scores"] = [row["score_chosen"], row["score_rejected"]]


def tiers_of(values: Any, name: str, best_is_high: bool) -> list[list[int]]:
    """Tiers from one rank (1 is best) or score (highest is best) per response; equal ones tie."""
    numbers = isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    )
    if not numbers:
        raise RecordError(f"field '{name}' is {values!r}; it must be a number per response")
    levels = sorted(set(values), reverse=best_is_high)
    return [[i for i, value in enumerate(values) if value == level] for level in levels]


def shape_of(row: Any) -> str | None:
    """The name of a row's shape, as `understudy data check` prints it; None for one it does not
    know."""
    keys = set(row) if isinstance(row, Mapping) else set()
    for wanted, name in _SHAPES:
        if wanted <= keys:
            return name
    return None


_SHAPES: tuple[tuple[set[str], str], ...] = (
    ({"prompt", "responses", "tiers"}, "K answers with tiers"),
    ({"prompt", "responses", "ranks"}, "K answers with ranks"),
    ({"prompt", "responses", "scores"}, "K answers with scores"),
    ({"prompt", "chosen", "rejected"}, "prompt/chosen/rejected"),
    ({"chosen", "rejected"}, "chosen/rejected conversations"),
    ({"prompt", "response"}, "prompt/response"),
    ({"prompt", "completion"}, "prompt/completion"),
    ({"messages"}, "messages"),
    ({"prompt"}, "prompts"),
    ({"text"}, "plain text"),
)
RANKING_SHAPES = frozenset(name for _, name in _SHAPES[:5])
"""Shapes that are read as rankings."""
DEMONSTRATION_SHAPES = frozenset(name for _, name in _SHAPES[5:8])
"""Shapes that are read as demonstrations."""
