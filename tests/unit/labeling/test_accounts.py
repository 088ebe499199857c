"""Invitations, sign-in, sessions and what wrong passwords cost."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select
from tests.labelers import PASSWORD, Browser, Site

from understudy.store.accounts.people import (
    NewAccount,
    account_named,
    all_accounts,
    invite,
    name_key,
    reset_link,
    set_disabled,
)
from understudy.store.audit import entries, verify
from understudy.store.engine import reading, writing
from understudy.store.labeling_tables import accounts, audit_log, invitations, sessions


def accept(pages: Site, new: NewAccount, **other: str) -> Browser:
    """Somebody who came by a one-time link."""
    browser = pages.browser()
    body = {"token": pages.invite(new), "name": new.name, "password": PASSWORD, **other}
    reply = browser.post("/api/invitation", body)
    assert reply.status_code == 200, reply.text
    browser.account = reply.json()["account"]["id"]
    return browser


def sign_in(browser: Browser, name: str, password: str = PASSWORD):
    return browser.post("/api/sign-in", {"name": name, "password": password})


def who(browser: Browser) -> dict | None:
    return browser.get("/api/session").json()["account"]


def test_a_link_works_once_and_makes_the_password(pages: Site) -> None:
    token = pages.invite(NewAccount(name="Ann", role="training", screen=False))
    browser = pages.browser()
    said = browser.post("/api/invitation/check", {"token": token}).json()
    assert (said["kind"], said["name"]) == ("invitation", "Ann")
    body = {"token": token, "name": "  Ann  B. ", "password": PASSWORD}
    for short in ("", "short", "x" * 11):
        reply = browser.post("/api/invitation", {**body, "password": short})
        assert reply.status_code == 400
        assert "it must have 12 to 256" in reply.json()["error"]["message"]
    before = browser.http.cookies["understudy"]
    reply = browser.post("/api/invitation", body).json()
    assert reply["account"]["name"] == "Ann B."
    assert (reply["account"]["role"], reply["go"]) == ("training", "/instructions")
    assert browser.http.cookies["understudy"] != before
    assert who(browser)["name"] == "Ann B."
    for path, again in (("/api/invitation", body), ("/api/invitation/check", {"token": token})):
        reply = pages.browser().post(path, again)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
    assert sign_in(pages.browser(), "ann b.").status_code == 200


def test_a_link_ends_after_a_week_and_another_name_may_be_taken(small: Site) -> None:
    accept(small, NewAccount(name="Ann"))
    token = small.invite(NewAccount(name="Bob"))
    body = {"token": token, "name": "ANN", "password": PASSWORD}
    reply = small.browser().post("/api/invitation", body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid")
    assert "the name ann is taken" in reply.json()["error"]["message"].lower()
    small.clock.forward(days=7)
    body["name"] = "Bob"
    assert small.browser().post("/api/invitation", body).status_code == 404


def test_no_name_is_invited_twice_and_a_name_can_be_shown(small: Site) -> None:
    small.invite(NewAccount(name="Ann"))
    with pytest.raises(ValueError, match="the name ann is taken"):
        small.invite(NewAccount(name="ann"))
    for name in ("", "   ", "x" * 81, "\u200e"):
        with pytest.raises(ValueError, match="it must have 1 to 80"):
            small.invite(NewAccount(name=name))
    for name in ("a\x1b[2Jb", "a\u202eb", "\u200d"):
        with pytest.raises(ValueError, match="cannot be seen; leave them out"):
            small.invite(NewAccount(name=name))
    assert name_key("  Ann\tB ") == "ann b"
    small.invite(NewAccount(name="Jos\u00e9"))
    for same in ("Jose\u0301", "JOSE\u0301", "\uff2aos\u00e9"):
        with pytest.raises(ValueError, match="is taken"):
            small.invite(NewAccount(name=same))


def test_joiners_belong_to_names_but_not_to_their_comparison(small: Site) -> None:
    """Persian names have U+200C, many emoji U+200D; marks come along when a name is copied."""
    ali, kim = "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "Kim \U0001f469\u200d\U0001f4bb"
    small.invite(NewAccount(name=ali))
    small.invite(NewAccount(name=f"\u200f{kim}\u200b"))
    assert {row["name"] for row in all_accounts(small.store)} == {ali, kim}
    found = account_named(small.store, ali.replace("\u200c", ""))
    assert found is not None
    assert found["name"] == ali


def test_guesses_at_the_same_time_are_slowed_like_one_after_the_other(small: Site) -> None:
    small.invite(NewAccount(name="Target"))
    browsers = [small.browser() for _ in range(12)]
    with ThreadPoolExecutor(len(browsers)) as pool:
        tries = pool.map(lambda one: sign_in(one, "Target", "a wrong password"), browsers)
        statuses = Counter(reply.status_code for reply in tries)
    assert statuses[401] <= 5
    assert statuses[429] == 12 - statuses[401]


def test_nothing_that_signs_somebody_in_is_in_the_store(pages: Site) -> None:
    token = pages.invite(NewAccount(name="Ann"))
    browser = pages.browser()
    browser.post("/api/invitation", {"token": token, "name": "Ann", "password": PASSWORD})
    cookie = browser.http.cookies["understudy"]
    with reading(pages.store.engine) as connection:
        for table in (accounts, invitations, sessions, audit_log):
            text = str(connection.execute(select(table)).all())
            for secret in (token, PASSWORD, cookie):
                assert secret not in text
        stored = connection.execute(select(accounts.c.password)).scalar_one()
    assert stored.startswith("$argon2id$")


def test_unknown_names_wrong_passwords_and_unused_links_look_alike(small: Site) -> None:
    accept(small, NewAccount(name="Ann"))
    small.invite(NewAccount(name="Never came"))
    gone = accept(small, NewAccount(name="Gone"))
    set_disabled(small.store, gone.account, True, by=None, at=small.parts.now())
    assert who(gone) is None
    replies = {
        (reply.status_code, reply.text)
        for reply in (
            sign_in(small.browser(), "Ann", PASSWORD + "!"),
            sign_in(small.browser(), "Nobody"),
            sign_in(small.browser(), "Never came"),
            sign_in(small.browser(), "Never came", ""),
            sign_in(small.browser(), "Gone"),
        )
    }
    assert len(replies) == 1
    assert replies.pop()[0] == 401


def test_fifty_wrong_passwords_meet_a_wait_and_a_right_one_must_wait_too(pages: Site) -> None:
    accept(pages, NewAccount(name="Ann"))
    accept(pages, NewAccount(name="Bob"))
    browser = pages.browser()
    answers = [sign_in(browser, "Ann", f"wrong password {k}") for k in range(50)]
    assert [reply.status_code for reply in answers] == [401] * 5 + [429] * 45
    assert answers[-1].json()["error"]["code"] == "slow_down"
    assert int(answers[-1].headers["retry-after"]) == 2
    assert sign_in(browser, "Ann").status_code == 429
    assert sign_in(browser, "Bob").status_code == 200, "a colleague at the same address"
    pages.clock.forward(seconds=2)
    assert sign_in(browser, "Ann", "wrong password 50").status_code == 401
    pages.clock.forward(seconds=1)
    assert sign_in(browser, "Ann").status_code == 429, "the wait has doubled"
    pages.clock.forward(seconds=1)
    assert sign_in(browser, "Ann").status_code == 200
    assert sign_in(pages.browser(), "Ann", "wrong password 51").status_code == 401, "forgiven"


def test_many_names_from_one_address_meet_a_wait(small: Site) -> None:
    browser = small.browser()
    answers = [sign_in(browser, f"name {k}", "wrong password").status_code for k in range(22)]
    assert answers == [401] * 20 + [429] * 2


def test_a_session_ends_when_idle_and_after_a_week(small: Site) -> None:
    ann = accept(small, NewAccount(name="Ann"))
    for _ in range(20):
        small.clock.forward(hours=7.9)
        assert who(ann) is not None
    small.clock.forward(hours=10)
    assert who(ann) is None, "nothing was heard for eight hours"
    sign_in(ann, "Ann")
    for _ in range(21):
        small.clock.forward(hours=7.9)
        assert who(ann) is not None
    small.clock.forward(hours=2.2)
    assert who(ann) is None, "a week is over"
    reply = ann.get("/api/me")
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "signed_out")


def test_an_expired_page_can_go_on_after_signing_in_in_place(small: Site) -> None:
    ann = accept(small, NewAccount(name="Ann"))
    small.clock.forward(days=8)
    assert ann.post("/api/me/topics", {"values": {}}).status_code == 401
    ann.http.cookies.clear()  # the browser forgets the cookie as well: the token of the page is old
    reply = ann.http.post("/api/sign-in", json={}, headers={"X-CSRF-Token": "0" * 64})
    assert reply.json()["error"]["code"] == "csrf"
    fresh = ann.get("/api/session").json()
    headers = {"X-CSRF-Token": fresh["csrf_token"]}
    body = {"name": "Ann", "password": PASSWORD}
    reply = ann.http.post("/api/sign-in", json=body, headers=headers)
    assert reply.status_code == 200
    assert reply.json()["csrf_token"] != fresh["csrf_token"]
    assert who(ann)["name"] == "Ann"


def test_a_cookie_that_somebody_else_chose_is_never_signed_in(small: Site) -> None:
    accept(small, NewAccount(name="Ann"))
    browser = small.browser()
    planted = browser.http.cookies["understudy"]
    assert sign_in(browser, "Ann").status_code == 200
    thief = small.browser()
    thief.http.cookies.clear()
    thief.http.cookies.set("understudy", planted, domain="127.0.0.1")
    assert who(thief) is None


def test_signing_out_ends_the_session_on_the_server(small: Site) -> None:
    ann = accept(small, NewAccount(name="Ann"))
    cookie = ann.http.cookies["understudy"]
    assert ann.post("/api/sign-out").json()["go"] == "/sign-in"
    assert who(ann) is None
    ann.http.cookies.clear()
    ann.http.cookies.set("understudy", cookie, domain="127.0.0.1")
    assert who(ann) is None


def test_another_password_ends_every_other_session(small: Site) -> None:
    ann = accept(small, NewAccount(name="Ann"))
    elsewhere = small.browser()
    sign_in(elsewhere, "Ann")
    wrong = {"old": "not my password", "new": "another good password"}
    assert ann.post("/api/password", wrong).json()["error"]["code"] == "wrong_password"
    short = {"old": PASSWORD, "new": "short"}
    assert ann.post("/api/password", short).status_code == 400
    right = {"old": PASSWORD, "new": "another good password"}
    before = ann.http.cookies["understudy"]
    assert ann.post("/api/password", right).status_code == 200
    assert ann.http.cookies["understudy"] != before
    assert who(ann)["name"] == "Ann"
    assert who(elsewhere) is None
    assert sign_in(elsewhere, "Ann").status_code == 401
    assert sign_in(elsewhere, "Ann", "another good password").status_code == 200


def test_a_reset_link_keeps_the_name_and_ends_sessions_and_older_links(small: Site) -> None:
    ann = accept(small, NewAccount(name="Ann"))
    until = "2026-03-02T00:00:00.000000+00:00"
    old, new = (
        reset_link(small.store, ann.account, by=None, at=small.parts.now(), expires_at=until)
        for _ in range(2)
    )
    browser = small.browser()
    body = {"name": "Eve", "password": "another good password"}
    assert browser.post("/api/invitation", {"token": old, **body}).status_code == 404
    reply = browser.post("/api/invitation", {"token": new, **body}).json()
    assert reply["account"] == {**reply["account"], "id": ann.account, "name": "Ann"}
    assert who(ann) is None


def test_the_audit_log_says_who_did_what_and_breaks_when_it_is_touched(pages: Site) -> None:
    ann = accept(pages, NewAccount(name="Ann", role="training", screen=False))
    rows = entries(pages.store)
    assert [row["action"] for row in rows] == ["account.invited", "invitation.used", "signed_in"]
    assert rows[1]["account_id"] == ann.account
    assert json.loads(rows[0]["body"]) == {"role": "training", "owner": False, "screen": False}
    assert verify(pages.store) is None
    for change in (
        "UPDATE audit_log SET action = 'nothing' WHERE seq = 2",
        "DELETE FROM audit_log WHERE seq = 2",
    ):
        with (
            pytest.raises(Exception, match="append-only"),
            writing(pages.store.engine) as connection,
        ):
            connection.exec_driver_sql(change)
    drop = (
        ["DROP TRIGGER audit_log_no_update", "DROP TRIGGER audit_log_no_delete"]
        if pages.store.engine.dialect.name == "sqlite"
        else ["DROP TRIGGER audit_log_immutable ON audit_log"]
    )
    with writing(pages.store.engine) as connection:
        for line in drop:
            connection.exec_driver_sql(line)
        connection.exec_driver_sql("UPDATE audit_log SET action = 'nothing' WHERE seq = 2")
    assert verify(pages.store) == "row 2 was altered"
    with writing(pages.store.engine) as connection:
        connection.exec_driver_sql("DELETE FROM audit_log WHERE seq = 2")
        assert connection.execute(select(func.count()).select_from(audit_log)).scalar() == 2
    assert verify(pages.store) == "row 2 is missing"


def test_an_invited_account_may_have_no_name_yet(small: Site) -> None:
    token = invite(
        small.store,
        NewAccount(),
        by=None,
        at=small.parts.now(),
        expires_at="2027-01-01T00:00:00.000000+00:00",
    )
    browser = small.browser()
    body = {"token": token, "name": "Cleo", "password": PASSWORD}
    assert browser.post("/api/invitation", body).json()["account"]["name"] == "Cleo"
