"""Several gateway processes on one port, and the supervisor that keeps them running.

The supervisor opens a listening socket per worker, all on one port (SO_REUSEPORT), and keeps them
open: the kernel spreads connections evenly, and those that a killed worker has not accepted wait
for its replacement. (With one shared socket, the first worker to wake would accept a whole burst of
connections.) Systems other than Linux do not spread connections over such sockets; there the
workers share one.

Workers are forked, so that imported modules are in memory once and a worker that dies is soon
replaced.
"""

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

import uvicorn

from understudy.serving.shared import Board
from understudy.web.bugs import report
from understudy.web.protocol import PatientProtocol, listen

STOPS = (signal.SIGTERM, signal.SIGINT)
KILLED = (-signal.SIGKILL, -signal.SIGTERM)
"""Exit codes of a worker that somebody else has ended, which does not show that it cannot start."""
LINGER_S = 5
"""How long after its last response a worker may take to end."""
Work = Callable[[socket.socket], None]


class Worker(uvicorn.Server):
    """A server that tells the supervisor that it has started, and ends with it."""

    def __init__(self, config: uvicorn.Config, board: Board) -> None:
        super().__init__(config)
        supervisor = multiprocessing.parent_process()  # even if it has died since the fork
        assert supervisor is not None, "a worker is a process of a Supervisor"
        self.board, self.supervisor = board, supervisor.pid

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.board.set_ready()

    async def on_tick(self, counter: int) -> bool:
        """Whether to end; called ten times a second."""
        if os.getppid() != self.supervisor:
            self.should_exit = True
        return await super().on_tick(counter)


def counted(protocol: type[PatientProtocol], board: Board, most: int) -> type[PatientProtocol]:
    """A protocol class with a limit on the connections of all workers together."""

    class Counted(protocol):  # type: ignore[valid-type, misc]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            board.connected(len(self.connections))

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            board.connected(len(self.connections))

        def on_headers_complete(self) -> None:
            self.limit_concurrency = most - board.connected(len(self.connections))
            super().on_headers_complete()

    return Counted


def listen_together(
    host: str, port: int, number: int, *, backlog: int, stall_s: float
) -> list[socket.socket]:
    """A listening socket for each worker; ValueError if another program listens at the port."""
    first = listen(host, port, backlog=backlog, stall_s=stall_s)
    if sys.platform != "linux":
        return [first, *(first.dup() for _ in range(number - 1))]
    first.close()  # only tests that the port is free: with SO_REUSEPORT two servers could share it
    return [
        listen(host, port, backlog=backlog, stall_s=stall_s, reuse_port=True) for _ in range(number)
    ]


class Supervisor:
    """Keeps a worker running for each listening socket until it is told to end."""

    def __init__(
        self, board: Board, listeners: Sequence[socket.socket], work: Work, *, patience_s: float
    ) -> None:
        """`patience_s` is how long the workers have to finish running responses."""
        self.board, self.listeners, self.work = board, listeners, work
        self.patience_s = patience_s
        self.context = multiprocessing.get_context("fork")
        self.processes: list[multiprocessing.process.BaseProcess] = []

    def run(self) -> None:
        """Run until SIGTERM or SIGINT, then end all workers; OSError if a worker cannot start."""
        with _signals() as told:
            try:
                for index in range(len(self.listeners)):
                    self.processes.append(self._start(index))
                while told not in wait([told, *(p.sentinel for p in self.processes)]):
                    for index, process in enumerate(self.processes):
                        if process.exitcode is not None:
                            self.processes[index] = self._replace(index, process)
            finally:
                self._end(told)

    def _start(self, index: int) -> multiprocessing.process.BaseProcess:
        self.board.enter(index)
        process = self.context.Process(target=self._enter, args=(index,), daemon=True)
        # The new process would lose a signal that arrives before it has set its own handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        return process

    def _enter(self, index: int) -> None:
        """Runs in the worker."""
        os.setpgid(0, 0)  # Ctrl-C is for the supervisor, which tells the workers
        signal.set_wakeup_fd(-1)
        for number in STOPS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        for other, listener in enumerate(self.listeners):
            if other != index:
                listener.close()
        try:
            self.work(self.listeners[index])
        except (OSError, ValueError) as error:
            self.board.outcomes["start"].failed(str(error))
            sys.exit(1)
        except Exception as error:
            report(error)
            sys.exit(1)

    def _replace(
        self, index: int, dead: multiprocessing.process.BaseProcess
    ) -> multiprocessing.process.BaseProcess:
        why = _ending(dead)
        if not self.board.is_ready(index) and dead.exitcode not in KILLED:
            problem = self.board.outcomes["start"].error or f"it {why}"
            raise OSError(f"worker {index + 1} could not start: {problem}")
        new = self._start(index)
        line = f"worker {index + 1} (process {dead.pid}) {why}; process {new.pid} takes its place"
        print(f"understudy: {line}", file=sys.stderr, flush=True)
        return new

    def _end(self, told: socket.socket) -> None:
        """Tell all workers to end, wait for them, and kill those that do not."""
        for listener in self.listeners:
            listener.close()
        for process in self.processes:
            process.terminate()
        deadline = time.monotonic() + self.patience_s + LINGER_S
        _read(told)
        while running := [p for p in self.processes if p.exitcode is None]:
            left = deadline - time.monotonic()
            if left <= 0:
                for process in running:
                    process.kill()
            wait([told, *(p.sentinel for p in running)], max(0.1, left))
            if signal.SIGINT in _read(told):  # a second Ctrl-C: do not wait
                for process in running:
                    os.kill(process.pid or 0, signal.SIGINT)


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket from which the numbers of the signals that stop the program can be read."""
    told, tell = socket.socketpair()
    for end in (told, tell):
        end.setblocking(False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in STOPS}
    former = signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
    try:
        yield told
    finally:
        signal.set_wakeup_fd(former)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        told.close()
        tell.close()


def _read(told: socket.socket) -> bytes:
    """The numbers of the signals that have arrived."""
    try:
        return told.recv(64)
    except BlockingIOError:
        return b""


def _ending(process: multiprocessing.process.BaseProcess) -> str:
    code = process.exitcode or 0
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
