"""Whatever the order of arrival: the same prompts, the same splits, no user in two of them."""

import random
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from understudy.prompts import IntakeConfig, build_prompts
from understudy.records import Prompt

TEXTS = ("Name a prime.", "name a prime.", "Why?", "My card is 4111 1111 1111 1111.", "Write it.")

rows = st.lists(
    st.tuples(
        st.sampled_from(TEXTS),
        st.integers(0, 8),
        st.sampled_from([None, "x", "y", "z"]),
        st.sampled_from([None, "2026-01-01", "2026-01-02"]),
    ),
    max_size=30,
)
configs = st.builds(
    IntakeConfig,
    group_by=st.sampled_from(["user", "organization"]),
    pii=st.sampled_from(["drop_train", "drop", "redact"]),
    duplicate_scope=st.sampled_from(["all", "user"]),
    max_per_group=st.integers(0, 3),
    valid_share=st.just(0.3),
    test_share=st.just(0.3),
    split_key=st.sampled_from("abcdef"),
)


def prompts_of(rows) -> list[Prompt]:
    return [
        Prompt(id=f"p{i}", prompt=text, user_id=f"u{user}", organization_id=org, created_at=at)
        for i, (text, user, org, at) in enumerate(rows)
    ]


def splits_of_users(prompts) -> dict[str, set[str]]:
    splits = defaultdict(set)
    for prompt in prompts:
        splits[prompt.user_id].add(prompt.split)
    return splits


@given(rows, configs, st.randoms(use_true_random=False))
def test_order_changes_nothing(rows, config: IntakeConfig, rng: random.Random) -> None:
    prompts = prompts_of(rows)
    kept, report = build_prompts(prompts, config)
    shuffled = rng.sample(prompts, len(prompts))
    assert build_prompts(shuffled, config) == (kept, report)


@given(rows, configs)
def test_no_user_in_two_splits(rows, config: IntakeConfig) -> None:
    kept, _ = build_prompts(prompts_of(rows), config)
    assert all(len(splits) == 1 for splits in splits_of_users(kept).values())


@given(rows, rows, configs)
def test_later_prompts_move_nobody_and_take_nothing_back(first, later, config) -> None:
    """Prompts that arrive later (later times, later ids) leave what was kept, and its split, as
    it was."""
    old = [(text, user, org, "2026-01-01") for text, user, org, _ in first]
    new = [(text, user, org, "2026-02-01") for text, user, org, _ in later]
    before, _ = build_prompts(prompts_of(old), config)
    after, _ = build_prompts(prompts_of(old + new), config)
    assert after[: len(before)] == before
    assert all(len(splits) == 1 for splits in splits_of_users(after).values())


@given(rows, configs)
def test_building_again_from_the_result_changes_nothing(rows, config: IntakeConfig) -> None:
    kept, _ = build_prompts(prompts_of(rows), config)
    again, report = build_prompts(kept, config)
    assert again == kept
    assert report.num_kept == report.num_in
