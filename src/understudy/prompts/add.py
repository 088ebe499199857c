"""`understudy prompts add`: adds users' prompts to a project's store, from files and the log.

Re-adding identical prompts changes nothing. The log also provides the responses and the feedback on
them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.records import Prompt, Response, iter_records, sha256_of
from understudy.store import Project, open_project

if TYPE_CHECKING:
    from understudy.store import Store
    from understudy.store.adding import Added
    from understudy.store.prompts.log import Event, PromptLog
    from understudy.store.prompts.records import FeedbackRow


@dataclass(frozen=True, kw_only=True, slots=True)
class AddConfig:
    """Add users' prompts to a project's store, except those without consent."""

    project: Path = Path()
    """The project's folder."""
    data: tuple[str, ...] = ()
    """Files of prompts, .jsonl, .parquet or .csv (columns prompt and, preferably, id, user_id,
    organization_id, created_at), or a data set by name."""
    log: bool = False
    """Also add what the project's gateway has recorded."""

    def __post_init__(self) -> None:
        if not self.data and not self.log:
            raise ValueError("nothing to add: give --data FILE or --log")


def add_prompts(config: AddConfig) -> str:
    """Add; returns a line per source."""
    project = open_project(config.project)
    store = project.open_store()
    lines = []
    for source in config.data:
        added = store.add_prompts(iter_records(source, Prompt))
        lines.append(f"{source}: {_counts(added)}")
    if config.log:
        lines += add_from_log(project, store)
    return "\n".join(lines)


def _counts(added: "Added") -> str:
    text = f"{added.new:,} new, {added.known:,} known"
    return text + (
        f", {added.refused:,} without consent or response left out" if added.refused else ""
    )


def add_from_log(project: Project, store: "Store") -> list[str]:
    """Add the log's prompts, responses and feedback."""
    from understudy.store.prompts.log import PromptLog

    if not project.log.is_file():
        raise ValueError(f"{project.log} does not exist; the gateway has recorded nothing yet")
    log = PromptLog(project.log)
    try:
        prompts = store.add_prompts(
            prompt for event in _of_kind(log, "prompt") for prompt in prompts_of(event)
        )
        responses = store.add_responses(
            (response for event in _of_kind(log, "answer") for response in responses_of(event)),
            leave_out_orphans=True,  # of users who have withdrawn their consent since
        )
        feedback = store.add_feedback(feedback_of(event) for event in _of_kind(log, "feedback"))
    finally:
        log.close()
    return [
        f"log: prompts {_counts(prompts)}",
        f"log: responses {_counts(responses)}",
        f"log: feedback {_counts(feedback)}",
    ]


def _of_kind(log: "PromptLog", kind: str) -> Iterator["Event"]:
    return (event for _, event in log.events() if event.kind == kind)


def prompts_of(event: "Event") -> Iterator[Prompt]:
    """The prompts of a request: one, or several for a completion."""
    for number, prompt in enumerate(event.body["prompts"]):
        single = isinstance(prompt, list) and len(prompt) == 1
        yield Prompt.from_json(
            {
                "id": prompt_id(event.request_id, number),
                "prompt": prompt[0]["content"] if single else prompt,
                "user_id": event.user_id,
                "organization_id": event.body["organization_id"],
                "source": "user",
                "created_at": event.created_at,
                "tags": {"request": event.request_id, "kind": event.body["kind"]},
            }
        )


def responses_of(event: "Event") -> Iterator[Response]:
    """The responses to a request, prompt by prompt, `n` for each."""
    body = event.body
    for index, text in enumerate(body["responses"]):
        if text is None:  # the client left before this one had begun
            continue
        name = prompt_id(event.request_id, index // body["n"])
        yield Response(
            id=response_id(event.request_id, index),
            prompt_id=name,
            prompt="(in the store)",  # the store keeps the text once, with the prompt
            response=text,
            model=body["model"],
            temperature=body["temperature"],
            seed=body["seed"] or 0,
            # Logs of earlier versions do not say.
            finished=body["finished"][index] if "finished" in body else True,
        )


def feedback_of(event: "Event") -> "FeedbackRow":
    """A user's feedback on a response."""
    from understudy.store.prompts.records import FeedbackRow

    body = event.body
    index = body["value"] if body["kind"] == "choice" else body["index"]
    return FeedbackRow(
        id=sha256_of([event.request_id, event.created_at, dict(body)])[:24],
        response_id=response_id(event.request_id, index),
        kind=body["kind"],
        value=body["value"],
        created_at=event.created_at,
    )


def prompt_id(request_id: str, number: int) -> str:
    """The id of a request's prompt in the store."""
    return f"p-{request_id}-{number}"


def response_id(request_id: str, index: int) -> str:
    """The id of a request's response in the store."""
    return f"r-{request_id}-{index}"
