"""Stages of the study of a group with other preferences.

Legend: P prompts, N samples of each prompt.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from understudy.evaluation.bestofn import best_of_n_wins
from understudy.evaluation.compare import by_prompt
from understudy.evaluation.statistics import post_stratified, win_rate
from understudy.labeling.collect import collect_rankings
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.study_report import write_study
from understudy.models.scalar import load_scalar, score_texts
from understudy.prompts.concern import groups_of
from understudy.records import Judge, Prompt, Ranking, Response, read_records, write_records
from understudy.records.schema import MINIMUM_GROUP, LabelerInfo
from understudy.reward.check import reward_check
from understudy.reward.check_config import RewardCheckConfig
from understudy.trust.agreement import agreement, votes_of_rankings
from understudy.trust.pairs import pairs_of
from understudy.world.groups import (
    EVERY,
    GROUP,
    OTHERS,
    RULES,
    TEAM_SIZE,
    TeaserJudge,
    concerns,
    make_team,
    told,
)
from understudy.world.reserved import is_reserved
from understudy.world.tasks import draw_task
from understudy.world.users import prompt_of
from understudy.world.world import World

CAVEATS = (
    "The group wants the opposite in one respect, on prompts that a rule recognises without error; "
    "people's groups overlap, and whom a prompt concerns is itself disputed.",
    "Weights act within a batch: in the demo's small batches, a weight of 16 counts less than 16 "
    "copies would.",
    "What follows from a reward model is measured by best-of-n, not by RL.",
)


def prompts(call: StageCall) -> None:
    """rank.jsonl: some of the demo's ranked prompts; more.jsonl: further prompts that concern the
    group; prompts.jsonl: new ones that concern it; share.json: the share of users' prompts that
    concern it."""
    config, seed = call.config, call.config["seed"]
    rank = tagged(read_records(call.path("rank"), Prompt))
    (call.out / "share.json").write_text(json.dumps(sum(map(concerns, rank)) / len(rank)))
    write_records(call.out / "rank.jsonl", rank[: max(1, round(config["share"] * len(rank)))])
    write_records(call.out / "more.jsonl", more(round(config["more"] * len(rank)), seed))
    rude = World(seed).rude_prompts(config["number"])
    write_records(call.out / "prompts.jsonl", [p for p in tagged(rude) if concerns(p)])


def more(number: int, seed: int) -> list[Prompt]:
    """Train users' prompts that concern the group and are not reserved."""
    rng = random.Random(f"groups/more/{seed}")
    found: list[Prompt] = []
    while len(found) < number:
        task = draw_task(rng, rude_users=1.0)
        index = f"groups-{len(found):05d}"
        (prompt,) = tagged([prompt_of(task, id=index, user_id=index)])
        if concerns(prompt) and not is_reserved(task):
            found.append(replace(prompt, split="train"))
    return found


def tagged(rows: Sequence[Prompt]) -> list[Prompt]:
    """The prompts, with the tag `group` where the rules apply."""
    return [
        row if group is None else replace(row, tags={**row.tags, "group": group})
        for row, group in zip(rows, groups_of(rows, RULES), strict=True)
    ]


def rank(call: StageCall) -> None:
    """Rankings as each arm reads them, weights, and the team. For valid.jsonl, everybody ranks the
    prompts that concern the group, and one labeler ranks each other prompt."""
    config, world = call.config, World(call.config["seed"])
    team, seed = make_team(config["seed"], world.judge), config["seed"]
    responses = [r for path in call.paths("responses") for r in read_records(path, Response)]
    train = [prompt for path in call.paths("prompts") for prompt in read_records(path, Prompt)]
    valid = tagged(read_records(call.path("valid"), Prompt))
    rankings = collect_rankings(team, train, responses, 0.0, seed)
    others = [prompt for prompt in valid if not concerns(prompt)]
    measured = collect_rankings(team, others, responses, 0.0, seed)
    own = [prompt for prompt in valid if concerns(prompt)]
    measured += collect_rankings(team, own, responses, 1.0, seed, labels_per_overlap=len(team))
    members = {one.info.id for one in team if one.info.group == GROUP}
    tables: dict[str, Sequence[Ranking]] = {
        "equal": rankings,
        "only": [r for r in rankings if r.group != GROUP or r.labeler_id in members],
        "told": told_of(rankings, members),
        "valid": measured,
        "valid-told": told_of(measured, members),
    }
    for name, rows in tables.items():
        write_records(call.out / f"{name}.jsonl", rows)
    write_records(call.out / "labelers.jsonl", [one.info for one in team])
    for arm, weight in config["weights"].items():
        weights = {GROUP: dict.fromkeys(sorted(members), weight)}
        (call.out / f"{arm}.json").write_text(json.dumps(weights))


def told_of(rankings: Sequence[Ranking], members: set[str]) -> list[Ranking]:
    """The rankings; where a member ranked a prompt that concerns the group, the prompt names it."""
    return [
        replace(r, prompt=told(r.prompt)) if r.group == GROUP and r.labeler_id in members else r
        for r in rankings
    ]


def measure(call: StageCall) -> None:
    """measured.json: accuracy by group, and win rates of best-of-n over one sample for several n:
    by the group and by the others on the group's prompts, and by everybody on all prompts."""
    world, largest = World(call.config["seed"]), call.config["best_of"]
    check = call.out / "check.json"
    check.unlink(missing_ok=True)
    reward_check(
        RewardCheckConfig(
            model=call.path("reward_model"),
            data=call.path("valid"),
            labelers=call.path("labelers"),
            out=check,
        )
    )
    own = tagged(read_records(call.path("own"), Prompt))
    rest = [p for p in tagged(read_records(call.path("prompts"), Prompt)) if not concerns(p)]
    pool = Pool(call, own, call.paths("own_answers"))
    elsewhere = Pool(call, rest, call.paths("answers"))
    asked = pool.scores(told_too=call.config["told"])
    judged = {GROUP: pool.gold(TeaserJudge(world.facts)), OTHERS: pool.gold(world.judge)}
    scores = {GROUP: asked, OTHERS: pool.scores() if call.config["told"] else asked}
    far = elsewhere.scores(), elsewhere.gold(world.judge)
    # For everybody: members send one in EVERY of the prompts that concern the group.
    share = json.loads(call.path("share").read_text())
    shares = {GROUP: share / EVERY, OTHERS: share * (1 - 1 / EVERY), "elsewhere": 1 - share}
    curve = {}
    for n in (n for n in (2, 4, 8, 16) if n <= largest):
        won = {side: best_of_n_wins(scores[side], judged[side], n) for side in (GROUP, OTHERS)}
        rates = {side: win_rate(won[side], pool.ids, pool.users).to_json() for side in won}
        won["elsewhere"] = best_of_n_wins(*far, n)
        users = [*pool.users, *pool.users, *elsewhere.users]
        strata = [side for side in shares for _ in won[side]]
        outcomes = np.concatenate([won[side] for side in shares])
        everybody = post_stratified(outcomes, strata, shares, None, users)
        curve[str(n)] = {**rates, "everybody": everybody.to_json()}
    accuracy = json.loads(check.read_text())["accuracy_by_group"]
    table = {"accuracy_by_group": accuracy, "curve": curve}
    (call.out / "measured.json").write_text(json.dumps(table, indent=1))


class Pool:
    """Responses to some prompts, the same number to each."""

    def __init__(self, call: StageCall, asked: Sequence[Prompt], paths: Sequence[Any]) -> None:
        rows = [r for path in paths for r in read_records(path, Response)]
        self.reward_model = call.path("reward_model")
        drawn, by_id = by_prompt(rows), {prompt.id: prompt for prompt in asked}
        self.ids = [name for name in drawn if name in by_id]
        self.users = [by_id[name].user_id for name in self.ids]
        self.rows = [drawn[name] for name in self.ids]

    def scores(self, told_too: bool = False) -> Any:
        """The reward model's scores_PN; with `told_too`, prompts name the group."""
        model, tokenizer = load_scalar(self.reward_model)
        flat = [r for row in self.rows for r in row]
        read = [told(r.prompt) if told_too else r.prompt for r in flat]
        values = score_texts(model, tokenizer, read, [r.response for r in flat])
        return np.array(values).reshape(len(self.rows), -1)

    def gold(self, judge: Judge) -> Any:
        """The judge's gold_PN."""
        return np.array(
            [[judge.score(r.prompt, r.response).total for r in row] for row in self.rows]
        )


def report(call: StageCall) -> None:
    """results.json and report.html."""
    arms: Mapping[str, str] = call.config["arms"]
    found = {arm: json.loads(call.path(f"arm_{arm}").read_text()) for arm in arms}
    largest = max(found["equal"]["curve"], key=int)
    sides = {
        "The group, on its prompts": GROUP,
        "Others, on the same prompts": OTHERS,
        "Everybody, on all prompts": "everybody",
    }
    at = {arm: found[arm]["curve"][largest] for arm in arms}
    panels = {title: {arms[a]: at[a][key] for a in arms} for title, key in sides.items()}
    results = {
        "title": "Whose preference?",
        "lead": f"{TEAM_SIZE // EVERY} of {TEAM_SIZE} labelers, and a quarter of the users, are of "
        "a group that wants the opposite of what others want, in one respect, on the prompts that "
        "concern it. Reward models on the same rankings, in which its members count more on these "
        f"prompts: how often the best of {largest} responses by their score beats one sample, by "
        "the group's judge and by the others'.",
        "bars": "Bars are 95% intervals over prompts and users.",
        "study": {
            "name": "groups",
            "panels": panels,
            "frontier": {
                "x": "The group, on its prompts",
                "y": "Others, on the same prompts",
                "path": [arms[a] for a in arms if not a.startswith("told") and a != "equal_twice"],
                "points": {arms[a]: {"x": at[a][GROUP], "y": at[a][OTHERS]} for a in arms},
            },
            "more": [
                {
                    "title": "The reward models.",
                    "caption": "Share of pairs ordered as the labelers of each group do, by "
                    "whether the prompt concerns the group. Fewer than five labelers are never "
                    "shown.",
                    "panels": accuracy_panels(found, arms),
                },
                *agreement_figures(call),
            ],
            "curves": {arm: found[arm]["curve"] for arm in arms},
        },
        "caveats": list(CAVEATS),
    }
    write_study(call, results)


def agreement_figures(call: StageCall) -> list[dict[str, Any]]:
    """One figure: how often two members of the group, two others, and one of each order a pair
    alike. None with fewer members or others than `MINIMUM_GROUP`."""
    everybody = read_records(call.path("labelers"), LabelerInfo)
    members = {one.id for one in everybody if one.group == GROUP}
    if min(len(members), len(everybody) - len(members)) < MINIMUM_GROUP:
        return []
    rows = [r for r in read_records(call.path("valid"), Ranking) if r.group == GROUP]
    pairs = pairs_of(votes_of_rankings(rows))
    measures = {
        "Within the group": agreement(pairs, between=lambda a, b: {a, b} <= members),
        "Among others": agreement(pairs, between=lambda a, b: not {a, b} & members),
        "One of each": agreement(pairs, between=lambda a, b: (a in members) != (b in members)),
    }
    rates = {
        name: {"rate": one.value, "low": one.low, "high": one.high, "n": one.n}
        for name, one in measures.items()
    }
    return [
        {
            "title": "Agreement.",
            "caption": "How often two labelers order a pair alike on the prompts that concern the "
            "group, which all of them ranked; pairs with a tie are left out.",
            "panels": {"Two labelers agree": rates},
        }
    ]


def accuracy_panels(
    found: Mapping[str, Mapping[str, Any]], arms: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """A panel per group of labelers and kind of prompt that may be shown."""
    panels: dict[str, dict[str, Any]] = {}
    for arm, label in arms.items():
        for cell in found[arm]["accuracy_by_group"]:
            kind = "the group's" if cell["prompts"] == GROUP else "other"
            if cell["accuracy"] is not None:
                title = f"{cell['labelers'].capitalize()} on {kind} prompts"
                panels.setdefault(title, {})[label] = cell["accuracy"]
    return panels
