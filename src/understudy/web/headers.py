"""Headers on every response, and limits on every request, whatever the route.

Plain ASGI around the whole application, so that every route has them.
"""

from collections.abc import Mapping
from typing import Any

CSP = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS: Mapping[str, str] = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
TLS_HEADERS: Mapping[str, str] = {"strict-transport-security": "max-age=31536000"}
NO_STORE = "no-store"


class SecureHeaders:
    """Wraps an ASGI application: refuses requests for other hosts and adds headers."""

    def __init__(self, app: Any, *, hosts: tuple[str, ...], tls: bool) -> None:
        self.app, self.hosts = app, frozenset(host.lower() for host in hosts)
        every = {**HEADERS, **(TLS_HEADERS if tls else {})}
        self.headers = [(name.encode(), value.encode()) for name, value in every.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on; 421 for an unknown host (DNS rebinding)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                if not any(name == b"cache-control" for name, _ in given):
                    given.append((b"cache-control", NO_STORE.encode()))
                message["headers"] = [*given, *self.headers]
            await send(message)

        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if host_name(host) not in self.hosts:
            head = [(b"content-type", b"text/plain; charset=utf-8")]
            await with_headers({"type": "http.response.start", "status": 421, "headers": head})
            body = b"This server does not serve that host name."
            await send({"type": "http.response.body", "body": body})
            return
        await self.app(scope, receive, with_headers)


def host_name(header: str) -> str:
    """A Host header without its port, in lower case."""
    if header.startswith("["):
        return header.partition("]")[0].lower() + "]"
    return header.partition(":")[0].lower()
