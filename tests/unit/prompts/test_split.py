"""The keyed split: shares, stability, and that the key matters."""

from collections import Counter

from understudy.prompts import split_of

SHARES = dict(valid_share=0.1, test_share=0.2)


def test_shares_are_met_among_many_users() -> None:
    counts = Counter(split_of(f"u{i}", key="k", **SHARES) for i in range(20_000))
    assert abs(counts["valid"] / 20_000 - 0.1) < 0.01
    assert abs(counts["test"] / 20_000 - 0.2) < 0.01


def test_the_split_is_the_same_on_every_machine() -> None:
    # Written down once: a change here would move users of existing projects between splits.
    first = [split_of(f"u{i}", key="k", **SHARES) for i in range(8)]
    assert first == ["valid", "train", "test", "test", "train", "train", "train", "train"]


def test_another_key_is_another_split() -> None:
    first, second = ([split_of(f"u{i}", key=k, **SHARES) for i in range(200)] for k in "kj")
    assert first != second


def test_a_larger_test_share_takes_from_train_only() -> None:
    for i in range(500):
        before = split_of(f"u{i}", key="k", **SHARES)
        after = split_of(f"u{i}", key="k", valid_share=0.1, test_share=0.4)
        assert before == after or (before, after) == ("train", "test")
