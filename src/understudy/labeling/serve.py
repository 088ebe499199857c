"""`understudy label`: the labelers' pages on a port."""

import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from understudy.labeling.tokens import Length
from understudy.store import open_project
from understudy.web.bugs import log_without_words
from understudy.web.sockets import check_port

STALL_S = 20.0
"""Timeout for receiving a request's head or body, and for a client to read a response."""


ADDRESS = "http://127.0.0.1:8080"
"""Where the pages are by default, for links to them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelConfig:
    """Serve the pages on which labelers demonstrate, rate and rank, and owners run the project.

    Invite people first (understudy labelers invite) and fill the queue (understudy labels plan).
    """

    project: Path = Path()
    """The project's folder."""
    host: str = "127.0.0.1"
    """Address to listen at."""
    port: int = 8080
    """Port to listen at."""
    names: tuple[str, ...] = ()
    """Host names that browsers use, beside localhost; requests for other hosts are refused."""
    tls: bool = False
    """Browsers reach it by https, through a reverse proxy that terminates TLS. Without it only this
    machine may connect, since passwords would travel in the clear."""
    proxy: str = "127.0.0.1"
    """Address of the reverse proxy, whose X-Forwarded-For header is trusted."""
    tokenizer: Path | None = None
    """A tokenizer.json or a model's folder, to count lengths in tokens; counts words by default."""
    max_response_tokens: int = 1024
    """Longest demonstration, in tokens (C) or words."""
    lease_minutes: float = 30.0
    """How long an item stays reserved for a labeler whose page is silent; then another gets it."""
    goal_per_day: int | None = None
    """Daily goal of items per labeler, shown on the work page."""
    idle_hours: float = 8.0
    """Hours without a request after which a sign-in ends."""
    sign_in_days: float = 7.0
    """Days after which a sign-in ends."""

    def __post_init__(self) -> None:
        for name in (
            "max_response_tokens",
            "lease_minutes",
            "goal_per_day",
            "idle_hours",
            "sign_in_days",
        ):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; it must be above 0")
        check_port(self.port)
        if not self.tls and not _is_loopback(self.host):
            raise ValueError(
                f"other machines can reach host {self.host}, and passwords would travel in the "
                "clear; put a TLS reverse proxy in front and pass --tls, or listen at "
                "127.0.0.1"
            )
        if self.tls and not self.names:
            raise ValueError("with --tls, give the host name that browsers use: --names NAME")


def label(config: LabelConfig) -> None:
    """Run until SIGINT or SIGTERM; finishes running requests first."""
    import uvicorn

    from understudy.web.protocol import listen, patient

    app = make_app(config)
    listener = listen(config.host, config.port, backlog=2048, stall_s=STALL_S)
    scheme = "https" if config.tls else "http"
    name = config.names[0] if config.tls else f"{config.host}:{config.port}"
    print(f"labeling at {scheme}://{name}", flush=True)
    log_without_words()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=patient(STALL_S),
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            proxy_headers=config.tls,
            forwarded_allow_ips=config.proxy,
            timeout_graceful_shutdown=30,
        )
    )
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def make_app(config: LabelConfig) -> Any:
    """The ASGI application that a config describes."""
    from understudy.labeling.app import build_label_app
    from understudy.labeling.parts import LabelApp
    from understudy.web.app import WebSettings
    from understudy.web.sessions import Lifetimes

    project = open_project(config.project)
    length = Length(limit=config.max_response_tokens, tokenizer=config.tokenizer)
    length.check()
    lifetimes = Lifetimes(
        idle=timedelta(hours=config.idle_hours), absolute=timedelta(days=config.sign_in_days)
    )
    parts = LabelApp(
        store=project.open_store(pooled=True),
        project=project,
        lifetimes=lifetimes,
        length=length,
        lease=timedelta(minutes=config.lease_minutes),
        goal_today=config.goal_per_day,
    )
    hosts = (*WebSettings().hosts, config.host, *config.names)
    settings = WebSettings(hosts=hosts, tls=config.tls, lifetimes=lifetimes)
    return build_label_app(parts, settings, apart=True)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
