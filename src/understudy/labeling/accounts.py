"""Signing in and out, one-time links, passwords."""

import threading
from datetime import timedelta

from pydantic import Field

from understudy.labeling.clock import stamp
from understudy.labeling.parts import LabelApp
from understudy.store.accounts.people import (
    accept,
    account_named,
    check_name,
    invitation_of,
    name_key,
    replace_hash,
    set_password,
)
from understudy.store.accounts.sessions import (
    failures,
    forget_failures,
    note_failures,
    open_session,
    revoke_session,
)
from understudy.web.access import (
    Access,
    ApiError,
    Body,
    Call,
    Reply,
    Route,
    SignedIn,
    SignedOut,
    WithToken,
    sentence,
)
from understudy.web.passwords import hash_password, outdated, verify
from understudy.web.sessions import new_token, session_id
from understudy.web.throttle import RULES, keys_of, wait_s

LINK_LIFETIME = timedelta(days=7)
_TRYING = threading.Lock()


class SignIn(Body):
    """A name and a password."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=1000)


class Token(Body):
    """A one-time link's token."""

    token: str = Field(max_length=200)


class Accept(Token):
    """A one-time link to redeem."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=1000)


class NewPassword(Body):
    """The old and the new password."""

    old: str = Field(max_length=1000)
    new: str = Field(max_length=1000)


def session(call: Call) -> Reply:
    """The signed-in account, and a fresh CSRF token for pages whose token expired."""
    return WithToken({"account": call.account.to_json() if call.account else None})


def sign_in(call: Call) -> Reply:
    """Begin a session with a new cookie."""
    app: LabelApp = call.app
    keys = keys_of(name_key(call.body.name), call.address)
    _begin_try(app, keys)
    row = account_named(app.store, call.body.name)
    usable = row is not None and row["disabled_at"] is None
    if not verify(row["password"] if row is not None and usable else None, call.body.password):
        raise ApiError(401, "wrong_password", "The name or the password is wrong.")
    assert row is not None
    _end_try(app, keys)
    if outdated(row["password"]):
        replace_hash(app.store, row["id"], hash_password(call.body.password))
    return _signed_in(call, row["id"])


def sign_out(call: Call) -> Reply:
    """End the session."""
    revoke_session(call.app.store, session_id(call.token), call.app.now())
    return SignedOut({"go": "/sign-in"})


def check_invitation(call: Call) -> Reply:
    """What a one-time link is for, if it still works."""
    link = invitation_of(call.app.store, call.body.token, call.app.now())
    if link is None:
        raise _no_link()
    return {"kind": link["kind"], "name": link["name"], "expires_at": link["expires_at"]}


def accept_invitation(call: Call) -> Reply:
    """Redeem a one-time link: set name and password, and sign in."""
    app: LabelApp = call.app
    if invitation_of(app.store, call.body.token, app.now()) is None:
        raise _no_link()
    try:
        hashed = hash_password(call.body.password)
        name = check_name(call.body.name)
        account_id = accept(app.store, call.body.token, name, hashed, app.now())
    except ValueError as error:
        raise ApiError(400, "invalid", sentence(error)) from None
    if account_id is None:
        raise _no_link()
    return _signed_in(call, account_id)


def change_password(call: Call) -> Reply:
    """Change the password; ends every session and begins a new one in this browser."""
    app: LabelApp = call.app
    keys = keys_of(name_key(call.me.name), call.address)
    _begin_try(app, keys)
    row = account_named(app.store, call.me.name)
    if row is None or not verify(row["password"], call.body.old):
        raise ApiError(401, "wrong_password", "The current password is wrong.")
    _end_try(app, keys)
    try:
        hashed = hash_password(call.body.new)
    except ValueError as error:
        raise ApiError(400, "invalid", sentence(error)) from None
    set_password(app.store, call.me.id, hashed, app.now())
    return _signed_in(call, call.me.id)


def _signed_in(call: Call, account_id: str) -> SignedIn:
    app: LabelApp = call.app
    token = new_token()
    open_session(app.store, session_id(token), account_id, app.now())
    account = app.account_of(token)
    assert account is not None
    return SignedIn(token, {"account": account.to_json(), "go": account.home})


def _begin_try(app: LabelApp, keys: dict[str, str]) -> None:
    """Count an attempt as a failure before checking its password, so that parallel attempts are
    slowed like sequential ones; ApiError 429 during a wait."""
    with _TRYING:
        counts = _check_wait(app, keys)
        note_failures(app.store, {key: counts.get(key, 0) + 1 for key in keys.values()}, app.now())


def _end_try(app: LabelApp, keys: dict[str, str]) -> None:
    """Undo the failure after a correct password: resets the name's count, and lowers the address's
    by one."""
    with _TRYING:
        forget_failures(app.store, [keys["both"], keys["name"]])
        number, last = failures(app.store, [keys["address"]]).get(keys["address"], (0, app.clock()))
        if number > 1:
            note_failures(app.store, {keys["address"]: number - 1}, stamp(last))
        else:
            forget_failures(app.store, [keys["address"]])


def _check_wait(app: LabelApp, keys: dict[str, str]) -> dict[str, int]:
    """Failures by key; ApiError 429 during a wait, before any password is checked."""
    found = failures(app.store, keys.values())
    now = app.clock()
    waits = [wait_s(RULES[rule], *found[key], now) for rule, key in keys.items() if key in found]
    wait = max(waits, default=0.0)
    if wait > 0:
        seconds = int(wait) + 1
        raise ApiError(
            429,
            "slow_down",
            f"Too many wrong passwords; try again in {seconds} s.",
            headers={"Retry-After": str(seconds)},
        )
    fresh = {}
    for rule, key in keys.items():
        if key in found and now - found[key][1] < RULES[rule].forget:
            fresh[key] = found[key][0]
    return fresh


def _no_link() -> ApiError:
    return ApiError(404, "not_found", "This link was used or has expired; ask for a new one.")


ROUTES = (
    Route("GET", "/api/session", Access.PUBLIC, session),
    Route("POST", "/api/sign-in", Access.PUBLIC, sign_in, SignIn, max_bytes=4096),
    Route("POST", "/api/sign-out", Access.ACCOUNT, sign_out),
    Route("POST", "/api/invitation/check", Access.PUBLIC, check_invitation, Token, max_bytes=4096),
    Route("POST", "/api/invitation", Access.PUBLIC, accept_invitation, Accept, max_bytes=4096),
    Route("POST", "/api/password", Access.ACCOUNT, change_password, NewPassword, max_bytes=4096),
)
