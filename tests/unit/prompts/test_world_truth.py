"""Ground truth: what the tiny world planted is found, and nothing else is dropped."""

from collections import Counter

import pytest

from understudy.prompts import IntakeConfig, build_prompts
from understudy.prompts.dedup import normalize
from understudy.world.users import user_prompts


@pytest.fixture(scope="module", params=[0, 1])
def raw(request):
    return user_prompts(150, request.param)


@pytest.mark.parametrize("scope", ["all", "user"])
def test_all_that_was_planted_is_found_and_nothing_else_is_dropped(raw, scope: str) -> None:
    kept, report = build_prompts(raw, IntakeConfig(pii="drop", duplicate_scope=scope))
    planted = Counter(prompt.tags.get("planted") for prompt in kept)
    assert set(planted) <= {None, "unclear"}  # the unclear ones are for labelers to skip

    by_step = {step.name: step for step in report.steps}
    num_personal = sum(prompt.tags.get("planted") == "personal_data" for prompt in raw)
    assert by_step["pii"].num_dropped == num_personal
    assert by_step["consent"].num_dropped == by_step["length"].num_dropped == 0

    ids = {prompt.id for prompt in kept}
    texts = {normalize(prompt.prompt) for prompt in raw if prompt.id in ids}
    capped = {user for user, count in Counter(p.user_id for p in kept).items() if count == 200}
    for prompt in raw:
        if prompt.id not in ids and not prompt.tags.get("planted"):
            # People ask the same by chance; everything else that was dropped was over the cap.
            assert normalize(prompt.prompt) in texts or prompt.user_id in capped


def test_no_more_than_the_cap_of_any_user(raw) -> None:
    kept, report = build_prompts(raw, IntakeConfig(duplicate_scope="user"))
    assert max(Counter(prompt.user_id for prompt in kept).values()) == 200
    assert report.steps[-1].num_dropped > 0
