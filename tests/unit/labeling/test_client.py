"""The tiny world's labelers at work through the pages' own requests."""

from dataclasses import replace

import pytest
from tests.gateways import plain_client
from tests.labelers import Site
from tests.labeling_client import LabelingClient, Unwelcome, work

from understudy.records import Demonstration, Ranking, Rating, Response
from understudy.store.accounts.people import NewAccount
from understudy.store.queue.plan import Overlap, add_items, to_demonstrate, to_rank
from understudy.world.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World(0)


def test_simulated_labelers_say_by_http_what_they_say_by_call(small: Site, world: World) -> None:
    raw = [prompt for prompt in world.user_prompts(4) if "planted" not in prompt.tags]
    prompts = [replace(prompt, split="train") for prompt in raw[:8]]
    small.store.add_prompts(prompts)
    small.store.set_intake(prompts, [])
    answered = prompts[:4]
    labeler = world.labelers("training")[0]
    responses = [
        Response(
            id=f"{p.id}-{one.info.id}",
            prompt_id=p.id,
            prompt=p.prompt,
            response=given.response,
            model="m",
        )
        for p in answered
        for one in world.labelers("training")
        if (given := one.demonstrate(p)) is not None
    ]
    small.store.add_responses(responses, merge_identical=True)
    new = [*to_rank(small.store, most=9), *to_demonstrate(small.store)]
    add_items(small.store, new, overlap=Overlap(0.0, 1, 1), seed=0, at=small.parts.now())
    token = small.invite(NewAccount(name="Sim", role="training", screen=False))
    with plain_client(base_url=small.url) as http:
        client = LabelingClient(http)
        client.accept(token, name="Sim", password="a password of a simulation")
        client.read_instructions()
        assert work(client, labeler) == len(new)
        assert work(client, labeler) == 0
    by_id = {prompt.id: prompt for prompt in prompts}
    texts = {response.id: response for response in small.store.responses()}
    labels = list(small.store.labels())
    for label in labels:
        prompt = by_id[label.prompt_id]
        if isinstance(label, Demonstration):
            assert label.response == labeler.demonstrate(prompt).response
        elif isinstance(label, Rating):
            said = labeler.rate(prompt, texts[label.response_id])
            assert (label.likert, dict(label.flags)) == (said.likert, dict(said.flags))
        else:
            assert isinstance(label, Ranking)
            shown = [
                replace(responses[0], id=text, prompt_id=prompt.id, response=text)
                for text in label.responses
            ]
            said = labeler.rank(prompt, shown)
            assert label.ranks == said.ranks
    assert {type(label) for label in labels} == {Demonstration, Rating, Ranking}


def test_an_old_token_is_fetched_anew_and_a_refusal_has_its_code(small: Site) -> None:
    with plain_client(base_url=small.url) as http:
        client = LabelingClient(http)
        client.token = "0" * 64
        with pytest.raises(Unwelcome) as caught:
            client.sign_in("Nobody", "a password of nobody")
        assert (caught.value.status, caught.value.code) == (401, "wrong_password")
