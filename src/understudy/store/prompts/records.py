"""Users, prompts, responses and feedback as records."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, groupby
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, bindparam, select

from understudy.records import Conversation, Prompt, Response
from understudy.records.schema import group_in
from understudy.store.adding import (
    Added,
    add_rows,
    batches,
    check_prompts,
    insert_new,
    known_ids,
    page_lists,
)
from understudy.store.border import stamp
from understudy.store.engine import reading, writing
from understudy.store.rows import (
    Row,
    now,
    packed,
    prompt_of,
    prompt_of_body,
    prompt_row,
    response_of,
    response_row,
)
from understudy.store.tables import feedback, prompts, responses, users


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


class PromptRecords:
    """The store's methods about prompts."""

    engine: Engine

    def add_user(self, user: User) -> None:
        """Add a user, or change a user's consent and organisation."""
        with writing(self.engine) as connection:
            row = {"organization_id": user.organization_id, "consent": user.consent}
            known = connection.execute(select(users.c.id).where(users.c.id == user.id)).first()
            if known:
                connection.execute(users.update().where(users.c.id == user.id).values(row))
            else:
                connection.execute(users.insert(), {"id": user.id, "created_at": now(), **row})

    def user(self, user_id: str) -> User | None:
        """One user."""
        query = select(users.c.id, users.c.organization_id, users.c.consent)
        with reading(self.engine) as connection:
            row = connection.execute(query.where(users.c.id == user_id)).first()
        return None if row is None else User(*row)

    def users(self) -> list[User]:
        """All users, by id."""
        query = select(users.c.id, users.c.organization_id, users.c.consent).order_by(users.c.id)
        with reading(self.engine) as connection:
            return [User(*row) for row in connection.execute(query)]

    def add_prompts(self, new: Iterable[Prompt]) -> Added:
        """Add prompts and their new users; keeps nothing of a prompt without consent."""
        total = Added()
        for batch in batches(new):
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
        """Record intake's decisions: split, use case and group, or the step that dropped the
        prompt.

        A redacted prompt keeps its id and takes the redacted text.
        """
        group_of: dict[str, str] = {}
        changes: Iterator[Row] = chain(
            ({"key": p.id, "dropped_by": None, **_as_built(p, group_of)} for p in kept),
            ({"key": name, "split": None, "dropped_by": step} for name, step in dropped),
        )
        for batch in batches(changes):
            with writing(self.engine) as connection:
                for names, rows in groupby(batch, key=lambda row: sorted(row)):
                    values: Row = {name: bindparam(name) for name in names if name != "key"}
                    update = prompts.update().where(prompts.c.id == bindparam("key"))
                    connection.execute(update.values(values), list(rows))
                _tag_groups(connection, [row["key"] for row in batch], group_of)

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
        for batch in batches(new):
            with writing(self.engine) as connection:
                asked: dict[str, set[Conversation]] = {}
                for response in batch:
                    asked.setdefault(response.prompt_id, set()).add(response.prompt)
                if leave_out_orphans:
                    there = known_ids(connection, prompts, sorted(asked))
                    total += Added(refused=sum(r.prompt_id not in there for r in batch))
                    batch = [response for response in batch if response.prompt_id in there]
                else:
                    check_prompts(connection, asked)
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
        for batch in batches(new):
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

    def _pages(self, query: Select[Any], key: Any) -> Iterator[RowMapping]:
        return chain.from_iterable(page_lists(self.engine, query, key))


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


def _as_built(prompt: Prompt, group_of: dict[str, str]) -> Row:
    if prompt.group is not None:
        group_of[prompt.id] = prompt.group
    row = prompt_row(prompt)
    return {"split": prompt.split, "use_case": row["use_case"], "body": row["body"]}


def _tag_groups(connection: Connection, ids: Sequence[str], group_of: dict[str, str]) -> None:
    """Add intake's groups to the tags as they are now: labelers may have tagged prompts during
    intake."""
    found = {name: group_of.pop(name) for name in ids if name in group_of}
    query = select(prompts.c.id, prompts.c.tags).where(prompts.c.id.in_(sorted(found)))
    for name, text in list(connection.execute(query)) if found else ():
        tags = json.loads(text)
        if group_in(tags) is None:
            tagged = {"tags": packed({**tags, "group": found[name]})}
            connection.execute(prompts.update().where(prompts.c.id == name).values(tagged))


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
