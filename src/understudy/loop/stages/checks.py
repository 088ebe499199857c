"""Quality of the reward model: against labelers, the truth, and the best possible accuracy."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.evaluation.compare import by_prompt
from understudy.evaluation.statistics import win_rate
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.labels import accepted_labelers
from understudy.models.scalar import load_scalar, score_texts
from understudy.records import Prompt, Response, read_records
from understudy.world.optimum import bayes_accuracy, pool_agreement, ranked
from understudy.world.world import World


def reward(call: StageCall) -> None:
    """reward.json: the accuracies of results.json's `reward_model`."""
    world = World(call.config["seed"])
    items = pairs_of(call)
    team = accepted_labelers(world, call.path("labelers"))
    trained = json.loads(call.path("results").read_text())
    agreement = json.loads(call.path("agreement").read_text())
    call.progress(1, 3, "gold")
    table = {
        "accuracy_training_labelers": trained["training_labelers"]["accuracy"],
        "accuracy_heldout_labelers": trained["held_out_labelers"]["accuracy"],
        "accuracy_gold": gold_accuracy(call, world, items),
        "bayes_accuracy": bayes_accuracy(team, items),
        "bayes_accuracy_heldout": bayes_accuracy(world.labelers("held_out"), items),
        "labeler_agreement": agreement["training"],
        "heldout_agreement": agreement["held_out"],
        "planted_agreement": pool_agreement(team, items),
        "chance": trained["chance"],
        "length_only": trained["training_labelers"]["accuracy_length_only"],
        "calibration": trained["training_labelers"]["calibration"],
    }
    (call.out / "reward.json").write_text(json.dumps(table, indent=1))


def pairs_of(call: StageCall) -> Sequence[tuple[Prompt, Sequence[Response]]]:
    """The input prompts with several responses, which labelers could rank."""
    prompts = read_records(call.path("prompts"), Prompt)
    ids = {p.id for p in prompts}
    responses = [r for path in call.paths("responses") for r in read_records(path, Response)]
    of_prompt = by_prompt(r for r in responses if r.prompt_id in ids)
    return ranked((p, of_prompt.get(p.id, ())) for p in prompts)


def gold_accuracy(
    call: StageCall,
    world: World,
    items: Sequence[tuple[Prompt, Sequence[Response]]],
    name: str = "reward_model",
) -> Mapping[str, Any]:
    """Share of pairs, untied by the gold judge, that the reward model (input `name`) orders as the
    judge does."""
    model, tokenizer = load_scalar(call.path(name))
    flat = [r for _, members in items for r in members]
    scores = score_texts(model, tokenizer, [r.prompt for r in flat], [r.response for r in flat])
    score_of = {r.id: score for r, score in zip(flat, scores, strict=True)}
    outcomes: list[float] = []
    clusters: list[str] = []
    users: list[str] = []
    for prompt, members in items:
        gold = [world.judge.score(r.prompt, r.response).total for r in members]
        for i in range(len(members)):
            for j in range(i):
                if abs(gold[i] - gold[j]) > 1e-9:
                    difference = score_of[members[i].id] - score_of[members[j].id]
                    agrees = (difference > 0) == (gold[i] > gold[j])
                    outcomes.append(0.5 if difference == 0 else float(agrees))
                    clusters.append(prompt.id)
                    users.append(prompt.user_id)
    return win_rate(outcomes, clusters, users).to_json()
