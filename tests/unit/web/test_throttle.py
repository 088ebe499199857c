from datetime import UTC, datetime, timedelta

import pytest

from understudy.web.throttle import NAME_MAX_S, RULES, keys_of, wait_s

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("failures", "wait"),
    [(0, 0), (4, 0), (5, 1), (6, 2), (9, 16), (14, 512), (15, 900), (999, 900)],
)
def test_each_wrong_password_doubles_the_wait(failures: int, wait: float) -> None:
    assert wait_s(RULES["both"], failures, NOW, NOW) == wait


def test_a_wait_ends_and_failures_are_forgotten() -> None:
    rule = RULES["both"]
    assert wait_s(rule, 9, NOW, NOW + timedelta(seconds=10)) == 6
    assert wait_s(rule, 9, NOW, NOW + timedelta(seconds=16)) == 0
    assert wait_s(rule, 99, NOW, NOW + rule.forget) == 0


def test_a_clock_that_was_set_back_makes_nobody_wait_longer() -> None:
    assert wait_s(RULES["both"], 5, NOW, NOW - timedelta(days=1)) == 1


def test_nobody_can_lock_a_colleague_out_by_their_name() -> None:
    assert wait_s(RULES["name"], 10**6, NOW, NOW) == NAME_MAX_S
    mine, theirs = keys_of("ann", "10.0.0.1"), keys_of("ann", "10.0.0.2")
    assert mine["both"] != theirs["both"]
    assert mine["name"] == theirs["name"]
