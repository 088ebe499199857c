"""Who has read which prompt: each page that shows one leaves a row, `labels seen` reads them."""

import pytest
from tests.labelers import Site, fill, ranked

from understudy.cli import main
from understudy.commands.seen import SeenConfig, show_seen
from understudy.commands.users import ForgetConfig, forget
from understudy.store.prompts.views import views
from understudy.store.queue.plan import Overlap


def pages_of(site: Site, **what: str) -> list[tuple[str, str]]:
    """(prompt, page) of what is known, oldest first."""
    return [(one.prompt_id, one.page) for one in views(site.store, **what)]


def test_a_task_and_an_own_answer_that_is_opened_again(pages: Site) -> None:
    fill(pages.store, 2)
    ann, ben = pages.person("Ann", role="training"), pages.person("Ben", role="training")
    first = ann.next()
    ann.get(f"/api/assignments/{first['id']}")  # still at hand: that is the same task
    ((mine, page),) = pages_of(pages, account_id=ann.account)
    assert page == "task"
    pages.clock.forward(minutes=1)
    ann.submit(first, ranked(first))
    assert ann.get(f"/api/assignments/{first['id']}").status_code == 200
    assert pages_of(pages, prompt_id=mine) == [(mine, "task"), (mine, "own answer")]
    second = ben.next()
    ben.post(f"/api/assignments/{second['id']}/skip", {"id": "12345678", "reason": "unclear"})
    ((other, page),) = pages_of(pages, account_id=ben.account)
    assert (other != mine, page) == (True, "task")  # skipped, but read
    assert ben.get(f"/api/assignments/{first['id']}").status_code == 404
    assert pages_of(pages, prompt_id=mine, account_id=ben.account) == []


def test_the_owners_pages(pages: Site) -> None:
    fill(pages.store, 1)
    owner = pages.person("Olga", owner=True)
    for name in ("Ann", "Ben", "Cat"):
        person = pages.person(name, role="training")
        skipped = person.next()
        person.post(
            f"/api/assignments/{skipped['id']}/skip", {"id": "12345678", "reason": "unclear"}
        )
    assert len(owner.get("/api/owner/queue").json()["set_aside"]) == 1
    assert pages_of(pages, account_id=owner.account) == [("p00", "queue")]
    owner.get("/api/owner/queue")  # at the same moment
    assert pages_of(pages, account_id=owner.account) == [("p00", "queue")]


def test_disagreements(pages: Site) -> None:
    fill(pages.store, 1, overlap=Overlap(1.0, 2, 2))
    owner = pages.person("Olga", owner=True)
    for best_last in (False, True):
        person = pages.person(role="training")
        task = person.next()
        person.submit(task, ranked(task, best_last=best_last))
    (item,) = owner.get("/api/owner/disagreements").json()["items"]
    pages.clock.forward(minutes=1)
    owner.get(f"/api/owner/disagreements/{item['item_id']}")
    seen = pages_of(pages, account_id=owner.account)
    assert seen == [("p00", "disagreements"), ("p00", "disagreement")]


def test_the_command_and_a_user_who_leaves(pages: Site, capsys) -> None:
    fill(pages.store, 1)
    ann = pages.person("Ann", role="training")
    ann.next()
    folder = pages.parts.project.folder
    code = main(["labels", "seen", "--prompt", "p00", "--project", str(folder)])
    said = capsys.readouterr().out.splitlines()
    assert code == 0
    assert said[0].split() == ["2026-03-01T09:00:00", "Ann", ann.account, "p00", "task"]
    assert said[-1] == "1 view, 1 person, 1 prompt"
    by_name = show_seen(SeenConfig(project=folder, labeler=" ann "))
    assert by_name == show_seen(SeenConfig(project=folder, labeler=ann.account))
    forget(ForgetConfig(user="u0", project=folder))
    assert views(pages.store) == []
    with pytest.raises(ValueError, match="no prompt 'p00'"):
        show_seen(SeenConfig(project=folder, prompt="p00"))


def test_what_cannot_be_asked(small: Site) -> None:
    folder = small.parts.project.folder
    with pytest.raises(ValueError, match="--prompt ID, --labeler NAME"):
        SeenConfig(project=folder)
    with pytest.raises(ValueError, match="no account 'Zoe'"):
        show_seen(SeenConfig(project=folder, labeler="Zoe"))
    fill(small.store, 1)
    assert show_seen(SeenConfig(project=folder, prompt="p00")) == "nobody was shown it"
