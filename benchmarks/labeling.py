"""40 labelers at once on the labeling pages: latency of each page, and lost labels.

    python benchmarks/labeling.py [--labelers 40] [--items 50] [--think 0.0]
        [--store sqlite | postgresql] [--owner 0]
    python benchmarks/labeling.py --pages 100000 [--kept .cache/labeling]

Each labeler signs in by invitation, reads the instructions and then, for every item, loads the work
page, fetches the item, saves a draft, reports that the page is open, and submits, as a browser
does. The labelers judge by the length of a text (`Quick`), so the figures are the server's; any
`records.Labeler` can take their place. `--think S` waits S seconds on average before each request;
0 is the worst case, since no labeler is that fast. `--owner N` puts N prompts into the store that
three labelers have rated and ranked (about 5,000 at the paper's size), and an owner opens the page
of agreement while the labelers work. Server and labelers share this machine. At the end three
counts must be 0: acknowledged labels that are not in the store exactly once, items with more
labelers than their overlap, and items that one labeler got twice.

`--pages N` instead loads every owner's page over a store with N items (100,000 have a million
labels): how long until the page shows something, how long until it is complete, and the CPU time of
the server's processes. The first round computes the figures of trust; the second is what an owner
sees until labels change; the third follows a new label. The store is kept in `--kept`.
"""

import argparse
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from labeled_before import NUM_GOLD, Before, fill_labeled
from understudy.commands.labelers import InviteConfig, invite_labeler
from understudy.commands.new import NewConfig, new_project
from understudy.labeling.plan import PlanConfig, plan
from understudy.records import FLAGS, Labeler, Prompt, Ranking, Rating, Response
from understudy.store import Store, open_project
from understudy.store.engine import reading
from understudy.store.labeling_tables import assignments, items, submissions
from understudy.store.migrate import newest_version
from understudy.store.tables import labels

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.labeling_client import LabelingClient, answer_of

Times = dict[str, list[float]]


@dataclass
class Reply:
    """The parts of a reply that `LabelingClient` reads."""

    status_code: int
    data: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.data)


@dataclass
class PlainHttp:
    """A minimal browser connection that records how long each page took.

    It uses a plain socket: the standard library's client takes longer to read a reply's head than
    the server takes to make it, and both share this machine.
    """

    port: int
    think: float
    times: Times
    errors: Counter[str]
    cookie: str = ""
    wire: socket.socket | None = None
    rng: random.Random = field(default_factory=random.Random)

    def get(self, path: str) -> Reply:
        """Fetch a page."""
        return self.request("GET", path)

    def request(
        self, method: str, path: str, json: Any = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Send a request and time its reply."""
        if self.think:
            time.sleep(self.rng.expovariate(1 / self.think))
        if self.wire is not None and _is_closed(self.wire):
            self.wire = None
        if self.wire is None:
            self.wire = socket.create_connection(("127.0.0.1", self.port))
            self.wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = {"Host": f"127.0.0.1:{self.port}", **(headers or {})}
        body = b""
        if json is not None:
            body = _dump(json)
            sent |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        if self.cookie:
            sent["Cookie"] = self.cookie
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        begun = time.perf_counter()
        self.wire.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        reply, cookie = _read_reply(self.wire)
        self.times[_page(method, path)].append(time.perf_counter() - begun)
        if reply.status_code >= 400:
            self.errors[f"{reply.status_code} {_page(method, path)}"] += 1
        self.cookie = cookie or self.cookie
        return reply


LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
COOKIE = re.compile(rb"\r\nset-cookie: *([^;\r]+)", re.IGNORECASE)


def _read_reply(connection: socket.socket) -> tuple[Reply, str | None]:
    """A reply (the server must send its length), and the cookie that it sets."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += _received(connection)
    head, body = data[:end], data[end + 4 :]
    length = LENGTH.search(head)
    assert length is not None, head
    while len(body) < int(length[1]):
        body += _received(connection)
    cookie = COOKIE.search(head)
    return Reply(int(head[9:12]), body), cookie and cookie[1].decode()


def _is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed a connection on which nothing was asked for a while."""
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def _received(connection: socket.socket) -> bytes:
    part = connection.recv(1 << 16)
    if not part:
        raise ConnectionError("the server closed the connection")
    return part


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def _page(method: str, path: str) -> str:
    parts = ["{id}" if part.startswith("as-") else part for part in path.split("/")]
    return f"{method} {'/'.join(parts)}"


@dataclass
class Person:
    """A labeler at work."""

    http: PlainHttp
    labeler: Labeler
    token: str
    name: str
    acknowledged: list[str] = field(default_factory=list)

    def sign_in(self) -> None:
        """Accept the invitation and read the instructions."""
        client = LabelingClient(self.http)  # type: ignore[arg-type]
        self.client = client
        client.accept(self.token, name=self.name, password="a password for the load")
        client.read_instructions()

    def work(self, num_items: int) -> None:
        """Work on a number of items, each as a browser does."""
        for _ in range(num_items):
            self.http.get("/work")
            assignment = self.client.next()
            if assignment is None:
                return
            answer = answer_of(self.labeler, assignment)
            if answer is None:
                self.client.skip(assignment["id"])
                continue
            path = f"/api/assignments/{assignment['id']}"
            self.client.save_draft(assignment["id"], 0, {"ratings": answer.get("ratings")})
            self.client.post(f"{path}/heartbeat")
            reply = self.client.submit(assignment["id"], answer)
            self.acknowledged.append(reply["id"])


def fill(folder: Path, store_url: str, num_prompts: int) -> None:
    """A project with prompts that have six responses each, and a queue."""
    new_project(NewConfig(folder=folder, store=store_url))
    store = open_project(folder).open_store()
    prompts = [
        Prompt(
            id=f"p{number:05}",
            prompt=f"What can you tell me about the number {number}? " + "Take your time. " * 8,
            user_id=f"u{number % 500}",
            split="train",
        )
        for number in range(num_prompts)
    ]
    store.add_prompts(prompts)
    store.set_intake(prompts, [])
    store.add_responses(
        Response(
            id=f"{prompt.id}-{place}",
            prompt_id=prompt.id,
            prompt=prompt.prompt,
            response=f"Answer {place}. " + "It is a number like others. " * (3 + 2 * place),
            model=f"model-{place}",
        )
        for prompt in prompts
        for place in range(6)
    )
    store.engine.dispose()
    print(plan(PlanConfig(project=folder, overlap=0.15)))


@dataclass
class Owner:
    """The owner, who reloads the page of agreement until the labelers are done."""

    person: "Person"
    done: threading.Event = field(default_factory=threading.Event)
    first_s: float | None = None
    """Seconds until the page had figures."""

    def look(self) -> None:
        """Load the page as a browser does, asking again for figures that are not yet computed."""
        begun = time.perf_counter()
        while not self.done.is_set():
            headers = {"Accept": "application/json"}
            reply = self.person.http.request("GET", "/api/owner/agreement", headers=headers)
            assert reply.status_code in (200, 202), reply
            if reply.status_code == 200 and self.first_s is None:
                self.first_s = time.perf_counter() - begun


class Quick:
    """A labeler who needs no time: labels depend only on the response's text."""

    def demonstrate(self, prompt: Prompt) -> Any:
        """A short demonstration."""
        from understudy.records import Demonstration

        return Demonstration(
            id="d", prompt_id="p", prompt="?", response="It is one more.", labeler_id="l"
        )

    def rate(self, prompt: Prompt, response: Response) -> Any:
        """Rate by length."""
        likert = 1 + len(response.response) % 7
        flags = dict.fromkeys(FLAGS, False)
        return Rating(
            id="a", prompt_id="p", response_id="r", labeler_id="l", likert=likert, flags=flags
        )

    def rank(self, prompt: Prompt, responses: list[Response]) -> Any:
        """Rank by length, with the last two tied."""
        order = sorted(range(len(responses)), key=lambda i: len(responses[i].response))
        tiers = (*((index,) for index in order[:-2]), tuple(order[-2:]))
        texts = tuple(one.response for one in responses)
        return Ranking(
            id="k", prompt_id="p", prompt="?", responses=texts, tiers=tiers, labeler_id="l"
        )


def serve(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start `understudy label` in its own process; returns once it responds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    command = [sys.executable, "-m", "understudy.cli", "label", "--project", str(folder)]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"labeling")
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process, port
        except OSError:
            assert process.poll() is None, "the server ended at once"
            time.sleep(0.05)


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """CPU seconds that a process and its children have used, over all their threads."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    ticks = 0
    for pid in (process.pid, *(pid for task in tasks for pid in task.read_text().split())):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def quantile(seconds: list[float], share: float) -> float:
    """The quantile in milliseconds."""
    ordered = sorted(seconds)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def problems(store: Store, acknowledged: list[str]) -> dict[str, int]:
    """Counts of faults, each of which should be 0."""
    held = assignments.c.state.in_(("leased", "done")) & assignments.c.slot.is_not(None)
    with reading(store.engine) as connection:
        there = Counter(connection.execute(select(submissions.c.id)).scalars())
        over = (
            select(items.c.id)
            .join(assignments, assignments.c.item_id == items.c.id)
            .where(held)
            .group_by(items.c.id, items.c.wanted)
            .having(func.count() > items.c.wanted)
        )
        twice = (
            select(assignments.c.item_id)
            .group_by(assignments.c.item_id, assignments.c.account_id)
            .having(func.count() > 1)
        )
        return {
            "acknowledged, not there once": sum(there[name] != 1 for name in acknowledged),
            "items over their overlap": len(connection.execute(over).all()),
            "items twice to one labeler": len(connection.execute(twice).all()),
        }


def together(people: list[Person], what: Any) -> None:
    """Run `what` for everybody at the same time."""
    failed: list[BaseException] = []

    def one(person: Person) -> None:
        try:
            what(person)
        except BaseException as error:  # raised below; a thread's error goes unnoticed
            failed.append(error)

    threads = [threading.Thread(target=one, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def database(kind: str) -> str:
    """The URL of a new database: a file, or a PostgreSQL server that ends with this process."""
    if kind == "sqlite":
        return "sqlite:///store.sqlite"
    from tests.postgres import fresh_database

    return fresh_database(migrated=False)


@dataclass
class Measured:
    """The measurements."""

    times: Times
    errors: Counter[str]
    acknowledged: list[str]
    took: float
    server_cpu: float
    own_cpu: float
    owner: Owner | None

    def table(self) -> str:
        """The measurements as text."""
        lines = [f"{'page':<38}{'requests':>9}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}"]
        for page, seconds in sorted(self.times.items()):
            lines.append(
                f"{page:<38}{len(seconds):>9,}{quantile(seconds, 0.5):>9.1f}"
                f"{quantile(seconds, 0.99):>9.1f}{1000 * max(seconds):>9.1f}"
            )
        work = [s for page, found in self.times.items() if page in WORK for s in found]
        each = 1000 / len(work)
        lines.append(
            f"{len(work):,} requests of work in {self.took:.1f} s ({len(work) / self.took:.0f}/s), "
            f"p50 {quantile(work, 0.5):.1f} ms, p99 {quantile(work, 0.99):.1f} ms; CPU of each: "
            f"server {self.server_cpu * each:.2f} ms, labelers {self.own_cpu * each:.2f} ms"
        )
        if self.owner is not None:
            first = self.owner.first_s
            when = "none in time" if first is None else f"after {first:.1f} s"
            lines.append(f"the owner's numbers: {when}")
        lines.append(
            f"{len(self.acknowledged):,} labels acknowledged; {dict(self.errors) or 'no refusals'}"
        )
        return "\n".join(lines)


WORK = (
    "GET /work",
    "POST /api/next",
    "PUT /api/assignments/{id}/draft",
    "POST /api/assignments/{id}/heartbeat",
    "POST /api/assignments/{id}/submit",
)
"""A browser's requests for one item."""


def measure(folder: Path, options: argparse.Namespace) -> Measured:
    """Run all labelers at once on one server."""
    links = [
        invite_labeler(InviteConfig(name=f"L{k}", role="training", screen="no", project=folder))
        for k in range(options.labelers)
    ]
    boss = invite_labeler(InviteConfig(name="Olga", owner=True, project=folder))
    server, port = serve(folder)
    times: Times = defaultdict(list)
    errors: Counter[str] = Counter()
    people = [
        Person(
            PlainHttp(port, options.think, times, errors),
            Quick(),  # type: ignore[arg-type]
            link.partition("#")[2],
            f"labeler {k}",
        )
        for k, link in enumerate([*links, boss])
    ]
    last = people.pop()
    owner = Owner(last) if options.owner else None
    looking = threading.Thread(target=owner.look) if owner else None
    try:
        together([*people, *([owner.person] if owner else [])], Person.sign_in)
        if looking:
            looking.start()
        used, own, begun = cpu_seconds(server), time.process_time(), time.perf_counter()
        together(people, lambda person: person.work(options.items))
        took, used = time.perf_counter() - begun, cpu_seconds(server) - used
        own = time.process_time() - own
        if owner and looking:
            owner.done.set()
            looking.join()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
    acknowledged = [name for person in people for name in person.acknowledged]
    return Measured(times, errors, acknowledged, took, used, own, owner)


PAGES = {
    "home": "home",
    "queue": "queue",
    "agreement": "agreement",
    "disagreements": "disagreements",
    "disagreements, all": "disagreements?state=all",
    "one disagreement": "disagreements/{item}",
    "labelers": "labelers",
    "one labeler": "labelers/before00",
    "team": "team",
    "grading": "grading",
    "gold items": "gold",
    "rubric": "rubrics",
    "audit log": "audit",
    "exports": "exports",
    "plot of the pace": "plots/pace.svg",
    "plot of agreement": "plots/agreement.svg",
    "plot of one labeler": "plots/labelers/before00.svg",
    "plot of gold items": "plots/gold.svg",
}
"""What the owner's pages fetch, under /api/owner/."""


def kept_project(kept: Path, num_items: int) -> Path:
    """The project with many labels, made once."""
    folder = kept / f"{num_items}-{newest_version()}"
    if not folder.exists():
        print(f"filling {folder} ...", file=sys.stderr)
        kept.mkdir(parents=True, exist_ok=True)
        made = folder.with_name(f".{folder.name}.{os.getpid()}")
        new_project(NewConfig(folder=made))
        many: dict[str, Any] = dict(num_responses=8, overlap=0.15, waiting=0.1, num_labelers=40)
        fill_labeled(made, Before(num_items=num_items, **many))
        made.rename(folder)
    return folder


def time_pages(folder: Path) -> None:
    """Load every page of the owner, three times."""
    store = open_project(folder).open_store()
    with reading(store.engine) as connection:
        number = connection.execute(select(func.count()).select_from(labels)).scalar_one()
        shared = items.c.num_done.between(2, 10)
        some = connection.execute(select(items.c.id).where(shared).limit(1)).scalar_one()
    print(f"{number:,} labels; until the page shows something and is complete, CPU time")
    link = invite_labeler(InviteConfig(name=f"Olga {time.time()}", owner=True, project=folder))
    server, port = serve(folder)
    http = PlainHttp(port, 0.0, defaultdict(list), Counter())
    owner = Person(http, Quick(), link.partition("#")[2], f"Olga {time.time()}")  # type: ignore[arg-type]
    try:
        owner.sign_in()
        for which in ("first", "again", "after a label"):
            if which == "after a label":
                _one_more_label(store)
            for name, path in PAGES.items():
                used, begun, shown = cpu_seconds(server), time.perf_counter(), None
                status = 202
                while status == 202:
                    accept = {"Accept": "text/html, application/json"}
                    reply = http.request(
                        "GET", f"/api/owner/{path}".format(item=some), None, accept
                    )
                    shown = shown or time.perf_counter() - begun
                    status = reply.status_code
                took, used = time.perf_counter() - begun, cpu_seconds(server) - used
                assert status == 200, (path, reply)
                row = f"{which:<14}{name:<22}{shown:>8.2f}{took:>8.2f} s{used:>8.2f} s of CPU"
                print(f"{row}{len(reply.data) / 1e3:>8.0f} kB", flush=True)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def _one_more_label(store: Store) -> None:
    """A demonstration by somebody."""
    from understudy.records import Demonstration

    name = f"old{NUM_GOLD:06}"
    said = f"It is number {time.time()}."
    shared: dict[str, Any] = dict(prompt_id=name, prompt="?", labeler_id="before00")
    store.add_labels([Demonstration(id=f"d-{time.time()}", response=said, **shared)])


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labelers", type=int, default=40)
    parser.add_argument("--items", type=int, default=50)
    parser.add_argument("--think", type=float, default=0.0)
    parser.add_argument("--store", default="sqlite", help="sqlite or postgresql (a new server)")
    parser.add_argument("--owner", type=int, default=0, help="prompts that are already labeled")
    parser.add_argument("--pages", type=int, default=0, help="items; times the owner's pages")
    parser.add_argument("--kept", type=Path, default=Path(".cache/labeling"))
    options = parser.parse_args()
    if options.pages:
        time_pages(kept_project(options.kept, options.pages))
        return
    sys.setswitchinterval(0.0005)  # 40 labelers share this process
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        fill(folder, database(options.store), options.labelers * options.items)
        if options.owner:
            fill_labeled(folder, Before(num_items=options.owner))
        measured = measure(folder, options)
        print(measured.table())
        found = problems(open_project(folder).open_store(), measured.acknowledged)
    found["5xx"] = sum(n for name, n in measured.errors.items() if name.startswith("5"))
    print(", ".join(f"{name}: {count}" for name, count in found.items()))
    if any(found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
