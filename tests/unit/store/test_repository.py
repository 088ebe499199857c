"""The record chain: what goes in comes out, once; labels stay; roles hold."""

from dataclasses import replace

import pytest
from sqlalchemy import select, text, update
from tests.stores import LABELERS, answer, fill, labels_of

from understudy.records import Demonstration, Message, Prompt, Ranking, Response
from understudy.store.adding import Added
from understudy.store.engine import StoreRefused, reading, writing
from understudy.store.prompts.records import User
from understudy.store.repository import Store
from understudy.store.tables import labels, ranked_responses

TURNS = (Message("user", "Hi \u2713"), Message("assistant", "Hello"), Message("user", "Bye"))


def test_a_ranking_keeps_its_scores(store) -> None:
    fill(store, 1)
    (prompt,) = store.prompts()
    ranking = replace(labels_of(prompt, LABELERS[0])[2], id="k-scored", scores=(0.5, 2.0))
    store.add_labels([ranking])
    assert [label for label in store.labels() if label.id == "k-scored"] == [ranking]


def test_prompts_come_back_as_they_went_in(store: Store) -> None:
    given = [
        Prompt(id="p1", prompt="Name a prime.", user_id="u1", tags={"ambiguous": True}),
        Prompt(
            id="p2",
            prompt=TURNS,
            user_id="u2",
            organization_id="o",
            created_at="2026-01-01T00:00:00.000000+00:00",
        ),
    ]
    assert store.add_prompts(given) == Added(new=2)
    assert list(store.prompts()) == given
    assert store.users() == [User("u1", None, True), User("u2", "o", True)]


def test_many_prompts_come_in_pages(store: Store) -> None:
    given = [Prompt(id=f"p{i:04}", prompt=f"Q {i}", user_id=f"u{i % 7}") for i in range(1203)]
    assert store.add_prompts(iter(given)) == Added(new=1203)
    assert list(store.prompts()) == given


def test_the_same_prompt_twice_is_one_and_another_under_its_id_is_refused(store: Store) -> None:
    prompt = Prompt(id="p1", prompt="Name a prime.", user_id="u1")
    store.add_prompts([prompt])
    assert store.add_prompts([prompt, prompt]) == Added(known=2)
    with pytest.raises(ValueError, match="prompt 'p1' is already in the store with another text"):
        store.add_prompts([replace(prompt, prompt="Something else")])
    with pytest.raises(ValueError, match="another user_id"):
        store.add_prompts([replace(prompt, user_id="u2")])
    assert list(store.prompts()) == [prompt]


def test_without_consent_nothing_is_kept(store: Store) -> None:
    store.add_user(User("quiet", None, False))
    given = [
        Prompt(id="p1", prompt="secret", user_id="u1", consent=False),
        Prompt(id="p2", prompt="secret", user_id="quiet"),
        Prompt(id="p3", prompt="open", user_id="u2"),
    ]
    assert store.add_prompts(given) == Added(new=1, refused=2)
    assert [prompt.id for prompt in store.prompts()] == ["p3"]
    assert [user.id for user in store.users()] == ["quiet", "u2"]


def test_intake_marks_what_it_kept_and_dropped(store: Store) -> None:
    given = [Prompt(id=f"p{i}", prompt=f"Mail a{i}@b.se", user_id="u") for i in range(3)]
    store.add_prompts(given)
    kept = replace(given[0], split="train", use_case="brainstorming", prompt="Mail [email]")
    store.set_intake([kept], [("p1", "pii")])
    assert list(store.prompts("train")) == [kept]
    assert [prompt.id for prompt in store.prompts(built=False)] == ["p1", "p2"]
    assert store.add_prompts([given[0]]) == Added(known=1)  # it was redacted, and is still known
    store.set_intake([replace(given[1], split="valid")], [("p0", "cap")])
    assert [prompt.id for prompt in store.prompts(built=True)] == ["p1"]


def test_responses_need_their_prompt_and_identical_ones_are_merged(store: Store) -> None:
    prompt = Prompt(id="p1", prompt="Name a prime.", user_id="u1")
    first = answer(prompt, 0)
    with pytest.raises(ValueError, match="prompt 'p1' is not in the store"):
        store.add_responses([first])
    store.add_prompts([prompt])
    twin = replace(first, id="other", model="ppo")
    assert store.add_responses([first, twin], merge_identical=True) == Added(new=1)
    assert store.add_responses([twin], merge_identical=True) == Added()
    assert store.add_responses([first], merge_identical=True) == Added(known=1)
    assert store.add_responses([twin]) == Added(new=1)
    assert list(store.responses("p1")) == [twin, first]


def test_a_record_is_not_attached_to_another_text_under_its_prompts_id(store: Store) -> None:
    prompt = Prompt(id="p1", prompt="Write to a@b.example:\n a poem.", user_id="u1")
    store.add_prompts([prompt])
    store.add_labelers([LABELERS[0]])
    shared = dict(prompt_id="p1", labeler_id=LABELERS[0].id)
    store.add_labels([Demonstration(id="d1", prompt=prompt.prompt, response="Oh.", **shared)])
    store.set_intake([replace(prompt, prompt="Write to [EMAIL]:\n a poem.", split="train")], [])
    turns = (Message("user", "Write to [EMAIL]: a poem. "),)
    for number, known in enumerate((prompt.prompt, turns)):  # as it was sent, and redacted
        label = Demonstration(id=f"e{number}", prompt=known, response="Ah.", **shared)
        assert store.add_labels([label]) == Added(new=1)
    other = "Write to [EMAIL]: a song."
    message = "prompt 'p1' has another text in the store than in this record; use the id"
    with pytest.raises(ValueError, match=message):
        store.add_labels([Demonstration(id="d2", prompt=other, response="La.", **shared)])
    with pytest.raises(ValueError, match=message):
        store.add_responses(
            [Response(id="r1", prompt_id="p1", prompt=other, response="La.", model="m")]
        )


def test_labels_come_back_as_they_went_in(store: Store) -> None:
    fill(store, 3)
    prompts = list(store.prompts())
    expected = [
        label for who in (LABELERS[0], LABELERS[2]) for p in prompts for label in labels_of(p, who)
    ]
    assert list(store.labels()) == sorted(expected, key=lambda label: label.id)
    assert store.labelers() == sorted(LABELERS, key=lambda labeler: labeler.id)
    assert store.add_labels(expected) == Added(known=len(expected))


def test_a_label_is_never_changed_only_revised(store: Store) -> None:
    fill(store, 1)
    (prompt,) = store.prompts()
    old = labels_of(prompt, LABELERS[0])[0]
    with pytest.raises(ValueError, match="is already in the store with another body"):
        store.add_labels([replace(old, response="A better one.")])
    with pytest.raises(StoreRefused, match="immutable"), writing(store.engine) as connection:
        connection.execute(update(labels).values(body="{}"))
    new = replace(old, id="d-2", response="A better one.")
    store.revise(old.id, new)
    store.revise(old.id, new)  # sent twice
    demonstrations = [label for label in store.labels() if isinstance(label, Demonstration)]
    assert [d.response for d in demonstrations if d.labeler_id == "l1"] == ["A better one."]
    every = [label.id for label in store.labels(all_revisions=True)]
    assert {old.id, "d-2"} <= set(every)
    with pytest.raises(ValueError, match="was revised by d-2"):
        store.revise(old.id, replace(new, id="d-3"))
    with pytest.raises(ValueError, match="labeler_id of d-2 is 'l1'"):
        store.revise("d-2", replace(new, id="d-3", labeler_id="h1"))
    with pytest.raises(ValueError, match="no label 'd-9'"):
        store.revise("d-9", new)


def test_a_role_is_for_good(store: Store) -> None:
    fill(store, 1)
    with pytest.raises(ValueError, match="labeler 'h1' is already in the store with another role"):
        store.add_labelers([replace(LABELERS[2], role="training")])
    ranking = labels_of(next(store.prompts()), LABELERS[2])[2]
    with pytest.raises(ValueError, match="says that labeler 'h1' is training"):
        store.add_labels([replace(ranking, id="k", labeler_role="training")])
    change = text("UPDATE labelers SET role = 'training' WHERE id = 'h1'")
    with pytest.raises(StoreRefused), writing(store.engine) as connection:
        connection.execute(change)
    with reading(store.engine) as connection:
        row = connection.execute(select(labels).where(labels.c.id == ranking.id)).mappings().one()
    with pytest.raises(StoreRefused), writing(store.engine) as connection:
        connection.execute(labels.insert(), {**row, "id": "k", "labeler_role": "training"})


def test_what_a_label_names_must_be_there(store: Store) -> None:
    fill(store, 2)
    prompts = list(store.prompts())
    demonstration, rating, ranking = labels_of(prompts[0], LABELERS[1])
    for label, problem in (
        (replace(demonstration, labeler_id="nobody"), "labeler 'nobody' is not in the store"),
        (replace(demonstration, prompt_id="p9"), "prompt 'p9' is not in the store"),
        (replace(demonstration, rubric="v2"), "rubric 'v2' is not in the store"),
        (replace(rating, response_id="p1-r0"), "no response 'p1-r0' to prompt 'p0'"),
    ):
        with pytest.raises(ValueError, match=problem):
            store.add_labels([ranking, label])
    assert ranking.id not in {label.id for label in store.labels()}  # all of a batch or nothing


def test_rankings_of_texts_that_nobody_sampled_bring_their_responses(store: Store) -> None:
    fill(store, 1)
    (prompt,) = store.prompts()
    ranking = Ranking(
        id="k",
        prompt_id="p0",
        prompt=prompt.prompt,
        responses=("new", "Answer 0 to p0", "new"),
        tiers=((0, 2), (1,)),
        labeler_id="l1",
    )
    store.add_labels([ranking])
    assert ranking in list(store.labels())
    query = select(ranked_responses.c.tier, ranked_responses.c.response_id)
    query = query.where(ranked_responses.c.label_id == "k").order_by(ranked_responses.c.place)
    with reading(store.engine) as connection:
        tiers, names = zip(*connection.execute(query), strict=True)
    assert tiers == (0, 1, 0)
    assert names[1] == "p0-r0"
    assert names[0] == names[2] != "p0-r0"
