"""Prompts that labelers wrote themselves, of the paper's three kinds (A.2), and their expansion.

Users of a base model seldom give explicit instructions, so the paper's labelers wrote the first
prompts:

* plain: any task, as varied as possible;
* few-shot: an instruction with K pairs of a query and a response. It becomes K prompts, one for
  each query with the other K-1 pairs as context, and K demonstrations;
* user-based: a prompt for a use case from applications to the API's waiting list, after another
  labeler has rewritten that use case in vague words that identify nobody.

A written prompt with a response is a demonstration too. The paper does not say how a few-shot
prompt is laid out. Here the context begins with the pair after the query's own and wraps around, so
that the K prompts do not share a long beginning; `Layout` chooses one text or turns.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from understudy.records.convert import RecordError, read_row, write_value
from understudy.records.io import sha256_of
from understudy.records.schema import Conversation, Demonstration, Message, Prompt

Layout = Literal["text", "turns"]
Piece = tuple[Prompt, Demonstration | None]
WRITER = "labeler-"
"""Prefix of the user id of a labeler's own prompts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """One worked example of a few-shot instruction: `Pair(query="2 + 2", response="4")`."""

    query: str
    """The query."""
    response: str
    """The right response."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A labeler's prompt: `Written(kind="plain", labeler_id="l1", prompt="Name a prime.")`."""

    noun: ClassVar[str] = "written prompt"

    kind: Literal["plain", "few_shot", "user_based"]
    """Which of the three kinds."""
    labeler_id: str
    """Who wrote it."""
    id: str | None = None
    """Opaque id; a hash of the content without it."""
    prompt: Conversation | None = None
    """Plain and user-based: what a model is to respond to."""
    response: str | None = None
    """Plain and user-based: the labeler's own response, if there is one."""
    instruction: str | None = None
    """Few-shot: what to do with every query."""
    pairs: tuple[Pair, ...] = ()
    """Few-shot: the K worked examples."""
    application: str | None = None
    """User-based: the use case in vague words."""
    anonymized_by: str | None = None
    """User-based: the labeler who rewrote it; not the one who wrote the prompt."""
    use_case: str | None = None
    """One of the paper's ten use cases (Table 1)."""
    rubric: str | None = None
    """Version of the instructions that were followed."""
    created_at: str | None = None
    """ISO 8601 time."""
    tags: dict[str, Any] = field(default_factory=dict)
    """Further tags of the prompts."""

    def __post_init__(self) -> None:
        few_shot = self.kind == "few_shot"
        for name, wanted in (
            ("prompt", not few_shot),
            ("instruction", few_shot),
            ("application", self.kind == "user_based"),
            ("anonymized_by", self.kind == "user_based"),
        ):
            self._check_field(name, wanted)
        if not few_shot and self.pairs:
            raise RecordError("field 'pairs' is only for few_shot prompts")
        if few_shot:
            self._check_pairs()
        if self.kind == "user_based" and self.anonymized_by == self.labeler_id:
            raise RecordError(
                f"field 'anonymized_by' is {self.labeler_id!r}, who also wrote the prompt; another "
                "labeler must make the use case anonymous first (A.2)"
            )

    def _check_field(self, name: str, wanted: bool) -> None:
        value = getattr(self, name)
        if wanted and not value:
            raise RecordError(f"field '{name}' is missing; a {self.kind} prompt needs it")
        if not wanted and value is not None:
            raise RecordError(f"field '{name}' is not for {self.kind} prompts")

    def _check_pairs(self) -> None:
        if len(self.pairs) < 2:
            raise RecordError(f"field 'pairs' has {len(self.pairs)}; a few_shot prompt needs 2")
        if self.response is not None:
            raise RecordError("field 'response' is not for few_shot prompts; the pairs have theirs")
        queries = [pair.query.strip() for pair in self.pairs]
        for place, query in enumerate(queries):
            if not query or not self.pairs[place].response.strip():
                raise RecordError(f"field 'pairs[{place}]' has an empty query or response")
            if query in queries[:place]:
                raise RecordError(
                    f"field 'pairs[{place}]' repeats the query of an earlier one, whose response "
                    "would be in its context"
                )

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; fields that are None are left out."""
        row: dict[str, Any] = write_value(self)
        return {name: value for name, value in row.items() if value is not None}

    @classmethod
    def from_json(cls, row: Any) -> Self:
        """The record in a row; RecordError names the field that is wrong."""
        if not isinstance(row, dict):
            raise RecordError(f"this is {type(row).__name__}, not an object")
        written: Self = read_row(cls, row)
        return written


def expand(written: Written, layout: Layout = "text") -> Iterator[Piece]:
    """The prompts of a written one, each with its demonstration if it has a response.

    >>> pairs = tuple(Pair(query=q, response=r) for q, r in (("2", "two"), ("3", "three")))
    >>> few = Written(kind="few_shot", labeler_id="l", id="w", instruction="Spell", pairs=pairs)
    >>> [(prompt.prompt, given.response) for prompt, given in expand(few)]
    [('Spell\\n\\n3\\nthree\\n\\n2', 'two'), ('Spell\\n\\n2\\ntwo\\n\\n3', 'three')]
    """
    name = written.id or "w-" + sha256_of(written.to_json())[:16]
    if written.kind != "few_shot":
        assert written.prompt is not None
        yield _piece(written, name, written.prompt, written.response, {})
        return
    for place, pair in enumerate(written.pairs):
        context = (*written.pairs[place + 1 :], *written.pairs[:place])
        prompt = _laid_out(str(written.instruction), context, pair.query, layout)
        template = {"template": name, "place": place}
        yield _piece(written, f"{name}-{place}", prompt, pair.response, template)


def _laid_out(
    instruction: str, context: tuple[Pair, ...], query: str, layout: Layout
) -> Conversation:
    if layout == "text":
        shots = (f"{pair.query}\n{pair.response}" for pair in context)
        return "\n\n".join([instruction, *shots, query])
    turns = [Message("system", instruction)]
    for pair in context:
        turns += [Message("user", pair.query), Message("assistant", pair.response)]
    return (*turns, Message("user", query))


def _piece(
    written: Written, name: str, prompt: Conversation, response: str | None, tags: dict[str, Any]
) -> Piece:
    """A prompt, whose user is the labeler, and the demonstration."""
    about = {"application": written.application, "anonymized_by": written.anonymized_by}
    given = {key: value for key, value in about.items() if value is not None}
    record = Prompt(
        id=name,
        prompt=prompt,
        user_id=WRITER + written.labeler_id,
        use_case=written.use_case,
        source="labeler",
        created_at=written.created_at,
        tags={**written.tags, "written": written.kind, **given, **tags},
    )
    if response is None:
        return record, None
    demonstration = Demonstration(
        id=f"d-{name}",
        prompt_id=name,
        prompt=prompt,
        response=response,
        labeler_id=written.labeler_id,
        rubric=written.rubric,
    )
    return record, demonstration
