"""Stages of the study of generalisation."""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.evaluation.compare import by_prompt, gold_comparer, win_rate_table
from understudy.evaluation.statistics import paired_difference, win_rate
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.checks import gold_accuracy
from understudy.loop.stages.judging import compare, judges, responses_by_model
from understudy.loop.stages.study_report import write_study
from understudy.loop.stages.users import requests_of
from understudy.models.scalar import load_scalar, score_texts
from understudy.records import (
    Demonstration,
    Prompt,
    Ranking,
    Response,
    read_records,
    write_records,
)
from understudy.reward.folds import fold_files, labeler_groups
from understudy.world.labelers import make_labelers
from understudy.world.users import prompt_of
from understudy.world.world import NUM_TRAINING_LABELERS, World, new_task

OTHERS = 1_000_003
"""Added to the seed, for other labelers who follow the training labelers' instructions."""


def leave_out(call: StageCall) -> None:
    """Training inputs without some kinds of request, and a file of new prompts of each kind.

    trained.jsonl: RL prompts with a task, sampled.
    """
    config, seed = call.config, call.config["seed"]
    kinds = set(config["kinds"])
    for name in ("demonstrations", "valid"):
        shown = read_records(call.path(name), Demonstration)
        write_records(call.out / f"{name}.jsonl", [d for d in shown if not kinds & kinds_of(d)])
    for name in ("rank", "ppo"):
        asked = read_records(call.path(name), Prompt)
        write_records(call.out / f"{name}.jsonl", [p for p in asked if not kinds & kinds_of(p)])
    prompts = [p for p in read_records(call.path("ppo"), Prompt) if kinds_of(p)]
    number = min(config["num_trained"], len(prompts))
    trained = random.Random(f"trained/{seed}").sample(prompts, number)
    write_records(call.out / "trained.jsonl", trained)
    for kind in config["kinds"]:
        write_records(call.out / f"{kind}.jsonl", new_prompts(kind, config["number"], seed))


def kinds_of(row: Prompt | Demonstration) -> set[str]:
    """The kinds of the requests that a prompt contains."""
    return {request.partition("|")[0] for request in requests_of(row)}


def new_prompts(kind: str, number: int, seed: int) -> list[Prompt]:
    """Prompts of a kind that no model has seen. The request stands in for the user, since intervals
    are clustered by user and a request occurs with several greetings."""
    rng = random.Random(f"new/{kind}/{seed}")
    tasks = [new_task(rng, (kind,), rude_users=0.0) for _ in range(number)]
    return [
        prompt_of(task, id=f"{kind}-{index:05d}", user_id=task.request)
        for index, task in enumerate(tasks)
    ]


def folds(call: StageCall) -> None:
    """fold-I/train.jsonl, without a fifth of the labelers, and fold-I/valid.jsonl, with all."""
    config = call.config
    rankings = read_records(call.path("rankings"), Ranking)
    number = min(config["number"], len(rankings))
    few = random.Random(f"folds/{config['seed']}").sample(rankings, number)
    for index, group in enumerate(labeler_groups(few, config["folds"], config["seed"])):
        fold_files(few, group, call.out / f"fold-{index}", config["seed"])


def check_folds(call: StageCall) -> None:
    """folds.json: accuracy on the same pairs of models trained on the pair's labeler and of models
    trained without that labeler, and the difference."""
    users = {p.id: p.user_id for p in read_records(call.path("prompts"), Prompt)}
    valid = [read_records(path, Ranking) for path in call.paths("valid")]
    right = []
    for done, path in enumerate(call.paths("models")):
        call.progress(done, len(valid), path.parts[-3])
        right.append(ordered(path, valid[0]))
    left_out = [[ranking.labeler_role == "held_out" for ranking in rows] for rows in valid]
    seen, unseen = by_side(right, left_out)
    prompts = [ranking.prompt_id for ranking in valid[0] for _ in ranking.pairs()]
    by = [users[prompt] for prompt in prompts]
    table = {
        "seen": win_rate(seen, prompts, by).to_json(),
        "unseen": win_rate(unseen, prompts, by).to_json(),
        "difference": paired_difference(seen, unseen, prompts, by).to_json("mean"),
        "num_labelers": len({ranking.labeler_id for ranking in valid[0]}),
    }
    (call.out / "folds.json").write_text(json.dumps(table, indent=1))


def ordered(path: Any, rankings: Sequence[Ranking]) -> list[list[float]]:
    """For each pair of each ranking: 1 if the reward model orders it as the labeler does, 0.5 if
    its scores are equal, else 0."""
    model, tokenizer = load_scalar(path)
    rows = [(r.prompt, text) for r in rankings for text in r.responses]
    scores = iter(score_texts(model, tokenizer, [p for p, _ in rows], [t for _, t in rows]))
    found = []
    for ranking in rankings:
        own = [next(scores) for _ in ranking.responses]
        leads = [own[better] - own[worse] for better, worse in ranking.pairs()]
        found.append([0.5 if lead == 0 else float(lead > 0) for lead in leads])
    return found


def by_side(
    right: Sequence[Sequence[Sequence[float]]], left_out: Sequence[Sequence[bool]]
) -> tuple[list[float], list[float]]:
    """For each pair of each ranking, the mean outcome of the models trained on its labeler, and of
    the other models. `right[m][r]` has model m's outcomes on ranking r's pairs; `left_out[m][r]`
    says whether m was trained without r's labeler."""
    sides: tuple[list[float], list[float]] = ([], [])
    for place, pairs in enumerate(right[0]):
        for pair in range(len(pairs)):
            for side, unseen in zip(sides, (False, True), strict=True):
                models = zip(right, left_out, strict=True)
                found = [own[place][pair] for own, out in models if out[place] == unseen]
                side.append(sum(found) / len(found))
    return sides


def report(call: StageCall) -> None:
    """results.json and report.html."""
    config, world = call.config, World(call.config["seed"])
    kinds: Mapping[str, str] = config["kinds"]
    names: Mapping[str, str] = config["models"]
    test = read_records(call.path("test"), Prompt)
    places = {title: read_records(call.path(kind), Prompt) for kind, title in kinds.items()}
    places["Everything else"] = [p for p in test if not set(kinds) & kinds_of(p)]
    responses = responses_by_model(call.paths("answers"))
    everyone = judges(world, call.path("labelers"))
    people = {judge: everyone[judge] for judge in ("gold", "held_out")}
    against = {"prompted": tuple(names), "sft": ("sft", "ppo_ptx")}
    against["unseen-sft"] = ("unseen-sft", "unseen-ppo_ptx")
    wins = {
        baseline: {
            title: rates(call, {m: responses[m] for m in shown}, prompts, people, baseline)
            for title, prompts in places.items()
        }
        for baseline, shown in against.items()
    }
    feedback = {
        title: {
            names[model]: wins[baseline][title]["gold"][model]
            for baseline, model in (("sft", "ppo_ptx"), ("unseen-sft", "unseen-ppo_ptx"))
        }
        for title in places
    }
    with_all, without = "Reward model", "Reward model without"
    accuracy = {
        title: {
            label: reward_accuracy(call, world, name, prompts, responses)
            for name, label in (("reward", with_all), ("unseen-reward", without))
        }
        for title, prompts in places.items()
    }
    folded = json.loads(call.path("folds").read_text())
    results = {
        "title": "What generalises?",
        "lead": "SFT and PPO-ptx trained with and without a language and a task, which the base "
        "model has read.",
        "bars": "Bars are 95% intervals, over requests for what was left out, over users "
        "elsewhere.",
        "study": {
            "name": "generalisation",
            "panels": panels_of(wins["prompted"], "gold", names),
            "caption": "Win rates against the prompted base model by the gold judge.",
            "more": [
                {
                    "title": "The same by held-out labelers.",
                    "caption": "Against the prompted base model.",
                    "panels": panels_of(wins["prompted"], "held_out", names),
                },
                {
                    "title": "What feedback adds.",
                    "caption": "Win rates against the SFT model of the same demonstrations, by the "
                    "gold judge.",
                    "panels": feedback,
                },
                {
                    "title": "The reward models.",
                    "caption": "Share of the gold judge's pairs that they order as it does, among "
                    "the evaluated models' responses.",
                    "panels": accuracy,
                },
                {
                    "title": "People who took part, and others.",
                    "caption": "Win rate of PPO-ptx over SFT, trained on everything, on prompts "
                    "that RL trained on, on requests of unseen users that training contains, and "
                    "on new ones; by labelers who trained the reward model, others with the same "
                    "instructions, and held-out ones, whose instructions put truth first.",
                    "panels": crosswise(call, world, responses, everyone, test),
                },
                {
                    "title": "Reward models without a fifth of the labelers.",
                    "caption": "Accuracy on one set of pairs, of models that were trained on the "
                    "labeler's other rankings and of models that were not; the difference is "
                    f"{points(folded['difference'])}. The paper: 72.4 and 69.6%.",
                    "panels": {
                        "Five folds": {
                            "Labelers seen": folded["seen"],
                            "Labelers unseen": folded["unseen"],
                        }
                    },
                },
            ],
            "folds": folded,
        },
        "caveats": [
            "The base model has read both kinds, with good and bad replies. That a model learns to "
            "do what its base has never read is not claimed.",
            "The tiny world's users send the same kinds of request, so new users differ from old "
            "ones by their requests only.",
            "Its labelers differ in what they weigh, not in what they know.",
        ],
    }
    write_study(call, results)


def points(found: Mapping[str, float]) -> str:
    """A difference of rates in words."""
    mean, low, high = (100 * found[key] for key in ("mean", "low", "high"))
    return f"{mean:.1f} points ({low:.1f} to {high:.1f})"


def rates(
    call: StageCall,
    responses: Mapping[str, Sequence[Response]],
    prompts: Sequence[Prompt],
    people: Mapping[str, Sequence[Any]],
    baseline: str,
) -> dict[str, dict[str, Any]]:
    """Win rates against a model by judge."""
    found = compare(call, responses, prompts, people, baseline)
    return {judge: win_rate_table(rows, prompts, baseline) for judge, rows in found.items()}


def panels_of(
    wins: Mapping[str, Mapping[str, Any]], judge: str, names: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """A panel per kind of request, a row per model."""
    return {
        title: {names[model]: tables[judge][model] for model in names if model in tables[judge]}
        for title, tables in wins.items()
    }


def reward_accuracy(
    call: StageCall,
    world: World,
    name: str,
    prompts: Sequence[Prompt],
    responses: Mapping[str, Sequence[Response]],
) -> Mapping[str, Any]:
    """Share of pairs of the models' responses that a reward model orders as the gold judge does."""
    ids = {prompt.id for prompt in prompts}
    grouped = by_prompt(r for rows in responses.values() for r in rows if r.prompt_id in ids)
    return gold_accuracy(call, world, [(p, grouped[p.id]) for p in prompts], name)


def crosswise(
    call: StageCall,
    world: World,
    responses: Mapping[str, Sequence[Response]],
    people: Mapping[str, Sequence[Any]],
    test: Sequence[Prompt],
) -> dict[str, dict[str, Any]]:
    """PPO-ptx against SFT on prompts that RL trained on and on others, by each group of judges."""
    others = make_labelers(world.judge, "training", NUM_TRAINING_LABELERS, world.seed + OTHERS)
    groups = {
        "Training labelers": people["training"],
        "Others, same instructions": others,
        "Held-out labelers": people["held_out"],
        "Gold judge": [gold_comparer(world.judge)],
    }
    models = {name: responses[name] for name in ("sft", "ppo_ptx")}
    asked = {
        "Trained on": read_records(call.path("trained"), Prompt),
        "Seen requests": read_records(call.path("seen"), Prompt),
        "New requests": test,
    }
    found = {title: rates(call, models, asked[title], groups, "sft") for title in asked}
    return {
        title: {group: table["ppo_ptx"] for group, table in by_group.items()}
        for title, by_group in found.items()
    }
