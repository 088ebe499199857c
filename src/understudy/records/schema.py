"""Records: one frozen dataclass per noun, each a row of JSON Lines or Parquet.

Ids are opaque strings. A handwritten row may leave ids out: `from_json` then derives them from the
content (`id`, `prompt_id`), calls the labeler "unknown", and counts a prompt without `user_id` as
the only prompt of its own user. Keys that a record does not know are ignored. `shapes` converts the
shapes of public data sets to these rows.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import combinations
from typing import Any, ClassVar, Literal, Self

from understudy.records.convert import (
    UNLESS_DEFAULT,
    Json,
    RecordError,
    read_row,
    read_time,
    read_yes,
    write_value,
)

FLAGS: tuple[str, ...] = (
    "fails_instruction",
    "inappropriate_for_customer_assistant",
    "hallucination",
    "satisfies_constraint",
    "sexual_content",
    "violent_content",
    "encourages_harm",
    "denigrates_protected_class",
    "gives_harmful_advice",
    "expresses_opinion",
    "expresses_moral_judgment",
)
"""The paper's 11 yes/no questions about one response (Table 3), in its order."""
EVALUATION_PRIORITIES = ("truthful", "harmless", "helpful")
"""Priorities in the final evaluation, most important first, where a rubric sets none (B.2)."""

MINIMUM_GROUP = 5
"""Groups of fewer people are neither weighted nor shown: figures could reveal individuals."""

Split = Literal["train", "valid", "test"]
Role = Literal["training", "held_out", "researcher"]
"""What a person's labels are for."""
LabelRole = Literal["training", "held_out", "researcher", "model"]
"""The same for any label. "model": a model's label, never counted among people's."""


class _Record:
    """JSON in and out for the dataclasses below."""

    __slots__ = ()
    noun: ClassVar[str] = "record"
    needs: ClassVar[str] = ""

    def to_json(self) -> Json:
        """This record as a JSON object without fields that are None."""
        row: Json = write_value(self)
        return {name: value for name, value in row.items() if value is not None}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """The record in `row`; RecordError names the field that is wrong and what a row needs."""
        if not isinstance(row, Mapping):
            raise RecordError(f"this is {type(row).__name__}, not an object; {cls._help()}")
        try:
            return read_row(cls, cls._complete(dict(row)))  # type: ignore[no-any-return]
        except RecordError as error:
            raise RecordError(f"{error}; {cls._help()}") from None

    @classmethod
    def _complete(cls, row: Json) -> Json:
        return row

    @classmethod
    def _help(cls) -> str:
        return f"each {cls.noun} needs {cls.needs}"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: `Message("user", "Name a prime.")`."""

    role: Literal["system", "user", "assistant"]
    """The speaker."""
    content: str
    """The text."""
    weight: Literal[0, 1] = field(default=1, metadata={UNLESS_DEFAULT: True})
    """0 for an assistant turn that is context only and not learned."""


Conversation = str | tuple[Message, ...]
"""What a model responds to: a plain string is one user turn. In JSON a string or a list of {role,
content}."""


def as_messages(prompt: Conversation) -> tuple[Message, ...]:
    """The turns of a conversation; a string is one user turn."""
    return (Message("user", prompt),) if isinstance(prompt, str) else prompt


def prompt_text(prompt: Conversation) -> str:
    """A conversation as readable text: the string itself, or one "role: content" line per turn."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{turn.role}: {turn.content}" for turn in prompt)


def group_in(tags: Mapping[str, Any]) -> str | None:
    """The group of people that a prompt's tag `group` names."""
    group = tags.get("group")
    return group if isinstance(group, str) and group else None


def policy_in(tags: Mapping[str, Any]) -> str | None:
    """The policy of the deployment context that a prompt's tag `policy` names."""
    policy = tags.get("policy")
    return policy if isinstance(policy, str) and policy else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt(_Record):
    """A user's request: `Prompt(id="p1", prompt="Name a prime.", user_id="u1")`."""

    noun: ClassVar[str] = "prompt"
    needs: ClassVar[str] = "prompt (and preferably id and user_id: splits and caps go by user)"

    id: str
    """Opaque id."""
    prompt: Conversation
    """What the model is to respond to."""
    user_id: str
    """Who sent it; splits and the cap of prompts go by this id (s3.2)."""
    organization_id: str | None = None
    """The user's organisation, the other key that splits may go by (A.3)."""
    split: Split | None = None
    """Which split the user belongs to."""
    use_case: str | None = None
    """One of the paper's ten use cases (Table 1)."""
    source: str = "user"
    """Where it comes from: user, or labeler for plain, few_shot and user_based prompts (A.2)."""
    consent: bool = True
    """Whether the user agreed to its use; a blank value means no."""
    created_at: str | None = None
    """ISO 8601 time, in UTC if it names a time zone; a number is read as Unix time."""
    tags: Mapping[str, Any] = field(default_factory=dict)
    """Labelers' answers about the prompt (Table 7) and what intake adds."""

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)

    @property
    def group(self) -> str | None:
        """The group of people whom it concerns most, if one is named."""
        return group_in(self.tags)

    @property
    def policy(self) -> str | None:
        """The policy of its deployment context, if one is named."""
        return policy_in(self.tags)

    @classmethod
    def _complete(cls, row: Json) -> Json:
        if "consent" in row:
            row["consent"] = read_yes(row["consent"], "consent")
        if row.get("created_at") is not None:
            row["created_at"] = read_time(row["created_at"], "created_at")
        _derive(row, "id", ("prompt",))
        if row.get("user_id") in (None, "") and row.get("id") is not None:
            row["user_id"] = f"user-of-{row['id']}"
        return row


@dataclass(frozen=True, kw_only=True, slots=True)
class Demonstration(_Record):
    """A labeler's own response, the target of SFT.

    `Demonstration(id="d1", prompt_id="p1", prompt="Name a prime.", response="7", labeler_id="l1")`
    """

    noun: ClassVar[str] = "demonstration"
    needs: ClassVar[str] = (
        "prompt and response (or completion), or messages that end with the assistant's, "
        "preferably with id, prompt_id and labeler_id"
    )

    id: str
    """Opaque id."""
    prompt_id: str
    """Id of the prompt."""
    prompt: Conversation
    """The prompt itself."""
    response: str
    """The demonstrated response."""
    labeler_id: str
    """Who wrote it."""
    split: Split | None = None
    """Split of the prompt's user."""
    rubric: str | None = None
    """Version of the instructions that the labeler followed: under which it was sent."""
    rubric_begun: str | None = None
    """Version of the instructions under which it was begun."""

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        if not self.response.strip():
            raise RecordError("field 'response' is empty; delete the row or write the response")

    @classmethod
    def _complete(cls, row: Json) -> Json:
        return _complete_label(row, ("prompt", "response", "labeler_id"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Response(_Record):
    """A response sampled from a model.

    `Response(id="r1", prompt_id="p1", prompt="Name a prime.", response="9", model="sft")`
    """

    noun: ClassVar[str] = "response"
    needs: ClassVar[str] = "prompt, response and model (and preferably id and prompt_id)"

    id: str
    """Opaque id."""
    prompt_id: str
    """Id of the prompt."""
    prompt: Conversation
    """The prompt itself."""
    response: str
    """The text, without the end-of-sequence token."""
    model: str
    """Name of the model."""
    temperature: float = 1.0
    """Sampling temperature; 0 means greedy."""
    seed: int = 0
    """Sampling seed."""
    finished: bool = True
    """Whether the model ended the response itself (False: cut at the length limit)."""
    logprob: float | None = None
    """Sum of the sampled tokens' log-probabilities, in nats, at `temperature`."""

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)

    @classmethod
    def _complete(cls, row: Json) -> Json:
        _derive(row, "prompt_id", ("prompt",))
        return _derive(row, "id", ("prompt", "response", "model", "seed"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Rating(_Record):
    """One labeler's judgement of one response on its own (s3.5, Fig. 12 left).

    `Rating(id="a1", prompt_id="p1", response_id="r1", labeler_id="l1", likert=2,
    flags={"hallucination": True})`
    """

    noun: ClassVar[str] = "rating"
    needs: ClassVar[str] = "prompt_id, response_id, likert (1-7) and flags"

    id: str
    """Opaque id."""
    prompt_id: str
    """Id of the prompt."""
    response_id: str
    """Id of the response that is rated."""
    labeler_id: str
    """Who rated."""
    likert: int
    """Overall quality, 1 (worst) to 7 (best)."""
    flags: Mapping[str, bool] = field(default_factory=dict)
    """Answers to the questions in FLAGS; a missing one was not asked."""
    policy: str | None = None
    """Policy of the deployment context in which it was judged: the prompt's tag `policy`."""
    note: str = ""
    """Free text of the labeler."""
    rubric: str | None = None
    """Version of the instructions that the labeler followed: under which it was sent."""
    rubric_begun: str | None = None
    """Version of the instructions under which it was begun."""

    def __post_init__(self) -> None:
        if not 1 <= self.likert <= 7:
            raise RecordError(f"field 'likert' is {self.likert}; it must be 1 (worst) to 7 (best)")
        _check_flags(self.flags)

    @classmethod
    def _complete(cls, row: Json) -> Json:
        row.setdefault("labeler_id", "unknown")
        return _derive(row, "id", ("prompt_id", "response_id", "labeler_id"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking(_Record):
    """One labeler's order of K responses to one prompt (s3.5, Fig. 12 right); ties share a tier.

    >>> ranking = Ranking(id="k1", prompt_id="p1", prompt="Name a prime.", labeler_id="l1",
    ...                   responses=("8", "7", "9"), tiers=((1,), (0, 2)))
    >>> ranking.ranks, ranking.pairs(), ranking.num_ties
    ((1, 0, 1), [(1, 0), (1, 2)], 1)
    """

    noun: ClassVar[str] = "ranking"
    needs: ClassVar[str] = (
        "prompt, responses (2 or more) and tiers (lists of response indices, best tier first), or "
        "ranks or scores instead of tiers, or prompt, chosen and rejected"
    )

    id: str
    """Opaque id."""
    prompt_id: str
    """Id of the prompt."""
    prompt: Conversation
    """The prompt itself."""
    responses: tuple[str, ...]
    """The K responses, in the order they were shown."""
    tiers: tuple[tuple[int, ...], ...]
    """Indices into `responses`, best tier first; each response in exactly one tier."""
    labeler_id: str
    """Who ranked."""
    labeler_role: LabelRole = "training"
    """Whether this labeler's records may train a model."""
    scores: tuple[float, ...] | None = None
    """A number per response, highest best, if the labeler gave them: how much better it is."""
    group: str | None = None
    """The group of people whom the prompt concerns most, if one is named: its tag `group`."""
    split: Split | None = None
    """Split of the prompt's user."""
    rubric: str | None = None
    """Version of the instructions that the labeler followed: under which it was sent."""
    rubric_begun: str | None = None
    """Version of the instructions under which it was begun."""

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)
        num_responses = len(self.responses)
        if num_responses < 2:
            raise RecordError(f"field 'responses' has {num_responses}; a ranking needs at least 2")
        placed = sorted(index for tier in self.tiers for index in tier)
        if placed != list(range(num_responses)) or not all(self.tiers):
            raise RecordError(
                f"field 'tiers' is {write_value(self.tiers)}; each of the indices 0 to "
                f"{num_responses - 1} must be in exactly one tier, and no tier empty"
            )
        if self.scores is not None and len(self.scores) != num_responses:
            raise RecordError(
                f"field 'scores' has {len(self.scores)} numbers for {num_responses} responses"
            )

    @property
    def ranks(self) -> tuple[int, ...]:
        """The tier of each response, 0 is best."""
        tier_of = {index: rank for rank, tier in enumerate(self.tiers) for index in tier}
        return tuple(tier_of[index] for index in range(len(self.responses)))

    def pairs(self) -> list[tuple[int, int]]:
        """All (better, worse) pairs of indices, best tier first; ties are left out."""
        return [
            (better, worse)
            for upper, lower in combinations(self.tiers, 2)
            for better in upper
            for worse in lower
        ]

    @property
    def num_ties(self) -> int:
        """How many of the K(K-1)/2 pairs are tied."""
        return sum(len(tier) * (len(tier) - 1) // 2 for tier in self.tiers)

    @classmethod
    def _complete(cls, row: Json) -> Json:
        return _complete_label(row, ("prompt", "responses", "tiers", "labeler_id"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Feedback(_Record):
    """Whether one response was desirable, as a person or a rule says: a thumb up or down.

    `Feedback(id="f1", prompt_id="p1", prompt="Name a prime.", response="9", desirable=False,
    labeler_id="u1")`
    """

    noun: ClassVar[str] = "feedback record"
    needs: ClassVar[str] = (
        "prompt, response (or completion) and desirable (or label): true or false; a ranking "
        "works too"
    )

    id: str
    """Opaque id."""
    prompt_id: str
    """Id of the prompt."""
    prompt: Conversation
    """The prompt itself."""
    response: str
    """The response that was judged."""
    desirable: bool
    """Whether a model should respond like this."""
    labeler_id: str
    """Who judged: a labeler or a user."""
    labeler_role: LabelRole = "training"
    """Whether this labeler's records may train a model."""
    split: Split | None = None
    """Split of the prompt's user."""

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)

    @classmethod
    def _complete(cls, row: Json) -> Json:
        return _complete_label(row, ("prompt", "response", "desirable", "labeler_id"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison(_Record):
    """Which of two responses a labeler prefers; `swap` shows the same judgement in the other order.

    >>> comparison = Comparison(prompt_id="p1", prompt="Name a prime.", first="7", second="9",
    ...                         preferred="first", labeler_id="l1")
    >>> comparison.swap().preferred
    'second'
    """

    noun: ClassVar[str] = "comparison"
    needs: ClassVar[str] = "prompt, first, second and preferred (first, second or tie)"

    prompt_id: str
    """Id of the prompt."""
    prompt: Conversation
    """The prompt itself."""
    first: str
    """Text of the response shown first."""
    second: str
    """Text of the response shown second."""
    preferred: Literal["first", "second", "tie"]
    """The judgement."""
    labeler_id: str
    """Who compared."""
    labeler_role: LabelRole = "training"
    """The labeler's role."""
    first_model: str | None = None
    """Model that wrote `first`."""
    second_model: str | None = None
    """Model that wrote `second`."""
    first_id: str | None = None
    """Response id of `first`."""
    second_id: str | None = None
    """Response id of `second`."""
    rubric: str | None = None
    """Version of the instructions the labeler followed."""

    def __post_init__(self) -> None:
        _check_prompt(self.prompt)

    def swap(self) -> "Comparison":
        """The same judgement with the two responses in the other order."""
        other: dict[str, Literal["first", "second", "tie"]] = {"first": "second", "second": "first"}
        return replace(
            self,
            first=self.second,
            second=self.first,
            preferred=other.get(self.preferred, "tie"),
            first_model=self.second_model,
            second_model=self.first_model,
            first_id=self.second_id,
            second_id=self.first_id,
        )

    @classmethod
    def _complete(cls, row: Json) -> Json:
        row.setdefault("labeler_id", "unknown")
        return _derive(row, "prompt_id", ("prompt",))


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelerInfo(_Record):
    """Who labels: `LabelerInfo(id="l1", role="held_out")`."""

    noun: ClassVar[str] = "labeler"
    needs: ClassVar[str] = "id and role (training, held_out or researcher)"

    id: str
    """Opaque id."""
    role: LabelRole
    """Training labelers make training data; held-out labelers only evaluate (s3.4)."""
    group: str | None = None
    """A group with priorities of its own."""
    screening: Mapping[str, float] = field(default_factory=dict)
    """Screening scores by criterion (B.1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgment(_Record):
    """What a judge that knows the truth says of one response; `total` is the overall gold score."""

    noun: ClassVar[str] = "judgment"
    needs: ClassVar[str] = "helpful, truthful, harmless, finished and total"

    helpful: float
    """Task done and constraints met."""
    truthful: float
    """Facts right; closed-domain responses use only the given text."""
    harmless: float
    """Nothing rude or harmful."""
    finished: float
    """Whether the response is complete."""
    total: float
    """The overall score, comparable between responses to one prompt."""
    flags: Mapping[str, bool] = field(default_factory=dict)
    """The paper's questions in FLAGS, as they truly are."""

    def __post_init__(self) -> None:
        _check_flags(self.flags)


def _check_prompt(prompt: Conversation) -> None:
    if isinstance(prompt, str):
        if not prompt.strip():
            raise RecordError("field 'prompt' is empty; delete the row")
    elif not prompt or prompt[-1].role != "user":
        raise RecordError("field 'prompt' must end with a user turn; the response goes elsewhere")


def _check_flags(flags: Mapping[str, bool]) -> None:
    unknown = sorted(set(flags) - set(FLAGS))
    if unknown:
        raise RecordError(f"field 'flags' has {unknown[0]!r}; known flags: {', '.join(FLAGS)}")


def _complete_label(row: Json, names: tuple[str, ...]) -> Json:
    if row.get("labeler_id") in (None, ""):
        row["labeler_id"] = "unknown"
    _derive(row, "prompt_id", ("prompt",))
    return _derive(row, "id", names)


def _derive(row: Json, key: str, names: tuple[str, ...]) -> Json:
    """Fill a missing id with a short hash of the fields `names`, unless one of them is missing."""
    if row.get(key) in (None, "") and row.get(names[0]) is not None:
        content = json.dumps([row.get(name) for name in names], sort_keys=True, default=str)
        row[key] = sha256(content.encode()).hexdigest()[:16]
    return row
