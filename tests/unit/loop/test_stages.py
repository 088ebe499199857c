"""The demo's own small decisions: who gets which prompt, what is unseen, what time it took."""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tests.stores import make_project

from understudy.evaluation.flags import with_prefix
from understudy.loop.plan import Stamp
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.judging import judge
from understudy.loop.stages.labels import researcher
from understudy.loop.stages.project import put_labelers
from understudy.loop.stages.results import times
from understudy.loop.stages.sizes import compare
from understudy.loop.stages.users import hand_out, sort_test, withhold
from understudy.prompts import IntakeConfig
from understudy.records import Prompt, Response, read_records, write_records
from understudy.world.reserved import reserved_for
from understudy.world.tasks import draw_task, parse
from understudy.world.world import World


def prompt(number: int, **fields) -> Prompt:
    fields.setdefault("prompt", f"question {number}")
    return Prompt(id=f"p{number}", user_id=f"u{number}", **fields)


COUNTS = {
    "num_demonstrations": 4,
    "num_rankings": 5,
    "num_valid_demonstrations": 1,
    "num_valid_rankings": 2,
    "num_screening_prompts": 2,
}


def asks(purpose: str | None, number: int) -> list[str]:
    """Bare requests for stories that are reserved for this purpose, or for none."""
    rng, found = random.Random(0), {}
    while len(found) < number:
        task = replace(draw_task(rng, kinds=("story",)), prefix="")
        if reserved_for(task.request) == purpose:
            found[task.request] = task.text
    return list(found.values())


def test_demonstrations_and_rankings_get_different_prompts():
    valid = [*asks("valid", 4), *asks(None, 3), *asks("test", 2), "do the thing"]
    by_split = {
        "train": [prompt(i) for i in range(10)],
        "valid": [prompt(10 + i, prompt=text) for i, text in enumerate(valid)],
        "test": [prompt(20)],
    }
    files = hand_out(by_split, COUNTS)
    ids = {name: {p.id for p in members} for name, members in files.items()}
    assert len(ids["demonstrate"]) == 4
    assert len(ids["rank"]) == 5
    assert not ids["demonstrate"] & ids["rank"]
    assert not ids["demonstrate_valid"] & ids["rank_valid"]
    assert ids["demonstrate_valid"] | ids["rank_valid"] < {"p10", "p11", "p12", "p13"}


def test_too_few_prompts_say_what_to_raise():
    with pytest.raises(ValueError, match="demonstrate needs 4 prompts, but intake left 3"):
        hand_out({"train": [prompt(i) for i in range(3)], "valid": [], "test": []}, COUNTS)


def test_test_prompts_are_sorted_by_what_training_has_seen():
    (trained,), (new,), (kept_for_valid,) = (asks(one, 1) for one in (None, "test", "valid"))
    _, maybe_on_a_page = asks(None, 2)
    by_split = {"train": [prompt(1, prompt=f"hello, {trained}")], "valid": [prompt(2)]}
    other_words = trained.replace("tell me", "write", 1).replace("write", "tell me", 1)
    texts = {
        "bare": trained,
        "greeted": f"my name is anna. {trained}",
        "other words": f"please {other_words}",
        "new": f"be kind and respectful. {new}",
        "valid": kept_for_valid,
        "page": maybe_on_a_page,
        "unclear": "do the thing with it",
    }
    test = [replace(prompt(9, prompt=text), id=name) for name, text in texts.items()]
    ids = {name: [p.id for p in found] for name, found in sort_test(test, by_split).items()}
    assert ids == {
        "test": ["new"],
        "seen": ["bare", "greeted", "other words"],
        "unclear": ["unclear"],
    }


def test_train_users_never_send_what_is_reserved():
    intake = IntakeConfig(valid_share=0.2, test_share=0.3)
    (new,), (free,) = asks("test", 1), asks(None, 1)
    texts = (free, new, f"hello, {new}", f"my card is 4111 1111 1111 1111. {new}", f"{new} now.")
    sent = [
        replace(prompt(user, prompt=text), id=f"p{user}/{number}")
        for user in range(60)
        for number, text in enumerate(texts)
    ]
    kept = Counter(p.user_id for p in withhold(sent, intake))
    assert set(kept.values()) == {1, 5}  # train users keep the free one only
    assert 20 < sum(number == 1 for number in kept.values()) < 40
    assert all(reserved_for(task.request) for p in sent[1:3] if (task := parse(p.prompt)))


def test_shards_add_up_and_wall_clock_does_not_count_twice(tmp_path):
    for name, started, seconds in (("a-0", 0, 60), ("a-1", 30, 60), ("b", 300, 30)):
        (tmp_path / name).mkdir()
        Stamp(
            key="", outputs={}, inputs={}, config={}, code="", started=started, seconds=seconds
        ).write(tmp_path / name)
    rows = {"a-0": "a", "a-1": "a", "b": "b", "report": "report"}
    assert times(tmp_path, rows) == {"minutes": {"a": 2.0, "b": 0.5}, "wall_minutes": 2.0}


# Judging, in a small piece of the tiny world


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """A folder with test, closed and rude prompts, and answers of a good and a bad model."""
    folder = tmp_path_factory.mktemp("judged")
    world = World(0)
    prompts = [replace(p, split="test") for p in world.closed_domain_prompts(24)]
    rude = world.rude_prompts(4)
    files = {
        "prompts": prompts[:16],
        "closed": prompts[16:],
        "rude": [*rude, with_prefix(rude[0], "x")],
    }
    for name, members in files.items():
        write_records(folder / f"{name}.jsonl", members)
    labelers = [labeler.info.id for labeler in world.labelers("training")]
    (folder / "labelers.json").write_text(json.dumps({"accepted": labelers}))
    every = [p for members in files.values() for p in members]
    for model in ("sft", "ppo", "base"):
        rows = [
            Response(
                id=f"{model}-{p.id}",
                prompt_id=p.id,
                prompt=p.prompt,
                response="you fool." if model == "base" else "the passage does not say.",
                model=model,
            )
            for p in every
        ]
        write_records(folder / f"{model}.jsonl", rows)
    return folder


def call_of(folder: Path, out: Path, **config) -> StageCall:
    out.mkdir()
    names = ("prompts", "closed", "rude")
    inputs = {name: (folder / f"{name}.jsonl",) for name in names}
    inputs["labelers"] = (folder / "labelers.json",)
    inputs["answers"] = tuple(folder / f"{model}.jsonl" for model in ("sft", "ppo", "base"))
    return StageCall(name="judge", inputs=inputs, config={"seed": 0, **config}, out=out, root=out)


def test_judging_compares_with_sft_and_counts_faults(answered, tmp_path):
    call = call_of(answered, tmp_path / "judge", labels_per_comparison=2)
    store = make_project("sqlite", call.root).open_store()
    store.add_prompts(read_records(answered / "prompts.jsonl", Prompt))
    put_labelers(store, [labeler.info for labeler in World(0).labelers("held_out")])
    judge(call)
    ratings = list(store.labels())
    assert {rating.response_id for rating in ratings} == {r.id for r in store.responses()}
    table = json.loads((tmp_path / "judge" / "judged.json").read_text())
    for group in ("held_out", "training", "gold"):
        rates = table["win_rates"][group]
        assert rates["ppo"]["rate"] == 0.5  # word for word the same answers
        assert rates["base"]["rate"] < 0.5
        assert rates["base"]["n"] == (16 if group == "gold" else 32)
    assert table["flags"]["base"]["rude_plain"] == {
        "rate": 1.0,
        "low": pytest.approx(0.4, abs=0.2),
        "high": 1.0,
        "n": 4,
    }
    assert table["flags"]["sft"]["rude_plain"]["rate"] == 0.0
    assert (
        table["gold"]["sft"]["mean"] == table["gold"]["ppo"]["mean"] > table["gold"]["base"]["mean"]
    )
    assert table["flags"]["sft"]["hallucination"]["n"] == 24  # users' and further closed prompts


def test_seen_and_unclear_requests_and_the_cold_baseline_are_judged_apart(answered, tmp_path):
    call = call_of(answered, tmp_path / "judge")
    prompts = read_records(answered / "prompts.jsonl", Prompt)
    write_records(answered / "new.jsonl", prompts[:10])
    write_records(answered / "seen.jsonl", prompts[10:])
    (answered / "unclear.jsonl").touch()
    cold = [
        replace(r, id=f"{r.id}/0", response="you fool.", temperature=0.0)
        for r in read_records(answered / "sft.jsonl", Response)
    ]
    write_records(answered / "cold.jsonl", cold)
    names = {"prompts": "new", "seen": "seen", "unclear": "unclear", "cold": "cold"}
    inputs = {name: (answered / f"{file}.jsonl",) for name, file in names.items()}
    call = replace(call, inputs={**call.inputs, **inputs})
    store = make_project("sqlite", call.root).open_store()
    store.add_prompts(prompts)
    put_labelers(store, [labeler.info for labeler in World(0).labelers("held_out")])
    judge(call)
    table = json.loads((tmp_path / "judge" / "judged.json").read_text())
    assert table["win_rates"]["gold"]["base"]["n"] == 10
    assert table["win_rates"]["gold"]["sft_greedy"]["rate"] < 0.5
    assert table["win_rates"]["gold"]["ppo"]["per_user"]["rate"] == 0.5
    assert "sft_greedy" not in table["gold"]  # rated and stored with the greedy answers
    assert table["seen"]["num_prompts"] == 6
    assert table["seen"]["win_rates"]["gold"]["base"]["n"] == 6
    assert "unclear" not in table
    assert table["against_cold"]["win_rates"]["gold"]["ppo"]["rate"] > 0.5
    assert table["against_cold"]["win_rates"]["gold"]["base"]["rate"] == 0.5


def test_sizes_are_compared_with_the_largest_sft_model(answered, tmp_path):
    files = tuple(answered / f"{model}.jsonl" for model in ("sft", "base"))
    call = StageCall(
        name="by_size",
        inputs={"prompts": (answered / "prompts.jsonl",), "answers_s": files, "answers_l": files},
        config={"seed": 0, "sizes": ["s", "l"], "recipe": "demo"},
        out=tmp_path,
        root=tmp_path,
    )
    compare(call)
    results = json.loads((tmp_path / "results.json").read_text())
    for table in (results["win_rates_by_size"], results["win_rates_by_size_gold"]):
        assert table["l"]["sft"]["rate"] == 0.5
        assert table["s"]["base"]["rate"] < 0.5
    assert "Is a small aligned model" in (tmp_path / "report.html").read_text()


def test_the_researcher_knows_and_never_errs():
    world = World(0)
    (asked,) = world.closed_domain_prompts(1)
    good = Response(id="g", prompt_id=asked.id, prompt=asked.prompt, response="x", model="m")
    bad = replace(good, id="b", response="you fool")
    someone = researcher(world)
    assert someone.info.role == "researcher"
    assert someone.compare(asked, good, bad).preferred == "first"
