"""The report of intake: how many prompts each step dropped, and why."""

import dataclasses
from bisect import insort
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from understudy.prompts.pii import Finder, find_pii, redact
from understudy.prompts.split import SPLITS
from understudy.prompts.use_case import PAPER_SHARES
from understudy.records import Prompt, prompt_text
from understudy.records.convert import many, visible

EXAMPLES_PER_REASON = 3
EXAMPLE_CHARS = 80


@dataclass(frozen=True, order=True, slots=True)
class Example:
    """One dropped prompt: `Example("p7", "exact", "Name a prime.", "p2")` repeats p2."""

    id: str
    """The dropped prompt."""
    reason: str
    """Why it was dropped."""
    text: str
    """How it begins, with personal data redacted."""
    of: str | None = None
    """The kept prompt that it repeats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """One step of intake."""

    name: str
    """consent, length, pii, organization, duplicates or cap."""
    num_in: int
    """Prompts that reached the step."""
    dropped: Mapping[str, int]
    """Prompts that it dropped, by reason."""
    examples: tuple[Example, ...]
    """Up to three per reason, those with the first ids."""

    @property
    def num_dropped(self) -> int:
        """Prompts that the step dropped."""
        return sum(self.dropped.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class IntakeReport:
    """Prompts in, prompts dropped by each step, prompts kept, and their splits."""

    num_in: int
    """Prompts that went in."""
    steps: tuple[StepReport, ...]
    """The dropping steps, in order."""
    num_kept: int
    """Kept prompts."""
    num_redacted: int
    """Of these, prompts in which personal data was replaced."""
    num_pii_outside_training: int
    """Of these, prompts of the valid and test splits with personal data, kept as in the paper."""
    splits: Mapping[str, Mapping[str, int]]
    """Number of prompts and of users in each split."""
    use_cases: Mapping[str, int]
    """Kept prompts, by use case."""
    groups: Mapping[str, int]
    """Kept prompts that concern a group of people, by group."""

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        """The table, examples included."""
        return self.table()

    def table(self, *, examples: bool = True) -> str:
        """The report as text: the steps, the splits, and the use cases beside the paper's Table
        1."""
        return "\n".join(
            [
                *self._step_lines(examples),
                "",
                *split_lines(self.splits),
                "",
                *use_case_lines(self.use_cases),
                *group_lines(self.groups, self.num_kept),
            ]
        )

    def _step_lines(self, examples: bool) -> list[str]:
        lines = [f"{'step':<14}{'in':>11}{'dropped':>11}{'left':>11}   why"]
        for step in self.steps:
            why = ", ".join(f"{reason} {count:,}" for reason, count in sorted(step.dropped.items()))
            dropped, left = step.num_dropped, step.num_in - step.num_dropped
            numbers = f"{step.num_in:>11,}{dropped:>11,}{left:>11,}"
            lines.append(f"{step.name:<14}{numbers}   {why}".rstrip())
            lines += [_example_line(example) for example in step.examples if examples]
        if self.num_redacted:
            lines.append(f"personal data replaced in {many(self.num_redacted, 'prompt')}")
        if self.num_pii_outside_training:
            lines.append(
                "personal data left in "
                f"{many(self.num_pii_outside_training, 'prompt')} outside training"
            )
        return lines


class Tally:
    """Counts while intake runs; `report` freezes them."""

    def __init__(
        self,
        steps: Sequence[str],
        on_drop: Callable[[str, Prompt], None] | None = None,
        find: Finder = find_pii,
    ) -> None:
        self.on_drop, self.find = on_drop, find
        self.num_in = 0
        self.num_redacted = 0
        self.num_pii_outside_training = 0
        self._dropped: dict[str, Counter[str]] = {step: Counter() for step in steps}
        self._examples: dict[tuple[str, str], list[Example]] = {}

    def drop(self, step: str, prompt: Prompt, reason: str, of: str | None = None) -> None:
        """Count a dropped prompt and keep it as an example if its id is among the first."""
        if self.on_drop is not None:
            self.on_drop(step, prompt)
        self._dropped[step][reason] += 1
        examples = self._examples.setdefault((step, reason), [])
        if len(examples) < EXAMPLES_PER_REASON or prompt.id < examples[-1].id:
            insort(examples, Example(prompt.id, reason, beginning(prompt, self.find), of))
            del examples[EXAMPLES_PER_REASON:]

    def report(self, kept: Sequence[Prompt]) -> IntakeReport:
        """The report, given the kept prompts."""
        steps, num_in = [], self.num_in
        for name, dropped in self._dropped.items():
            examples = (self._examples[name, reason] for reason in sorted(dropped))
            steps.append(
                StepReport(
                    name=name,
                    num_in=num_in,
                    dropped=dict(dropped),
                    examples=tuple(example for group in examples for example in group),
                )
            )
            num_in -= dropped.total()
        assert num_in == len(kept), "a step lost prompts without reporting them"
        return IntakeReport(
            num_in=self.num_in,
            steps=tuple(steps),
            num_kept=len(kept),
            num_redacted=self.num_redacted,
            num_pii_outside_training=self.num_pii_outside_training,
            splits=split_counts(kept),
            use_cases=dict(Counter(prompt.use_case or "other" for prompt in kept)),
            groups=dict(Counter(prompt.group for prompt in kept if prompt.group is not None)),
        )


def split_lines(splits: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Prompts and users of each split, as lines of a table."""
    rows = (f"{name:<14}{n['prompts']:>11,}{n['users']:>11,}" for name, n in splits.items())
    return [f"{'split':<14}{'prompts':>11}{'users':>11}", *rows]


def use_case_lines(use_cases: Mapping[str, int]) -> list[str]:
    """Shares of the use cases beside the paper's, as lines of a table."""
    lines = [f"{'use case':<14}{'prompts':>11}{'share':>11}{'Table 1':>11}"]
    total = max(1, sum(use_cases.values()))
    for name in [*PAPER_SHARES, *sorted(set(use_cases) - set(PAPER_SHARES))]:
        count = use_cases.get(name, 0)
        paper = f"{PAPER_SHARES[name]:.1%}" if name in PAPER_SHARES else "-"
        lines.append(f"{name:<14}{count:>11,}{count / total:>11.1%}{paper:>11}")
    return lines


def group_lines(groups: Mapping[str, int], total: int) -> list[str]:
    """Prompts that concern each group, as lines of a table; none without groups."""
    head = ["", f"{'concerns':<14}{'prompts':>11}{'share':>11}"] if groups else []
    counts = sorted(groups.items())
    return [*head, *(f"{name:<14}{n:>11,}{n / max(1, total):>11.1%}" for name, n in counts)]


def split_counts(kept: Sequence[Prompt]) -> dict[str, dict[str, int]]:
    """Prompts and users of each split, and of no split if there are any."""
    prompts = Counter(prompt.split or "no split" for prompt in kept)
    pairs = {(prompt.split or "no split", prompt.user_id) for prompt in kept}
    users = Counter(split for split, _ in pairs)
    names = (*SPLITS, *(("no split",) if "no split" in prompts else ()))
    return {name: {"prompts": prompts[name], "users": users[name]} for name in names}


def beginning(prompt: Prompt, find: Finder = find_pii) -> str:
    """How a prompt begins, in one line, with personal data redacted."""
    # Redact before cutting: no rule would find an address that the cut leaves incomplete.
    text = visible(" ".join(redact(prompt_text(prompt.prompt), find).split()))
    return text if len(text) <= EXAMPLE_CHARS else text[: EXAMPLE_CHARS - 3] + "..."


def _example_line(example: Example) -> str:
    of = f", repeats {example.of}" if example.of else ""
    return f"    {example.id} ({example.reason}{of}): {example.text}"
