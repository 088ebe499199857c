"""Continuations of plain texts, cut at stop strings, for generated benchmarks.

continue_texts(model, tokenizer, ["Q: 2 + 2 =\\nA:"], until=("\\n",), max_new_tokens=32)
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.engines.generation import generate
from understudy.evaluation.choices import encode
from understudy.models.chat import padding_id
from understudy.models.policies import Policy
from understudy.models.trunk import context_length

_FIRST = 24
"""Number of tokens drawn first; continuations that met a stop string by then are not continued."""


def continue_texts(
    model: Policy,
    tokenizer: Tokenizer,
    contexts: Sequence[str],
    *,
    until: Sequence[str] = (),
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Each context's continuation, up to the first stop string, EOS or the limit of tokens.

    Temperature 0 is greedy. A context too long for the model loses its beginning. ValueError if
    the limit leaves no room for a context.
    """
    room = context_length(model)
    left = None if room is None else room - max_new_tokens
    if left is not None and left < 1:
        raise ValueError(f"{max_new_tokens} new tokens do not fit the model's context of {room}")
    prompts = [encode(tokenizer, text)[-(left or 0) :] for text in contexts]
    done: list[list[int]] = [[] for _ in contexts]
    open_ = list(range(len(contexts)))
    for limit in dict.fromkeys((min(_FIRST, max_new_tokens), max_new_tokens)):
        drawn = generate(
            model,
            [[*prompts[i], *done[i]] for i in open_],
            max_new_tokens=limit - (len(done[open_[0]]) if open_ else 0),
            greedy=temperature == 0,
            temperature=temperature or 1.0,
            seed=seed,
            keys=[(limit, i) for i in open_],
            stop_ids=model.stop_ids,
            pad_id=padding_id(tokenizer),
        )
        for i, generation in zip(open_, drawn, strict=True):
            done[i] += [id_ for id_ in generation.ids if id_ not in model.stop_ids]
        open_ = [
            i
            for i, generation in zip(open_, drawn, strict=True)
            if not generation.finished and not _stopped(tokenizer, done[i], until)
        ]
        if not open_:
            break
    return [cut_at(_text(tokenizer, ids), until) for ids in done]


def cut_at(text: str, until: Sequence[str]) -> str:
    """The text before the first of the stop strings."""
    return min((text.partition(stop)[0] for stop in until if stop), key=len, default=text)


def _stopped(tokenizer: Tokenizer, ids: Sequence[int], until: Sequence[str]) -> bool:
    text = _text(tokenizer, ids)
    return any(stop in text for stop in until if stop)


def _text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True))
