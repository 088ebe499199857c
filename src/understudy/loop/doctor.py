"""`understudy doctor RUN` reports what is wrong with a run and what to try.

Without a run it checks the installation (loop/installation.py), which does not need torch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from understudy.loop import findings as f
from understudy.loop.findings import Finding
from understudy.loop.installation import check_installation

if TYPE_CHECKING:
    from understudy.sft.data import Examples


SAMPLING = ("ppo", "rloo", "grpo", "raft")
"""Trainers that sample from the policy."""
JUDGE_READS = f"judge reads the responses of a {', '.join(SAMPLING)} run"


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorConfig:
    """Report what is wrong with a run and what to try; without a run, check the installation."""

    run: Positional[Path | None] = None
    """Folder of a training run, finished or not; without it the installation is checked."""
    judge: Path | None = None
    """A second reward model, preferably of other labelers, that compares the held-out responses
    (samples.jsonl) of a run that samples with its first ones; finds scores that rise while
    responses get worse."""


def doctor(config: DoctorConfig) -> str:
    """The findings in a run, or the state of the installation, as text."""
    if config.run is None:
        if config.judge is not None:
            raise ValueError(f"{JUDGE_READS}; give its folder")
        return check_installation(Path())
    from understudy.training.folder import read_record
    from understudy.training.run import read_lines

    record = read_record(config.run)
    if record is None:
        raise ValueError(f"{config.run} holds no run (no run.json); give a run folder")
    rows = read_lines(config.run / "metrics.jsonl") if _has(config.run, "metrics.jsonl") else []
    logged = f"{len(rows)} logged step{'s' * (len(rows) != 1)}"
    head = f"{config.run}: {record['stage']}, {record['status']}, {logged}"
    found = examine(config.run, config.judge, record, rows)
    if not rows and not found:
        return f"{head}\n  nothing is logged yet"
    if not found:
        return f"{head}\n  nothing wrong found"
    return "\n".join([head, *(f"  {finding}" for finding in found)])


def examine(
    run: Path, judge: Path | None, record: Mapping[str, Any], rows: f.Rows
) -> list[Finding]:
    """All findings of a run."""
    stage = record["stage"]
    if judge is not None and stage not in SAMPLING:
        raise ValueError(f"{JUDGE_READS}; {run} is a {stage} run")
    if stage in SAMPLING:
        named = f.bare(rows, stage)
        found = [check(named) for check in f.ROLLOUT_CHECKS]
        found += [f.skipped_steps(rows), f.responses_alike(*_first_and_last_responses(run))]
        found.append(f.judge_stopped_following(_results(run)))
        if judge is not None:
            found.append(f.score_up_win_rate_down(named, _win_rates(run, judge, record)))
    elif stage == "sft":
        found = _sft(record["config"], rows)
    elif stage == "reward":
        found = [f.skipped_steps(rows)]
        if results := _results(run):
            found += [*f.no_better_than_length(results), f.misses_held_out_labelers(results)]
    elif stage == "dpo":
        found = [f.skipped_steps(rows), f.preferred_less_likely(rows)]
    elif stage == "kto":
        found = [f.skipped_steps(rows), f.desirable_less_likely(rows)]
    else:
        raise ValueError(f"doctor reads training runs; {run} is a {stage} run")
    return [finding for finding in found if finding is not None]


def _results(run: Path) -> dict[str, Any]:
    """A run's results; empty before it is finished."""
    if not _has(run, "results.json"):
        return {}
    return dict(json.loads((run / "results.json").read_text(encoding="utf-8")))


def _has(folder: Path, name: str) -> bool:
    return (folder / name).is_file()


def _sft(config: Mapping[str, Any], rows: f.Rows) -> list[Finding | None]:
    """Findings in an SFT run, and in its demonstrations if their file has not moved."""
    examples, responses = _demonstrations(config) or (None, [])
    per_epoch = -(-len(examples.rows) // config["batch_size"]) if examples else 0
    found = [
        f.loss_not_falling(rows, per_epoch),
        f.overfitted(rows, config.get("reward_model") is not None),
        f.skipped_steps(rows),
    ]
    if examples is not None:
        found += [
            f.nothing_is_learned_from([row.loss_mask for row in examples.rows]),
            f.never_ends(examples.num_cut, len(examples.rows)),
            f.turns_inside_responses(responses),
        ]
    return found


def _demonstrations(config: Mapping[str, Any]) -> "tuple[Examples, list[str]] | None":
    """(the demonstrations, encoded as the run encoded them; their responses); None if they have
    moved."""
    from understudy.models.policies import load_tokenizer
    from understudy.records import Demonstration, read_records
    from understudy.sft.data import encode_demonstrations

    data, model = Path(config["data"]), config["model"]
    if not data.exists() or not Path(model).exists():
        return None
    tokenizer = load_tokenizer(model)
    settings = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    records = read_records(data, Demonstration)
    examples = encode_demonstrations(
        tokenizer,
        records,
        max_prompt_tokens=config["max_prompt_tokens"],
        max_response_tokens=config["max_response_tokens"],
        context=settings.get("max_position_embeddings"),
        where=str(data),
    )
    return examples, [records[number].response for number in examples.kept]


def _first_and_last_responses(run: Path) -> tuple[list[str], list[str]]:
    """A run's responses to its held-out prompts at the first and at the last measurement."""
    from understudy.training.run import read_lines

    samples = read_lines(run / "samples.jsonl") if _has(run, "samples.jsonl") else []
    steps = [row["step"] for row in samples]
    if len(set(steps)) < 2:
        return [], []
    first, last = (
        [r["response"] for r in samples if r["step"] == n] for n in (min(steps), max(steps))
    )
    return first, last


def _win_rates(run: Path, judge: Path, record: Mapping[str, Any]) -> list[tuple[int, float]]:
    """(iteration, share of held-out prompts whose response the judge prefers to the first one)."""
    from understudy.models.scalar import load_scalar, score_texts
    from understudy.records import Prompt, read_records
    from understudy.training.run import read_lines

    path = run / "samples.jsonl"
    if not path.is_file():
        raise ValueError(
            f"{run} has no samples.jsonl, so there are no responses to judge; train with "
            "eval_prompts and eval_every"
        )
    model, tokenizer = load_scalar(judge)
    prompts = read_records(record["config"]["eval_prompts"], Prompt)
    text_of = {prompt.id: prompt.prompt for prompt in prompts}
    samples = read_lines(path)
    scores = score_texts(
        model,
        tokenizer,
        [text_of[row["prompt_id"]] for row in samples],
        [row["response"] for row in samples],
        finished=[row["finished"] for row in samples],
    )
    return win_rates(samples, scores)


def win_rates(samples: Sequence[f.Row], scores: Sequence[float]) -> list[tuple[int, float]]:
    """(step, share of prompts whose response scores above the first step's; a tie counts half)."""
    by_step: dict[int, dict[str, float]] = {}
    for row, score in zip(samples, scores, strict=True):
        by_step.setdefault(row["step"], {})[row["prompt_id"]] = score
    first = by_step[min(by_step)]
    return [
        (step, sum(_win(score, first[key]) for key, score in found.items()) / len(found))
        for step, found in sorted(by_step.items())
    ]


def _win(score: float, other: float) -> float:
    return float(score > other) + 0.5 * float(score == other)
