"""What to do after each outcome of a request to the gateway, by OpenAI's error code."""

from understudy.web.ways import Way

_CALLER = "the caller, in the error"


def _way(state: str, on: str, seen: str = _CALLER) -> Way:
    return Way("gateway request", state, seen, on)


WAYS = (
    _way("answered", "`X-Understudy-Recorded` says whether it was recorded", "the caller"),
    _way("invalid_value", "`param` names the field, and the message says what it must be"),
    _way("missing_required_parameter", "give the field that `param` names"),
    _way("unknown_parameter", "leave out the parameter that `param` names"),
    _way("unsupported_value", "the message says which values are allowed"),
    _way("model_not_found", "the message names the served model; `GET /v1/models`"),
    _way("context_length_exceeded", "the message says how many tokens fit"),
    _way("invalid_api_key", "make a new key: `understudy users key`"),
    _way("too_many_wrong_keys", "wait for `Retry-After` seconds; a right key still works"),
    _way("rate_limit_exceeded", "wait for `Retry-After` seconds (`x-ratelimit-*` give the limits)"),
    _way(
        "insufficient_quota", "wait until tomorrow (UTC), or raise it: `users key --tokens-per-day`"
    ),
    _way("overloaded", "wait for `Retry-After` seconds"),
    _way("timeout", "request fewer tokens, or raise `--timeout-s`"),
    _way(
        "upstream_failed",
        "retry; `/health` says `degraded` until the upstream responds",
        "the caller, in the error; the operator, in `/health`",
    ),
    _way("upstream_refused", "follow the message; `Retry-After` is the upstream's, if it sent one"),
    _way(
        "log_unavailable",
        "free disk space; meanwhile `--on-log-failure serve` responds and counts the loss",
        "the caller, in the error; the operator, in `/health`",
    ),
)
