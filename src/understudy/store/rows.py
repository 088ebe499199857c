"""Converts between records and table rows: the only module that knows both."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import RowMapping

from understudy.records import (
    Conversation,
    Demonstration,
    Feedback,
    LabelerInfo,
    Message,
    Prompt,
    Ranking,
    Rating,
    Response,
    sha256_of,
)
from understudy.records.convert import write_value
from understudy.records.schema import group_in, policy_in
from understudy.store.border import clean, clean_json

Row = dict[str, Any]
Label = Demonstration | Rating | Ranking
_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def now() -> str:
    """The current time, ISO 8601 in UTC with microseconds, so that text order is time order."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def packed(value: Any) -> str:
    """A value as canonical JSON text: equal values give equal text."""
    text = _CANONICAL.encode(value)
    if "\\u0000" in text or clean(text) != text:
        return packed(clean_json(value))
    return text


def labeler_row(labeler: LabelerInfo) -> Row:
    """A row of `labelers`."""
    return {
        "id": labeler.id,
        "role": labeler.role,
        "labeler_group": labeler.group,
        "screening": packed(labeler.screening),
        "created_at": now(),
    }


def labeler_of(row: RowMapping) -> LabelerInfo:
    """The record of a row of `labelers`."""
    return LabelerInfo(
        id=row["id"],
        role=row["role"],
        group=row["labeler_group"],
        screening=json.loads(row["screening"]),
    )


def prompt_row(prompt: Prompt) -> Row:
    """A row of `prompts`; intake sets the split later."""
    body = packed(write_value(prompt.prompt))
    return {
        "id": prompt.id,
        "user_id": prompt.user_id,
        "organization_id": prompt.organization_id,
        "body": body,
        "digest": sha256_of(body),
        "source": prompt.source,
        "tags": packed(write_value(prompt.tags)),
        "use_case": prompt.use_case,
        "created_at": prompt.created_at,
    }


def prompt_of(row: RowMapping) -> Prompt:
    """The record of a row of `prompts`; every prompt in the store had consent."""
    return Prompt(
        id=row["id"],
        prompt=prompt_of_body(row["body"]),
        user_id=row["user_id"],
        organization_id=row["organization_id"],
        split=row["split"],
        use_case=row["use_case"],
        source=row["source"],
        created_at=row["created_at"],
        tags=json.loads(row["tags"]),
    )


def prompt_of_body(body: str) -> Conversation:
    """The conversation in a prompt's `body`."""
    found = json.loads(body)
    if isinstance(found, str):
        return found
    return tuple(Message(**turn) for turn in found)


def response_row(response: Response) -> Row:
    """A row of `responses`."""
    return {
        "id": response.id,
        "prompt_id": response.prompt_id,
        "response": response.response,
        "model": response.model,
        "temperature": response.temperature,
        "seed": response.seed,
        "finished": response.finished,
        "logprob": response.logprob,
        "created_at": now(),
    }


def response_of(row: RowMapping, prompt: Conversation) -> Response:
    """The record of a row of `responses` joined with its prompt."""
    return Response(
        id=row["id"],
        prompt_id=row["prompt_id"],
        prompt=prompt,
        response=row["response"],
        model=row["model"],
        temperature=row["temperature"],
        seed=row["seed"],
        finished=row["finished"],
        logprob=row["logprob"],
    )


def thumb_of(row: RowMapping) -> Feedback:
    """The record of a thumb, joined with its prompt and its response."""
    return Feedback(
        id=row["id"],
        prompt_id=row["prompt_id"],
        prompt=prompt_of_body(row["body"]),
        response=row["response"],
        desirable=json.loads(row["value"]) == "up",
        labeler_id=row["user_id"],
        split=row["split"],
    )


def kind_of(label: Label) -> str:
    """demonstration, rating or ranking."""
    return type(label).__name__.lower()


def label_row(label: Label, role: str, revises: RowMapping | None = None) -> Row:
    """A row of `labels`; `revises` is the row of the label that this one replaces."""
    return {
        "id": label.id,
        "kind": kind_of(label),
        "prompt_id": label.prompt_id,
        "response_id": label.response_id if isinstance(label, Rating) else None,
        "labeler_id": label.labeler_id,
        "labeler_role": role,
        "rubric": label.rubric,
        "rubric_begun": label.rubric_begun,
        "revision": revises["revision"] + 1 if revises else 0,
        "revises": revises["id"] if revises else None,
        "body": packed(_body(label)),
        "created_at": now(),
    }


def _body(label: Label) -> Row:
    if isinstance(label, Demonstration):
        return {"response": label.response}
    if isinstance(label, Rating):
        return {"likert": label.likert, "flags": dict(label.flags), "note": label.note}
    scores = {} if label.scores is None else {"scores": list(label.scores)}
    return {"tiers": [list(tier) for tier in label.tiers], **scores}


def label_of(row: RowMapping, responses: Sequence[str] = ()) -> Label:
    """The record of a row of `labels` joined with its prompt (`prompt_body`, `split`, `tags`).

    `responses` are the texts of a ranking, in the order they were shown.
    """
    body = json.loads(row["body"])
    shared: Row = {
        "id": row["id"],
        "prompt_id": row["prompt_id"],
        "labeler_id": row["labeler_id"],
        "rubric": row["rubric"],
        "rubric_begun": row["rubric_begun"],
    }
    if row["kind"] == "rating":
        policy = policy_in(json.loads(row["tags"]))
        return Rating(**shared, response_id=row["response_id"], policy=policy, **body)
    shared |= {"prompt": prompt_of_body(row["prompt_body"]), "split": row["split"]}
    if row["kind"] == "demonstration":
        return Demonstration(**shared, **body)
    scores = body.get("scores")
    return Ranking(
        **shared,
        responses=tuple(responses),
        tiers=tuple(tuple(tier) for tier in body["tiers"]),
        scores=None if scores is None else tuple(scores),
        group=group_in(json.loads(row["tags"])),
        labeler_role=row["labeler_role"],
    )
