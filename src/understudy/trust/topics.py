"""Labelers' optional self-descriptions (Table 12), and topics they can judge (B.1, criterion 4).

Voluntary and private: nobody sees one labeler's answers, no label links to them, and they affect no
decision (the paper excluded hiring on demographics). They have two uses: counts of the team, and
weights of groups. Counts below `MINIMUM` are hidden, so "none" and "a few" look the same; where
only one count is hidden, so is a second, since the total would reveal the first. Two counts taken
before and after one person's answer can still reveal it: publish counts seldom.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from understudy.records.schema import MINIMUM_GROUP

MINIMUM = MINIMUM_GROUP
"""Counts of fewer people than this are hidden."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One question of the self-description."""

    name: str
    question: str
    kind: Literal["one", "several"]
    """Whether several options may be chosen."""
    options: tuple[str, ...]


FIELDS = (
    Field(
        name="gender",
        question="What gender do you identify as?",
        kind="one",
        options=("Woman", "Man", "Non-binary or other"),
    ),
    Field(
        name="ethnicity",
        question="What ethnicities do you identify as?",
        kind="several",
        options=(
            "Black or of African descent",
            "East Asian",
            "Indigenous",
            "Latino or Latina",
            "Middle Eastern or North African",
            "South Asian",
            "Southeast Asian",
            "White",
            "Another",
        ),
    ),
    Field(
        name="region",
        question="Where did you spend most of your life?",
        kind="one",
        options=(
            "Africa",
            "East Asia",
            "Europe",
            "Latin America and the Caribbean",
            "Middle East and North Africa",
            "North America",
            "Oceania",
            "South Asia",
            "Southeast Asia",
        ),
    ),
    Field(
        name="age",
        question="How old are you?",
        kind="one",
        options=("18-24", "25-34", "35-44", "45-54", "55-64", "65 or more"),
    ),
    Field(
        name="education",
        question="What is the highest education that you have completed?",
        kind="one",
        options=(
            "Less than high school",
            "High school",
            "Undergraduate degree",
            "Master's degree",
            "Doctorate",
        ),
    ),
)
"""After the paper's survey (Table 12), with regions for its nationalities."""

TOPICS = {
    "age": "age and generations",
    "class": "poverty and social class",
    "disability": "disability",
    "ethnicity": "race and ethnicity",
    "gender": "gender and sexism",
    "health": "mental and physical health",
    "immigration": "immigration and refugees",
    "politics": "politics where I live",
    "religion": "religion and belief",
    "sexuality": "sexual orientation and gender identity",
    "violence": "violence, abuse and self-harm",
}
"""Topics of sensitive speech."""
TOPIC_QUESTION = "I can tell when speech about {} is sensitive or hurtful."


def check_description(values: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """The given answers; ValueError for an invalid one."""
    by_name = {field.name: field for field in FIELDS}
    said: dict[str, str | list[str]] = {}
    for name, value in values.items():
        if name not in by_name:
            raise ValueError(f"there is no question {name!r}; known: {', '.join(by_name)}")
        field = by_name[name]
        if value is None or value == []:
            continue
        chosen = value if isinstance(value, list) else [value]
        if field.kind == "one" and isinstance(value, list):
            raise ValueError(f"{name} takes one option, not a list")
        for option in chosen:
            if option not in field.options:
                raise ValueError(f"{name}: {option!r} is not one of {', '.join(field.options)}")
        said[name] = sorted(set(chosen)) if field.kind == "several" else chosen[0]
    return said


def team_counts(
    descriptions: Sequence[Mapping[str, str | list[str]]], minimum: int = MINIMUM
) -> dict[str, list[tuple[str, int | None]]]:
    """For each question, how many chose each option; None if hidden (see the module)."""
    found = {}
    for field in FIELDS:
        counts: Counter[str] = Counter()
        for said in descriptions:
            value = said.get(field.name)
            counts.update([value] if isinstance(value, str) else value or [])
        told = suppressed([counts[option] for option in field.options], minimum)
        found[field.name] = list(zip(field.options, told, strict=True))
    return found


def topic_counts(
    coverage: Sequence[Mapping[str, bool]], minimum: int = MINIMUM
) -> list[tuple[str, int | None]]:
    """How many say that they can judge each topic; None if hidden."""
    counts = [sum(bool(one.get(topic)) for one in coverage) for topic in TOPICS]
    return list(zip(TOPICS, suppressed(counts, minimum), strict=True))


def suppressed(counts: Sequence[int], minimum: int = MINIMUM) -> list[int | None]:
    """Hide counts below `minimum`; if only one is hidden, hide the next smallest too."""
    told: list[int | None] = [count if count >= minimum else None for count in counts]
    hidden = [place for place, count in enumerate(told) if count is None]
    if len(hidden) == 1 and len(told) > 1:
        rest = [place for place in range(len(told)) if place not in hidden]
        told[min(rest, key=lambda place: counts[place])] = None
    return told


def new_topics(
    candidate: Mapping[str, bool], team: Sequence[Mapping[str, bool]], enough: int = 3
) -> int:
    """Criterion 4 as a number: how many topics the candidate can judge that fewer than `enough` of
    the team can. It does not reveal which topics."""
    return sum(
        sum(bool(one.get(topic)) for one in team) < enough
        for topic in TOPICS
        if candidate.get(topic)
    )


def group_weights(
    descriptions: Mapping[str, Mapping[str, str | list[str]]],
    field: str,
    targets: Mapping[str, float],
    minimum: int = MINIMUM,
) -> dict[str, float]:
    """Labeler weights that make groups count as `targets` say, for those who answered `field`.

    A labeler's weight is the group's target share divided by its share of the team. ValueError for
    a group of fewer than `minimum`: equal weights in the file would reveal its members.
    """
    groups: dict[str, list[str]] = {}
    for labeler, said in descriptions.items():
        value = said.get(field)
        if isinstance(value, str):
            groups.setdefault(value, []).append(labeler)
    for option in sorted(set(groups) | set(targets)):
        if option not in targets:
            raise ValueError(f"no share for {option!r}; give every group that answered")
        if len(groups.get(option, ())) < minimum:
            raise ValueError(
                f"fewer than {minimum} labelers are {option!r}; weights would reveal who they are"
            )
    number, whole = sum(map(len, groups.values())), sum(targets.values())
    return {
        labeler: (targets[option] / whole) / (len(members) / number)
        for option, members in groups.items()
        for labeler in members
    }
