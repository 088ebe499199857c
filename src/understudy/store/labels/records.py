"""Labelers, their instructions and their labels as records."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, Table, select

from understudy.records import Conversation, LabelerInfo, Ranking, Rating, Response, sha256_of
from understudy.records.schema import group_in, policy_in
from understudy.store.adding import (
    Added,
    add_rows,
    batches,
    check_prompts,
    insert_new,
    known_ids,
    page_lists,
)
from understudy.store.engine import reading, writing
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
    response_row,
)
from understudy.store.tables import labelers, labels, prompts, ranked_responses, responses, rubrics


class LabelRecords:
    """The store's methods about labels."""

    engine: Engine

    def add_labelers(self, new: Iterable[LabelerInfo]) -> Added:
        """Add labelers. A role never changes: ValueError for a known labeler in another one."""
        return self._add_rows(
            labelers, map(_person_row, new), ("role", "labeler_group", "screening")
        )

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
        labels and for evaluation (records.EVALUATION_PRIORITIES by default)."""
        evaluate = packed(list(evaluation_priorities)) if evaluation_priorities else None
        row = {
            "version": version,
            "instructions": instructions,
            "priorities": packed(list(priorities)),
            "evaluation_priorities": evaluate,
            "created_at": now(),
        }
        same = ("instructions", "priorities", "evaluation_priorities")
        return self._add_rows(rubrics, [row], same, key="version")

    def add_labels(self, new: Iterable[Label]) -> Added:
        """Add demonstrations, ratings and rankings.

        ValueError if the labeler, prompt, response or rubric is not in the store, or if a ranking
        names another role than its labeler has. A ranking's texts that are not in the store become
        responses of the model "unknown".
        """
        total = Added()
        for batch in batches(new):
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
        for rows in page_lists(self.engine, query, labels.c.id):
            with reading(self.engine) as connection:
                yield from labels_of(connection, rows)

    def _add_labels(
        self, connection: Connection, batch: Sequence[Label], revises: RowMapping | None = None
    ) -> Added:
        asked: dict[str, set[Conversation]] = {}
        for label in batch:
            texts = asked.setdefault(label.prompt_id, set())
            if not isinstance(label, Rating):
                texts.add(label.prompt)
        check_prompts(connection, asked)
        roles = _roles(connection, batch)
        _check_rubrics(connection, {label.rubric for label in batch if label.rubric})
        _check_responses(connection, [label for label in batch if isinstance(label, Rating)])
        rows = [label_row(label, roles[label.labeler_id], revises) for label in batch]
        rankings = [label for label in batch if isinstance(label, Ranking)]
        _check_tags(connection, batch)
        known = known_ids(connection, labels, [row["id"] for row in rows])
        added = add_rows(
            connection, labels, rows, ("kind", "prompt_id", "labeler_id", "rubric", "body")
        )
        _rank(connection, [ranking for ranking in rankings if ranking.id not in known])
        return added

    def _add_rows(
        self, table: Table, rows: Iterable[Row], same: tuple[str, ...], key: str = "id"
    ) -> Added:
        with writing(self.engine) as connection:
            return add_rows(connection, table, rows, same, key)


def _person_row(labeler: LabelerInfo) -> Row:
    if labeler.role == "model":
        raise ValueError(f"labeler {labeler.id!r} is a model; the store keeps people's labels only")
    return labeler_row(labeler)


def label_query() -> Select[Any]:
    """Labels joined with the prompt columns that their records need."""
    of_prompt = (prompts.c.body.label("prompt_body"), prompts.c.split, prompts.c.tags)
    return select(labels, *of_prompt).join(prompts, labels.c.prompt_id == prompts.c.id)


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
                f"{label.labeler_role}, but the store says {role}; write labeler_role in the "
                "ranking (without it, it is training)"
            )
    return roles


def _check_rubrics(connection: Connection, versions: set[str]) -> None:
    query = select(rubrics.c.version).where(rubrics.c.version.in_(sorted(versions)))
    missing = versions - set(connection.execute(query).scalars())
    if missing:
        raise ValueError(
            f"rubric {min(missing)!r} is not in the store; add it (understudy labels rubric)"
        )


def _check_tags(connection: Connection, batch: Sequence[Label]) -> None:
    """The store keeps a ranking's group and a rating's policy once, as the prompt's tags."""
    named: list[tuple[Label, str, str]] = []
    for label in batch:
        if isinstance(label, Ranking) and label.group is not None:
            named.append((label, "group", label.group))
        if isinstance(label, Rating) and label.policy is not None:
            named.append((label, "policy", label.policy))
    ids = sorted({label.prompt_id for label, _, _ in named})
    query = select(prompts.c.id, prompts.c.tags).where(prompts.c.id.in_(ids))
    rows = connection.execute(query) if ids else ()
    tags = {row.id: json.loads(row.tags) for row in rows}
    for label, tag, value in named:
        found = tags[label.prompt_id]
        tagged = group_in(found) if tag == "group" else policy_in(found)
        if value != tagged:
            has = f"has {tagged!r}" if tagged else "is missing"
            raise ValueError(
                f"{kind_of(label)} {label.id!r} says that its prompt has the {tag} {value!r}, but "
                f"the tag `{tag}` of prompt {label.prompt_id!r} {has}; leave it out of the "
                f"{kind_of(label)}, or tag the prompt"
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
