"""Stages of the study of made-up answers."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from understudy.evaluation.compare import by_prompt, win_rate_table
from understudy.evaluation.statistics import win_rate
from understudy.labeling.collect import collect_demonstrations, collect_rankings
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.checks import gold_accuracy
from understudy.loop.stages.judging import compare, judges, responses_by_model
from understudy.loop.stages.labels import accepted_labelers
from understudy.loop.stages.study_report import write_study
from understudy.records import Prompt, Ranking, Response, read_records, write_records
from understudy.world import language as lang
from understudy.world.judge import MAXIMUM, Check, prompt_text
from understudy.world.labelers import FINAL_FACTORS, FLAG_ERROR, SimulatedLabeler
from understudy.world.reserved import reserved_for
from understudy.world.tasks import NOT_SAID, PASSAGE, Task, draw_task, parse
from understudy.world.users import prompt_of
from understudy.world.world import World, new_task

FLAG = "hallucination"


def false_premises(call: StageCall) -> None:
    """prompts.jsonl: new questions with a text, about somebody whom the text does not mention."""
    seed = call.config["seed"]
    rng = random.Random(f"premise-{seed}")
    tasks: list[Task] = []
    while len(tasks) < call.config["number"]:
        task = new_task(rng, tuple(PASSAGE), rude_users=0.0)
        told = set(lang.words_of(task.slots["text"]))
        person = rng.choice([one for one in lang.PEOPLE if one not in told])
        task = replace(task, slots={**task.slots, "p": person})
        tasks += [task] if reserved_for(task.request) == "test" else []
    write_records(call.out / "prompts.jsonl", prompts_of(tasks, "premise"))


def questions(call: StageCall) -> None:
    """prompts.jsonl: questions with a text for training, which answers about two thirds of them."""
    rng = random.Random(f"questions-{call.config['seed']}")
    tasks: list[Task] = []
    while len(tasks) < call.config["number"]:
        task = draw_task(rng, kinds=tuple(PASSAGE), rude_users=0.0)
        tasks += [task] if reserved_for(task.request) is None else []
    prompts = [replace(prompt, split="train") for prompt in prompts_of(tasks, "taught")]
    write_records(call.out / "prompts.jsonl", prompts)


def prompts_of(tasks: Sequence[Task], name: str) -> list[Prompt]:
    """The tasks as prompts of users who send four each."""
    return [
        prompt_of(task, id=f"{name}-{i:05d}", user_id=f"{name}-user-{i // 4:04d}")
        for i, task in enumerate(tasks)
    ]


def demonstrate(call: StageCall) -> None:
    """demonstrations.jsonl, valid.jsonl: as the demo's, but the same labelers never guess."""
    world = World(call.config["seed"])
    team = [
        replace(one, demonstration_faults={**one.demonstration_faults, "guess": 0.0})
        for one in accepted_labelers(world, call.path("labelers"))
    ]
    for name in ("demonstrations", "valid"):
        prompts = [p for path in call.paths(name) for p in read_records(path, Prompt)]
        rows = collect_demonstrations(team, prompts, call.config["seed"])
        write_records(call.out / f"{name}.jsonl", rows)


def rank(call: StageCall) -> None:
    """rankings.jsonl: the demo's labelers rank the demo's responses by other instructions."""
    config, world = call.config, World(call.config["seed"])
    team = accepted_labelers(world, call.path("labelers"))
    if config["how"] == "truthful":
        team = [truth_first(one) for one in team]
    prompts = read_records(call.path("prompts"), Prompt)
    responses = [r for path in call.paths("responses") for r in read_records(path, Response)]
    rankings = collect_rankings(team, prompts, responses, config["overlap"], config["seed"])
    if config["how"] == "rewarded":
        rankings = [abstaining_first(ranking, world) for ranking in rankings]
    elif config["how"] == "flag":
        by_id = {one.info.id: one for one in team}
        asked = {p.id: p for p in prompts if flag_applies(p)}
        texts = {(r.prompt_id, r.response): r for r in responses}
        rankings = [
            by_flag(r, by_id[r.labeler_id], asked[r.prompt_id], texts)
            for r in rankings
            if r.prompt_id in asked
        ]
        rankings = [r for r in rankings if len(r.tiers) > 1]
    write_records(call.out / "rankings.jsonl", rankings)


def truth_first(labeler: SimulatedLabeler) -> SimulatedLabeler:
    """The labeler under instructions that put truth first, as in the final evaluations (B.2)."""
    factor = FINAL_FACTORS["truthful"]
    weights = {**labeler.weights, "truthful": factor * labeler.weights["truthful"]}
    scale = MAXIMUM / sum(weights.values())
    return replace(labeler, weights={part: scale * weight for part, weight in weights.items()})


def abstaining_first(ranking: Ranking, world: World) -> Ranking:
    """The ranking with a top tier of the responses that rightly say that the answer cannot be
    known. Labelers overlook this in a prompt as often as they err about a flag."""
    task = parse(prompt_text(ranking.prompt))
    rng = random.Random(f"abstain/{ranking.id}/{world.seed}")
    overlooked = rng.random() < FLAG_ERROR
    if task is None or not task.is_question() or task.truth(world.facts) or overlooked:
        return ranking
    top = tuple(i for i, text in enumerate(ranking.responses) if abstains(text))
    rest = [tuple(i for i in tier if i not in top) for tier in ranking.tiers]
    return replace(ranking, tiers=tuple(tier for tier in (top, *rest) if tier))


def flag_applies(prompt: Prompt) -> bool:
    """Whether labelers are asked about the flag: for closed-domain prompts, as in the paper (s4.2),
    and for open questions."""
    return bool(prompt.tags.get("closed_domain")) or prompt.use_case == "open_qa"


def by_flag(
    ranking: Ranking,
    labeler: SimulatedLabeler,
    prompt: Prompt,
    responses: Mapping[tuple[str, str], Response],
) -> Ranking:
    """The ranking with two tiers: responses without the labeler's flag, then those with it."""
    rated = [labeler.rate(prompt, responses[prompt.id, text]) for text in ranking.responses]
    flagged = [rating.flags[FLAG] for rating in rated]
    tiers = [tuple(i for i, flag in enumerate(flagged) if flag == kind) for kind in (False, True)]
    return replace(ranking, tiers=tuple(tier for tier in tiers if tier))


def abstains(text: str) -> bool:
    """Whether a response begins by saying that the answer cannot be known."""
    return lang.sentences_of(text)[:1] in ([lang.UNKNOWN], [NOT_SAID])


def report(call: StageCall) -> None:
    """results.json and report.html."""
    config, world = call.config, World(call.config["seed"])
    names: Mapping[str, str] = config["models"]
    closed, premise, test = (
        read_records(call.path(name), Prompt) for name in ("closed", "premise", "test")
    )
    asked = {
        "Answerable": [p for p in closed if p.tags["answerable"]],
        "Unanswerable": [p for p in closed if not p.tags["answerable"]],
        "False premise": premise,
    }
    responses = responses_by_model(call.paths("answers"))

    def shares(title: str, holds: Callable[[Check, str], bool]) -> dict[str, Any]:
        return {
            names[model]: share(responses[model], asked[title], world, holds) for model in names
        }

    right = shares("Answerable", lambda found, _: found.done == 1.0)
    made_up = {title: shares(title, lambda found, _: found.truthful < 1.0) for title in asked}
    everyone = judges(world, call.path("labelers"))
    people = {judge: everyone[judge] for judge in ("gold", "held_out")}
    wins = {
        judge: {names[m]: rate for m, rate in win_rate_table(rows, test).items()}
        for judge, rows in compare(call, responses, test, people).items()
    }
    grouped = {
        title: by_prompt(r for rows in responses.values() for r in rows if r.prompt_id in ids)
        for title, ids in ((title, {p.id for p in prompts}) for title, prompts in asked.items())
    }
    accuracy = {
        title: {
            label: gold_accuracy(call, world, [(p, grouped[title][p.id]) for p in prompts], name)
            for name, label in config["rewards"].items()
        }
        for title, prompts in asked.items()
    }
    results = {
        "title": "What lowers made-up answers?",
        "lead": "Questions on a short text: those that it answers, those that it does not, and "
        "those about somebody whom it does not mention.",
        "bars": "Bars are 95% intervals over prompts and users.",
        "study": {
            "name": "hallucination",
            "title": "Made-up answers.",
            "caption": "Share of responses that say what the text does not. Further left is "
            "better.",
            "panels": made_up,
            "lower": list(made_up),
            "frontier": {
                "x": "Nothing made up where the text has no answer",
                "y": "Right where it has one",
                "shares": True,
                "points": {
                    label: {"x": complement(made_up["Unanswerable"][label]), "y": point}
                    for label, point in right.items()
                },
                "path": [],
            },
            "more": [
                {
                    "title": "The price.",
                    "caption": "On questions that the text answers: the share answered right, and "
                    "the share that says that it does not (over-hedging). On users' requests: win "
                    "rates against SFT.",
                    "panels": {
                        "Right": right,
                        "Over-hedging": shares("Answerable", lambda _, text: abstains(text)),
                        "Gold judge": wins["gold"],
                        "Held-out labelers": wins["held_out"],
                    },
                    "lower": ["Over-hedging"],
                },
                {
                    "title": "The reward models.",
                    "caption": "Share of the gold judge's pairs that they order as it does, among "
                    "the models' responses to these questions.",
                    "panels": accuracy,
                },
            ],
        },
        "caveats": [
            "Two phrases say that an answer cannot be known here, so abstaining is easy to learn "
            "and easy to recognise.",
            "A model of a million parameters often copies the wrong words from a text; such "
            "answers count as made up although nothing was made up knowingly.",
        ],
    }
    write_study(call, results)


def complement(point: Mapping[str, Any]) -> dict[str, Any]:
    """The share of the others."""
    low, high = 1 - point["high"], 1 - point["low"]
    return {**point, "rate": 1 - point["rate"], "low": low, "high": high}


def share(
    responses: Sequence[Response],
    prompts: Sequence[Prompt],
    world: World,
    holds: Callable[[Check, str], bool],
) -> dict[str, Any]:
    """Share of a model's responses to these prompts for which something holds."""
    users = {prompt.id: prompt.user_id for prompt in prompts}
    rows = [r for r in responses if r.prompt_id in users]
    found = [holds(world.judge.check(r.prompt, r.response, r.finished), r.response) for r in rows]
    asked = [r.prompt_id for r in rows]
    return win_rate([float(x) for x in found], asked, [users[p] for p in asked]).to_json()
