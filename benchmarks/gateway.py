"""Load on the gateway beside its upstream alone: requests/s, p50 and p99, failures, and the log.

    python benchmarks/gateway.py [--seconds 5] [--connections 1 32 256] [--load 0.5] [--workers 1]
    python benchmarks/gateway.py --summary [--beside REVISION]

The upstream responds at once, so the figures show the gateway's overhead: key, limits, JSON, the
log's commit and a second hop. "cpu ms" is the CPU time per request of all of the server's
processes, which a busy machine affects little. Upstream, gateway and load are separate processes on
this machine.

In the first round each connection sends its next request as soon as it has the last response, which
shows a server's throughput; at that load every request waits for all the others. The latency that
the gateway adds is therefore measured in a second round, in which both servers get the same
requests per second: `--load` times the gateway's throughput, spread evenly over the connections. At
the end the gateway is killed (SIGKILL) under load, and every acknowledged prompt is looked up in
the log.

`--summary` measures the figures that the gateway is judged by: one worker, `--workers` of them (2
by default) and the gateway of another revision, in turns, each with its own project. It prints
medians over the turns of requests/s and CPU per request at full speed, and of the p50 that a
gateway adds where it and its upstream get the same few requests per second. With one connection,
whose requests wait for no others, it prints the p50 added at full speed too.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from understudy.store.prompts.log import PromptLog

ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Seven is a prime number."},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15},
}


async def upstream(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application that responds at once."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": BODY})


BODY = json.dumps(ANSWER).encode()


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    key: str = ""
    log: Path = Path()


class Load:
    """A number of connections, each sending its next request after the last response."""

    numbers = count()  # shared by all loads, so that no prompt is sent twice

    def __init__(self, port: int, key: str, pause: float = 0.0) -> None:
        """`pause` is the time from one request of a connection to its next, in seconds."""
        self.port, self.key, self.pause = port, key, pause
        self.seconds: list[float] = []
        self.acknowledged: list[str] = []
        self.failures: Counter[str] = Counter()

    async def run(self, connections: int, until: float) -> None:
        """Send load until a time; failures do not stop it."""
        begin = time.perf_counter()
        starts = (begin + self.pause * i / connections for i in range(connections))
        await asyncio.gather(*(self._connection(start, until) for start in starts))

    async def _connection(self, due: float, until: float) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError as error:
            self.failures[repr(error)] += 1
            return
        while time.perf_counter() < until:
            if self.pause:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                due += self.pause
            text = f"Name a prime, please: {os.getpid()}-{self.port}-{next(self.numbers)}."
            begun = time.perf_counter()
            try:
                writer.write(self._request(text))
                status = await self._answer(reader)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failures[repr(error)] += 1
                return
            self.seconds.append(time.perf_counter() - begun)
            if status == 200:
                self.acknowledged.append(text)
            else:
                self.failures[str(status)] += 1
        writer.close()

    def _request(self, text: str) -> bytes:
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        data = json.dumps(body).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {self.key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n"
        )
        return head.encode() + data

    async def _answer(self, reader: asyncio.StreamReader) -> int:
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]
        await reader.readexactly(int(length))
        return int(head[9:12])


def free_port() -> int:
    """An unused port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _environment(tree: Path | None) -> dict[str, str]:
    return os.environ | ({} if tree is None else {"PYTHONPATH": str(tree / "src")})


def _run(tree: Path | None, *words: str) -> str:
    """What a command prints, run from `tree` if given."""
    command = [sys.executable, "-m", "understudy.cli", *words]
    done = subprocess.run(
        command, env=_environment(tree), stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def start(command: list[str], port: int, tree: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a server in its own process, from `tree` if given; returns once it listens."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=_environment(tree))
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert process.poll() is None, "the server ended at once"
            time.sleep(0.1)
        else:
            return process
    raise SystemExit("the server did not start in a minute")


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """CPU seconds that a process and its children have used, over all their threads."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ticks = 0
    for pid in (process.pid, *children):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(
    server: Server,
    connections: int,
    seconds: float,
    rate: float | None = None,
) -> tuple[Load, dict[str, float]]:
    """Load a server, after a short warm-up: at full speed, or with `rate` requests/s."""
    pause = connections / rate if rate else 0.0
    warm_up = time.perf_counter() + min(1.0, seconds / 4)
    asyncio.run(Load(server.port, server.key, pause).run(connections, warm_up))
    load = Load(server.port, server.key, pause)
    used = cpu_seconds(server.process)
    begun = time.perf_counter()
    asyncio.run(load.run(connections, begun + seconds))
    took = time.perf_counter() - begun
    ordered = sorted(load.seconds)
    return load, {
        "rate": len(ordered) / took,
        "p50": 1000 * ordered[len(ordered) // 2],
        "p99": 1000 * ordered[int(len(ordered) * 0.99)],
        "cpu": 1000 * (cpu_seconds(server.process) - used) / len(ordered),
        "failures": load.failures.total(),
    }


def kill_under_load(gateway: subprocess.Popen[bytes], port: int, key: str) -> list[str]:
    """SIGKILL all processes of the gateway after a second of load; returns the acknowledged
    prompts."""
    children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()
    load = Load(port, key)

    async def go() -> None:
        for pid in (gateway.pid, *map(int, children)):
            asyncio.get_running_loop().call_later(1.0, os.kill, pid, signal.SIGKILL)
        await load.run(32, time.perf_counter() + 3)

    asyncio.run(go())
    return load.acknowledged


def _row(connections: int, label: str, rate: float | None, found: dict[str, float]) -> str:
    offered = f"{rate:.0f}" if rate else "all"
    return (
        f"{connections:>11} {label:<9}{offered:>11}{found['rate']:>8.0f}{found['p50']:>9.2f}"
        f"{found['p99']:>9.2f}{found['cpu']:>9.3f}{found['failures']:>8.0f}"
    )


HEAD = "connections server   offered/s   req/s   p50 ms   p99 ms   cpu ms  failed"


@contextmanager
def upstream_server() -> Iterator[Server]:
    """The upstream."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--log-level", "critical", "--no-access-log"]
    command += ["--app-dir", str(Path(__file__).parent), "gateway:upstream", "--port", str(port)]
    with _running(start(command, port)) as process:
        yield Server(process, port)


@contextmanager
def gateway_server(upstream: Server, workers: int, tree: Path | None = None) -> Iterator[Server]:
    """A gateway in front of the upstream, with its own project."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        at = ["--project", str(folder)]
        many = ["--requests-per-minute", str(10**9), "--tokens-per-day", str(10**9)]
        _run(tree, "new", str(folder))
        _run(tree, "users", "add", "load", "--consent", *at)
        key = _run(tree, "users", "key", "load", *many, *at).split()[-1]
        port = free_port()
        command = [sys.executable, "-m", "understudy.cli", "serve", "--project", str(folder)]
        command += ["--upstream", f"http://127.0.0.1:{upstream.port}/v1", "--port", str(port)]
        command += ["--name", "m", *(["--workers", str(workers)] if workers > 1 else [])]
        with _running(start(command, port, tree)) as process:
            yield Server(process, port, key, folder / "log.sqlite")


@contextmanager
def _running(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


BEFORE = "4d766a8"
"""The last revision before the gateway had aiohttp and several workers."""
FEW = 200.0
"""Requests/s at which the added latency is measured: far below what any of the servers can do."""


def summary(options: argparse.Namespace) -> None:
    """One worker, several, and another revision's gateway, in turns."""
    workers = max(2, options.workers)
    with ExitStack() as stack:
        upstream = stack.enter_context(upstream_server())
        tree = stack.enter_context(source_tree(options.beside))
        servers = {
            "1 worker": stack.enter_context(gateway_server(upstream, 1)),
            f"{workers} workers": stack.enter_context(gateway_server(upstream, workers)),
            options.beside: stack.enter_context(gateway_server(upstream, 1, tree)),
        }
        print(
            "connections gateway        req/s  times   cpu ms  ratio   p50 added"
            "  at full speed  failed"
        )
        for connections in options.connections:
            turns: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
            for _ in range(options.turns):
                _, alone = measure(upstream, connections, options.seconds, FEW)
                full = 0.0
                if connections == 1:
                    full = measure(upstream, connections, options.seconds)[1]["p50"]
                for name, server in servers.items():
                    _, most = measure(server, connections, options.seconds)
                    _, few = measure(server, connections, options.seconds, FEW)
                    failed = most["failures"] + few["failures"]
                    added = few["p50"] - alone["p50"]
                    turns[name].append(
                        {
                            **most,
                            "added": added,
                            "at full speed": most["p50"] - full,
                            "failures": failed,
                        }
                    )
            found = {
                name: {key: median(one[key] for one in some) for key in some[0]}
                for name, some in turns.items()
            }
            one, before = found["1 worker"], found[options.beside]
            for name, row in found.items():
                speed = f"{row['at full speed']:.2f} ms" if connections == 1 else "-"
                print(
                    f"{connections:>11} {name:<12}{row['rate']:>8.0f}"
                    f"{row['rate'] / one['rate']:>7.2f}{row['cpu']:>9.3f}"
                    f"{row['cpu'] / before['cpu']:>7.2f}{row['added']:>9.2f} ms"
                    f"{speed:>15}{row['failures']:>8.0f}",
                    flush=True,
                )
    print(
        "times: requests/s over one worker's; ratio: CPU over the other revision's, at most 0.67; "
        f"p50 added: at {FEW:.0f} requests/s and at full speed, at most 1 ms"
    )


@contextmanager
def source_tree(revision: str) -> Iterator[Path]:
    """The files of a revision of this repository, in a folder that is deleted afterwards."""
    with tempfile.TemporaryDirectory() as name:
        here = Path(__file__).parents[1]
        packed = subprocess.run(
            ["git", "-C", here, "archive", revision, "src"], stdout=subprocess.PIPE, check=True
        )
        subprocess.run(["tar", "-x", "-C", name], input=packed.stdout, check=True)
        yield Path(name)


def check(options: argparse.Namespace) -> None:
    """The gateway beside its upstream, and the log after a kill."""
    with upstream_server() as upstream, gateway_server(upstream, options.workers) as gateway:
        acknowledged: list[str] = []
        print(HEAD)
        for connections in options.connections:
            rate = None
            for _ in range(2):
                for label, server in (("upstream", upstream), ("gateway", gateway)):
                    load, found = measure(server, connections, options.seconds, rate)
                    if load.failures:
                        print(dict(load.failures), file=sys.stderr)
                    acknowledged += load.acknowledged if server is gateway else []
                    print(_row(connections, label, rate, found), flush=True)
                rate = options.load * found["rate"]
        acknowledged += kill_under_load(gateway.process, gateway.port, gateway.key)
        log = PromptLog(gateway.log)
        said = [e.body["prompts"][0][0]["content"] for _, e in log.events() if e.kind == "prompt"]
        log.close()
    missing = len(set(acknowledged) - set(said))
    print(f"{len(acknowledged):,} acknowledged prompts, {missing} of them not in the log")
    if missing or len(said) > len(set(said)):
        raise SystemExit("a prompt is missing from the log, or is there twice")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32, 256])
    parser.add_argument("--load", type=float, default=0.5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--beside", default=BEFORE, help="the other revision of --summary")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    if options.summary:
        summary(options)
    else:
        check(options)


if __name__ == "__main__":
    main()
