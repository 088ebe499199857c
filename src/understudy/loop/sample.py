"""Draws the responses that labelers rank: K = 4 to 9 per prompt, identical ones merged (s3.5).

understudy sample --model runs/sft/model --prompts prompts.jsonl --out responses.jsonl
understudy sample --model runs/sft/model --project my-project --split train
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from transformers import PreTrainedTokenizerBase as Tokenizer

from understudy.engines.generation import Generation
from understudy.engines.sampling import draw_responses, id_key, merge_identical, say_if_none_ended
from understudy.engines.vllm import Server
from understudy.loop.names import model_folder, name_of
from understudy.loop.sample_config import SampleConfig, check_sample_files
from understudy.models.batching import derived_seed
from understudy.models.chat import check_prompt_length, render_prompts
from understudy.models.compute import place
from understudy.models.policies import Policy, load_policy, say_once, without_weights
from understudy.models.trunk import context_length
from understudy.records import Prompt, Response, read_records, write_records
from understudy.records.convert import many
from understudy.training.progress import Progress

Draw = Callable[..., list[Generation]]


def sample_responses(config: SampleConfig) -> Path | str:
    """Draw as configured, and write `config.out` or add to the project's store."""
    if config.project is not None:
        return _sample_into_store(config, config.project)
    assert config.prompts is not None
    assert config.out is not None
    check_sample_files(config)
    responses = _draw(config, read_prompts(config.prompts, config.split))
    write_records(config.out, responses)
    counts = Counter(response.prompt_id for response in responses)
    alone = sum(count == 1 for count in counts.values())
    if alone:
        print(f"{alone} of {len(counts)} prompts have only one response and cannot be ranked")
    return config.out


def _sample_into_store(config: SampleConfig, folder: Path) -> str:
    """Merge responses that repeat one in the store with it, unless `keep_identical`."""
    from understudy.store import open_project

    store = open_project(folder).open_store()
    prompts = list(store.prompts(config.split, built=True))
    if not prompts:
        raise ValueError(
            f"the store of {folder} has no prompts of split {config.split!r} that intake has kept; "
            "run `understudy prompts build --project` first"
        )
    responses = _draw(config, prompts)
    added = store.add_responses(responses, merge_identical=not config.keep_identical)
    same = len(responses) - added.new
    asked = many(len(prompts), "prompt")
    return f"{many(added.new, 'response')} to {asked} added ({same:,} were already there)"


def _draw(config: SampleConfig, prompts: Sequence[Prompt]) -> list[Response]:
    model, tokenizer, draw = _source(config)
    prompts = short_enough(tokenizer, prompts, config.max_prompt_tokens)
    limit = room_for_responses(model, tokenizer, prompts, config.max_response_tokens)
    bounds = (config.min_answers, config.max_answers)
    total = sum(num_responses(prompt, *bounds, config.seed) for prompt in prompts)
    with Progress(total, "Responses") as progress:
        responses = draw_varying(
            model,
            tokenizer,
            prompts,
            min_answers=config.min_answers,
            max_answers=config.max_answers,
            temperature=config.temperature,
            seed=config.seed,
            max_new_tokens=limit,
            model_name=config.name or name_of(config.model),
            on_end=progress.advance,
            draw=draw,
        )
    say_if_none_ended(responses, tokenizer, limit)
    return responses if config.keep_identical else merge_identical(responses)


def _source(config: SampleConfig) -> tuple[Policy, Tokenizer, Draw | None]:
    """The policy, its tokenizer, and how to draw: None in this process; with a vLLM server its
    `generate`, and a policy without weights."""
    folder = model_folder(config.model)
    if config.vllm is None:
        model, tokenizer = load_policy(folder)
        place(model, config, frozen=True)
        return model, tokenizer, None
    model, tokenizer = without_weights(folder)
    server = Server(config.vllm)
    server.check(folder, model.config, tokenizer)
    model.config.max_position_embeddings = server.context
    server.load(folder, uuid4().hex[:8])
    return model, tokenizer, server.generate


def short_enough(tokenizer: Any, prompts: Sequence[Prompt], most: int) -> list[Prompt]:
    """The prompts of at most `most` tokens; the others are counted on standard error."""
    rows = _ids(tokenizer, prompts)
    kept = [prompt for prompt, ids in zip(prompts, rows, strict=True) if len(ids) <= most]
    if not kept:
        raise ValueError(
            f"all {len(prompts):,} prompts are longer than --max-prompt-tokens {most:,}; raise it "
            "if the model's context allows"
        )
    if len(kept) < len(prompts):
        left_out = len(prompts) - len(kept)
        say_once(f"left out, longer than --max-prompt-tokens {most:,}: {many(left_out, 'prompt')}")
    return kept


def _ids(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    texts = [prompt.prompt for prompt in prompts]
    return render_prompts(tokenizer, texts, lambda index: f"prompt {prompts[index].id}")


def read_prompts(path: Path, split: str | None) -> list[Prompt]:
    """The prompts of a file, or those of one split; ids must be unique."""
    prompts = [p for p in read_records(path, Prompt) if split is None or p.split == split]
    if not prompts:
        raise ValueError(f"{path} has no prompts of split {split!r}")
    twice = [prompt for prompt, count in Counter(p.id for p in prompts).items() if count > 1]
    if twice:
        raise ValueError(f"{path} has two prompts with id {twice[0]!r}; ids must be unique")
    return prompts


def draw_varying(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    min_answers: int,
    max_answers: int,
    seed: int,
    **sampling: Any,
) -> list[Response]:
    """K responses per prompt, K uniform between the bounds and determined by (seed, prompt id)."""
    groups: dict[int, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        groups[num_responses(prompt, min_answers, max_answers, seed)].append(prompt)
    of_prompt: dict[str, list[Response]] = defaultdict(list)
    for number, members in sorted(groups.items()):
        drawn = draw_responses(model, tokenizer, members, num_samples=number, seed=seed, **sampling)
        for response in drawn:
            of_prompt[response.prompt_id].append(response)
    return [response for prompt in prompts for response in of_prompt[prompt.id]]


def num_responses(prompt: Prompt, min_answers: int, max_answers: int, seed: int) -> int:
    """Number of responses to this prompt."""
    spread = max_answers - min_answers + 1
    return min_answers + derived_seed(seed, "sample/k", id_key(prompt.id)) % spread


def room_for_responses(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], max_response_tokens: int
) -> int:
    """`max_response_tokens`, or the room that the longest prompt leaves in the model's context."""
    room = context_length(model)
    if room is None:
        return max_response_tokens
    ids = _ids(tokenizer, prompts)
    longest = max(range(len(ids)), key=lambda i: len(ids[i]))
    name = f"prompt {prompts[longest].id}"
    check_prompt_length(prompts[longest].prompt, ids[longest], room, name)
    left = room - len(ids[longest])
    if left < min(max_response_tokens, room // 2):
        say_once(
            f"responses have at most {left:,} tokens: {name} takes {len(ids[longest]):,} of the "
            f"model's context of {room:,} (a lower --max-prompt-tokens leaves such prompts out)"
        )
    return min(max_response_tokens, left)
