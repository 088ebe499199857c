"""Rules that assign one of the ten use cases of the paper's Table 1.

A labeler's tag always overrides the rules (the paper's shares come from labelers). The rules read
the first and last words of the prompt in the order below, and the first match decides; they are a
rough guide to the mix of prompts, not labels to train on.
"""

import re

from understudy.records import Conversation

PAPER_SHARES = {
    "generation": 0.456,
    "open_qa": 0.124,
    "brainstorming": 0.112,
    "chat": 0.084,
    "rewrite": 0.066,
    "summarization": 0.042,
    "classification": 0.035,
    "other": 0.035,
    "closed_qa": 0.026,
    "extract": 0.019,
}
"""Shares among the reward model's prompts, tagged by labelers (Table 1)."""

HEAD, TAIL = 240, 120
"""Characters of the beginning and the end that the rules read."""

_QUESTION = (
    r"(?:what|who|whom|whose|when|where|which|why|how|is|are|was|were|do|does|did|can|could|"
    r"should|would|will|has|have)\b"
)
_TEXT = r"(?:text|passage|article|paragraph|story|document|email|e-mail|review|tweet|sentence)"
_SOME = r"(?:some|a few|several|\d+|two|three|four|five|six|seven|eight|ten)\b"
_START = ""
"""Marks a rule for the prompt's beginning, after words like "please" and "could you"."""
_POLITE = re.compile(
    r"\W*(?:(?:please|hello|hi|hey|ok|now|kindly|can you|could you|would you)\b\W*){0,3}"
)
_CLAUSE = re.compile(r"[^.!?,;:\n]{1,80}[.!?,;:\n]+\s*(?=\w)")

_RULES: tuple[tuple[str, str, str], ...] = (
    (
        "summarization",
        "summar|tl;dr|tldr|nutshell|key ",
        r"summar(?:y|i[sz]e)|tl;?dr|in a nutshell",
    ),
    (
        "summarization",
        " about|key ",
        rf"what is (?:this|the) {_TEXT} about|key (?:points|takeaways)",
    ),
    ("classification", "classif|categori|sentiment", r"(?:classif|categori[sz]|sentiment)"),
    ("classification", "true or|spam or|good or|positive or", r"(?:true|spam|good|positive) or \w"),
    ("classification", "which", r"which (?:category|label|class)\b"),
    ("extract", "extract", r"extract\b"),
    (
        "extract",
        "in this|in the|from this|from the",
        rf"(?:find|list|pull out|name|which) [\w ]{{1,30}}\b(?:in|from) (?:this|the) {_TEXT}",
    ),
    ("rewrite", "rewrite|re-write|rephrase|reword", r"(?:rewrite|re-write|rephrase|reword)\b"),
    ("rewrite", "phrase|proofread|transl|simpl", r"(?:paraphrase|proofread|translate|simplify)\b"),
    (
        "rewrite",
        " this| the| my",
        r"(?:correct|fix|improve|edit|change|convert|shorten|polish) (?:this|the|my)\b",
    ),
    ("rewrite", _START, r"(?:make (?:this|it)|put (?:this|it) (?:in|into)|replace) "),
    (
        "closed_qa",
        "context|passage|background|article",
        r"(?:context|passage|background|article) ?:",
    ),
    ("closed_qa", "read ", r"read (?:this|the)\b"),
    (
        "closed_qa",
        "according to|based on|given",
        rf"(?:according to|based on|given) (?:this|the) (?:\w+ )?{_TEXT}",
    ),
    ("brainstorming", "brainstorm|idea|recommend", r"(?:brainstorm|ideas?\b|recommend)"),
    ("brainstorming", "suggest|tips|ways to", r"(?:suggest|tips\b|ways to\b)"),
    ("brainstorming", _START, rf"(?:list|name|give me) {_SOME}"),
    ("generation", _START, r"(?:write|compose|draft|generate|create|continue|design)\b"),
    (
        "generation",
        _START,
        r"(?:tell|give|say)\b.{0,20}\b(?:story|sentences?|poem|joke|tale|thing)",
    ),
    ("generation", "write |compose ", r"(?:write|compose) (?:me )?(?:an?|the|some)\b"),
    (
        "chat",
        _START,
        r"(?:good (?:morning|evening|afternoon)|thanks?\b|thank you|bye\b|how are you|who are you|"
        r"what is your name|i am\b|i'm\b|i feel\b|today i\b|$)",
    ),
    ("chat", ":", r"(?:human|ai|you|user|bot|assistant|friend) ?:"),
    ("open_qa", _START, rf"{_QUESTION}|(?:explain|define|describe|tell me)\b"),
)
"""Use case, text that must occur in the lower-cased prompt (a quick test), and the rule."""
_COMPILED = tuple(
    (
        name,
        tuple(hints.split("|")) if hints else (),
        re.compile(rf"\b{rule}" if hints else rule),
    )
    for name, hints, rule in _RULES
)


def use_case_of(prompt: Conversation) -> str:
    """One of `PAPER_SHARES`' names: "Write a poem about rain." is generation."""
    if not isinstance(prompt, str):
        if sum(turn.role == "user" for turn in prompt) > 1:
            return "chat"
        prompt = prompt[-1].content
    text = prompt if len(prompt) <= HEAD + TAIL else f"{prompt[:HEAD]}\n{prompt[-TAIL:]}"
    text = text.lower()
    start = _POLITE.match(text).end()  # type: ignore[union-attr]  # it matches the empty string
    for name, hints, rule in _COMPILED:
        if not hints:
            if rule.match(text, start):
                return name
        elif any(hint in text for hint in hints) and rule.search(text):
            return name
    return _by_second_clause(text, start) or ("open_qa" if text.rstrip().endswith("?") else "other")


def _by_second_clause(text: str, start: int) -> str | None:
    """Apply the rules for beginnings again, after an opening such as "Be brief."."""
    first = _CLAUSE.match(text, start)
    if not first:
        return None
    return next(
        (n for n, hints, rule in _COMPILED if not hints and rule.match(text, first.end())), None
    )
