"""Responses that ignore preferences: can one win without any knowledge of what people want?

If people preferred a constant text, an echo of the prompt or the shortest of 16 responses to
SFT's, a policy could win with the same trick. Each trick is compared with SFT like a model.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from understudy.evaluation.bestofn import pick_best
from understudy.evaluation.compare import win_rate_table
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.judging import BASELINE, compare, judges
from understudy.loop.stages.verdicts import verdicts
from understudy.models.policies import load_policy
from understudy.records import Prompt, Response, prompt_text, read_records
from understudy.world.language import UNKNOWN
from understudy.world.replies import REFUSAL
from understudy.world.tasks import NOT_SAID, THE_END
from understudy.world.world import World

CONSTANTS = {
    "constant_refusal": REFUSAL,
    "constant_unknown": UNKNOWN,
    "constant_not_said": NOT_SAID,
    "constant_the_end": THE_END,
    "constant_good": "good.",
}


def adversaries(call: StageCall) -> None:
    """adversaries.json: win rate of each trick against SFT's sampled responses, by judge.

    Inputs: prompts; answers (SFT's responses, to compare with); responses (several per prompt from
    SFT, to choose among); model (the base, for the choice without labels); labelers.
    """
    world = World(call.config["seed"])
    prompts = read_records(call.path("prompts"), Prompt)
    ids = {p.id for p in prompts}
    responses = [r for r in read_records(call.path("answers"), Response) if r.prompt_id in ids]
    pool = [r for path in call.paths("responses") for r in read_records(path, Response)]
    call.progress(0, 3, "verdicts")
    values = verdicts(*load_policy(call.path("model")), pool)
    models = {
        BASELINE: responses,
        **rewritten(responses, pool),
        **chosen(pool, values, call.config["best_of"]),
    }
    comparisons = compare(call, models, prompts, judges(world, call.path("labelers")))
    table = {group: win_rate_table(found, prompts) for group, found in comparisons.items()}
    (call.out / "adversaries.json").write_text(json.dumps(table, indent=1))


def rewritten(responses: Sequence[Response], pool: Sequence[Response]) -> dict[str, list[Response]]:
    """Constant texts, the prompt itself, and the first sentence of SFT's response."""
    commonest = Counter(r.response for r in pool).most_common(1)[0][0]
    tricks: dict[str, Callable[[Response], str]] = {
        "echo": lambda r: prompt_text(r.prompt),
        "first_sentence": lambda r: first_sentence(r.response),
        "constant_commonest": lambda _: commonest,
    }
    for name, text in CONSTANTS.items():
        tricks[name] = lambda _, text=text: text  # type: ignore[misc]
    return {
        name: [replace(r, model=name, id=f"{r.id}/{name}", response=trick(r)) for r in responses]
        for name, trick in tricks.items()
    }


def first_sentence(text: str) -> str:
    """The text up to its first full stop or question mark."""
    match = re.match(r"[^.?]*[.?]", text)
    return match[0] if match else text


def chosen(
    pool: Sequence[Response], values: Sequence[float], number: int
) -> dict[str, list[Response]]:
    """Of each prompt's first `number` responses the shortest, the longest, the likeliest, and the
    one that the base model's own verdict puts first."""
    lengths = [float(len(r.response)) for r in pool]
    scores = {
        f"shortest_of_{number}": [-length for length in lengths],
        f"longest_of_{number}": lengths,
        f"likeliest_of_{number}": [r.logprob if r.logprob is not None else 0.0 for r in pool],
        f"verdict_of_{number}": list(values),
    }
    return {name: pick_best(pool, found, number, name) for name, found in scores.items()}
