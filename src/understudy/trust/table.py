"""Agreement in one table: by role, labeler, use case and rubric version, with the counts.

    lines = agreement_lines(judgements)
    print(as_text(lines))

Each line has the share of votes that agree and Krippendorff's alpha of the votes, the Likert scores
and the flags. Lines by labeler compare the labeler with everybody else who labels; the line
"training/held_out" compares training with held-out labelers. Researchers have their own line, and
otherwise count only in the lines by labeler and by use case. Groups of labelers with at least five
who label have lines, within each group and between every two; smaller groups are never shown.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, Protocol

import numpy as np

from understudy.records import FLAGS
from understudy.records.schema import MINIMUM_GROUP
from understudy.trust.agreement import Ties, agreement, involves
from understudy.trust.alpha import alpha
from understudy.trust.pairs import Answers, Measure, Numbering, Pairs, Places, Said, pairs_of

About = Literal["role", "group", "labeler", "use_case", "rubric"]
PAPER = {"training": 0.726, "held_out": 0.773}
"""Agreement among the paper's labelers (s3.4); the paper does not say how ties count."""
ROLE_TITLES = {
    "training": "Training labelers",
    "held_out": "Held-out labelers",
    "researcher": "Researchers",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgements:
    """Shared labels, and what the lines group them by."""

    votes: Answers
    """Votes of rankings; those on prompts with a single labeler may be left out."""
    likert: Answers
    """Overall quality: each response is a question, the value 1 to 7."""
    flags: Answers
    """Each flag of a response is a question, the value 0 or 1. The question's number is the
    response's number times the number of flags, plus the flag's number."""
    role_of: Mapping[str, str]
    """Labeler -> role."""
    use_case_of: Mapping[str, str | None]
    """Prompt -> use case."""
    group_of: Mapping[str, str] = field(default_factory=dict)
    """Labeler -> group of labelers, where one is named."""


class Rated(Said, Protocol):
    """One labeler's rating of a response."""

    @property
    def response_id(self) -> str: ...
    @property
    def likert(self) -> int: ...
    @property
    def flags(self) -> Mapping[str, bool]: ...


def marks_of(ratings: Iterable[Rated]) -> tuple[Answers, Answers]:
    """The ratings' Likert scores and flags, in the form of `Judgements`; a labeler's latest rating
    of a response counts."""
    latest = {(one.response_id, one.labeler_id): one for one in ratings}
    numbering, names = Numbering(labeler for _, labeler in latest), Places()
    unit_A = np.fromiter((names[name] for name, _ in latest), np.int64, len(latest))
    by_A3 = np.array([numbering.row(one) for one in latest.values()], np.int64).reshape(-1, 3)
    likert_A = np.fromiter((one.likert for one in latest.values()), np.float64, len(latest))
    flags = [[one.flags.get(flag, np.nan) for flag in FLAGS] for one in latest.values()]
    flags_AF = np.array(flags, np.float64).reshape(-1, len(FLAGS))
    asked_AF = ~np.isnan(flags_AF)
    place_B, flag_B = np.nonzero(asked_AF)
    return (
        numbering.answers(unit_A=unit_A, value_A=likert_A, by_A3=by_A3),
        numbering.answers(
            unit_A=unit_A[place_B] * len(FLAGS) + flag_B,
            value_A=flags_AF[asked_AF],
            by_A3=by_A3[place_B],
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of the table."""

    about: About
    """What kind of line."""
    name: str
    """Role, group, labeler, use case or version."""
    title: str
    """The line's title."""
    agreement: Measure
    """Share of votes that agree."""
    alpha_preferences: Measure
    """Alpha of the votes (ordinal, both ways round)."""
    alpha_likert: Measure
    """Alpha of the Likert scores (ordinal)."""
    alpha_flags: Measure
    """Alpha of the flags together (nominal)."""


@dataclass(frozen=True, slots=True)
class _Three:
    """Pairs of votes, of Likert scores and of flags."""

    votes: Pairs
    likert: Pairs
    flags: Pairs

    def each(self, change: Callable[[Pairs], Pairs]) -> "_Three":
        return _Three(change(self.votes), change(self.likert), change(self.flags))


def agreement_lines(
    judgements: Judgements, *, ties: Ties = "drop", level: float = 0.95
) -> list[Line]:
    """Every line, including those without shared labels, which say so."""
    everyone = _Three(
        pairs_of(judgements.votes), pairs_of(judgements.likert), pairs_of(judgements.flags)
    )

    def line(about: About, name: str, title: str, three: _Three) -> Line:
        return Line(
            about=about,
            name=name,
            title=title,
            agreement=agreement(three.votes, ties=ties, level=level),
            alpha_preferences=alpha(three.votes, "ordinal", both_ways=True, level=level),
            alpha_likert=alpha(three.likert, "ordinal", level=level),
            alpha_flags=alpha(three.flags, "nominal", level=level),
        )

    lines = [line("role", *found) for found in _within_and_between(judgements.role_of, everyone)]
    large = _large_groups(judgements)
    lines += [line("group", *found) for found in _within_and_between(large, everyone)]
    for labeler in sorted(judgements.role_of):
        lines.append(line("labeler", labeler, labeler, everyone.each(_with(labeler))))
    for use_case in sorted({name for name in judgements.use_case_of.values() if name}):
        chosen = everyone.each(_about(judgements, use_case))
        lines.append(line("use_case", use_case, use_case.replace("_", " "), chosen))
    for rubric in sorted(_rubrics(judgements)):
        lines.append(line("rubric", rubric, rubric, everyone.each(_under(rubric))))
    return lines


def flag_lines(judgements: Judgements) -> list[tuple[str, int, int, Measure]]:
    """For each flag: (name, number of yes answers, number of answers, alpha)."""
    found = []
    for place, flag in enumerate(FLAGS):
        one = judgements.flags.where(judgements.flags.unit_A % len(FLAGS) == place)
        found.append((flag, int(one.value_A.sum()), len(one), alpha(one, "nominal")))
    return found


def as_text(lines: Sequence[Line]) -> str:
    """The table for a terminal."""
    rows = [("", "agreement", "pairs", "tied", "prompts", "alpha", "Likert", "flags")]
    previous = ""
    for line in lines:
        if line.about != previous:
            rows.append((f"by {line.about.replace('_', ' ')}",) + ("",) * 7)
            previous = line.about
        measure = line.agreement
        rows.append(
            (
                f"  {line.title}",
                shown(measure, percent=True),
                f"{measure.n:,}",
                f"{measure.num_left_out:,}",
                f"{measure.num_prompts:,}",
                shown(line.alpha_preferences),
                shown(line.alpha_likert),
                shown(line.alpha_flags),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(8)]
    texts = [
        "  ".join(
            cell.ljust(width) if place in (0, 1, 5, 6, 7) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*texts, *_notes(lines)])


def shown(measure: Measure, *, percent: bool = False) -> str:
    """`72.6% (71 to 74)` or `0.41 (0.35 to 0.47)`; "undefined" if there is no number."""
    if measure.value is None:
        return "undefined"
    scale, digits = (100, 0) if percent else (1, 2)
    text = f"{measure.value:.1%}" if percent else f"{measure.value:.2f}"
    if measure.low is None or measure.high is None:
        return f"{text} (no interval)"
    return f"{text} ({measure.low * scale:.{digits}f} to {measure.high * scale:.{digits}f})"


def _notes(lines: Sequence[Line]) -> list[str]:
    reasons: dict[str, str] = {}
    for line in lines:
        for name in ("agreement", "alpha_preferences", "alpha_likert", "alpha_flags"):
            measure: Measure = getattr(line, name)
            if measure.undefined:
                reasons.setdefault(measure.undefined, line.title)
    return [f"undefined or no interval: {reason}" for reason in reasons]


def _within_and_between(
    side_of: Mapping[str, str], everyone: _Three
) -> list[tuple[str, str, _Three]]:
    """(name, title, pairs) within each side (a role or a group) and between every two sides."""
    names = dict.fromkeys([*ROLE_TITLES, *sorted(side_of.values())])
    present = [name for name in names if name in side_of.values()]
    title = {name: ROLE_TITLES.get(name, name) for name in present}
    found = [(name, title[name], everyone.each(_among(name, side_of))) for name in present]
    for one, other in combinations(present, 2):
        second = title[other].lower() if other in ROLE_TITLES else other
        chosen = everyone.each(_between({one, other}, side_of))
        found.append((f"{one}/{other}", f"{title[one]} with {second}", chosen))
    return found


def _large_groups(judgements: Judgements) -> dict[str, str]:
    """Labeler -> group, of groups with enough members among those who label."""
    said = (judgements.votes, judgements.likert, judgements.flags)
    labeling = {one.labelers[place] for one in said for place in np.unique(one.labeler_A)}
    group_of = {name: judgements.group_of[name] for name in labeling & set(judgements.group_of)}
    size = Counter(group_of.values())
    return {name: group for name, group in group_of.items() if size[group] >= MINIMUM_GROUP}


def _among(side: str, side_of: Mapping[str, str]) -> Callable[[Pairs], Pairs]:
    return lambda pairs: pairs.among(lambda labeler: side_of.get(labeler) == side)


def _between(two: set[str], side_of: Mapping[str, str]) -> Callable[[Pairs], Pairs]:
    return lambda pairs: pairs.between(lambda a, b: {side_of.get(a), side_of.get(b)} == two)


def _under(rubric: str) -> Callable[[Pairs], Pairs]:
    return lambda pairs: pairs.under(rubric)


def _with(labeler: str) -> Callable[[Pairs], Pairs]:
    def chosen(pairs: Pairs) -> Pairs:
        if labeler not in pairs.labelers:
            return pairs.of_prompts(lambda prompt: False)
        return pairs.where(involves(pairs, labeler))

    return chosen


def _about(judgements: Judgements, use_case: str) -> Callable[[Pairs], Pairs]:
    use_case_of = judgements.use_case_of
    return lambda pairs: pairs.of_prompts(lambda prompt: use_case_of.get(prompt) == use_case)


def _rubrics(judgements: Judgements) -> set[str]:
    return {name for name in (*judgements.votes.rubrics, *judgements.likert.rubrics) if name}
