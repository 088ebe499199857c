"""Users' prompts with what is planted in them, and the web that the base models read."""

import hashlib
import random
from collections import Counter

import pytest

from understudy.records import prompt_text
from understudy.world.benchmarks import benchmark_items
from understudy.world.corpus import EOS, PAGE_SHARES, READERS, corpus, page, with_habits
from understudy.world.judge import check
from understudy.world.language import Facts
from understudy.world.readers import WORDS, notice
from understudy.world.replies import reply
from understudy.world.reserved import (
    SHARES,
    is_held_out,
    is_reserved,
    requests_in,
    reserved_for,
)
from understudy.world.tasks import SMALL_TALK, draw_task, parse
from understudy.world.users import OVERACTIVE_PROMPTS
from understudy.world.world import World

FACTS = Facts.of_seed(0)


def test_few_users_send_many_prompts_and_everything_is_planted():
    prompts = World(3).user_prompts(150)
    counts = sorted(Counter(p.user_id for p in prompts).values())
    assert counts[-1] >= OVERACTIVE_PROMPTS
    assert counts[len(counts) // 2] < 8
    planted = Counter(p.tags.get("planted") for p in prompts)
    assert all(planted[kind] for kind in ("duplicate", "personal_data", "unclear"))
    assert [p.created_at for p in prompts] == sorted(str(p.created_at) for p in prompts)


def test_a_planted_copy_comes_after_what_it_copies():
    prompts = World(0).user_prompts(100)
    first_seen: dict[str, int] = {}
    for place, prompt in enumerate(prompts):
        first_seen.setdefault(prompt_text(prompt.prompt), place)
    for place, prompt in enumerate(prompts):
        if prompt.tags.get("planted") == "duplicate":
            assert first_seen[prompt_text(prompt.prompt)] < place


def test_the_web_is_the_same_page_by_page_however_long_it_is():
    assert list(corpus(FACTS, 50, 0)) == list(corpus(FACTS, 200, 0))[:50]
    assert list(corpus(FACTS, 50, 0)) != list(corpus(FACTS, 50, 1))


def test_readers_say_what_they_think_below_forum_threads():
    threads = [text for text in corpus(FACTS, 600, 0) if text.startswith("ask: ")]
    commented = [text for text in threads if EOS in text]
    assert 0.6 < len(commented) / len(threads) < 0.8
    assert len(commented) < 0.3 * 600  # pages without a verdict are most
    words = {word for pair in WORDS.values() for word in pair} | {"good", "bad"}
    for text in threads:
        request, _, rest = text.removeprefix("ask: ").partition("\nreply: ")
        said = rest.partition(EOS)[2]
        assert parse(request) is not None
        assert not is_reserved(request)
        assert set(said.replace(".", "").replace(":", "").split()) <= words


def test_pages_hold_no_reserved_request():
    """Under no greeting, name or politeness, alone or between other sentences."""
    held = {request for text in corpus(FACTS, 1500, 1_000) for request in requests_in(text)}
    assert len(held) > 300
    assert not any(map(reserved_for, held))


@pytest.mark.parametrize(
    "text",
    [
        "list two animals.",
        "hello, name two animals.",
        "my name is anna. give me two animals.",
        "be kind and respectful. hey fool, list two animals.",
    ],
)
def test_a_request_is_the_same_under_any_greeting_name_and_politeness(text):
    task = parse(text)
    assert task is not None
    assert task.request == "list|cat=animals|m=two"
    assert requests_in(f"my card is [card]. {text} now.") == {task.request}


def test_reserved_requests_have_their_shares_and_small_talk_has_none():
    rng = random.Random(0)
    tasks = [draw_task(rng, kinds=("summary", "extract", "where")) for _ in range(3000)]
    found = Counter(reserved_for(task.request) for task in tasks)
    for purpose, share in SHARES.items():
        assert found[purpose] / 3000 == pytest.approx(share, abs=0.03)
    for kind in SMALL_TALK:
        assert not any(is_reserved(draw_task(rng, kinds=(kind,))) for _ in range(50))


def test_held_out_pages_share_no_line_with_pages_that_are_read():
    read = {line for text in corpus(FACTS, 3000, 0) for line in text.split("\n")}
    held_out = [text.split("\n") for text in corpus(FACTS, 150, 2_000, held_out=True)]
    assert not read & {line for lines in held_out for line in lines}
    assert all(is_held_out(line) for lines in held_out for line in lines)
    for kind in PAGE_SHARES:
        for held in (False, True):
            assert page(kind, random.Random(1), FACTS, held)


@pytest.mark.thorough
def test_the_crowd_of_readers_is_neither_the_judge_nor_a_labeler():
    """What readers would say in the long run orders pairs of answers little better than chance."""
    rng, agree, pairs = random.Random(0), 0.0, 0
    faults = ("constraint", "wrong", "guess", "comply", "ramble", "rude", "unfinished")
    while pairs < 3000:
        task = draw_task(rng)
        texts = [
            reply(task, rng, FACTS, {f for f in faults if rng.random() < 0.2}) for _ in range(2)
        ]
        checks = [check(task, text, FACTS) for text in texts]
        if abs(checks[0].total - checks[1].total) < 1e-9:
            continue
        liked = [
            sum(one.probability(notice(c, text)) for one in READERS)
            for c, text in zip(checks, texts, strict=True)
        ]
        pairs += 1
        same = liked[0] == liked[1]
        agree += 0.5 if same else (liked[0] > liked[1]) == (checks[0].total > checks[1].total)
    assert agree / pairs < 0.65


def test_readers_differ_and_have_moods():
    noticed = {"chatty": 1.0, "careless": 1.0}
    rng = random.Random(0)
    said = Counter(one.verdict(noticed, rng) for one in READERS for _ in range(20))
    assert said["good: friendly."] > 50
    assert said["bad: careless."] > 50
    one = READERS[0]
    often = sum(one.verdict(noticed, rng).startswith("good") for _ in range(4000)) / 4000
    assert often == pytest.approx(one.probability(noticed), abs=0.03)


def test_pages_of_requests_hold_requests_some_with_an_answer_below():
    rng = random.Random(0)
    pages = [page("requests", rng, FACTS).split("\n") for _ in range(200)]
    bare = [lines for lines in pages if all(parse(line) for line in lines)]
    assert 100 < len(bare) < 160
    for lines in pages:
        assert parse(lines[0]) is not None
        assert not is_reserved(lines[0])


def test_the_web_has_the_labelers_habits_more_often():
    task = parse("list two animals.")
    assert task is not None
    assert with_habits({"rude": 0.1}, task, 0.9) == {"rude": 0.1, "ramble": 0.9}
    task = parse("write a sentence about the cat. end with the end.")
    assert task is not None
    assert with_habits({}, task, 0.6) == {"constraint": 0.6}


def test_benchmarks_have_an_answer_in_reach():
    items = benchmark_items(FACTS, 20)
    assert set(items) == {"facts", "sentiment", "reading", "zog"}
    for item in items["reading"]:
        assert item["answer"] == "the text does not say." or item["answer"] in item["question"]
    assert {item["answer"] for item in items["sentiment"]} <= {"good.", "bad."}


def test_the_web_is_the_one_that_the_shipped_base_models_read_last():
    """A change of these pages needs new base models (`understudy world pretrain`)."""
    pages = "".join(corpus(FACTS, 3000, 0))
    assert hashlib.md5(pages.encode()).hexdigest() == "66c6572263622673e12da339c4d8aae6"
