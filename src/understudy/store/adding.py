"""Adds rows by key, batch by batch, and reads them page by page."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, Table, select

from understudy.records import Conversation, as_messages, sha256_of
from understudy.records.convert import write_value
from understudy.store.border import clean, clean_json
from understudy.store.engine import dialect_of, reading
from understudy.store.rows import Row, packed, prompt_of_body
from understudy.store.tables import prompts

BATCH = 500
"""Records added per transaction, and rows read per query."""


@dataclass(frozen=True, slots=True)
class Added:
    """The result of adding records: `Added(new=3, known=1, refused=0)`."""

    new: int = 0
    """Newly added."""
    known: int = 0
    """Already in the store, identical."""
    refused: int = 0
    """Left out: prompts without consent."""

    def __add__(self, other: "Added") -> "Added":
        return Added(self.new + other.new, self.known + other.known, self.refused + other.refused)


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows; leaves rows with a known key as they are."""
    if rows:
        insert = dialect_of(connection).insert(table)
        connection.execute(insert.on_conflict_do_nothing(), list(rows))


def add_rows(
    connection: Connection,
    table: Table,
    rows: Iterable[Row],
    same: Sequence[str],
    key: str = "id",
) -> Added:
    """Insert rows by key; ValueError if a known key has different values in `same`."""
    fresh: dict[str, Row] = {}
    known = 0
    for given in rows:
        row = clean_json(given)
        if row[key] in fresh:
            _check_same(table, key, row, fresh[row[key]], same)
            known += 1
        else:
            fresh[row[key]] = row
    column = table.c[key]
    query = select(table).where(column.in_(list(fresh)))
    for found in connection.execute(query).mappings():
        _check_same(table, key, fresh.pop(found[key]), found, same)
        known += 1
    insert_new(connection, table, list(fresh.values()))
    return Added(new=len(fresh), known=known)


def _check_same(table: Table, key: str, row: Row, found: Any, same: Sequence[str]) -> None:
    for name in same:
        if row[name] != found[name]:
            what = "text" if name == "digest" else name
            raise ValueError(
                f"{table.name.removesuffix('s')} {row[key]!r} is already in the store with another "
                f"{what}; use another id"
            )


def batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def known_ids(connection: Connection, table: Table, ids: Sequence[str]) -> set[str]:
    return set(connection.execute(select(table.c.id).where(table.c.id.in_(ids))).scalars())


def page_lists(engine: Engine, query: Select[Any], key: Any) -> Iterator[list[RowMapping]]:
    """All rows in the order of a unique column, a page per short transaction, so that readers
    block nobody."""
    last: Any = None
    while True:
        page = query if last is None else query.where(key > last)
        with reading(engine) as connection:
            rows = list(connection.execute(page.order_by(key).limit(BATCH)).mappings())
        if not rows:
            return
        yield rows
        last = rows[-1][key.name]


def check_prompts(connection: Connection, asked: Mapping[str, Iterable[Conversation]]) -> None:
    """ValueError names a prompt (id -> texts under which records name it) that is not in the store
    or has another text there; white space may differ, and intake may have redacted it."""
    query = select(prompts.c.id, prompts.c.body, prompts.c.digest)
    query = query.where(prompts.c.id.in_(sorted(asked)))
    found = {row.id: row for row in connection.execute(query)}
    for name, texts in sorted(asked.items()):
        if name not in found:
            raise ValueError(
                f"prompt {name!r} is not in the store; add it first "
                "(understudy prompts add), and use its id"
            )
        body, digest = found[name].body, found[name].digest
        for text in texts:
            same = sha256_of(packed(write_value(text))) == digest
            if not same and _words(text) != _words(prompt_of_body(body)):
                raise ValueError(
                    f"prompt {name!r} has another text in the store than in this record; use the "
                    "id of the prompt with that text"
                )


def _words(prompt: Conversation) -> list[tuple[str, list[str]]]:
    return [(turn.role, clean(turn.content).split()) for turn in as_messages(prompt)]
