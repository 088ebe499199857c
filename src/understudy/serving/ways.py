"""The way on from everything that a request to the gateway can come to, by OpenAI's error code."""

from understudy.web.ways import Way

_CALLER = "the caller, in the error"


def _way(state: str, on: str, seen: str = _CALLER) -> Way:
    return Way("gateway request", state, seen, on)


WAYS = (
    _way("answered", "`X-Understudy-Recorded` says whether it was recorded", "the caller"),
    _way("invalid_value", "`param` names the field, the message what it must be"),
    _way("missing_required_parameter", "give the field that `param` names"),
    _way("unknown_parameter", "leave out the parameter that `param` names"),
    _way("unsupported_value", "the message says which values are taken"),
    _way("model_not_found", "the message names the model that there is; `GET /v1/models`"),
    _way("context_length_exceeded", "the message says how many tokens fit"),
    _way("invalid_api_key", "a new key: `understudy users key`"),
    _way("too_many_wrong_keys", "wait for `Retry-After` seconds; a right key is let in at once"),
    _way("rate_limit_exceeded", "wait for `Retry-After` seconds (`x-ratelimit-*` say the limits)"),
    _way("insufficient_quota", "tomorrow (UTC), or a key with more: `users key --tokens-per-day`"),
    _way("overloaded", "wait for `Retry-After` seconds"),
    _way("timeout", "ask for fewer tokens, or raise `--timeout-s`"),
    _way(
        "upstream_failed",
        "ask again; `/health` says `degraded` until the upstream answers",
        "the caller, in the error; the operator, in `/health`",
    ),
    _way("upstream_refused", "as the message says; `Retry-After` where the upstream names it"),
    _way(
        "log_unavailable",
        "free the disk; `--on-log-failure serve` answers meanwhile and counts the loss",
        "the caller, in the error; the operator, in `/health`",
    ),
)
