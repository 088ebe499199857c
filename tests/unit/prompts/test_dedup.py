"""Duplicates by hand, and against a naive search over all pairs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from understudy.prompts.dedup import GRID, Duplicate, DuplicateFinder
from understudy.prompts.minhash import NearDuplicates, band_values, jaccard, shingle
from understudy.records import Message


def finder(prefix_chars: int = 10, share: float = 0.8, near: float | None = None):
    return DuplicateFinder(prefix_chars=prefix_chars, prefix_share=share, near_duplicates=near)


def test_exact_ignores_case_white_space_and_unicode_forms() -> None:
    find = finder(prefix_chars=0)
    assert find.check("a", "Name a  caf\u00e9\n") is None
    assert find.check("b", "name a cafe\u0301") == Duplicate("exact", "a")
    assert find.check("c", "name a cafe") is None


def test_a_long_common_prefix_counts_only_beside_a_short_tail() -> None:
    template = "x" * 100
    find = finder(prefix_chars=64)
    assert find.check("a", template + " first") is None
    assert find.check("b", template + " second") == Duplicate("prefix", "a")
    assert find.check("c", template + " " + "long tail " * 20) is None
    assert find.check("d", "x" * 40) is None  # too short for a prefix to say anything


def test_zero_prefix_chars_turns_prefixes_off() -> None:
    find = finder(prefix_chars=0)
    assert find.check("a", "x" * 200 + "a") is None
    assert find.check("b", "x" * 200 + "b") is None


def test_a_shared_system_turn_is_no_common_prefix() -> None:
    find = finder(prefix_chars=20)
    system = Message("system", "You are the assistant of a bakery. " * 10)
    assert find.check("a", (system, Message("user", "Do you sell rye bread?"))) is None
    assert find.check("b", (system, Message("user", "When do you open?"))) is None
    assert find.check("c", (system, Message("user", "When do you open?"))) == Duplicate(
        "exact", "b"
    )


def test_scopes_do_not_see_each_other() -> None:
    find = finder()
    assert find.check("a", "Name a prime.", "user u") is None
    assert find.check("b", "Name a prime.", "user v") is None
    assert find.check("c", "Name a prime.", "user u") == Duplicate("exact", "a")


@given(st.lists(st.text("ab", min_size=1, max_size=60), max_size=25), st.sampled_from([0.5, 0.8]))
def test_prefixes_agree_with_all_pairs(texts: list[str], share: float) -> None:
    """What is dropped shares enough with a kept text; what is kept shares too little, to within
    the grid."""
    least, kept = 8, []
    find = finder(least, share)
    for number, text in enumerate(texts):
        duplicate = find.check(str(number), text)
        pairs = [(common_prefix(text, other), max(len(text), len(other))) for other in kept]
        if duplicate is None:
            for common, longest in pairs:
                on_grid = common / GRID - 1
                assert on_grid < least or on_grid < share * longest
            kept.append(text)
        elif duplicate.reason == "prefix":
            assert any(common >= max(least, share * longest) for common, longest in pairs)


def common_prefix(left: str, right: str) -> int:
    """Characters that two texts share from the start."""
    same = [a == b for a, b in zip(left, right, strict=False)]
    return same.index(False) if False in same else len(same)


def test_near_duplicates_are_found_above_the_threshold_only() -> None:
    words = [f"w{i}" for i in range(60)]
    near = NearDuplicates(0.8)
    assert near.check(" ".join(words), 0) is None
    one_changed = " ".join([*words[:30], "other", *words[31:]])  # 55 of 61 triples shared
    assert near.check(one_changed, 1) == 0
    assert near.check(" ".join(words[:30] + [f"v{i}" for i in range(30)]), 2) is None


def test_band_agreement_follows_the_similarity() -> None:
    """At similarity s a band of 8 agrees with probability s^8: 0.1 at 0.75."""
    rng, agree, trials = np.random.default_rng(0), 0, 200
    for _ in range(trials):
        shared = rng.integers(0, 2**32, 60, dtype=np.uint32)
        left, right = (
            np.unique(np.concatenate([shared, rng.integers(0, 2**32, 10, dtype=np.uint32)]))
            for _ in range(2)
        )
        assert abs(jaccard(left, right) - 0.75) < 0.01
        agree += int((band_values(left) == band_values(right)).sum())
    assert abs(agree / (trials * 16) - 0.75**8) < 0.025


def test_shingles_of_a_short_text_are_the_text() -> None:
    assert shingle("one two").size == 1
    assert shingle("a b c d").size == 2
