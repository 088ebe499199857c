"""`understudy labels agreement | weights`: agreement and weights of labelers."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from understudy.records import LabelerInfo, Ranking, Rating, iter_records, read_records
from understudy.store import open_project
from understudy.trust.agreement import Ties, votes_of_rankings
from understudy.trust.pairs import answers_of
from understudy.trust.reliability import LEAST_WEIGHT, Consensus, consensus
from understudy.trust.screening import careless_labelers
from understudy.trust.table import Judgements, agreement_lines, as_text, marks_of
from understudy.trust.topics import FIELDS, group_weights

if TYPE_CHECKING:
    from understudy.labeling.owner.standing import Standing
    from understudy.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class AgreementConfig:
    """Report how far labelers agree: by role, group, labeler, use case and version of the
    instructions.

    Gives 95% intervals over prompts, the counts behind each number, and "undefined" where there is
    none (s3.4: 72.6% among training labelers, 77.3% among held-out ones).
    """

    project: Path = Path()
    """The project's folder."""
    rankings: Path | None = None
    """Rankings to measure, .jsonl or .parquet, instead of a project's."""
    ratings: Path | None = None
    """Ratings to measure beside `rankings`."""
    labelers: Path | None = None
    """The labelers of `rankings` with their groups (LabelerInfo records); a project's store knows
    them. Groups of fewer than five are not shown."""
    ties: Ties = "drop"
    """How a tie counts: drop (leaves out pairs of responses that somebody ties), half (half an
    agreement with a preference), exact (a vote like the others). The paper does not say."""

    def __post_init__(self) -> None:
        for name in ("ratings", "labelers"):
            if getattr(self, name) is not None and self.rankings is None:
                raise ValueError(f"--{name} needs --rankings; leave out both to read the project's")


def show_agreement(config: AgreementConfig) -> str:
    """The table of agreement, with a line about careless labelers if there are any."""
    if config.rankings is not None:
        people = [] if config.labelers is None else read_records(config.labelers, LabelerInfo)
        judgements = judgements_of_files(config.rankings, config.ratings)
        name_of: Mapping[str, str] = {}
    else:
        store = open_project(config.project).open_store()
        people, name_of = store.labelers(), _names(store)
        judgements = _standing(store).judgements
    group_of = {one.id: one.group for one in people if one.group is not None}
    judgements = replace(judgements, group_of=group_of)
    if not judgements.role_of:
        raise ValueError("there are no labelers; see understudy labels add, understudy label")
    lines = [
        replace(line, title=name_of.get(line.name, line.title)) if line.about == "labeler" else line
        for line in agreement_lines(judgements, ties=config.ties)
    ]
    table = as_text(lines)
    careless = ", ".join(name_of.get(one, one) for one in careless_labelers(judgements.votes))
    return f"{table}\n\nmay be careless (docs/trust.md): {careless}" if careless else table


def _names(store: "Store") -> dict[str, str]:
    from understudy.store.accounts.people import names

    return names(store)


def _standing(store: "Store") -> "Standing":
    from understudy.labeling.owner.standing import read_standing
    from understudy.store.rows import now

    return read_standing(store, now())


def judgements_of_files(rankings: Path, ratings: Path | None) -> Judgements:
    """Labels from files; labelers without rankings count as training labelers."""
    ranked = list(iter_records(rankings, Ranking))
    rated = [] if ratings is None else list(iter_records(ratings, Rating))
    role_of = {one.labeler_id: "training" for one in rated}
    role_of |= {one.labeler_id: one.labeler_role for one in ranked}
    likert, flags = marks_of(rated)
    return Judgements(
        votes=answers_of(votes_of_rankings(ranked)),
        likert=likert,
        flags=flags,
        role_of=role_of,
        use_case_of={},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsConfig:
    """Estimate each training labeler's reliability, and write weights for the reward model
    (understudy reward --labeler-weights FILE).

    The paper does not do this, and Stiennon et al. (2020, C) found that leaving out labelers of low
    agreement did not help.
    """

    out: Positional[Path]
    """The file, .json."""
    project: Path = Path()
    """The project's folder."""
    rankings: Path | None = None
    """Rankings to estimate from, .jsonl or .parquet, instead of a project's."""
    field: str | None = None
    """A question of the labelers' self-description (gender, region, age, education): the groups
    that it divides the labelers into are weighted to `shares`."""
    shares: tuple[str, ...] = ()
    """With `field`: each group's share, like "18-24=0.5" "25-34=0.5". Groups of fewer than five are
    refused: the file would reveal their members."""

    def __post_init__(self) -> None:
        if self.out.suffix != ".json":
            raise ValueError(f"{self.out} must end in .json")
        names = [field.name for field in FIELDS if field.kind == "one"]
        if self.field is not None and self.field not in names:
            raise ValueError(f"field is {self.field!r}; it must be one of {', '.join(names)}")
        if (self.field is None) != (not self.shares):
            raise ValueError("--field and --shares go together")
        if self.field is not None and self.rankings is not None:
            raise ValueError("files contain no self-descriptions; leave out --field or --rankings")


def write_weights(config: WeightsConfig) -> str:
    """Write the file of weights; returns a line per labeler."""
    if config.out.exists():
        raise ValueError(f"{config.out} exists; choose another name")
    factors: Mapping[str, float] = {}
    name_of: Mapping[str, str] = {}
    if config.rankings is not None:
        ranked = list(iter_records(config.rankings, Ranking))
        role_of: Mapping[str, str] = {one.labeler_id: one.labeler_role for one in ranked}
        found = consensus(votes_of_rankings(ranked))
    else:
        store = open_project(config.project).open_store()
        standing, name_of = _standing(store), _names(store)
        role_of, found = standing.role_of, standing.consensus
        if config.field is not None:
            factors = group_weights(_said(store), config.field, shares_of(config.shares))
    weights = {
        name: round(max(weight * factors.get(name, 1.0), LEAST_WEIGHT), 4)
        for name, weight in found.weights().items()
        if role_of.get(name) == "training"
    }
    if not weights:
        raise ValueError("no two training labelers ranked the same prompt; add an overlap first")
    text = json.dumps(weights, indent=1, sort_keys=True) + "\n"
    with open(os.open(config.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return _table(found, weights, name_of)


def shares_of(texts: tuple[str, ...]) -> dict[str, float]:
    """Group -> share, from texts like "GROUP=NUMBER"."""
    found = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise ValueError(f"share {text!r} must be like 18-24=0.5") from None
        if not name or not found[name] > 0:
            raise ValueError(f"share {text!r} must be like 18-24=0.5, a number above 0")
    return found


def _said(store: "Store") -> dict[str, dict[str, str | list[str]]]:
    from understudy.store.accounts.descriptions import descriptions

    return {
        row["account_id"]: json.loads(row["body"])
        for row in descriptions(store)
        if row["role"] == "training"
    }


def _table(found: Consensus, weights: Mapping[str, float], name_of: Mapping[str, str]) -> str:
    rows = [("labeler", "weight", "right", "ties seen", "shared votes")]
    for name in sorted(weights, key=lambda name: -weights[name]):
        trust = found.trust[name]
        rows.append(
            (
                name_of.get(name, name),
                f"{weights[name]:.2f}",
                f"{trust.accuracy:.1%}",
                f"{trust.tie:.0%}",
                f"{trust.num_shared:,}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
