"""Reads and writes the record chain, the same on SQLite and PostgreSQL.

Records are added by id: re-adding identical content does nothing (a client may send twice); the
same id with different content raises ValueError. Labels never change: `revise` appends.

    store = open_project(Path("my-project")).open_store()
    store.add_prompts(read_records("prompts.jsonl", Prompt))
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, groupby, islice
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, Table, bindparam, select

from understudy.records import LabelerInfo, Prompt, Ranking, Rating, Response, sha256_of
from understudy.store.border import clean_json, stamp
from understudy.store.engine import dialect_of, reading, writing
from understudy.store.labeling_tables import withdrawals
from understudy.store.rows import (
    Label,
    Row,
    kind_of,
    label_of,
    label_row,
    labeler_of,
    labeler_row,
    now,
    packed,
    prompt_of,
    prompt_row,
    response_of,
    response_row,
)
from understudy.store.rows import (
    prompt_of_body as prompt_of_body,
)
from understudy.store.tables import (
    feedback,
    labelers,
    labels,
    prompts,
    ranked_responses,
    responses,
    rubrics,
    users,
)

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


@dataclass(frozen=True, slots=True)
class User:
    """A user, who sends prompts: `User("u1", None, True)`."""

    id: str
    """Opaque id."""
    organization_id: str | None
    """The user's organisation."""
    consent: bool
    """Whether the user agreed that prompts are kept and used."""


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """A user's feedback on a response of the gateway."""

    id: str
    """Opaque id."""
    response_id: str
    """The response; for a choice, the chosen one."""
    kind: str
    """thumb, choice or correction."""
    value: str | int
    """up or down, the chosen index, or the user's correction."""
    created_at: str
    """ISO 8601 in UTC."""


class Store:
    """The record chain in one database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    # People

    def add_user(self, user: User) -> None:
        """Add a user, or change a user's consent and organisation."""
        with writing(self.engine) as connection:
            row = {"organization_id": user.organization_id, "consent": user.consent}
            known = connection.execute(select(users.c.id).where(users.c.id == user.id)).first()
            if known:
                connection.execute(users.update().where(users.c.id == user.id).values(row))
            else:
                connection.execute(users.insert(), {"id": user.id, "created_at": now(), **row})

    def users(self) -> list[User]:
        """All users, by id."""
        query = select(users.c.id, users.c.organization_id, users.c.consent).order_by(users.c.id)
        with reading(self.engine) as connection:
            return [User(*row) for row in connection.execute(query)]

    def add_labelers(self, new: Iterable[LabelerInfo]) -> Added:
        """Add labelers. A role never changes: ValueError for a known labeler in another one."""
        return self._add(labelers, map(labeler_row, new), ("role", "labeler_group", "screening"))

    def labelers(self) -> list[LabelerInfo]:
        """All labelers, by id."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(labelers).order_by(labelers.c.id)).mappings()
            return [labeler_of(row) for row in rows]

    def add_rubric(
        self,
        version: str,
        instructions: str,
        priorities: Sequence[str],
        evaluation_priorities: Sequence[str] | None = None,
    ) -> Added:
        """Add a version of the instructions, with priorities, most important first, for training
        labels and for evaluation (people.EVALUATION_PRIORITIES by default)."""
        evaluate = packed(list(evaluation_priorities)) if evaluation_priorities else None
        row = {
            "version": version,
            "instructions": instructions,
            "priorities": packed(list(priorities)),
            "evaluation_priorities": evaluate,
            "created_at": now(),
        }
        same = ("instructions", "priorities", "evaluation_priorities")
        return self._add(rubrics, [row], same, key="version")

    # Prompts and responses

    def add_prompts(self, new: Iterable[Prompt]) -> Added:
        """Add prompts and their new users; keeps nothing of a prompt without consent."""
        total = Added()
        for batch in _batches(new):
            with writing(self.engine) as connection:
                agreed = _agreed(connection, batch)
                insert_new(connection, users, _users_of(agreed))
                rows = [{**prompt_row(prompt), "created_at": _sent(prompt)} for prompt in agreed]
                added = add_rows(connection, prompts, rows, ("user_id", "digest"))
            total += added + Added(refused=len(batch) - len(agreed))
        return total

    def prompts(self, split: str | None = None, *, built: bool | None = None) -> Iterator[Prompt]:
        """Prompts in id order: of a split, those that intake has kept (`built`), or all."""
        query = select(prompts)
        if split is not None:
            query = query.where(prompts.c.split == split)
        if built is not None:
            query = query.where(prompts.c.split.is_not(None) == built)
        for row in self._pages(query, prompts.c.id):
            yield prompt_of(row)

    def set_intake(self, kept: Iterable[Prompt], dropped: Iterable[tuple[str, str]]) -> None:
        """Record intake's decisions: split and use case, or the step that dropped the prompt.

        A redacted prompt keeps its id and takes the redacted text.
        """
        changes: Iterator[Row] = chain(
            ({"key": prompt.id, "dropped_by": None, **_as_built(prompt)} for prompt in kept),
            ({"key": name, "split": None, "dropped_by": step} for name, step in dropped),
        )
        for batch in _batches(changes):
            with writing(self.engine) as connection:
                for names, rows in groupby(batch, key=lambda row: sorted(row)):
                    values: Row = {name: bindparam(name) for name in names if name != "key"}
                    update = prompts.update().where(prompts.c.id == bindparam("key"))
                    connection.execute(update.values(values), list(rows))

    def add_responses(
        self,
        new: Iterable[Response],
        *,
        merge_identical: bool = False,
        leave_out_orphans: bool = False,
    ) -> Added:
        """Add responses; `merge_identical` skips those that repeat a text for their prompt.

        ValueError for one whose prompt is not in the store, unless `leave_out_orphans`.
        """
        total = Added()
        for batch in _batches(new):
            with writing(self.engine) as connection:
                asked = {response.prompt_id for response in batch}
                if leave_out_orphans:
                    there = _known_ids(connection, prompts, sorted(asked))
                    total += Added(refused=sum(r.prompt_id not in there for r in batch))
                    batch = [response for response in batch if response.prompt_id in there]
                else:
                    self._check_prompts(connection, asked)
                if merge_identical:
                    batch = _unrepeated(connection, batch)
                total += add_rows(
                    connection, responses, map(response_row, batch), ("prompt_id", "response")
                )
        return total

    def responses(self, prompt_id: str | None = None) -> Iterator[Response]:
        """Responses in id order: to one prompt, or all."""
        query = select(responses, prompts.c.body).join(prompts)
        if prompt_id is not None:
            query = query.where(responses.c.prompt_id == prompt_id)
        for row in self._pages(query, responses.c.id):
            yield response_of(row, prompt_of_body(row["body"]))

    def add_feedback(self, new: Iterable[FeedbackRow]) -> Added:
        """Add feedback; skips feedback on responses that are not in the store."""
        total = Added()
        for batch in _batches(new):
            with writing(self.engine) as connection:
                ids = [row.response_id for row in batch]
                query = select(responses.c.id, responses.c.prompt_id)
                found = connection.execute(query.where(responses.c.id.in_(ids)))
                prompt_of_response = {row.id: row.prompt_id for row in found}
                rows = [
                    {
                        **asdict(row),
                        "value": packed(row.value),
                        "prompt_id": prompt_of_response[row.response_id],
                    }
                    for row in batch
                    if row.response_id in prompt_of_response
                ]
                total += add_rows(connection, feedback, rows, ("response_id", "kind", "value"))
                total += Added(refused=len(batch) - len(rows))
        return total

    # Labels

    def add_labels(self, new: Iterable[Label]) -> Added:
        """Add demonstrations, ratings and rankings.

        ValueError if the labeler, prompt, response or rubric is not in the store, or if a ranking
        names another role than its labeler has. A ranking's texts that are not in the store become
        responses of the model "unknown".
        """
        total = Added()
        for batch in _batches(new):
            with writing(self.engine) as connection:
                total += self._add_labels(connection, batch)
        return total

    def revise(self, label_id: str, revised: Label) -> None:
        """Append a label that replaces another of the same kind, prompt and labeler."""
        with writing(self.engine) as connection:
            old = connection.execute(select(labels).where(labels.c.id == label_id)).mappings()
            row = old.first()
            if row is None:
                raise ValueError(f"there is no label {label_id!r} to revise")
            for name, value in (
                ("kind", kind_of(revised)),
                ("prompt_id", revised.prompt_id),
                ("labeler_id", revised.labeler_id),
            ):
                if row[name] != value:
                    raise ValueError(f"{name} of {label_id} is {row[name]!r}, not {value!r}")
            later = select(labels.c.id).where(labels.c.revises == label_id)
            found = connection.execute(later).scalar()
            if found not in (None, revised.id):
                raise ValueError(f"label {label_id} was revised by {found}; revise that one")
            self._add_labels(connection, [revised], revises=row)

    def labels(self, *, all_revisions: bool = False) -> Iterator[Label]:
        """Labels in id order: the newest revision of each, or all."""
        query = label_query() if all_revisions else current(label_query())
        for rows in self._page_lists(query, labels.c.id):
            with reading(self.engine) as connection:
                yield from labels_of(connection, rows)

    def _add_labels(
        self, connection: Connection, batch: Sequence[Label], revises: RowMapping | None = None
    ) -> Added:
        self._check_prompts(connection, {label.prompt_id for label in batch})
        roles = _roles(connection, batch)
        _check_rubrics(connection, {label.rubric for label in batch if label.rubric})
        _check_responses(connection, [label for label in batch if isinstance(label, Rating)])
        rows = [label_row(label, roles[label.labeler_id], revises) for label in batch]
        rankings = [label for label in batch if isinstance(label, Ranking)]
        known = _known_ids(connection, labels, [row["id"] for row in rows])
        added = add_rows(
            connection, labels, rows, ("kind", "prompt_id", "labeler_id", "rubric", "body")
        )
        _rank(connection, [ranking for ranking in rankings if ranking.id not in known])
        return added

    # Helpers

    def _add(
        self, table: Table, rows: Iterable[Row], same: tuple[str, ...], key: str = "id"
    ) -> Added:
        with writing(self.engine) as connection:
            return add_rows(connection, table, rows, same, key)

    def _check_prompts(self, connection: Connection, ids: set[str]) -> None:
        missing = ids - _known_ids(connection, prompts, sorted(ids))
        if missing:
            raise ValueError(
                f"prompt {min(missing)!r} is not in the store; add it first "
                "(understudy prompts add), and use its id"
            )

    def _pages(self, query: Select[Any], key: Any) -> Iterator[RowMapping]:
        for rows in self._page_lists(query, key):
            yield from rows

    def _page_lists(self, query: Select[Any], key: Any) -> Iterator[list[RowMapping]]:
        """All rows in the order of a unique column, a short transaction per page, so readers block
        nobody."""
        last: Any = None
        while True:
            page = query if last is None else query.where(key > last)
            with reading(self.engine) as connection:
                rows = list(connection.execute(page.order_by(key).limit(BATCH)).mappings())
            if not rows:
                return
            yield rows
            last = rows[-1][key.name]


def label_query() -> Select[Any]:
    """Labels joined with the prompt columns that their records need."""
    return select(labels, prompts.c.body.label("prompt_body"), prompts.c.split).join(
        prompts, labels.c.prompt_id == prompts.c.id
    )


def current(query: Select[Any]) -> Select[Any]:
    """Restrict to labels that were neither revised nor withdrawn."""
    later = labels.alias()
    withdrawn = select(withdrawals.c.label_id).where(withdrawals.c.label_id == labels.c.id)
    revised = select(later.c.id).where(later.c.revises == labels.c.id)
    return query.where(~revised.exists(), ~withdrawn.exists())


def labels_of(connection: Connection, rows: Sequence[RowMapping]) -> Iterator[Label]:
    """The records of rows of `label_query`."""
    ids = [row["id"] for row in rows if row["kind"] == "ranking"]
    shown: dict[str, list[str]] = defaultdict(list)
    if ids:
        query = (
            select(ranked_responses.c.label_id, responses.c.response)
            .join(responses)
            .where(ranked_responses.c.label_id.in_(ids))
            .order_by(ranked_responses.c.label_id, ranked_responses.c.place)
        )
        for label_id, text in connection.execute(query):
            shown[label_id].append(text)
    for row in rows:
        yield label_of(row, shown[row["id"]])


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
            raise ValueError(
                f"{table.name.removesuffix('s')} {row[key]!r} is already in the store with another "
                f"{name}; use another id"
            )


def _agreed(connection: Connection, batch: Sequence[Prompt]) -> list[Prompt]:
    """The prompts with consent, of users who have not refused theirs."""
    ids = sorted({prompt.user_id for prompt in batch})
    query = select(users.c.id).where(users.c.id.in_(ids), ~users.c.consent)
    refusing = set(connection.execute(query).scalars())
    return [p for p in batch if p.consent is True and p.user_id not in refusing]


def _sent(prompt: Prompt) -> str | None:
    """When it was sent, in the store's format; ValueError names a prompt whose time is invalid."""
    if prompt.created_at is None:
        return None
    try:
        return stamp(prompt.created_at)
    except ValueError as error:
        raise ValueError(f"prompt {prompt.id!r}: {error}") from None


def _users_of(batch: Sequence[Prompt]) -> list[Row]:
    first = {prompt.user_id: prompt for prompt in reversed(batch)}
    return [
        {
            "id": prompt.user_id,
            "organization_id": prompt.organization_id,
            "consent": True,
            "created_at": now(),
        }
        for prompt in first.values()
    ]


def _as_built(prompt: Prompt) -> Row:
    row = prompt_row(prompt)
    return {"split": prompt.split, "use_case": row["use_case"], "body": row["body"]}


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _known_ids(connection: Connection, table: Table, ids: Sequence[str]) -> set[str]:
    return set(connection.execute(select(table.c.id).where(table.c.id.in_(ids))).scalars())


def _unrepeated(connection: Connection, batch: Sequence[Response]) -> list[Response]:
    """Drop responses whose text their prompt already has, in the store or earlier in the batch."""
    ids = sorted({response.prompt_id for response in batch})
    query = select(responses.c.prompt_id, responses.c.response, responses.c.id).where(
        responses.c.prompt_id.in_(ids)
    )
    seen = {(prompt, text): name for prompt, text, name in connection.execute(query)}
    kept = []
    for response in batch:
        if seen.setdefault((response.prompt_id, response.response), response.id) == response.id:
            kept.append(response)
    return kept


def _roles(connection: Connection, batch: Sequence[Label]) -> dict[str, str]:
    """The role of each labeler; ValueError for an unknown labeler and for a ranking that claims
    another role."""
    ids = sorted({label.labeler_id for label in batch})
    query = select(labelers.c.id, labelers.c.role).where(labelers.c.id.in_(ids))
    roles = {row.id: row.role for row in connection.execute(query)}
    for label in batch:
        if label.labeler_id not in roles:
            raise ValueError(
                f"labeler {label.labeler_id!r} is not in the store; add the labeler, with the "
                "role, first (understudy labels add --labelers FILE)"
            )
        role = roles[label.labeler_id]
        if isinstance(label, Ranking) and label.labeler_role != role:
            raise ValueError(
                f"ranking {label.id!r} says that labeler {label.labeler_id!r} is "
                f"{label.labeler_role}, but the store says {role}"
            )
    return roles


def _check_rubrics(connection: Connection, versions: set[str]) -> None:
    query = select(rubrics.c.version).where(rubrics.c.version.in_(sorted(versions)))
    missing = versions - set(connection.execute(query).scalars())
    if missing:
        raise ValueError(
            f"rubric {min(missing)!r} is not in the store; add it (understudy labels rubric)"
        )


def _check_responses(connection: Connection, ratings: Sequence[Rating]) -> None:
    ids = [rating.response_id for rating in ratings]
    query = select(responses.c.id, responses.c.prompt_id).where(responses.c.id.in_(ids))
    prompt_of_response = {row.id: row.prompt_id for row in connection.execute(query)}
    for rating in ratings:
        if prompt_of_response.get(rating.response_id) != rating.prompt_id:
            raise ValueError(
                f"rating {rating.id!r}: the store has no response {rating.response_id!r} to "
                f"prompt {rating.prompt_id!r}"
            )


def _rank(connection: Connection, rankings: Sequence[Ranking]) -> None:
    """The rows of `ranked_responses`; adds a response for every text that has none."""
    ids = sorted({ranking.prompt_id for ranking in rankings})
    query = select(responses.c.prompt_id, responses.c.response, responses.c.id)
    query = query.where(responses.c.prompt_id.in_(ids)).order_by(responses.c.id.desc())
    known = {(prompt, text): name for prompt, text, name in connection.execute(query)}
    new: list[Row] = []
    rows: list[Row] = []
    for ranking in rankings:
        for place, (text, tier) in enumerate(zip(ranking.responses, ranking.ranks, strict=True)):
            key = (ranking.prompt_id, text)
            if key not in known:
                known[key] = "r-" + sha256_of(["unknown", *key])[:16]
                response = Response(
                    id=known[key],
                    prompt_id=ranking.prompt_id,
                    prompt=ranking.prompt,
                    response=text,
                    model="unknown",
                )
                new.append(response_row(response))
            rows.append(
                {
                    "label_id": ranking.id,
                    "place": place,
                    "tier": tier,
                    "response_id": known[key],
                }
            )
    insert_new(connection, responses, new)
    insert_new(connection, ranked_responses, rows)
