from datetime import UTC, datetime, timedelta

import pytest

from understudy.web.sessions import (
    Cookie,
    Lifetimes,
    csrf_ok,
    csrf_token,
    is_token,
    new_token,
    session_id,
)

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
LIFETIMES = Lifetimes(idle=timedelta(hours=8), absolute=timedelta(days=7))


@pytest.mark.parametrize(
    ("seen_h", "now_h", "over"),
    [
        (0, 7.99, False),
        (0, 8, True),
        (100, 107.9, False),
        (167, 167.9, False),
        (167, 168, True),  # 7 days, however busy
        (0, -0.01, False),  # the clock was set back by half a minute
        (0, -1, True),  # a session that began in the future is none
    ],
)
def test_a_session_has_two_ends(seen_h: float, now_h: float, over: bool) -> None:
    seen, now = BEGAN + timedelta(hours=seen_h), BEGAN + timedelta(hours=now_h)
    assert LIFETIMES.over(BEGAN, seen, now) is over


def test_a_cookie_is_random_and_known_only_by_its_hash() -> None:
    one, other = new_token(), new_token()
    assert one != other
    assert is_token(one)
    assert one not in session_id(one)
    assert len(session_id(one)) == 64


@pytest.mark.parametrize("text", ["", "x" * 42, "x" * 44, "x" * 42 + "é", "x" * 42 + ";"])
def test_what_cannot_be_a_cookie_is_none(text: str) -> None:
    assert not is_token(text)


def test_a_csrf_token_belongs_to_one_cookie() -> None:
    one, other = new_token(), new_token()
    assert csrf_ok(one, csrf_token(one))
    for wrong in (None, "", csrf_token(other), csrf_token(one)[:-1], "é\ud800"):
        assert not csrf_ok(one, wrong)
    assert one not in csrf_token(one)


def test_only_a_cookie_for_tls_is_secure() -> None:
    day = timedelta(days=1)
    assert "Secure" not in Cookie(secure=False).set("t", day)
    assert Cookie(secure=True).set("t", day) == (
        "__Host-understudy=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400; Secure"
    )
