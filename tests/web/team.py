"""A team at work in a project: labelers with opinions answer over HTTP, so that owners see much."""

import random
from dataclasses import dataclass, field

from tests.gateways import plain_client
from tests.labeling_client import LabelingClient, work
from tests.web.site import PASSWORD, Site, answers, prompt

from understudy.records import Demonstration, LabelerInfo, Prompt, Ranking, Rating, Response

TASKS = (
    ("Why is the sky blue? For a child of ten, in three sentences.", "open_qa"),
    ("Write a short note to a neighbour whose dog barks at night.", "generation"),
    ("Summarize: the council met on Monday, argued until ten and agreed on nothing.", "chat"),
    ("Give me five names for a bakery in a harbour town.", "brainstorming"),
    ("Rewrite this more kindly: You are late again.", "rewrite"),
    ("What should I look at before I buy a used bicycle?", "open_qa"),
    ("Explain what a mortgage is, without any jargon.", "open_qa"),
    ("My cat does not eat since yesterday. What now?", "chat"),
    ("Turn these notes into one sentence: rain, picnic, moved indoors, fun.", "rewrite"),
    ("How do I say in an interview that I was laid off?", "chat"),
)
WORDS = (
    (7, "Here is a clear answer that keeps to what was asked, with one good example of it."),
    (5, "This answer does most of what was asked, though it goes on a little and then on again."),
    (3, "Well, that depends on many things, and people have said many things about it over time."),
    (1, "I do not see why you would ask that; as everybody knows, the answer is forty-two."),
)
NUM_PROMPTS = len(TASKS)


@dataclass
class Opinion:
    """A labeler who sees the true quality, with slips and a tie where two are close."""

    id: str
    slips: float = 0.15
    role: str = "training"
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.id)

    @property
    def info(self) -> LabelerInfo:
        return LabelerInfo(id=self.id, role=self.role)  # type: ignore[arg-type]

    def _quality(self, response: Response) -> int:
        true = next(quality for quality, words in WORDS if response.response.endswith(words))
        return self.rng.choice((1, 3, 5, 7)) if self.rng.random() < self.slips else true

    def demonstrate(self, prompt: Prompt) -> Demonstration | None:
        text = "Because of how light and air play together."
        return Demonstration(
            id="", prompt_id=prompt.id, prompt=prompt.prompt, response=text, labeler_id=self.id
        )

    def rate(self, prompt: Prompt, response: Response) -> Rating:
        quality = self._quality(response)
        flags = {"fails_instruction": quality < 4, "hallucination": quality == 1}
        shared = dict(prompt_id=prompt.id, response_id=response.id, labeler_id=self.id)
        return Rating(id="", likert=quality, flags=flags, **shared)

    def rank(self, prompt: Prompt, responses: list[Response]) -> Ranking | None:
        qualities = [self._quality(response) for response in responses]
        levels = sorted(set(qualities), reverse=True)
        tiers = tuple(tuple(i for i, q in enumerate(qualities) if q == level) for level in levels)
        texts = tuple(response.response for response in responses)
        shared = dict(prompt_id=prompt.id, prompt=prompt.prompt, labeler_id=self.id)
        return Ranking(id="", responses=texts, tiers=tiers, labeler_role=self.role, **shared)


def fill(site: Site) -> None:
    """Prompts with four answers each, three labelers to every item, two gold items."""
    prompts, responses = [], []
    for number, (text, use_case) in enumerate(TASKS):
        to = prompt(f"t{number:02}", text, "valid" if number % 3 else "train", use_case=use_case)
        prompts.append(to)
        responses += answers(to, [f"About {text[:18].lower()} … {words}" for _, words in WORDS])
    site.add(prompts, responses)
    site.plan("rank", overlap=1.0, labels_per_overlap=3)


def at_work(site: Site, name: str, role: str = "training", slips: float = 0.15) -> str:
    """Somebody answers until nothing is left; the account's id."""
    account_id = site.account(name, role=role)
    with plain_client(base_url=site.url, timeout=60) as http:
        client = LabelingClient(http)
        client.sign_in(name, PASSWORD)
        work(client, Opinion(account_id, slips, role), most=None)
    return account_id


def team(site: Site) -> dict[str, str]:
    """Everybody at work: ids by name. Dan guesses; Eve and Fay are held out."""
    fill(site)
    ids = {"Olga": site.account("Olga", role=None, owner=True)}
    for name, role, slips in (
        ("Ann", "training", 0.05),
        ("Ben", "training", 0.15),
        ("Dan", "training", 0.9),
        ("Eve", "held_out", 0.1),
        ("Fay", "held_out", 0.1),
    ):
        ids[name] = at_work(site, name, role, slips)
    return ids
