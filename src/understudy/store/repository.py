"""Reads and writes the record chain, the same on SQLite and PostgreSQL.

Records are added by id: re-adding identical content does nothing (a client may send twice); the
same id with different content raises ValueError. Labels never change: `revise` appends.

    store = open_project(Path("my-project")).open_store()
    store.add_prompts(read_records("prompts.jsonl", Prompt))
"""

from sqlalchemy import Engine

from understudy.store.labels.records import LabelRecords
from understudy.store.prompts.records import PromptRecords


class Store(PromptRecords, LabelRecords):
    """The record chain in one database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
