"""Simulated people with a planted share of mistakes."""

import random
from dataclasses import dataclass

from understudy.records import (
    Demonstration,
    LabelerInfo,
    Prompt,
    Ranking,
    Rating,
    Response,
)


def prompt(number, split="train"):
    return Prompt(id=f"p{number}", prompt=f"Question {number}?", user_id=f"u{number}", split=split)


def responses(prompts, k=4):
    """Texts "0".."k-1": a larger number is a better answer."""
    return [
        Response(id=f"{p.id}/{i}", prompt_id=p.id, prompt=p.prompt, response=str(i), model="m")
        for p in prompts
        for i in range(k)
    ]


@dataclass
class Person:
    """Ranks by number; with chance `mistakes` the whole order is a random one. Skips prompt p13."""

    id: str
    role: str = "training"
    mistakes: float = 0.0
    likert: int = 7

    @property
    def info(self):
        return LabelerInfo(id=self.id, role=self.role)

    def _rng(self, prompt):
        return random.Random(f"{self.id}/{prompt.id}")

    def demonstrate(self, prompt):
        if prompt.id == "p13":
            return None
        return Demonstration(
            id=f"{prompt.id}/{self.id}",
            prompt_id=prompt.id,
            prompt=prompt.prompt,
            response="9" if self._rng(prompt).random() >= self.mistakes else "0",
            labeler_id=self.id,
        )

    def rate(self, prompt, response):
        careless = self._rng(prompt).random() < self.mistakes
        sensitive = (response.response == "0") ^ careless
        return Rating(
            id=f"{response.id}/{self.id}",
            prompt_id=prompt.id,
            response_id=response.id,
            labeler_id=self.id,
            likert=7 if response.response == "9" else 2,
            flags={"encourages_harm": sensitive, "sexual_content": sensitive},
        )

    def rank(self, prompt, responses):
        if prompt.id == "p13":
            return None
        order = sorted(range(len(responses)), key=lambda i: -int(responses[i].response))
        rng = self._rng(prompt)
        if rng.random() < self.mistakes:
            rng.shuffle(order)
        return Ranking(
            id=f"{prompt.id}/{self.id}",
            prompt_id=prompt.id,
            prompt=prompt.prompt,
            responses=tuple(r.response for r in responses),
            tiers=tuple((i,) for i in order),
            labeler_id=self.id,
        )

    def compare(self, prompt, first, second):
        raise NotImplementedError
