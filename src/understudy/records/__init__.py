"""The records of the loop: what people and models write, as frozen dataclasses in plain files.

Free of torch, so that a labeling server starts without it.
"""

from understudy.records.convert import RecordError
from understudy.records.io import (
    file_hash,
    iter_records,
    read_records,
    sha256_of,
    write_records,
)
from understudy.records.protocols import Judge, Labeler
from understudy.records.schema import (
    EVALUATION_PRIORITIES,
    FLAGS,
    Comparison,
    Conversation,
    Demonstration,
    Feedback,
    Judgment,
    LabelerInfo,
    Message,
    Prompt,
    Ranking,
    Rating,
    Response,
    as_messages,
    prompt_text,
)

__all__ = [
    "EVALUATION_PRIORITIES",
    "FLAGS",
    "Comparison",
    "Conversation",
    "Demonstration",
    "Feedback",
    "Judge",
    "Judgment",
    "Labeler",
    "LabelerInfo",
    "Message",
    "Prompt",
    "Ranking",
    "Rating",
    "RecordError",
    "Response",
    "as_messages",
    "file_hash",
    "iter_records",
    "prompt_text",
    "read_records",
    "sha256_of",
    "write_records",
]
