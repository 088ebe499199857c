"""Row shapes of public data sets: how to recognise each one and which records a row becomes.

`SHAPES` lists them in the order in which they are tried. A shape names the keys it requires and
those it reads optionally; `reading` decides what happens to the rest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from understudy.records import layouts, preferences, trees
from understudy.records.convert import Json
from understudy.records.schema import Demonstration, Feedback, Prompt, Ranking
from understudy.records.turns import blank

Convert = Callable[[Json], list[Json]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """How a public data set lays out its rows."""

    name: str
    """The name that `understudy data check` prints."""
    kind: Any
    """The record that a row becomes; str for plain text."""
    keys: frozenset[str]
    """Keys that a row must have."""
    reads: frozenset[str] = frozenset()
    """Further keys that `convert` reads."""
    convert: Convert = field(default=lambda row: [row])
    """The rows of records that a row becomes."""
    when: Callable[[Json], bool] = field(default=lambda row: True)
    """A further test for the shape."""
    whole: bool = False
    """Whether `convert` takes {"rows": all rows of the file} at once."""
    check: Callable[[Json], None] = field(default=lambda row: None)
    """Raises RecordError for a row that such a `convert` cannot use."""

    def fits(self, row: Json) -> bool:
        """Whether a row has this shape."""
        return all(row.get(key) is not None for key in self.keys) and self.when(row)


def _shape(name: str, kind: Any, keys: str, **more: Any) -> Shape:
    reads = frozenset(str(more.pop("reads", "")).split())
    return Shape(name=name, kind=kind, keys=frozenset(keys.split()), reads=reads, **more)


def find_shape(row: Any, kind: Any = None) -> Shape | None:
    """The first shape that a row has, among those of one kind if it is given."""
    if not isinstance(row, Mapping):
        return None
    row = dict(row)
    if labels := [row[key] for key in layouts.LABELS if not blank(row.get(key))]:
        row["label"] = labels[0]
    shapes = (shape for shape in SHAPES if kind is None or shape.kind is kind)
    return next((shape for shape in shapes if shape.fits(row)), None)


def _chat(key: str) -> Shape:
    return _shape(
        "messages" if key == "messages" else "ShareGPT",
        Demonstration,
        key,
        reads="prompt response completion",
        convert=lambda row: layouts.read_messages(row, key),
        when=lambda row: key != "conversation" or layouts.is_listed(row[key]),  # which may be an id
    )


def _labelled(shape: Shape) -> Shape:
    """A shape of demonstrations with a label beside the response, read as feedback."""
    return Shape(
        name=f"{shape.name} with a label",
        kind=Feedback,
        keys=shape.keys | {"label"},
        reads=shape.reads,
        convert=lambda row: [
            item | {"desirable": layouts.is_desirable(row)} for item in shape.convert(row)
        ],
        when=lambda row: (
            shape.when(row)
            and not blank(row["label"])
            and not ("messages" in shape.keys and layouts.asks_last(row))
        ),
    )


_SCORES = "margin score_chosen score_rejected tie is_tie status"


def _pair_asked_as(key: str) -> Shape:
    """Pairs whose prompt is in a column of another name."""
    return _shape(
        f"{key}/chosen/rejected",
        Ranking,
        f"{key} chosen rejected",
        reads=_SCORES,
        convert=lambda row: layouts.read_pair(row | {"prompt": row[key]}),
    )


_ALPACA = "input context history"
_UNLABELLED: tuple[Shape, ...] = (
    _shape("K responses with tiers", Ranking, "prompt responses tiers", convert=layouts.read_ranks),
    _shape("K responses with ranks", Ranking, "prompt responses ranks", convert=layouts.read_ranks),
    _shape(
        "K responses with scores", Ranking, "prompt responses scores", convert=layouts.read_ranks
    ),
    _shape(
        "HH-RLHF transcripts",
        Ranking,
        "chosen rejected",
        reads=f"prompt {_SCORES}",
        convert=layouts.read_pair,
        when=layouts.is_transcript,
    ),
    _shape(
        "Alpaca with chosen/rejected",
        Ranking,
        "instruction chosen rejected",
        reads=f"{_ALPACA} {_SCORES}",
        convert=layouts.read_alpaca_pair,
    ),
    _shape(
        "ShareGPT with chosen/rejected",
        Ranking,
        "conversations chosen rejected",
        reads=_SCORES,
        convert=layouts.read_sharegpt_pair,
    ),
    _shape(
        "prompt/chosen/rejected",
        Ranking,
        "prompt chosen rejected",
        reads=_SCORES,
        convert=layouts.read_pair,
    ),
    *map(_pair_asked_as, ("question", "input")),
    _shape(
        "chosen/rejected conversations",
        Ranking,
        "chosen rejected",
        reads=_SCORES,
        convert=layouts.read_pair,
    ),
    _shape(
        "OpenAI preferences",
        Ranking,
        "input preferred_output non_preferred_output",
        convert=layouts.read_preferred,
    ),
    _shape("SHP", Ranking, "history human_ref_A human_ref_B labels", convert=preferences.shp),
    _shape(
        "PKU-SafeRLHF",
        Ranking,
        "prompt response_0 response_1 better_response_id",
        convert=preferences.safe_rlhf,
    ),
    _shape(
        "WebGPT comparisons",
        Ranking,
        "question answer_0 answer_1 score_0 score_1",
        convert=preferences.webgpt,
    ),
    _shape(
        "HelpSteer3",
        Ranking,
        "context response1 response2 overall_preference",
        convert=preferences.helpsteer3,
    ),
    _shape(
        "HelpSteer2",
        Ranking,
        "prompt response helpfulness",
        convert=preferences.helpsteer2,
        whole=True,
        check=preferences.check_rated,
    ),
    _shape("Nectar", Ranking, "prompt answers", convert=preferences.nectar),
    _shape("rated generations", Ranking, "prompt generations ratings", convert=preferences.rated),
    _shape(
        "rated generations",
        Ranking,
        "instruction generations ratings",
        convert=preferences.rated,
    ),
    _shape(
        "Chatbot Arena",
        Ranking,
        "conversation_a conversation_b winner",
        convert=preferences.arena,
    ),
    _shape(
        "Chatbot Arena",
        Ranking,
        "prompt response_a response_b",
        reads="winner winner_model_a winner_model_b winner_tie",
        convert=preferences.arena_columns,
        when=preferences.has_winner,
    ),
    _shape("UltraFeedback", Ranking, "instruction completions", convert=layouts.read_ultrafeedback),
    _shape("LLMBar", Ranking, "input output_1 output_2 label", convert=layouts.read_two_outputs),
    _shape(
        "PandaLM",
        Ranking,
        "instruction response1 response2 annotator1",
        reads="input annotator2 annotator3",
        convert=layouts.read_annotators,
    ),
    _shape(
        "OASST trees",
        Ranking,
        "prompt",
        convert=trees.rankings,
        when=trees.is_tree,
    ),
    _shape(
        "OASST messages",
        Ranking,
        "message_id text role",
        reads="parent_id rank deleted review_result",
        convert=trees.rankings_of_messages,
        whole=True,
    ),
    _shape(
        "OASST trees",
        Demonstration,
        "prompt",
        convert=trees.demonstrations,
        when=trees.is_tree,
    ),
    _shape(
        "OASST messages",
        Demonstration,
        "message_id text role",
        reads="parent_id rank deleted review_result",
        convert=trees.demonstrations_of_messages,
        whole=True,
    ),
    _shape(
        "prompt/response",
        Demonstration,
        "prompt response",
        reads=f"completion {layouts.WHOLE}",
        convert=layouts.read_response,
    ),
    _shape(
        "question/response",
        Demonstration,
        "question response",
        reads=layouts.WHOLE,
        convert=lambda row: layouts.read_response(row | {"prompt": row["question"]}),
    ),
    _shape(
        "prompt/completion",
        Demonstration,
        "prompt completion",
        reads=layouts.WHOLE,
        convert=layouts.read_response,
    ),
    _shape(
        "prompts", Prompt, "messages", convert=layouts.read_open_messages, when=layouts.asks_last
    ),
    *(_chat(key) for key in layouts.WHOLE.split()),
    _shape(
        "UltraChat",
        Demonstration,
        "data",
        convert=lambda row: layouts.read_messages(row, "data"),
        when=layouts.has_texts,
    ),
    _shape(
        "Alpaca",
        Demonstration,
        "instruction output",
        reads=f"{_ALPACA} response",
        convert=layouts.read_alpaca,
    ),
    _shape(
        "Alpaca", Demonstration, "instruction response", reads=_ALPACA, convert=layouts.read_alpaca
    ),
    _shape("Self-Instruct", Demonstration, "instruction instances", convert=layouts.read_instances),
    _shape(
        "Super-NaturalInstructions",
        Demonstration,
        "Definition Instances",
        convert=layouts.read_natural,
    ),
    _shape(
        "Super-NaturalInstructions",
        Demonstration,
        "definition inputs targets",
        convert=layouts.read_natural_row,
    ),
    _shape("OASST trees", Prompt, "prompt", convert=trees.prompts, when=trees.is_tree),
    _shape("prompts", Prompt, "prompt", convert=layouts.read_prompt),
    _shape("instructions", Prompt, "instruction", reads=_ALPACA, convert=layouts.read_instruction),
    _shape("plain text", str, "text", convert=lambda row: [{"text": row["text"]}]),
)
SHAPES: tuple[Shape, ...] = (
    *(
        _labelled(shape)
        for shape in _UNLABELLED
        if shape.kind is Demonstration and not shape.name.startswith("OASST")
    ),
    *_UNLABELLED,
)
"""Every shape, in the order in which a row is tried."""
