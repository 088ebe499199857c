"""The gateway's description of itself (OpenAPI 3.1), at /openapi.json."""

from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from understudy.serving.wire import ChatRequest, CompletionRequest, Feedback, Json

ERRORS = {
    "400": "the request is not valid",
    "401": "no valid key",
    "404": "no such model or response",
    "408": "the request did not arrive in time",
    "413": "the request is too large",
    "415": "the request is not JSON",
    "422": "the model's server refused the request",
    "429": "over the limit or the quota; Retry-After says when to retry",
    "502": "the model's server failed",
    "503": "the prompt cannot be recorded",
    "504": "the response took too long",
}
CONSENT = "X-Understudy-Consent"


@cache
def description() -> Json:
    """Every route with its parameters and responses."""
    models: list[Any] = [
        (kind, "validation") for kind in (ChatRequest, CompletionRequest, Feedback)
    ]
    _, found = models_json_schema(models, ref_template="#/components/schemas/{model}")
    schemas = {**found["$defs"], "Error": _ERROR, "Answer": _ANSWER}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Understudy", "version": "1"},
        "paths": {
            "/v1/chat/completions": {"post": _asks("Respond to a conversation.", "ChatRequest")},
            "/v1/completions": {"post": _asks("Continue a text.", "CompletionRequest")},
            "/v1/models": {"get": _keyed("The served model.", _object("object", "data"))},
            "/v1/feedback": {
                "post": {
                    **_keyed("Give feedback on a response.", _object("object", "id")),
                    "requestBody": _body("Feedback"),
                }
            },
            "/health": {"get": _open("The gateway's health; needs no key.")},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _object(*names: str) -> Json:
    return {"type": "object", "required": list(names)}


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_ANSWER = {
    "type": "object",
    "required": ["id", "object", "created", "model", "choices"],
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string"},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "object", "required": ["index"]}},
        "usage": {"type": ["object", "null"]},
    },
}


def _body(model: str) -> Json:
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _open(summary: str) -> Json:
    content = {"application/json": {"schema": _object("status", "log", "backend")}}
    return {
        "summary": summary,
        "responses": {"200": {"description": "the health report", "content": content}},
    }


def _keyed(summary: str, given: Json) -> Json:
    """A route that needs a key."""
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    responses: Json = {
        status: {"description": why, "content": error} for status, why in ERRORS.items()
    }
    content = {"application/json": {"schema": given}}
    responses["200"] = {"description": "done", "content": content}
    return {"summary": summary, "security": [{"key": []}], "responses": responses}


def _asks(summary: str, model: str) -> Json:
    """A route that generates text, whole or streamed."""
    route = _keyed(summary, {"$ref": "#/components/schemas/Answer"})
    data = {"type": "string", "description": "a chunk in JSON; [DONE] in the last event"}
    event = {"type": "object", "required": ["data"], "properties": {"data": data}}
    route["responses"]["200"]["content"]["text/event-stream"] = {"schema": event}
    consent = {
        "name": CONSENT,
        "in": "header",
        "description": "any value but yes keeps this request out of the log",
        "schema": {"type": "string"},
    }
    return {**route, "parameters": [consent], "requestBody": _body(model)}
