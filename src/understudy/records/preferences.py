"""Reads public data sets, each with its own way to say which response people prefer: a number, a
winner's name, ranks, ratings, or a score in each response's own row.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.records.convert import Json, RecordError, read_yes, shortened
from understudy.records.turns import (
    Turns,
    as_prompt,
    conversation,
    split_response,
    turns_of,
    written_turns,
)

TIE: list[list[int]] = [[0, 1]]
FIRST: list[list[int]] = [[0], [1]]
SECOND: list[list[int]] = [[1], [0]]


def tiers_of(values: Any, name: str, best_is_high: bool) -> list[list[int]]:
    """Tiers from a rank (1 is best) or score (highest is best) per response; equal ones tie."""
    if not isinstance(values, list | tuple) or not all(map(_is_number, values)):
        raise RecordError(
            f"field '{name}' is {shortened(values)}; it must be a number per response"
        )
    levels = sorted(set(values), reverse=best_is_high)
    return [[i for i, value in enumerate(values) if value == level] for level in levels]


_HUGE = 1e300
"""Above any score and within a float's range; comparing with it also rejects NaN."""


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _HUGE


def list_of_objects(value: Any, name: str) -> Sequence[Json]:
    """A list of objects, or RecordError."""
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise RecordError(f"field '{name}' is {shortened(value)}; it must be a list of objects")
    return value


def _one_of(row: Json, name: str, meanings: Mapping[Any, list[list[int]]]) -> list[list[int]]:
    """The tiers that a field's value stands for."""
    said = str(row[name]).strip().removesuffix(".0")
    found = next((tiers for meaning, tiers in meanings.items() if str(meaning) == said), None)
    if found is None:
        known = ", ".join(map(str, meanings))
        raise RecordError(f"field '{name}' is {shortened(row[name])}; it must be one of {known}")
    return found


def _pair(row: Json, prompt: Any, names: tuple[str, str], tiers: list[list[int]]) -> list[Json]:
    """A ranking of the two responses under these keys."""
    asked = as_prompt(conversation(prompt), prompt)
    return [row | {"prompt": asked, "responses": [row[name] for name in names], "tiers": tiers}]


def shp(row: Json) -> list[Json]:
    """Stanford Human Preferences: 1 if the first response is preferred, else 0."""
    tiers = _one_of(row, "labels", {1: FIRST, 0: SECOND})
    return _pair(row, row["history"], ("human_ref_A", "human_ref_B"), tiers)


def safe_rlhf(row: Json) -> list[Json]:
    """PKU-SafeRLHF: the number of the better response."""
    tiers = _one_of(row, "better_response_id", {0: FIRST, 1: SECOND})
    return _pair(row, row["prompt"], ("response_0", "response_1"), tiers)


def webgpt(row: Json) -> list[Json]:
    """WebGPT comparisons: a score of each response."""
    asked = row["question"]
    prompt = asked.get("full_text") if isinstance(asked, Mapping) else asked
    scores = [row["score_0"], row["score_1"]]
    tiers = tiers_of(scores, "score_0/score_1", best_is_high=True)
    (made,) = _pair(row, prompt, ("answer_0", "answer_1"), tiers)
    return [made | {"scores": scores}]


def helpsteer3(row: Json) -> list[Json]:
    """HelpSteer3: from -3 (the first response is much better) to 3 (the second is)."""
    value = row["overall_preference"]
    if not _is_number(value):
        raise RecordError(f"field 'overall_preference' is {shortened(value)}; it must be a number")
    tiers = TIE if value == 0 else FIRST if value < 0 else SECOND
    asked = row["context"]
    asked = turns_of(asked, "context") if written_turns(asked) else asked
    (made,) = _pair(row, asked, ("response1", "response2"), tiers)
    return [made | {"scores": [max(-value, 0), max(value, 0)]}]


def helpsteer2(row: Json) -> list[Json]:
    """HelpSteer2: a row per response, rated by helpfulness; those to one prompt make a ranking."""
    by_prompt: dict[str, list[Json]] = {}
    for one in row["rows"]:
        by_prompt.setdefault(json.dumps(one["prompt"], sort_keys=True), []).append(one)
    made = []
    for rows in by_prompt.values():
        scores = [one["helpfulness"] for one in rows]
        given = rows[0]["prompt"]
        prompt = as_prompt(conversation(given), given)
        responses = [one["response"] for one in rows]
        tiers = tiers_of(scores, "helpfulness", best_is_high=True)
        ranked = {"prompt": prompt, "responses": responses, "tiers": tiers, "scores": scores}
        made.append({key: value for key, value in rows[0].items() if key != "id"} | ranked)
    if all(len(one["responses"]) < 2 for one in made):
        raise RecordError(
            "the responses are rated by 'helpfulness', but no prompt has two to compare; --kind "
            "demonstrations reads all of them as good ones"
        )
    return made


def check_rated(row: Json) -> None:
    """RecordError for a row of HelpSteer2 that cannot be part of a ranking."""
    conversation(row["prompt"])
    tiers_of([row["helpfulness"]], "helpfulness", best_is_high=True)
    if not isinstance(row["response"], str):
        raise RecordError(f"field 'response' is {shortened(row['response'])}; it must be text")


def nectar(row: Json) -> list[Json]:
    """Nectar: responses with a rank each, 1 the best."""
    answers = list_of_objects(row["answers"], "answers")
    tiers = tiers_of([one.get("rank") for one in answers], "answers.rank", best_is_high=False)
    responses = [one.get("answer") for one in answers]
    asked = as_prompt(conversation(row["prompt"]), row["prompt"])
    return [row | {"prompt": asked, "responses": responses, "tiers": tiers}]


def rated(row: Json) -> list[Json]:
    """distilabel: several generations with a rating each."""
    scores = row["ratings"]
    tiers = tiers_of(scores, "ratings", best_is_high=True)
    prompt = row["prompt"] if row.get("prompt") is not None else row["instruction"]
    asked = as_prompt(conversation(prompt), prompt)
    made = {"prompt": asked, "responses": row["generations"], "tiers": tiers, "scores": scores}
    return [row | made]


WINNERS = {
    "model_a": FIRST,
    "model_b": SECOND,
    "tie": TIE,
    "tie (bothbad)": TIE,
    "both_bad": TIE,
}


def arena(row: Json) -> list[Json]:
    """Chatbot Arena: two models' conversations and the winner's place."""
    names = ("conversation_a", "conversation_b")
    (history, first), (other, second) = (
        split_response(turns_of(row[name], name), name) for name in names
    )
    if history != other:
        raise RecordError(
            "fields 'conversation_a' and 'conversation_b' differ before the last response; a "
            "ranking compares responses to one prompt; understudy data convert --skip-bad leaves "
            "such rows out"
        )
    made = {"prompt": as_prompt(history), "responses": [first, second]}
    return [row | made | {"tiers": _one_of(row, "winner", WINNERS)}]


def arena_columns(row: Json) -> list[Json]:
    """Chatbot Arena as a table: lists of turns in JSON text, and the winner as three columns or
    one."""
    asked, *sides = (_texts(row[name], name) for name in ("prompt", "response_a", "response_b"))
    if any(len(side) != len(asked) for side in sides) or sides[0][:-1] != sides[1][:-1]:
        raise RecordError(
            "the two conversations differ before the last response; a ranking compares responses "
            "to one prompt; understudy data convert --skip-bad leaves such rows out"
        )
    turns: Turns = []
    for said, answer in zip(asked, [*sides[0][:-1], None], strict=True):
        turns.append({"role": "user", "content": said})
        turns += [{"role": "assistant", "content": answer}] if answer is not None else []
    return [
        row
        | {
            "prompt": as_prompt(turns),
            "responses": [side[-1] for side in sides],
            "tiers": _one_of(row, "winner", WINNERS) if "winner" in row else _won(row),
        }
    ]


def has_winner(row: Json) -> bool:
    """Whether a row says which model has won."""
    return row.get("winner") is not None or row.get("winner_model_a") is not None


def _won(row: Json) -> list[list[int]]:
    names = {"winner_model_a": FIRST, "winner_model_b": SECOND, "winner_tie": TIE}
    said = [tiers for name, tiers in names.items() if read_yes(row.get(name), name)]
    if len(said) != 1:
        raise RecordError(f"exactly one of the fields {', '.join(names)} must be true")
    return said[0]


def _texts(value: Any, name: str) -> list[str]:
    """Texts, also as JSON text of a list of them."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RecordError(f"field '{name}' is text, not a list of texts") from None
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise RecordError(f"field '{name}' is {shortened(value)}; it must be a list of texts")
    return texts
