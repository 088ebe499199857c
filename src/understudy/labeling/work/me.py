"""One's own page: the optional self-description, visible only to its author, who can delete it."""

import json
from typing import Any

from understudy.store.accounts.descriptions import (
    cover_topics,
    coverage,
    describe_oneself,
    description_of,
)
from understudy.trust.topics import FIELDS, TOPIC_QUESTION, TOPICS, check_description
from understudy.web.access import Access, ApiError, Body, Call, Json, Route

PRIVATE = (
    "All of this is optional. Nobody sees what you enter here, not even the people who run the "
    "project: they see counts for the whole team, never of fewer than five people. It affects "
    "no decision about you, and you can change or delete it at any time."
)


class Values(Body):
    """Answers by question; missing or null means not answered."""

    values: dict[str, str | list[str] | None]


class Topics(Body):
    """Topics that one can or cannot judge; null means not answered."""

    values: dict[str, bool | None]


def me(call: Call) -> Json:
    """The questions and one's own answers."""
    row = description_of(call.app.store, call.me.id)
    said = json.loads(row["body"]) if row is not None else {}
    covered = coverage(call.app.store).get(call.me.id, {})
    return {
        "account": call.me.to_json(),
        "self_description": {
            "updated_at": row["updated_at"] if row is not None else None,
            "fields": [
                {
                    "name": field.name,
                    "question": field.question,
                    "kind": field.kind,
                    "options": list(field.options),
                    "value": said.get(field.name),
                }
                for field in FIELDS
            ],
        },
        "topics": [
            {"topic": topic, "question": TOPIC_QUESTION.format(name), "value": covered.get(topic)}
            for topic, name in TOPICS.items()
        ],
        "private": PRIVATE,
    }


def describe(call: Call) -> Json:
    """Store a self-description, replacing the old one."""
    try:
        values: dict[str, Any] = check_description(call.body.values)
    except ValueError as error:
        raise ApiError(400, "invalid", str(error)) from None
    at = call.app.now()
    describe_oneself(call.app.store, call.me.id, values, at)
    return {"updated_at": at if values else None}


def forget(call: Call) -> Json:
    """Delete the self-description."""
    describe_oneself(call.app.store, call.me.id, None, call.app.now())
    return {"updated_at": None}


def cover(call: Call) -> Json:
    """Store which topics one can judge."""
    for topic in call.body.values:
        if topic not in TOPICS:
            raise ApiError(400, "invalid", f"There is no topic {topic!r}.")
    said = {topic: value for topic, value in call.body.values.items() if value is not None}
    cover_topics(call.app.store, call.me.id, said)
    return {"updated_at": call.app.now()}


ROUTES = (
    Route("GET", "/api/me", Access.ACCOUNT, me),
    Route("POST", "/api/me/self-description", Access.ACCOUNT, describe, Values, max_bytes=8192),
    Route("POST", "/api/me/self-description/delete", Access.ACCOUNT, forget, max_bytes=4096),
    Route("POST", "/api/me/topics", Access.ACCOUNT, cover, Topics, max_bytes=8192),
)
