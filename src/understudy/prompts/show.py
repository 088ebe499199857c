"""Summarises a file of prompts, before or after intake: splits, users, use cases, personal data,
examples."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from understudy.prompts.pii import find_pii
from understudy.prompts.report import beginning, split_counts, split_lines, use_case_lines
from understudy.prompts.use_case import use_case_of
from understudy.records import Prompt, RecordError, iter_records, prompt_text
from understudy.records.convert import many


@dataclass(frozen=True, kw_only=True, slots=True)
class ShowConfig:
    """Summarise a file of prompts."""

    data: Path
    """Prompts, .jsonl, .parquet or .csv, or a data set by name."""
    examples: int = 1
    """Examples per use case, the first by id, with personal data redacted."""

    def __post_init__(self) -> None:
        if self.examples < 0:
            raise ValueError(f"examples is {self.examples}; it must be 0 or more")


def show_prompts(config: ShowConfig) -> str:
    """The summary as text; rules supply missing use cases."""
    prompts = sorted(iter_records(config.data, Prompt), key=lambda prompt: prompt.id)
    if not prompts:
        raise RecordError(f"{config.data} has no rows; it must hold at least one prompt")
    by_use_case: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        use_case = prompt.use_case or use_case_of(prompt.prompt)
        by_use_case.setdefault(use_case, []).append(prompt)
    shown = [
        f"    {name}: {beginning(prompt)}"
        for name, members in sorted(by_use_case.items())
        for prompt in members[: config.examples]
    ]
    use_cases = {name: len(members) for name, members in by_use_case.items()}
    return "\n".join(
        [
            *_overview(prompts),
            *("", *split_lines(split_counts(prompts))),
            *("", *use_case_lines(use_cases)),
            *shown,
        ]
    )


def _overview(prompts: list[Prompt]) -> list[str]:
    per_user = Counter(prompt.user_id for prompt in prompts)
    num_pii = sum(bool(find_pii(prompt_text(prompt.prompt))) for prompt in prompts)
    num_refused = sum(not prompt.consent for prompt in prompts)
    return [
        f"{many(len(prompts), 'prompt')} of {many(len(per_user), 'user')}; the busiest sent "
        f"{max(per_user.values()):,}",
        f"personal data in {num_pii:,}, no consent for {num_refused:,}",
    ]
