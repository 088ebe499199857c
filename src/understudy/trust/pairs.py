"""Pairs of labelers' answers to the same question, in columns, and intervals over prompts.

Answers about one prompt are correlated, so intervals are bootstrapped over prompts: each resample
draws as many prompts as there are, with replacement, each with all its pairs. Bootstrap percentiles
are too narrow for few prompts, so they are widened to the expanded percentile interval (Hesterberg
2015, "What teachers should know about the bootstrap"). Resampling is uninformative if all prompts
have the same rate or there are fewer than five; a rate then has Wilson's interval with a prompt as
one observation, and other numbers have none. Labelers are fixed: an interval is about this team on
other prompts, not about another team.

Legend: A answers, N pairs, P prompts, S resamples, U units, M answers to a unit, L labelers.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from statistics import NormalDist
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from understudy.numerics.intervals import normal_quantile, student_quantile, wilson

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

FEW_PROMPTS = 5
"""With fewer prompts than this a bootstrap is uninformative."""
NUM_RESAMPLES = 1000
CHUNK = 4_000_000
"""Most values of a bootstrap in memory at once."""


class Answer(Protocol):
    """One labeler's answer to one question."""

    @property
    def unit(self) -> Hashable:
        """The question; answers to the same question are compared."""

    @property
    def prompt_id(self) -> str:
        """The prompt that it is about."""

    @property
    def labeler_id(self) -> str:
        """Who answers."""

    @property
    def value(self) -> float:
        """The answer's value."""

    @property
    def rubric(self) -> str | None:
        """Version of the instructions that was followed."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A single answer: in `Mark("r1", "p1", "l1", 6)` labeler l1 gives response r1 a 6."""

    unit: Hashable
    """The question."""
    prompt_id: str
    """The prompt that it is about."""
    labeler_id: str
    """Who answers."""
    value: float
    """The answer's value."""
    rubric: str | None = None
    """Version of the instructions."""
    at: str = ""
    """Time of the answer, ISO 8601 in UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A number with its 95% interval and the counts behind it, or the reason why there is none.

    `Measure(value=0.726, low=0.711, high=0.741, n=4000, num_prompts=500, num_labelers=12)`
    """

    value: float | None = None
    """The number; None where it is undefined."""
    low: float | None = None
    """Lower end; None where the data do not bound it."""
    high: float | None = None
    """Upper end."""
    n: int = 0
    """Pairs of answers that counted."""
    num_left_out: int = 0
    """Pairs left out because one answer is a tie."""
    num_prompts: int = 0
    """Prompts that the counted pairs are about."""
    num_labelers: int = 0
    """Labelers whose answers counted."""
    undefined: str = ""
    """Why there is no number or no interval; empty if there are both."""


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Pairs:
    """Columns of N pairs of answers by two labelers to one question."""

    prompt_N: Ints
    """Index into `prompts`."""
    unit_N: Ints
    """The number of the question."""
    one_N: Ints
    """Index of one labeler in `labelers`."""
    other_N: Ints
    """Index of the other labeler."""
    first_N: Floats
    """Answer of labeler `one_N`."""
    second_N: Floats
    """Answer of labeler `other_N`."""
    rubric_N: Ints
    """Index into `rubrics` of the version that both followed; -1 if there is no common one."""
    weight_N: Floats
    """1 / (M - 1) where M labelers answer the question: Krippendorff's weight of a pair."""
    prompts: tuple[str, ...]
    labelers: tuple[str, ...]
    rubrics: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.prompt_N)

    def where(self, keep_N: Bools) -> Self:
        """A selection of the pairs, with unchanged weights."""
        columns, places = _columns(self, "_N"), np.flatnonzero(keep_N)
        return replace(self, **{name: getattr(self, name)[places] for name in columns})

    def between(self, keep: Callable[[str, str], bool]) -> Self:
        """Only pairs of labelers for which `keep(labeler, other)` is true."""
        if not self.labelers:
            return self
        allowed_LL = np.array([[keep(a, b) for b in self.labelers] for a in self.labelers], bool)
        return self.where(allowed_LL[self.one_N, self.other_N])

    def among(self, keep: Callable[[str], bool]) -> Self:
        """As if only labelers with `keep(labeler)` had answered."""
        allowed_L = np.array([keep(labeler) for labeler in self.labelers], bool)
        if not len(self):
            return self
        return self.where(allowed_L[self.one_N] & allowed_L[self.other_N])._reweighted()

    def under(self, rubric: str) -> Self:
        """As if only answers under this version existed."""
        place = self.rubrics.index(rubric) if rubric in self.rubrics else len(self.rubrics)
        return self.where(self.rubric_N == place)._reweighted()

    def of_prompts(self, keep: Callable[[str], bool]) -> Self:
        """Only pairs about prompts with `keep(prompt_id)`."""
        allowed_P = np.array([keep(prompt) for prompt in self.prompts], bool)
        return self.where(allowed_P[self.prompt_N]) if len(self) else self

    def counted(self) -> Measure:
        """A measure with the counts of pairs, prompts and labelers, still without a number."""
        return Measure(
            n=len(self),
            num_prompts=len(_used(self.prompt_N)),
            num_labelers=len(_used(np.append(_used(self.one_N), _used(self.other_N)))),
        )

    def _reweighted(self) -> Self:
        """Recompute weights from the remaining pairs: M answers make M (M - 1) / 2 of them."""
        answers_U = (1 + np.sqrt(1 + 8 * np.bincount(self.unit_N))) / 2
        return replace(self, weight_N=1 / (answers_U[self.unit_N] - 1))


def _columns(table: Any, suffix: str) -> list[str]:
    return [field.name for field in fields(table) if field.name.endswith(suffix)]


def _used(number_N: Ints) -> Ints:
    """The numbers that occur, sorted: like `np.unique` for small whole numbers, but ten times as
    fast."""
    return np.flatnonzero(np.bincount(number_N)) if len(number_N) else number_N


def by_prompt(pairs: Pairs) -> tuple[int, Ints]:
    """The number of prompts with pairs, and for each pair its prompt's index among these."""
    used = _used(pairs.prompt_N)
    place_P = np.zeros(len(pairs.prompts), np.int64)
    place_P[used] = np.arange(len(used))
    return len(used), place_P[pairs.prompt_N]


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Answers:
    """Columns of A answers, at most one per labeler and question."""

    unit_A: Ints
    """The number of the question."""
    prompt_A: Ints
    """Index into `prompts`."""
    labeler_A: Ints
    """Index into `labelers`."""
    value_A: Floats
    """The answer's value."""
    rubric_A: Ints
    """Index into `rubrics`; -1 for none."""
    prompts: tuple[str, ...]
    labelers: tuple[str, ...]
    """Sorted names."""
    rubrics: tuple[str, ...]
    units: Sequence[Any] = ()
    """The questions by number; empty if nothing needs them."""

    def __len__(self) -> int:
        return len(self.unit_A)

    def where(self, keep_A: Bools | Ints) -> Self:
        """Some of the answers, or all in another order."""
        return replace(self, **{name: getattr(self, name)[keep_A] for name in _columns(self, "_A")})


def answers_of(answers: Iterable[Answer]) -> Answers:
    """The columns of single answers; a labeler's last answer to a question counts."""
    latest = {(answer.unit, answer.labeler_id): answer for answer in answers}
    units, kept = Places(), latest.values()
    numbering = Numbering(labeler for _, labeler in latest)
    return numbering.answers(
        unit_A=np.fromiter((units[unit] for unit, _ in latest), np.int64, len(latest)),
        value_A=np.fromiter((one.value for one in kept), np.float64, len(latest)),
        by_A3=np.array([numbering.row(one) for one in kept], np.int64),
        units=tuple(units),
    )


class Said(Protocol):
    """What every kind of answer has."""

    @property
    def prompt_id(self) -> str: ...
    @property
    def labeler_id(self) -> str: ...
    @property
    def rubric(self) -> str | None: ...


class Numbering:
    """Assigns numbers to prompts, labelers and rubrics, for columns of answers."""

    def __init__(self, labelers: Iterable[str]) -> None:
        self.prompts, self.labelers, self.rubrics = Places(), Places(), Places()
        for name in sorted(set(labelers)):
            self.labelers[name]

    def row(self, one: Said) -> tuple[int, int, int]:
        """The numbers of an answer's prompt, labeler and rubric."""
        rubric = -1 if one.rubric is None else self.rubrics[one.rubric]
        return self.prompts[one.prompt_id], self.labelers[one.labeler_id], rubric

    def answers(
        self, *, unit_A: Ints, value_A: Floats, by_A3: Ints, units: Sequence[Any] = ()
    ) -> Answers:
        """The columns; `by_A3` has each answer's `row`."""
        prompt_A, labeler_A, rubric_A = by_A3.reshape(-1, 3).T
        return Answers(
            unit_A=unit_A,
            prompt_A=prompt_A,
            labeler_A=labeler_A,
            value_A=value_A,
            rubric_A=rubric_A,
            prompts=tuple(self.prompts),
            labelers=tuple(self.labelers),
            rubrics=tuple(self.rubrics),
            units=units,
        )


def pairs_of(answers: Iterable[Answer] | Answers) -> Pairs:
    """All pairs of answers by different labelers to the same question."""
    found = answers if isinstance(answers, Answers) else answers_of(answers)
    one_N, other_N, num_N = _combinations(found.unit_A)
    labeler_A, rubric_A = found.labeler_A, found.rubric_A
    same_N = rubric_A[one_N] == rubric_A[other_N]
    shared = _used(np.append(_used(labeler_A[one_N]), _used(labeler_A[other_N])))
    place_of = np.full(len(found.labelers), -1)
    place_of[shared] = np.arange(len(shared))
    return Pairs(
        prompt_N=found.prompt_A[one_N],
        unit_N=found.unit_A[one_N],
        one_N=place_of[labeler_A[one_N]],
        other_N=place_of[labeler_A[other_N]],
        first_N=found.value_A[one_N],
        second_N=found.value_A[other_N],
        rubric_N=np.where(same_N, rubric_A[one_N], -1),
        weight_N=1 / (num_N - 1),
        prompts=found.prompts,
        labelers=tuple(found.labelers[place] for place in shared),
        rubrics=found.rubrics,
    )


class Places(dict[Any, int]):
    """Assigns numbers to values, in order of first occurrence."""

    def __missing__(self, name: Any) -> int:
        self[name] = len(self)
        return self[name]


def _combinations(unit_A: Ints) -> tuple[Ints, Ints, Ints]:
    """Indices of every two answers to one question, and its number of answers: (N, N, N)."""
    order = np.argsort(unit_A, kind="stable")
    _, starts_U, counts_U = np.unique(unit_A[order], return_index=True, return_counts=True)
    none = np.zeros(0, np.int64)
    ones, others, nums = [none], [none], [none]
    for num in np.unique(counts_U[counts_U > 1]):
        starts = starts_U[counts_U == num]
        places = order[starts[:, None] + np.arange(num)]
        first, second = np.triu_indices(num, 1)
        ones.append(places[:, first].ravel())
        others.append(places[:, second].ravel())
        nums.append(np.full(len(starts) * len(first), num))
    return np.concatenate(ones), np.concatenate(others), np.concatenate(nums)


def totals(pairs: Pairs, columns_NC: Floats) -> Floats:
    """Sum of each column over each prompt's pairs, for prompts with pairs: (P, C)."""
    number, prompt_N = by_prompt(pairs)
    sums_CP = [np.bincount(prompt_N, weights=one_N, minlength=number) for one_N in columns_NC.T]
    return np.stack(sums_CP, axis=1)


def resampled(totals_PC: Floats, seed: int, num_resamples: int = NUM_RESAMPLES) -> Floats:
    """Sums over prompts drawn with replacement: (S, C)."""
    num = len(totals_PC)
    rng = np.random.default_rng(seed)
    chunk = max(1, CHUNK // num)
    found = []
    for start in range(0, num_resamples, chunk):
        size = min(chunk, num_resamples - start)
        drawn_SP = rng.integers(num, size=(size, num)) + num * np.arange(size)[:, None]
        weights_SP = np.bincount(drawn_SP.ravel(), minlength=size * num).reshape(size, num)
        found.append(weights_SP.astype(np.float64) @ totals_PC)
    return np.concatenate(found)


def percentile_interval(
    values_S: Floats, num_prompts: int, level: float = 0.95
) -> tuple[float, float]:
    """The expanded percentile interval of resampled values (see the module)."""
    widened = math.sqrt(num_prompts / (num_prompts - 1)) * student_quantile(level, num_prompts - 1)
    tail = NormalDist().cdf(-widened)
    low, high = np.quantile(values_S, [tail, 1 - tail])
    return float(low), float(high)


def ratio(totals_P2: Floats, seed: int = 0, level: float = 0.95) -> tuple[float, float, float]:
    """A rate and its interval, from each prompt's (agreed, counted); no count may be 0."""
    num = len(totals_P2)
    agreed, counted = totals_P2.sum(0)
    rate = float(agreed / counted)
    if num < FEW_PROMPTS or np.ptp(totals_P2[:, 0] / totals_P2[:, 1]) == 0:
        return rate, *wilson(rate, num, normal_quantile(level))
    sums_S2 = resampled(totals_P2, seed)
    return rate, *percentile_interval(sums_S2[:, 0] / sums_S2[:, 1], num, level)
