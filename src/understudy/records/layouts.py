"""Rows of public data sets as rows of records: one function for each layout of `shapes`."""

from collections.abc import Mapping
from typing import Any

from understudy.records.convert import Json, RecordError, read_yes, shortened
from understudy.records.preferences import TIE, list_of_objects, tiers_of
from understudy.records.turns import (
    Turns,
    after_prompt,
    as_prompt,
    blank,
    check_not_printed,
    conversation,
    exchanges,
    split_response,
    transcript,
    turns_of,
    with_system,
    written_turns,
)

LABELS = (
    *("label", "kto_tag", "desirable", "is_safe", "is_correct"),
    *("thumbs_up", "thumbs", "thumb"),
)
"""Keys that say whether a response is good (KTO)."""
_THUMBS = {"up": True, "down": False, "\U0001f44d": True, "\U0001f44e": False, "-1": False}
"""Values of a label beside the spellings of true and false."""


class LeftOut(Exception):
    """A valid row that is not for training; the message says why."""


def is_desirable(row: Json) -> bool | None:
    """Whether a row's label calls its response desirable; None without a label."""
    keys = [key for key in LABELS if not blank(row.get(key))]
    try:
        said = {read_yes(_THUMBS.get(str(row[key]).strip().lower(), row[key]), key) for key in keys}
    except RecordError as error:
        raise RecordError(
            f"{error} (whether the response is good); rename it if it means something else"
        ) from None
    if len(said) > 1:
        raise RecordError(f"fields '{keys[0]}' and '{keys[-1]}' disagree; keep one")
    return said.pop() if said else None


def read_ranks(row: Json) -> list[Json]:
    """K responses with tiers, ranks or scores."""
    responses = row["responses"]
    if isinstance(responses, list | tuple):
        texts = [_text_of(item, f"responses[{place}]") for place, item in enumerate(responses)]
        row = row | {"responses": texts}
    for key, best_is_high in (("ranks", False), ("scores", True)):
        if row.get(key) is not None and row.get("tiers") is None:
            row = row | {"tiers": tiers_of(row[key], key, best_is_high)}
    return [row]


def _text_of(value: Any, name: str) -> Any:
    """A response given as text, or as the only turn of a list."""
    if isinstance(value, str):
        return value
    history, text = split_response(turns_of(value, name), name)
    if history:
        raise RecordError(f"field '{name}' has several turns; a response has one")
    return text


def read_pair(row: Json) -> list[Json]:
    """A ranking of two from chosen and rejected, each a response or a whole conversation.

    A `margin`, or `score_chosen` and `score_rejected`, becomes the scores; with a true `tie` both
    share a tier.
    """
    row = _unwritten(row, "chosen", "rejected")
    given = row.get("prompt")
    base = None if blank(given) else conversation(given)
    (history, better), (other, worse) = (
        _side(row[name], name, base) for name in ("chosen", "rejected")
    )
    if history != other:
        raise RecordError(
            "fields 'chosen' and 'rejected' differ before the last response; a ranking compares "
            "responses to one prompt; understudy data convert --skip-bad leaves such rows out"
        )
    made = {"prompt": as_prompt(history, given), "responses": [better, worse], "tiers": [[0], [1]]}
    scores, name = [row.get("score_chosen"), row.get("score_rejected")], "score_chosen/_rejected"
    if row.get("margin") is not None:
        scores, name = [row["margin"], 0.0], "margin"
    if all(score is not None for score in scores):
        tiers = tiers_of(scores, name, best_is_high=True)
        if tiers == [[1], [0]]:
            raise RecordError(f"the scores {scores} contradict which response was chosen")
        made["scores"] = scores
    if any(read_yes(row.get(key), key) for key in ("tie", "is_tie")) or row.get("status") == "tie":
        made["tiers"] = TIE
    return [row | made]


def _unwritten(row: Json, *names: str) -> Json:
    """A row with turns in place of JSON text of turns, if all these fields are such text."""
    for name in ("prompt", *names):
        check_not_printed(row.get(name), name)
    if not all(written_turns(row.get(name)) for name in names):
        return row
    if written_turns(row.get("prompt")):
        names = ("prompt", *names)
    return row | {name: turns_of(row[name], name) for name in names}


def _side(value: Any, name: str, base: Turns | None) -> tuple[Turns, str]:
    """(history, response) of one side of a pair."""
    if isinstance(value, str):
        turns = transcript(value)
        if turns is None:
            if base is None:
                raise RecordError(
                    f"field 'prompt' is missing, and '{name}' is neither a list of turns nor a "
                    "transcript that contains it"
                )
            return base, value.strip() if value[:1] == " " else value
        whole = after_prompt(turns, base, name)
    else:
        whole = after_prompt(turns_of(value, name), base, name)
    history, response = split_response(whole, name)
    if not history:
        raise RecordError(f"field 'prompt' is missing, and '{name}' has one turn only")
    return history, response


def read_response(row: Json) -> list[Json]:
    """A demonstration from a prompt with a response or completion, as text or as turns.

    A conversation beside them is read instead: it may have more turns.
    """
    for key in WHOLE.split():
        if is_listed(row.get(key)):
            return read_messages(row, key)
    names = [name for name in ("response", "completion") if not blank(row.get(name))]
    if len(names) == 2 and row["response"] != row["completion"]:
        raise RecordError("fields 'response' and 'completion' differ; keep one of the two")
    name = names[0] if names else "response" if "response" in row else "completion"
    check_not_printed(row.get(name), name)
    if written_turns(row["prompt"]):
        row = _unwritten(row, name)
    value, given = row.get(name), row["prompt"]
    if isinstance(value, list | tuple | Mapping):
        turns = after_prompt(turns_of(value, name), conversation(given), name)
        return _demonstration(row, turns, name, given)
    if isinstance(given, str) and transcript(given) is None:
        return [row | {"response": value}]
    base = conversation(given)
    _check_turns(base, "prompt")
    open_end = isinstance(given, str) and as_prompt(base, given) != given
    value = value.strip() if open_end and isinstance(value, str) else value
    return [row | {"prompt": as_prompt(base, given), "response": value}]


def _demonstration(row: Json, turns: Turns, name: str, given: Any = None) -> list[Json]:
    """A conversation as a demonstration; it ends with the last response to be learned."""
    split_response(turns, name)
    _check_turns(turns, name)
    while turns and (turns[-1]["role"] != "assistant" or turns[-1].get("weight") == 0):
        turns = turns[:-1]
    if not turns:
        raise LeftOut("no turn has a weight of 1")
    history, response = split_response(turns, name)
    return [row | {"prompt": as_prompt(history, given), "response": response}]


def _check_turns(turns: Turns, name: str) -> None:
    for place, turn in enumerate(turns):
        if turn["role"] == "assistant" and not turn["content"].strip() and place < len(turns) - 1:
            raise RecordError(
                f"field '{name}[{place}]' is a turn without text, which would be learned; "
                "delete the turn or give it a weight of 0"
            )


def read_messages(row: Json, name: str = "messages") -> list[Json]:
    """A demonstration from a list of turns, in the column `name`."""
    turns = exchanges(row[name], name)
    for key in ("prompt", "response", "completion"):
        given = row.get(key)
        if blank(given):
            continue
        said = [turn["content"].strip() for turn in turns]
        if key != "prompt" and turns and turns[-1]["role"] == "user":
            said_last = [{"role": "assistant", "content": given}]
            turns += said_last if isinstance(given, str) else turns_of(given, key)
        elif any(turn["content"].strip() not in said for turn in conversation(given, key)):
            raise RecordError(f"field '{key}' is not among the turns of '{name}'; keep one")
    return _demonstration(row, turns, name)


def is_listed(value: Any) -> bool:
    """Whether a value is a list with items, or may be JSON text of one."""
    return not blank(value) and (
        isinstance(value, list | tuple) or (isinstance(value, str) and value.lstrip()[:1] == "[")
    )


def has_texts(row: Json) -> bool:
    """Whether `data` is a list of texts."""
    return isinstance(row["data"], list) and all(isinstance(text, str) for text in row["data"])


def read_sharegpt_pair(row: Json) -> list[Json]:
    """A pair that follows a conversation."""
    return read_pair(row | {"prompt": turns_of(row["conversations"], "conversations")})


_NO_INPUT = ("<noinput>", "noinput")
"""What Alpaca's data says where there is no input."""


def _asked(row: Json) -> Any:
    """A prompt from an instruction, its input and the exchanges before it."""
    instruction = row["instruction"]
    inputs = [row[key] for key in ("context", "input") if not blank(row.get(key))]
    if not all(isinstance(text, str) for text in (instruction, *inputs)):
        raise RecordError("fields 'instruction' and 'input' must be text")
    said = [text for text in inputs if text.strip().lower() not in _NO_INPUT]
    text = "\n\n".join([instruction, *said] if instruction.strip() else said)
    if blank(row.get("history")):
        return text
    if not isinstance(row["history"], list | tuple):
        raise RecordError(f"field 'history' is {shortened(row['history'])}; it must be a list")
    turns: Turns = []
    for place, pair in enumerate(row["history"]):
        if not isinstance(pair, list | tuple) or [type(text) for text in pair] != [str, str]:
            raise RecordError(f"field 'history[{place}]' must be a prompt and its response")
        roles = ("user", "assistant")
        turns += [{"role": r, "content": t} for r, t in zip(roles, pair, strict=True)]
    return [*turns, {"role": "user", "content": text}]


def read_alpaca(row: Json) -> list[Json]:
    """A demonstration from an instruction, with its input."""
    response = row["output"] if row.get("output") is not None else row["response"]
    if not blank(row.get("response")) and row["response"] != response:
        raise RecordError("fields 'output' and 'response' differ; keep one of the two")
    return read_response(
        {k: v for k, v in row.items() if k not in ("completion", "response")}
        | {"prompt": _asked(row), "response": response}
    )


def read_alpaca_pair(row: Json) -> list[Json]:
    """A pair that responds to an instruction."""
    return read_pair(row | {"prompt": _asked(row)})


def read_instances(row: Json) -> list[Json]:
    """Self-Instruct: an instruction with instances of an input and an output."""
    made = []
    for number, instance in enumerate(list_of_objects(row["instances"], "instances")):
        asked = {"instruction": row["instruction"], "input": instance.get("input")}
        name = {} if row.get("id") is None else {"id": f"{row['id']}-{number}"}
        made.append({"prompt": _asked(asked), "response": instance.get("output"), **name})
    return made


def read_natural(row: Json) -> list[Json]:
    """Super-NaturalInstructions: a task's definition and instances, each with right outputs."""
    definition = row["Definition"]
    text = "\n".join(map(str, definition)) if isinstance(definition, list) else definition
    made = []
    for number, instance in enumerate(list_of_objects(row["Instances"], "Instances")):
        outputs = instance.get("output")
        right = outputs if isinstance(outputs, list) else [outputs]
        if not all(isinstance(output, str) for output in right):
            raise RecordError(
                f"field 'Instances[{number}].output' is {shortened(outputs)}; not text"
            )
        for output in dict.fromkeys(right):
            asked = {"instruction": text, "input": instance.get("input")}
            made.append({"prompt": _asked(asked), "response": output})
            if instance.get("id") is not None:
                made[-1]["prompt_id"] = instance["id"]
        if not outputs:
            raise RecordError(f"field 'Instances[{number}].output' is missing")
    return made


def read_natural_row(row: Json) -> list[Json]:
    """A demonstration from one instance in a row."""
    asked = {"instruction": row["definition"], "input": row["inputs"]}
    return [row | {"prompt": _asked(asked), "response": row["targets"]}]


def read_ultrafeedback(row: Json) -> list[Json]:
    """An instruction with the responses of several models and a score of each."""
    completions = list_of_objects(row["completions"], "completions")
    scores = [item.get("overall_score") for item in completions]
    responses = [item.get("response") for item in completions]
    tiers = tiers_of(scores, "completions.overall_score", best_is_high=True)
    made = {"prompt": row["instruction"], "responses": responses, "tiers": tiers, "scores": scores}
    return [row | made]


def read_two_outputs(row: Json) -> list[Json]:
    """LLMBar: two outputs and the number of the better one."""
    first, second = row["output_1"], row["output_2"]
    if row["label"] not in (1, 2) or isinstance(row["label"], bool):
        raise RecordError(f"field 'label' is {shortened(row['label'])}; it must be 1 or 2")
    tiers = [[0], [1]] if row["label"] == 1 else [[1], [0]]
    return [row | {"prompt": row["input"], "responses": [first, second], "tiers": tiers}]


def read_annotators(row: Json) -> list[Json]:
    """PandaLM: two responses and which each of several people prefers (0 is a tie)."""
    made = []
    for name in sorted(key for key in row if key.startswith("annotator")):
        if row[name] not in (0, 1, 2):
            raise RecordError(f"field '{name}' is {shortened(row[name])}; it must be 0, 1 or 2")
        tiers = {0: [[0, 1]], 1: [[0], [1]], 2: [[1], [0]]}[int(row[name])]
        responses = [row["response1"], row["response2"]]
        label = {"prompt": _asked(row), "responses": responses, "tiers": tiers, "labeler_id": name}
        made.append({k: v for k, v in row.items() if k in ("split", "id")} | label)
        if row.get("id") is not None:
            made[-1]["id"] = f"{row['id']}-{name}"
    return made


def read_preferred(row: Json) -> list[Json]:
    """OpenAI's format of preferences: an input with a preferred and another output."""
    asked = row["input"]
    prompt = asked["messages"] if isinstance(asked, Mapping) and "messages" in asked else asked
    if isinstance(asked, Mapping) and not blank(asked.get("tools")):
        raise RecordError("field 'input.tools' has tools, which no trainer supports")
    pair = {"chosen": row["preferred_output"], "rejected": row["non_preferred_output"]}
    return read_pair(row | {"prompt": prompt} | pair)


def read_prompt(row: Json) -> list[Json]:
    """A prompt, under the system turn of a conversation beside it."""
    given = row["prompt"]
    if not isinstance(given, str) or transcript(given) is not None:
        given = as_prompt(conversation(given), given)
    for key in (*WHOLE.split(), "chosen"):
        turns = row.get(key)
        first = turns[0] if isinstance(turns, list) and turns else None
        if isinstance(first, Mapping) and first.get("role", first.get("from")) == "system":
            given = with_system(given, turns_of(first, key)[0]["content"], key)
    return [row | {"prompt": given}]


def read_open_messages(row: Json) -> list[Json]:
    """A prompt from turns that end with the user's."""
    return [row | {"prompt": turns_of(row["messages"], "messages")}]


def read_instruction(row: Json) -> list[Json]:
    """A prompt from an instruction, with its input."""
    return [row | {"prompt": _asked(row)}]


def is_transcript(row: Json) -> bool:
    """Whether a text is a transcript in HH-RLHF's form."""
    return any(transcript(row.get(name)) for name in ("prompt", "chosen", "rejected"))


def asks_last(row: Json) -> bool:
    """Whether the last turn is the user's."""
    turns = row["messages"]
    last = turns[-1] if isinstance(turns, list) and turns else None
    return isinstance(last, Mapping) and str(last.get("role")).lower() in ("user", "human")


WHOLE = "messages conversations conversation"
"""Keys of a whole conversation, which may be beside its prompt and response."""
