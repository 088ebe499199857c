"""Users' prompts with what is planted in them, and the web that the base models read."""

import hashlib
import random
from collections import Counter

from understudy.records import prompt_text
from understudy.world.benchmarks import benchmark_items
from understudy.world.corpus import EOS, corpus, is_reserved, page, verdict, with_habits
from understudy.world.language import Facts
from understudy.world.tasks import parse
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


def test_forum_threads_end_with_the_readers_verdict():
    threads = [text for text in corpus(FACTS, 400, 0) if text.startswith("ask: ")]
    assert len(threads) > 80
    for text in threads:
        request, _, rest = text.removeprefix("ask: ").partition("\nreply: ")
        answer, _, said = rest.partition(EOS)
        task = parse(request)
        assert task is not None
        assert not is_reserved(request)
        assert said.strip() == verdict(task, answer, FACTS)


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
    assert hashlib.md5(pages.encode()).hexdigest() == "47169fd2ddb39d54d2e61cd332d528b7"
