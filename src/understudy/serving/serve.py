"""`understudy serve`: the gateway on a port."""

import asyncio
import gc
import math
import os
import socket
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from understudy.store import open_project
from understudy.web.bugs import log_without_words
from understudy.web.sockets import check_port

if TYPE_CHECKING:
    import uvicorn

    from understudy.serving.gateway import Backend
    from understudy.serving.shared import Board
    from understudy.store.project import Project

LAST_WORDS_S = 5
"""How long responses have, after `timeout_s`, to send their final event."""
GARBAGE = 10_000
"""New objects after which Python searches for reference cycles: about as many as the requests under
way hold, few of which are garbage. At Python's default of 700 it would search all the time."""
MOST_WORKERS = 256
"""More would only be a mistake."""
KEY_VARIABLE = "UNDERSTUDY_UPSTREAM_KEY"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeConfig:
    """Serve OpenAI's API and, with consent, record the prompts."""

    project: Path = Path()
    """The project's folder: users, keys and the log."""
    model: str | None = None
    """Model folder, run folder or hub name; runs in this process."""
    upstream: str | None = None
    """Instead of a model: address of an OpenAI-compatible server, like http://127.0.0.1:8001/v1.
    Its key is read from the environment variable UNDERSTUDY_UPSTREAM_KEY."""
    upstream_model: str | None = None
    """The upstream's name of the model; `name` by default."""
    upstream_private: bool = False
    """Allow the upstream's name to lead to a private network or this machine. By default a name
    must lead to public addresses; an address (or localhost) in `upstream` is always allowed."""
    name: str = "understudy"
    """The model's name in requests."""
    host: str = "127.0.0.1"
    """Address to listen at. Put a TLS reverse proxy in front before you open it to others."""
    port: int = 8000
    """Port to listen at."""
    workers: int = 1
    """Processes that answer at the port, with one log and one set of limits; use about
    one per core. More than one needs `upstream`."""
    device: str = "auto"
    """Device of the model in this process: "auto" (CUDA if there is one), "cpu", "cuda"."""
    bf16: bool = False
    """Compute in bf16, and store the layers' matrices in it."""
    slots: int = 32
    """Responses that the model in this process generates at the same time."""
    max_prompt_tokens: int = 1024
    """Longest prompt for the model in this process (C: prompts over 1k tokens are dropped)."""
    max_response_tokens: int = 1024
    """Longest response, in tokens (C)."""
    requests_per_minute: int = 60
    """Limit for keys without their own."""
    tokens_per_day: int = 1_000_000
    """Quota for keys without their own; days are in UTC."""
    max_body_bytes: int = 1 << 20
    """Largest request body, in bytes."""
    max_connections: int = 1024
    """Most connections at a time; more get 503. Half of them may be without a request; beyond that,
    the one that has waited longest is closed."""
    timeout_s: float = 120.0
    """Longest time to a whole response, in seconds."""
    stall_s: float = 20.0
    """Longest time that a client may send or read nothing, in seconds."""
    on_log_failure: Literal["refuse", "serve"] = "refuse"
    """If the log cannot be written: refuse requests that should be recorded, or serve them without
    recording."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the gateway from a browser, like https://app.example.com; "*"
    allows all."""
    log_sync: bool = False
    """Flush the log to disk with every batch, so that recorded prompts survive power loss. Without
    it, they survive any crash of the gateway itself."""

    def __post_init__(self) -> None:
        if (self.model is None) == (self.upstream is None):
            raise ValueError("serve needs either --model or --upstream")
        for name in (
            "slots",
            "max_prompt_tokens",
            "max_response_tokens",
            "requests_per_minute",
            "tokens_per_day",
            "max_body_bytes",
            "max_connections",
            "timeout_s",
            "stall_s",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        check_port(self.port)
        if not 1 <= self.workers <= MOST_WORKERS:
            raise ValueError(f"workers is {self.workers}; it must be from 1 to {MOST_WORKERS}")
        if self.workers > 1 and self.model is not None:
            raise ValueError(
                f"workers is {self.workers}, but a model answers in one process: each would hold "
                "it again, and they would share its cores or card; leave out --workers, or give "
                "--upstream"
            )
        for origin in self.cors_origins:
            parts = urlsplit(origin)
            if origin != "*" and origin != f"{parts.scheme}://{parts.netloc}":
                raise ValueError(
                    f"cors_origins has {origin!r}; an origin is like https://app.example.com, "
                    "without a path"
                )


def serve(config: ServeConfig) -> None:
    """Run until SIGINT or SIGTERM; running responses finish first, as far as `timeout_s` allows."""
    from understudy.serving.shared import Board
    from understudy.store.prompts.log import PromptLog
    from understudy.web.protocol import listen

    project = open_project(config.project)
    project.open_store().engine.dispose()
    PromptLog(project.log).close()
    log_without_words()
    check_backend(config)
    board = Board(config.workers)
    where = f"serving {config.name} at http://{config.host}:{config.port}/v1"
    if config.workers == 1:
        listener = listen(
            config.host, config.port, backlog=config.max_connections, stall_s=config.stall_s
        )
        with closing(listener):  # before the model, which takes seconds to load
            server = make_server(config, project, board)
            print(where, flush=True)
            with suppress(KeyboardInterrupt):
                _run(server, listener)
        return

    from understudy.serving.workers import Supervisor, listen_together

    def work(listener: socket.socket) -> None:
        # Fails here with a one-line error; inside Uvicorn it would be a traceback.
        PromptLog(project.log).close()
        _run(make_server(config, project, board), listener)

    listeners = listen_together(
        config.host,
        config.port,
        config.workers,
        backlog=config.max_connections,
        stall_s=config.stall_s,
    )
    print(f"{where} with {config.workers} workers", flush=True)
    with closing(board):
        Supervisor(board, listeners, work, patience_s=config.timeout_s + LAST_WORDS_S).run()


def _run(server: "uvicorn.Server", listener: socket.socket) -> None:
    gc.freeze()  # collections skip what is loaded by now, since it stays
    gc.set_threshold(GARBAGE)
    server.run(sockets=[listener])


def make_server(config: ServeConfig, project: "Project", board: "Board") -> "uvicorn.Server":
    """The server of this process."""
    import uvicorn

    from understudy.serving.app import build_app
    from understudy.serving.gateway import Settings
    from understudy.serving.workers import Worker, counted
    from understudy.web.protocol import patient

    settings = Settings(
        log=project.log,
        on_log_failure=config.on_log_failure,
        log_sync=config.log_sync,
        retention_days=project.retention_days,
        requests_per_minute=config.requests_per_minute,
        tokens_per_day=config.tokens_per_day,
        max_body_bytes=config.max_body_bytes,
        timeout_s=config.timeout_s,
        stall_s=config.stall_s,
        cors_origins=config.cors_origins,
    )
    store = project.open_store(pooled=True)
    protocol = patient(config.stall_s, max(1, config.max_connections // 2 // config.workers))
    if config.workers > 1:
        protocol = counted(protocol, board, config.max_connections)
    options = uvicorn.Config(
        build_app(settings, store, make_backend(config, board), board),
        http=protocol,
        limit_concurrency=config.max_connections,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,  # any client could send them and evade the limits per address
        log_config=None,
        timeout_graceful_shutdown=math.ceil(config.timeout_s) + LAST_WORDS_S,
    )
    return uvicorn.Server(options) if config.workers == 1 else Worker(options, board)


def check_backend(config: ServeConfig) -> None:
    """ValueError if the gateway may not connect to its upstream."""
    if config.upstream is not None:
        from understudy.serving.upstream import check_upstream

        with suppress(OSError):  # a name need not resolve yet: each new connection looks it up
            asyncio.run(check_upstream(config.upstream, private=config.upstream_private))


def make_backend(config: ServeConfig, board: "Board") -> "Backend":
    """The model in this process, or the client of the other server."""
    if config.upstream is not None:
        from understudy.serving.upstream import Upstream

        return Upstream(
            config.upstream,
            name=config.name,
            model=config.upstream_model,
            key=os.environ.get(KEY_VARIABLE),
            private=config.upstream_private,
            max_response_tokens=config.max_response_tokens,
            board=board,
        )
    from understudy.models.compute import place
    from understudy.models.policies import load_policy
    from understudy.serving.local import LocalModel

    model, tokenizer = load_policy(_model_folder(str(config.model)))
    place(model, config, frozen=True)
    return LocalModel(
        model,
        tokenizer,
        name=config.name,
        slots=config.slots,
        max_prompt_tokens=config.max_prompt_tokens,
        max_response_tokens=config.max_response_tokens,
    )


def _model_folder(name: str) -> str:
    """A run folder's model, or the name itself."""
    return str(Path(name) / "model") if (Path(name) / "run.json").is_file() else name
