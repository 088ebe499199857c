"""Users of the tiny world and their prompts: a few users send many, most send few.

Faults are planted for intake to find, each named in `tags["planted"]`: prompts sent twice, long
prompts sent again with a different ending, personal data, and users above the cap. Some prompts are
unclear; labelers skip them.
"""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from understudy.records import Prompt
from understudy.world import language as lang
from understudy.world.tasks import Task, draw_task

OVERACTIVE_PROMPTS = 230
"""Prompts of an over-active user; the paper's cap is 200 (s3.2)."""
PERSONAL_DATA = (
    "my e-mail is {p}.{j}@mail.example.com. {task}",
    "call me at +1 202 555 01{d}{d}. {task}",
    "my card is 4111 1111 1111 1111. {task}",
    "pay to DE89 3704 0044 0532 0130 00. {task}",
    "my ssn is 219-09-99{d}{d}. {task}",
    "the server is 203.0.113.1{d}. {task}",
)
STORY_LENGTHS = (6, 3, 1)
"""Shares of one, two and three sentences in users' requests; equal shares on the web."""
CONSTRAINT_SHARES = {"end": 0.3, "past": 0.3, "use": 0.08, "avoid": 0.1}
"""Users mostly ask for an ending or a tense, the web more often for words to use or avoid: a model
of 1M parameters can check the first two, and is slow to learn to check words."""
START = datetime(2026, 1, 1, tzinfo=UTC)


def prompt_of(
    task: Task, *, id: str, user_id: str, created_at: str | None = None, **tags: object
) -> Prompt:
    """A record for a task; its tags are those that the paper's labelers give a prompt (Table 7)."""
    return Prompt(
        id=id,
        prompt=task.text,
        user_id=user_id,
        use_case=task.use_case,
        created_at=created_at,
        tags={
            "closed_domain": task.closed_domain,
            "constraint": task.constraint is not None,
            "harmful": task.harmful,
            "rude_prefix": task.rude_prefix,
            "respectful_prefix": task.respectful_prefix,
            "kind": task.kind,
            **tags,
        },
    )


def user_prompts(num_users: int, seed: int, num_overactive: int = 1) -> list[Prompt]:
    """Raw prompts in the order of arrival, with planted faults for the intake to find."""
    rng = random.Random(f"users-{seed}")
    prompts: list[Prompt] = []
    for number in range(num_users):
        user = f"user-{seed}-{number:04d}"
        count = OVERACTIVE_PROMPTS if number < num_overactive else _activity(rng)
        for _ in range(count):
            prompts.extend(_send(user, len(prompts), rng))
    order = list(range(len(prompts)))
    rng.shuffle(order)
    times = [(START + timedelta(minutes=7 * i)).isoformat() for i in range(len(prompts))]
    stamped = [replace(prompts[i], created_at=time) for i, time in zip(order, times, strict=True)]
    return _later_copies(stamped)


def _activity(rng: random.Random) -> int:
    """Prompts of one user: a heavy tail with a mean near 10."""
    return min(120, max(1, int(rng.paretovariate(1.2) * 3)))


def _send(user: str, number: int, rng: random.Random) -> list[Prompt]:
    """One prompt, or one with its planted copy or personal data."""
    task = draw_task(rng, story_lengths=STORY_LENGTHS, constraint_shares=CONSTRAINT_SHARES)
    prompt = prompt_of(task, id=f"p-{number:06d}", user_id=user)
    draw = rng.random()
    if draw < 0.03:
        copy = replace(
            prompt, id=f"p-{number + 1:06d}", tags={**prompt.tags, "planted": "duplicate"}
        )
        return [prompt, copy]
    if draw < 0.05:
        pattern = rng.choice(PERSONAL_DATA)
        text = pattern.format(
            p=rng.choice(lang.PEOPLE), j=rng.choice(lang.JOBS), d=rng.randrange(10), task=task.text
        )
        return [replace(prompt, prompt=text, tags={**prompt.tags, "planted": "personal_data"})]
    if draw < 0.07:
        words = [rng.choice(list(lang.CLASS_OF)) for _ in range(rng.randint(2, 6))]
        return [
            replace(
                prompt, prompt=" ".join(words) + "?", use_case="other", tags={"planted": "unclear"}
            )
        ]
    if draw < 0.09 and len(task.text) > 90:
        text = task.text + rng.choice((" quick.", " now.", " ok?"))
        tags = {**prompt.tags, "planted": "long_prefix"}
        return [prompt, replace(prompt, id=f"p-{number + 1:06d}", prompt=text, tags=tags)]
    return [prompt]


def _later_copies(prompts: list[Prompt]) -> list[Prompt]:
    """Make sure that a planted copy arrives after its original."""
    place = {prompt.id: index for index, prompt in enumerate(prompts)}
    result = list(prompts)
    for prompt in prompts:
        if prompt.tags.get("planted") not in ("duplicate", "long_prefix"):
            continue
        original = place[f"p-{int(prompt.id[2:]) - 1:06d}"]
        copy = place[prompt.id]
        if original > copy:
            first, second = result[original], result[copy]
            result[original] = replace(second, created_at=first.created_at)
            result[copy] = replace(first, created_at=second.created_at)
    return result
