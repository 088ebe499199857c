"""The stage in which the user is one of the labelers: `understudy demo --label 10`.

Prompts and sampled responses enter a separate project, DEMO/you/NAME, where NAME is a hash of the
responses to rank. The demo's own store is unsuitable: a stage that runs again removes what it added
there, and a person's rankings must survive that. The same responses give the same project, so work
continues where it stopped, and nobody ranks the same prompt twice.
"""

import contextlib
import random
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from operator import attrgetter

from sqlalchemy import func, select

from understudy.commands.labelers import InviteConfig, ResetConfig, invite_labeler, reset_labeler
from understudy.commands.new import NewConfig, new_project
from understudy.labeling.clock import stamp, utc_now
from understudy.labeling.collect import distinct_responses
from understudy.labeling.serve import LabelConfig, make_app
from understudy.loop.link import LINK_FILE, write_link
from understudy.loop.stage_call import StageCall
from understudy.loop.stages.project import STORE_FILES
from understudy.records import (
    Prompt,
    Ranking,
    Response,
    file_hash,
    read_records,
    sha256_of,
    write_records,
)
from understudy.store import Project, Store, open_project
from understudy.store.accounts.people import all_accounts
from understudy.store.engine import reading
from understudy.store.labeling_tables import assignments
from understudy.store.project import FILE
from understudy.store.queue.leases import Taker, left_for
from understudy.store.queue.plan import Overlap, add_items, to_rank
from understudy.training.stop import EXIT_STOPPED

NAME = "you"
MOST_ANSWERS = 9
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_AFTER_THE_LAST = 3.0
"""How long the pages stay after the last ranking, so that they can confirm it."""
ONE_LABELER = Overlap(share=0.0, wanted=1, most=1)


def ask(call: StageCall) -> None:
    """yours.jsonl has the user's rankings, rankings.jsonl the simulated labelers' and then these.

    Inputs: prompts, responses, rankings. Config: number, how many prompts the user ranks. Exits
    with EXIT_STOPPED if a signal stops it first.
    """
    project = yours(call)
    store = project.open_store()
    try:
        if not finished(store, call.config["number"]):
            with told_to_stop() as stopped, served(project, call) as server:
                wait(call, store, stopped, server)
        own = sorted(
            (one for one in store.labels() if isinstance(one, Ranking)), key=attrgetter("id")
        )
    finally:
        store.engine.dispose()
    write_records(call.out / "yours.jsonl", own)
    write_records(
        call.out / "rankings.jsonl", [*read_records(call.path("rankings"), Ranking), *own]
    )


def yours(call: StageCall) -> Project:
    """The project with the responses to rank and the first `number` prompts in its queue."""
    prompts, responses = chosen(call)
    name = sha256_of([file_hash(p) for p in (call.path("prompts"), *call.paths("responses"))])
    folder = call.root / "you" / name[:12]
    if not (folder / FILE).is_file():
        for half_made in STORE_FILES:
            (folder / half_made).unlink(missing_ok=True)
        new_project(NewConfig(folder=folder))
    project = open_project(folder)
    store = project.open_store()
    store.add_prompts(prompts)
    store.set_intake(prompts, [])
    store.add_responses(responses)
    new, seed = to_rank(store, most=MOST_ANSWERS), call.config["seed"]
    add_items(store, new, overlap=ONE_LABELER, seed=seed, at=stamp(utc_now()))
    store.engine.dispose()
    return project


def chosen(call: StageCall) -> tuple[list[Prompt], list[Response]]:
    """The prompts to rank, drawn at random from those with two different responses, and the
    responses.

    A larger number includes the prompts of a smaller one. ValueError if there are too few.
    """
    number = call.config["number"]
    responses = [r for path in call.paths("responses") for r in read_records(path, Response)]
    shown = distinct_responses(responses)
    able = [p for p in read_records(call.path("prompts"), Prompt) if len(shown.get(p.id, ())) > 1]
    if number > len(able):
        raise ValueError(
            f"--label is {number}, but only {len(able)} prompts have two different responses to "
            f"rank; pass --label {len(able)} or less"
        )
    random.Random(f"your_labels/{call.config['seed']}").shuffle(able)
    return able[:number], [r for p in able[:number] for r in shown[p.id]]


def finished(store: Store, number: int) -> bool:
    """Whether the user has ranked or skipped `number` prompts."""
    states = states_of(store)
    if states.get("done", 0) >= number:
        return True
    accounts = all_accounts(store)
    if not accounts or states.get("leased") or states.get("expired"):
        return False
    (me,) = accounts
    return not left_for(store, Taker(account_id=me["id"], role=me["role"], stage="active"))


def states_of(store: Store) -> dict[str, int]:
    """State -> number of the user's assignments in it."""
    query = select(assignments.c.state, func.count().label("number")).group_by(assignments.c.state)
    with reading(store.engine) as connection:
        return {row.state: row.number for row in connection.execute(query)}


# The pages


@contextlib.contextmanager
def served(project: Project, call: StageCall) -> Iterator[threading.Thread]:
    """Serve the labelers' pages on a free port of this machine, in a thread; meanwhile LINK_FILE
    has the link for the demo to print."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        number = call.config["number"]
        app = make_app(LabelConfig(project=project.folder, port=port, goal_per_day=number))
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                access_log=False,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        try:
            write_link(call.out, link_to(project, f"http://127.0.0.1:{port}"))
            yield thread
        finally:
            (call.out / LINK_FILE).unlink(missing_ok=True)
            server.should_exit = True
            thread.join()
            app.state.frame.parts.store.engine.dispose()


def link_to(project: Project, address: str) -> str:
    """A one-time link: first a training labeler's invitation, later one to set a password."""
    store = project.open_store()
    accounts = all_accounts(store)
    store.engine.dispose()
    if accounts:
        name = accounts[0]["name"]
        return reset_labeler(ResetConfig(name=name, project=project.folder, address=address))
    return invite_labeler(
        InviteConfig(
            name=NAME, project=project.folder, role="training", screen="no", address=address
        )
    )


# Waiting


def wait(call: StageCall, store: Store, stopped: threading.Event, server: threading.Thread) -> None:
    """Wait until the user is done; SystemExit if a signal stops it first."""
    number = call.config["number"]
    while not finished(store, number):
        done = states_of(store).get("done", 0)
        call.progress(done, number, f"{done} of {number} ranked")
        if stopped.wait(SECONDS_BETWEEN_LOOKS):
            sys.exit(EXIT_STOPPED)
        if not server.is_alive():
            raise RuntimeError(
                "the server of the labelers' pages ended; the same command continues from there"
            )
    stopped.wait(SECONDS_AFTER_THE_LAST)


@contextlib.contextmanager
def told_to_stop() -> Iterator[threading.Event]:
    """An event set by SIGTERM, which the demo sends to stages on Ctrl-C."""
    stopped = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGTERM, before)
