"""What texts and times go through on their way into a store."""

import pytest

from understudy.prompts.add import AddConfig, add_prompts
from understudy.records import Prompt, Response
from understudy.store.border import clean, clean_json, stamp
from understudy.store.prompts.log import Event, PromptLog
from understudy.store.prompts.records import User

BAD = "a\0b \ud83d\ude00 c\udc00 d\ud800"
GOOD = "a\ufffdb \U0001f600 c\ufffd d\ufffd"


def test_texts_that_no_database_takes_are_cleaned() -> None:
    assert clean(BAD) == GOOD
    assert (
        clean("Gr\u00fc\u00dfe, \u4f60\u597d \U0001f642")
        == "Gr\u00fc\u00dfe, \u4f60\u597d \U0001f642"
    )
    assert clean_json({BAD: [BAD, 3, None, {"x": (BAD,)}]}) == {
        GOOD: [GOOD, 3, None, {"x": [GOOD]}]
    }


@pytest.mark.parametrize(
    ("text", "stamped"),
    [
        ("2026-03-01", "2026-03-01T00:00:00.000000+00:00"),
        ("2026-03-01T01:00+02:00", "2026-02-28T23:00:00.000000+00:00"),
        ("2026-03-01 01:02:03.5Z", "2026-03-01T01:02:03.500000+00:00"),
        ("2026", "2026"),
    ],
)
def test_times_are_written_in_one_form(text: str, stamped: str) -> None:
    assert stamp(text) == stamped
    assert stamp(stamped) == stamped


@pytest.mark.parametrize(
    "text", ["", "03/04/2026", "1700000000", "yesterday", "9999-12-31T23:00-09:00"]
)
def test_what_is_no_time_is_refused_with_its_prompt(store, text: str) -> None:
    """On both databases, and nothing of the batch is kept."""
    good = Prompt(id="p1", prompt="Why?", user_id="u", created_at="2026-01-01")
    bad = Prompt(id="p2", prompt="a secret", user_id="u", created_at=text)
    with pytest.raises(ValueError, match="prompt 'p2': created_at is '") as caught:
        store.add_prompts([good, bad])
    assert "secret" not in str(caught.value)
    assert list(store.prompts()) == []


def test_the_same_text_is_no_news_however_often_it_comes(store) -> None:
    for _ in range(2):
        store.add_prompts([Prompt(id="p", prompt=BAD, user_id="u" + BAD)])
        response = Response(id="r", prompt_id="p", prompt=BAD, response=BAD, model="m")
        store.add_responses([response])
    assert [(p.prompt, p.user_id) for p in store.prompts()] == [(GOOD, "u" + GOOD)]
    assert [r.response for r in store.responses("p")] == [GOOD]


def test_a_log_with_such_texts_goes_into_the_store(project, capsys) -> None:
    project.open_store().add_user(User("ann", None, True))
    log = PromptLog(project.log)
    head = {"organization_id": None, "kind": "completion"}
    said = {"responses": [BAD], "n": 1, "model": "m", "temperature": 1.0, "seed": None}
    log.append(
        [
            Event("prompt", "r", "ann", "2026-01-01T00:00:00+00:00", {"prompts": [BAD], **head}),
            Event("answer", "r", "ann", "2026-01-01T00:00:01+00:00", said),
        ]
    )
    log.close()
    for _ in range(2):
        add_prompts(AddConfig(project=project.folder, log=True))
    store = project.open_store()
    (prompt,) = store.prompts()
    assert prompt.prompt == GOOD
    assert [r.response for r in store.responses(prompt.id)] == [GOOD]
    assert "a\ufffdb" not in capsys.readouterr().err
