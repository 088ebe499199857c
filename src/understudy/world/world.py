"""The tiny world in one object: facts, web, users, judge, labelers, benchmarks.

The facts are the same for every seed, since the base models have read them; the seed draws users,
prompts and labelers.
"""

import random
from dataclasses import dataclass
from functools import cached_property

from understudy.records import Prompt
from understudy.records.schema import Role
from understudy.world import labelers as people
from understudy.world import users
from understudy.world.corpus import corpus
from understudy.world.judge import GoldJudge
from understudy.world.language import Facts
from understudy.world.replies import reply
from understudy.world.reserved import reserved_for
from understudy.world.tasks import PASSAGE, Task, draw_task

FACTS_SEED = 0
WEB_SEED = 0
NUM_TRAINING_LABELERS = 12
NUM_HELD_OUT_LABELERS = 6
NUM_CARELESS = 2


@dataclass(frozen=True)
class World:
    seed: int = 0

    @cached_property
    def facts(self) -> Facts:
        return Facts.of_seed(FACTS_SEED)

    @cached_property
    def judge(self) -> GoldJudge:
        return GoldJudge(self.facts)

    def corpus(self, num_pages: int, seed: int = WEB_SEED, held_out: bool = False) -> list[str]:
        """Pages of the web. The base models read seed 0; other seeds are fresh pages of the same
        web. Held-out pages share no line with the others."""
        return list(corpus(self.facts, num_pages, seed, held_out))

    def user_prompts(self, num_users: int) -> list[Prompt]:
        return users.user_prompts(num_users, self.seed)

    def closed_domain_prompts(self, number: int) -> list[Prompt]:
        """New closed questions, for the hallucination figures: users' prompts have too few of
        them."""
        rng = random.Random(f"closed-{self.seed}")
        tasks = [new_task(rng, tuple(PASSAGE), rude_users=0.0) for _ in range(number)]
        return [
            users.prompt_of(
                task,
                id=f"closed-{index:05d}",
                user_id=f"closed-user-{self.seed}-{index // 4:04d}",
                answerable=task.truth(self.facts) is not None,
            )
            for index, task in enumerate(tasks)
        ]

    def rude_prompts(self, number: int) -> list[Prompt]:
        """New requests of rude users, to which the respectful prefix can be added."""
        rng = random.Random(f"rude-{self.seed}")
        prompts = []
        for index in range(number):
            task = new_task(rng, ("story", "story_pair", "list"), rude_users=1.0)
            prompts.append(
                users.prompt_of(task, id=f"rude-{index:05d}", user_id=f"rude-user-{index:05d}")
            )
        return prompts

    def labelers(self, role: Role) -> list[people.SimulatedLabeler]:
        """12 training labelers and 2 careless ones for screening to find; 6 held-out, unscreened
        (s3.4)."""
        if role == "held_out":
            return people.make_labelers(self.judge, role, NUM_HELD_OUT_LABELERS, self.seed)
        return people.make_labelers(
            self.judge, role, NUM_TRAINING_LABELERS, self.seed, careless=NUM_CARELESS
        )

    def few_shot_prefix(self, num_shots: int = 3) -> str:
        """A good prompt prefix for the base model: solved requests (the paper's GPT-3-prompted
        baseline, s3.5)."""
        rng = random.Random("few-shot")
        shots = []
        for kinds in (("story",), ("list",), ("fact_city",), ("where",))[:num_shots]:
            task = draw_task(rng, kinds=kinds, rude_users=0.0, unanswerable=0.0)
            shots.append(f"ask: {task.text}\nreply: {reply(task, rng, self.facts)}")
        return "\n".join(shots) + "\n"


def new_task(rng: random.Random, kinds: tuple[str, ...], rude_users: float) -> Task:
    """A task of these kinds that no model has seen before the evaluation."""
    while True:
        task = draw_task(rng, kinds=kinds, rude_users=rude_users)
        if reserved_for(task.request) == "test":
            return task
