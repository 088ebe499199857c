"""Stages that prepare the inputs: users' prompts through intake, pretraining text, benchmarks."""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from understudy.evaluation.flags import with_prefix
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.project import export_to, project_of
from understudy.prompts import IntakeConfig
from understudy.prompts.add import AddConfig, add_prompts
from understudy.prompts.in_store import build_in_store
from understudy.prompts.split import split_of
from understudy.records import Demonstration, Prompt, prompt_text, write_records
from understudy.world.benchmarks import benchmark_items
from understudy.world.reserved import requests_in, reserved_for
from understudy.world.tasks import PREFIXES, parse
from understudy.world.world import World


def prompts(call: StageCall) -> None:
    """Users' raw prompts enter the store, where intake cleans, caps and splits them. Then each
    purpose gets a file of prompts.

    Demonstrations and rankings get different prompts of the train split if there are enough; PPO
    gets that whole split, as a dataset. Train users' prompts with reserved requests
    (`world/reserved.py`) are removed before intake; reward models are measured on reserved prompts
    of the valid split, and new test prompts are reserved for test.
    """
    config = call.config
    world, intake = World(config["seed"]), IntakeConfig(**config["intake"])
    sent = withhold(world.user_prompts(num_users=config["num_users"]), intake)
    raw = write_records(call.out / "raw.jsonl", sent)
    project = project_of(call, raw, intake.split_key)
    call.progress(1, 4, "into the store")
    add_prompts(AddConfig(project=project.folder, data=(str(raw),)))
    call.progress(2, 4, "intake")
    report = build_in_store(project.folder, intake)
    kept = list(project.open_store().prompts(built=True))
    by_split = {
        split: _shuffled([p for p in kept if p.split == split], config["seed"])
        for split in ("train", "valid", "test")
    }
    files = hand_out(by_split, config)
    sorted_test = sort_test(files["test"], by_split)
    files |= {name: members[: config["num_prompts"]] for name, members in sorted_test.items()}
    files["closed"] = world.closed_domain_prompts(config["num_closed_prompts"])
    rude = world.rude_prompts(config["num_rude_prompts"])
    files["rude"] = [*rude, *(with_prefix(p, PREFIXES["respectful"].strip()) for p in rude)]
    for name, members in files.items():
        write_records(call.out / f"{name}.jsonl", members)
    train = by_split["train"]
    export_to(call, "ppo.jsonl", "prompts", split="train")
    summary = {
        **report.to_json(),
        "files": {**{name: len(members) for name, members in files.items()}, "ppo": len(train)},
        "test_prompts": {name: len(members) for name, members in sorted_test.items()},
    }
    (call.out / "intake.json").write_text(json.dumps(summary, indent=1))


def withhold(sent: Sequence[Prompt], intake: IntakeConfig) -> list[Prompt]:
    """Users' prompts; train users' prompts that contain a reserved request, in any words, are
    removed."""

    def trains(prompt: Prompt) -> bool:
        shares = {"valid_share": intake.valid_share, "test_share": intake.test_share}
        return split_of(f"user {prompt.user_id}", key=intake.split_key, **shares) == "train"

    return [p for p in sent if not (trains(p) and any(map(reserved_for, requests_of(p))))]


def requests_of(prompt: Prompt | Demonstration) -> set[str]:
    """A prompt's request; if it cannot be parsed as a task, its sentences' requests."""
    text = prompt_text(prompt.prompt)
    task = parse(text)
    return {task.request} if task else requests_in(text)


def asks_for(prompt: Prompt, purpose: str) -> bool:
    """Whether a prompt has a task, and its request is reserved for this purpose."""
    task = parse(prompt_text(prompt.prompt))
    return task is not None and reserved_for(task.request) == purpose


def hand_out(
    by_split: dict[str, list[Prompt]], config: Mapping[str, Any]
) -> dict[str, list[Prompt]]:
    """A list of prompts per purpose; ValueError when there are too few."""
    train = by_split["train"]
    valid = [p for p in by_split["valid"] if asks_for(p, "valid")]
    wanted = {
        "demonstrate": (train, config["num_demonstrations"]),
        "demonstrate_valid": (valid, config["num_valid_demonstrations"]),
        "rank": (train[::-1], config["num_rankings"]),
        "rank_valid": (valid[::-1], config["num_valid_rankings"]),
        "screen": (train[::-1], config["num_screening_prompts"]),
    }
    for name, (members, number) in wanted.items():
        if number > len(members):
            raise ValueError(
                f"{name} needs {number} prompts, but intake left {len(members)} in that split; "
                "raise [world] num_users"
            )
    files = {name: members[:number] for name, (members, number) in wanted.items()}
    return {**files, "test": by_split["test"]}


def sort_test(test: Sequence[Prompt], by_split: dict[str, list[Prompt]]) -> dict[str, list[Prompt]]:
    """Test prompts by whether training has seen the request.

    "test" has prompts with new requests, on which the findings rest. "seen" has those whose request
    occurs in training, under any greeting, name or politeness and in any words. "unclear" has
    prompts without a task of the world. New requests are reserved for test, so neither the web nor
    training contains them. Prompts whose request is neither reserved nor in a training prompt are
    left out, because a page of the web may contain it.
    """
    trained = {request for p in by_split["train"] for request in requests_of(p)}
    found: dict[str, list[Prompt]] = {"test": [], "seen": [], "unclear": []}
    for prompt in test:
        task = parse(prompt_text(prompt.prompt))
        if task is None:
            found["unclear"].append(prompt)
        elif task.request in trained:
            found["seen"].append(prompt)
        elif reserved_for(task.request) == "test":
            found["test"].append(prompt)
    return found


def _shuffled(members: list[Prompt], seed: int) -> list[Prompt]:
    order = sorted(members, key=lambda prompt: prompt.id)
    random.Random(f"hand-out-{seed}").shuffle(order)
    return order


def text(call: StageCall) -> None:
    """Pages of the web to mix into training, and held-out ones to measure pretraining loss on."""
    world = World(call.config["seed"])
    pages = world.corpus(call.config["num_pages"], seed=1_000 + call.config["seed"])
    number, seed = call.config["num_held_out_pages"], 2_000 + call.config["seed"]
    held_out = world.corpus(number, seed, held_out=True)
    for name, texts in (("pretraining", pages), ("held_out", held_out)):
        lines = (json.dumps({"text": one}) + "\n" for one in texts)
        (call.out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    (call.out / "prefix.txt").write_text(world.few_shot_prefix(), encoding="utf-8")


def benchmarks(call: StageCall) -> None:
    """The four few-shot benchmarks of the alignment tax, a file each."""
    facts = World(call.config["seed"]).facts
    (call.out / "items").mkdir(exist_ok=True)
    for name, items in benchmark_items(facts, call.config["num_items"]).items():
        lines = (json.dumps(item) + "\n" for item in items)
        (call.out / "items" / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
