"""`understudy labels plan`: fills the labelers' queue."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from understudy.labeling.clock import stamp, utc_now
from understudy.records.convert import many
from understudy.store import open_project

if TYPE_CHECKING:
    from understudy.store import Store
    from understudy.store.queue.plan import NewItem, Overlap

STYLES = ("plain", "few_shot")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanConfig:
    """Fill the labelers' queue: prompts to demonstrate, responses to rank, prompts to write.

    Run it again when there are new prompts or responses: existing labels stay as they are.
    """

    project: Path = Path()
    """The project's folder."""
    kinds: tuple[Literal["demonstrate", "rank", "write"], ...] = ("demonstrate", "rank")
    """demonstrate queues prompts with fewer than two distinct responses, rank queues those with
    more, write asks labelers for prompts."""
    overlap: float = 0.15
    """Share of ranking items that several people rank, to measure agreement (10-20% in Stiennon et
    al. 2020, C.2)."""
    labels_per_overlap: int = 3
    """How many people rank such an item."""
    max_labels: int = 5
    """Most people who rank an item on which labelers disagree or are unsure; 1 asks nobody else."""
    max_answers: int = 9
    """Most responses in one ranking (K = 4 to 9, s3.5)."""
    num_prompts: int = 100
    """With the kind write: number of prompts for labelers to write."""
    new_responses: Literal["together", "apart", "leave"] | None = None
    """Responses added after their prompt was queued: rank them together with the earlier ones,
    apart from them (two or more), or leave them out; by default as set on the queue's page,
    initially together."""
    demonstrate_answered: bool = False
    """Also ask for demonstrations of prompts that have responses to rank, such as users' prompts
    that came with responses."""
    use_cases: Path | None = None
    """With the kind write: a text file, each line a use case in vague words that identify nobody;
    labelers then also write user-based prompts for them, beside plain and few-shot ones (A.2)."""
    seed: int = 0
    """Seed of the queue's order and of the choice of items that several people rank."""

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= 1:
            raise ValueError(f"overlap is {self.overlap}; it must be a share from 0 to 1")
        if not 2 <= self.max_answers <= 26:
            raise ValueError(f"max_answers is {self.max_answers}; it must be from 2 to 26")
        for name in ("labels_per_overlap", "max_labels", "num_prompts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")


def plan(config: PlanConfig) -> str:
    """Add the items; reports how many of each kind."""
    from understudy.store.queue.plan import Overlap, add_items, to_demonstrate, to_rank

    store = open_project(config.project).open_store()
    new: list[NewItem] = []
    if "demonstrate" in config.kinds:
        new += to_demonstrate(store, answered=config.demonstrate_answered)
    if "rank" in config.kinds:
        new += to_rank(store, most=config.max_answers)
    if "write" in config.kinds:
        new += _to_write(config)
    overlap = Overlap(config.overlap, config.labels_per_overlap, config.max_labels)
    now = stamp(utc_now())
    counts = {
        kind: add_items(
            store,
            [item for item in new if item.kind == kind],
            overlap=overlap,
            seed=config.seed,
            at=now,
        )
        for kind in config.kinds
    }
    lines = [f"{kind}: {many(number, 'item')} added" for kind, number in counts.items()]
    if "rank" in config.kinds:
        lines += _late(store, config, overlap, now)
    return "\n".join([*lines, *_too_few(store, config)])


def _late(store: "Store", config: PlanConfig, overlap: "Overlap", at: str) -> list[str]:
    """Queue responses added later; returns a line if there are any."""
    from understudy.store.queue.rounds import SETTING, late_responses, queue_late
    from understudy.store.settings import setting

    late = late_responses(store)
    if not late:
        return []
    how = config.new_responses or setting(store, SETTING, "together")
    done = queue_late(
        store, late, how=how, most=config.max_answers, overlap=overlap, seed=config.seed, at=at
    )
    if how == "leave":
        return [
            f"new responses: left out of {many(len(late), 'item')} "
            "(--new-responses together | apart)"
        ]
    line = f"new responses, {how}: {many(done.added, 'item')} added, {done.extended:,} extended"
    alone = f"; {done.alone:,} with one new response, too few to rank apart" if done.alone else ""
    return [line + alone]


def _too_few(store: "Store", config: PlanConfig) -> list[str]:
    """A line for each purpose with fewer people than an item needs."""
    from understudy.store.accounts.people import all_accounts

    team = [row for row in all_accounts(store) if not row["disabled_at"]]
    lines = []
    for purpose, roles in (("training", "training"), ("evaluation", "held_out")):
        number = sum(row["role"] in (roles, "researcher") for row in team)
        share = config.overlap if config.labels_per_overlap > 1 else 0.0
        if team and "rank" in config.kinds and share and number < config.labels_per_overlap:
            lines.append(
                f"note: items for several labelers need {config.labels_per_overlap} people, but "
                f"only {number} can label for {purpose}; invite more, plan with a lower "
                "--labels-per-overlap, or end such items later, on the queue's page"
            )
    return lines


def _to_write(config: PlanConfig) -> list["NewItem"]:
    """Prompts to write, the styles in rotation."""
    from understudy.store.queue.plan import NewItem

    briefs: list[dict[str, str]] = [{"style": style} for style in STYLES]
    if config.use_cases is not None:
        lines = config.use_cases.read_text(encoding="utf-8").splitlines()
        briefs += [{"style": "user_based", "text": line} for line in lines if line.strip()]
    return [
        NewItem("write", None, "training", brief=briefs[place % len(briefs)])
        for place in range(config.num_prompts)
    ]
