"""Turns what a browser sends into records, checking every submission before it is stored."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal
from unicodedata import category

from pydantic import Field

from understudy.labeling.questions import checked_tags
from understudy.labeling.tokens import Length
from understudy.records import FLAGS, Conversation, Demonstration, Ranking, Rating
from understudy.records.schema import prompt_text
from understudy.records.written import Pair, Written, expand
from understudy.store.labels.submissions import Answer
from understudy.store.rows import prompt_of_body
from understudy.web.access import Body

MAX_TEXT = 100_000
"""Longest text in characters, whatever its limit in tokens."""
ID = r"^[A-Za-z0-9_-]{8,64}$"


class RatingBody(Body):
    """The rating of one response."""

    likert: int = Field(ge=1, le=7)
    flags: dict[str, bool | None] = Field(default_factory=dict)
    note: str = Field(default="", max_length=4000)


class Example(Body):
    """One worked example of a few-shot prompt."""

    query: str = Field(max_length=MAX_TEXT)
    response: str = Field(max_length=MAX_TEXT)


class Submission(Body):
    """A submission; its fields depend on the kind of item."""

    id: str = Field(pattern=ID)
    outcome: Literal["ranked", "cannot_rank", "unsure", "demonstrated", "written"]
    ratings: dict[str, RatingBody] = Field(default_factory=dict)
    tiers: list[list[str]] = Field(default_factory=list)
    text: str = Field(default="", max_length=MAX_TEXT)
    style: Literal["plain", "few_shot", "user_based"] | None = None
    prompt: str = Field(default="", max_length=MAX_TEXT)
    response: str | None = Field(default=None, max_length=MAX_TEXT)
    examples: list[Example] = Field(default_factory=list, max_length=8)
    note: str = Field(default="", max_length=4000)
    tags: dict[str, bool | str | None] = Field(default_factory=dict)
    seconds: float | None = Field(default=None, ge=0, le=1e7)
    begun: str | None = Field(default=None, max_length=80)
    """For a change: the version of the instructions under which the change was begun."""
    ui: str | None = Field(default=None, max_length=40)
    revises: str | None = Field(default=None, pattern=ID)


OUTCOMES: Mapping[str, tuple[str, ...]] = {
    "rank": ("ranked", "cannot_rank", "unsure"),
    "demonstrate": ("demonstrated",),
    "write": ("written",),
}


def read_answer(
    row: Mapping[str, Any],
    sent: Submission,
    texts: Mapping[str, str],
    role: str | None,
    length: Length,
    groups: Sequence[str],
) -> Answer:
    """The records of a submission (`row` is one of `queue.view`); ValueError says what is wrong.

    The labels name the row's `rubric` and `rubric_begun`; `texts` has the text of each response
    shown, by id; `groups` are the project's.
    """
    if sent.outcome not in OUTCOMES[row["kind"]]:
        raise ValueError(
            f"the outcome is {sent.outcome!r}; for this item it must be one of "
            f"{', '.join(OUTCOMES[row['kind']])}"
        )
    shared: dict[str, Any] = {
        "id": sent.id,
        "body": sent.model_dump(exclude_unset=True, mode="json"),
        "outcome": sent.outcome,
        "tags": checked_tags(sent.tags, groups),
        "note": sent.note,
        "seconds": sent.seconds,
        "ui": sent.ui,
        "revises": sent.revises,
    }
    if row["kind"] == "rank":
        return _ranked(row, sent, texts, role, shared)
    if row["kind"] == "demonstrate":
        return _demonstrated(row, sent, length, role, shared)
    return _written(row, sent, length, role, shared)


def page_names(row: Mapping[str, Any]) -> dict[str, str]:
    """The page's names of the responses, in the order shown -> response ids."""
    return {f"a{place}": name for place, name in enumerate(json.loads(row["shown"]), start=1)}


def _ranked(
    row: Mapping[str, Any],
    sent: Submission,
    texts: Mapping[str, str],
    role: str | None,
    shared: dict[str, Any],
) -> Answer:
    names = page_names(row)
    _check_ranked(sent, names)
    if row["stage"] != "work":
        trial = {
            "outcome": sent.outcome,
            "tiers": [[names[name] for name in tier] for tier in sent.tiers],
            "ratings": {
                names[name]: {**rating.model_dump(), "flags": _flags(rating)}
                for name, rating in sent.ratings.items()
            },
            "note": sent.note,
        }
        return Answer(**shared, trial=trial)
    common: dict[str, Any] = {
        "prompt_id": row["prompt_id"],
        "labeler_id": row["account_id"],
        "rubric": row["rubric"],
        "rubric_begun": row["rubric_begun"],
    }
    order = list(names)
    labels: list[Demonstration | Rating | Ranking] = [
        Rating(
            id=f"a-{sent.id}-{order.index(name)}",
            response_id=names[name],
            likert=rating.likert,
            flags=_flags(rating),
            note=rating.note,
            **common,
        )
        for name, rating in sent.ratings.items()
    ]
    if sent.outcome == "ranked":
        ranking = Ranking(
            id=f"k-{sent.id}",
            prompt=_prompt(row),
            responses=tuple(texts[names[name]] for name in order),
            tiers=tuple(tuple(order.index(name) for name in tier) for tier in sent.tiers),
            labeler_role=role or "training",  # type: ignore[arg-type]
            **common,
        )
        labels.append(ranking)
    return Answer(**shared, labels=labels, role=role, response_ids=list(names.values()))


def _check_ranked(sent: Submission, names: Mapping[str, str]) -> None:
    for name in (*sent.ratings, *(name for tier in sent.tiers for name in tier)):
        if name not in names:
            raise ValueError(f"there is no response {name!r}; known: {', '.join(names)}")
    for rating in sent.ratings.values():
        unknown = sorted(set(rating.flags) - set(FLAGS))
        if unknown:
            raise ValueError(f"there is no question {unknown[0]!r}; known: {', '.join(FLAGS)}")
    if sent.outcome != "ranked":
        return
    unrated = [name for name in names if name not in sent.ratings]
    if unrated:
        raise ValueError(f"response {unrated[0]} is not rated; rate every response before ranking")
    if sorted(name for tier in sent.tiers for name in tier) != sorted(names):
        raise ValueError("every response must be in exactly one tier")
    if not all(sent.tiers):
        raise ValueError("a tier is empty; leave it out")


def _flags(rating: RatingBody) -> dict[str, bool]:
    return {name: value for name, value in rating.flags.items() if value is not None}


def _demonstrated(
    row: Mapping[str, Any],
    sent: Submission,
    length: Length,
    role: str | None,
    shared: dict[str, Any],
) -> Answer:
    _check_length(sent.text, length, "the response")
    if row["stage"] != "work":
        trial = {"outcome": sent.outcome, "text": sent.text, "note": sent.note}
        return Answer(**shared, trial=trial)
    demonstration = Demonstration(
        id=f"d-{sent.id}",
        prompt_id=row["prompt_id"],
        prompt=_prompt(row),
        response=sent.text,
        labeler_id=row["account_id"],
        rubric=row["rubric"],
        rubric_begun=row["rubric_begun"],
    )
    return Answer(**shared, labels=[demonstration], role=role)


def _written(
    row: Mapping[str, Any],
    sent: Submission,
    length: Length,
    role: str | None,
    shared: dict[str, Any],
) -> Answer:
    brief = json.loads(row["brief"] or "{}")
    style = sent.style or brief.get("style") or "plain"
    few_shot = style == "few_shot"
    _check_length(sent.prompt, length, "the instruction" if few_shot else "the prompt")
    for text in (sent.response, *(example.response for example in sent.examples)):
        if text is not None:
            _check_length(text, length, "the response")
    tags = dict(shared["tags"])
    written = Written(
        kind=style,
        labeler_id=row["account_id"],
        id=f"w-{sent.id}",
        prompt=None if few_shot else sent.prompt,
        response=None if few_shot else sent.response or None,
        instruction=sent.prompt if few_shot else None,
        pairs=tuple(Pair(query=one.query, response=one.response) for one in sent.examples),
        application=brief.get("text") if style == "user_based" else None,
        anonymized_by=brief.get("anonymized_by", "the owner") if style == "user_based" else None,
        use_case=tags.pop("use_case", None),
        rubric=row["rubric"],
        tags=tags,
    )
    pieces = list(expand(written))
    begun = row["rubric_begun"]
    given = [replace(one, rubric_begun=begun) for _, one in pieces if one is not None]
    own = [prompt for prompt, _ in pieces]
    for prompt in own if few_shot else ():
        _check_length(prompt_text(prompt.prompt), length, "the prompt with its examples")
    return Answer(**shared, prompts=own, labels=given, role=role)


def _check_length(text: str, length: Length, what: str) -> None:
    if all(sign.isspace() or category(sign) in ("Cc", "Cf") for sign in text):  # nothing to see
        raise ValueError(f"{what} is empty; write it, or skip the item")
    count = length.count(text)
    if count > length.limit:
        raise ValueError(f"{what} has {count:,} {length.unit}; the limit is {length.limit:,}")


def _prompt(row: Mapping[str, Any]) -> Conversation:
    prompt: Conversation = prompt_of_body(row["prompt_body"])
    return prompt
