import pytest

from understudy.web.access import Access, Account, ApiError, Page, Route, refusal


def account(role=None, owner=False, stage="active") -> Account:
    return Account("lab-1", "Ann", role, owner, stage)


@pytest.mark.parametrize("path", ["work", "/work/<id>", "/a b", ""])
def test_a_route_has_a_plain_path(path: str) -> None:
    with pytest.raises(ValueError, match="must be like"):
        Route("GET", path, Access.PUBLIC, lambda call: Page("x.html"))


def test_a_route_without_access_cannot_be_written() -> None:
    with pytest.raises(TypeError, match="missing"):
        Route("GET", "/x", handler=lambda call: Page("x.html"))


@pytest.mark.parametrize(
    ("who", "home"),
    [
        (account("training", stage="instructions"), "/instructions"),
        (account(stage="practice"), "/work"),
        (account(stage="screening"), "/work"),
        (account(stage="waiting"), "/waiting"),
        (account(stage="rejected"), "/waiting"),
        (account("held_out"), "/work"),
        (account(owner=True), "/owner"),
        (account("researcher", owner=True), "/work"),
    ],
)
def test_everybody_has_a_page_to_go_to_that_they_may_see(who: Account, home: str) -> None:
    assert who.home == home
    needs = {"/work": Access.WORKER, "/owner": Access.OWNER}.get(home, Access.ACCOUNT)
    assert refusal(needs, who) is None


def test_an_owner_without_a_role_labels_nothing() -> None:
    assert refusal(Access.WORKER, account(owner=True)).code == "gate"
    assert refusal(Access.OWNER, account("researcher")).status == 403


def test_an_error_says_where_to_go_and_keeps_the_rest_beside_it() -> None:
    error = ApiError(409, "draft_stale", "Look.", go="/work", draft={"version": 2})
    assert error.body == {
        "error": {"code": "draft_stale", "message": "Look.", "go": "/work"},
        "draft": {"version": 2},
    }
