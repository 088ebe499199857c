"""Stages about labelers: screening, demonstrations, rankings, and agreement."""

import json
from collections.abc import Sequence
from pathlib import Path

from understudy.labeling.collect import collect_demonstrations, collect_rankings
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.project import export_to, put_labelers, put_labels, store_of
from understudy.records import (
    LabelerInfo,
    Prompt,
    Ranking,
    Response,
    read_records,
)
from understudy.store import tables
from understudy.trust.agreement import agreement, votes_of_rankings
from understudy.trust.screening import make_battery
from understudy.trust.screening import screen as screen_one
from understudy.world.judge import WEIGHTS
from understudy.world.labelers import SimulatedLabeler
from understudy.world.world import World


def screen(call: StageCall) -> None:
    """Candidates take the screening test (B.1); labelers.json lists who may label, and why not."""
    world = World(call.config["seed"])
    battery = make_battery(
        researcher(world),
        read_records(call.path("prompts"), Prompt),
        read_records(call.path("responses"), Response),
    )
    results = [
        screen_one(candidate, battery, call.config["cutoffs"])
        for candidate in world.labelers("training")
    ]
    accepted = [result.info.id for result in results if result.passed]
    if len(accepted) < 3:
        scores = {r.info.id: dict(r.info.screening) for r in results}
        raise ValueError(f"screening leaves {len(accepted)} labelers of {scores}; lower cutoffs")
    hired = [result.info for result in results if result.passed]
    others = [labeler.info for labeler in world.labelers("held_out")]
    put_labelers(store_of(call), [*hired, *others])
    rows = [{**r.info.to_json(), "failed": list(r.failed)} for r in results]
    table = {"accepted": accepted, "candidates": rows, "cutoffs": call.config["cutoffs"]}
    (call.out / "labelers.json").write_text(json.dumps(table, indent=1))


def researcher(world: World) -> SimulatedLabeler:
    """A labeler who knows the truth and makes no mistakes: the key of the screening test."""
    info = LabelerInfo(id="researcher-01", role="researcher")
    return SimulatedLabeler(info=info, judge=world.judge, weights=dict(WEIGHTS), noise=0.0)


def accepted_labelers(world: World, path: Path) -> list[SimulatedLabeler]:
    """The training labelers who passed the screening."""
    names = set(json.loads(path.read_text())["accepted"])
    return [labeler for labeler in world.labelers("training") if labeler.info.id in names]


def demonstrate(call: StageCall) -> None:
    """Labelers respond to users' prompts as they would want a model to (s3.2)."""
    world = World(call.config["seed"])
    labelers = accepted_labelers(world, call.path("labelers"))
    rows = [
        row
        for name in ("demonstrations", "valid")
        for row in collect_demonstrations(
            labelers, read_records(call.path(name), Prompt), call.config["seed"]
        )
    ]
    put_labels(store_of(call), "demonstration", rows)
    export_to(call, "demonstrations.jsonl", "demonstrations", split="train")
    export_to(call, "valid.jsonl", "demonstrations", split="valid")


def rank(call: StageCall) -> None:
    """Training labelers rank responses; on the valid split, held-out labelers do too.

    On the valid split three labelers of each kind rank every prompt, because measurements suffer
    most from a single labeler's noise.
    """
    world, config = World(call.config["seed"]), call.config
    team = accepted_labelers(world, call.path("labelers"))
    responses = [r for path in call.paths("responses") for r in read_records(path, Response)]
    prompts = read_records(call.path("prompts"), Prompt)
    valid = read_records(call.path("valid"), Prompt)
    training = collect_rankings(team, prompts, responses, config["overlap"], config["seed"])
    measured = {
        role: collect_rankings(members, valid, responses, overlap=1.0, seed=config["seed"])
        for role, members in (("training", team), ("held_out", world.labelers("held_out")))
    }
    labels = [*training, *measured["training"], *measured["held_out"]]
    sampled = tables.prompts.c.split != "test"
    put_labels(store_of(call), "ranking", labels, about=responses, where=sampled)
    export_to(call, "rankings.jsonl", "rankings", split="train")
    export_to(call, "valid.jsonl", "rankings", split="valid", purpose="evaluation")
    summary = {
        "training": agreement_of([*training, *measured["training"]]),
        "held_out": agreement_of(measured["held_out"]),
        "num_rankings": len(training),
        "num_pairs": sum(len(r.pairs()) for r in training),
        "num_ties": sum(r.num_ties for r in training),
        "mean_answers": sum(len(r.responses) for r in training) / len(training),
    }
    (call.out / "agreement.json").write_text(json.dumps(summary, indent=1))


def agreement_of(rankings: Sequence[Ranking]) -> dict | None:
    """Agreement between labelers on the responses that several of them ranked."""
    found = agreement(votes_of_rankings(rankings))
    if found.value is None:
        return None
    shown = {"low": found.low, "high": found.high, "n": found.n, "num_prompts": found.num_prompts}
    return {"rate": found.value, **shown}
