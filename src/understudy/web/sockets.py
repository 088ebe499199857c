"""The socket that a server listens at, bound before anybody is told of it."""

import socket


def listen(host: str, port: int, *, backlog: int = 2048) -> socket.socket:
    """A listening socket; ValueError with the way out where there can be none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        raise ValueError(
            f"cannot listen at {host}:{port} ({error.strerror}); stop what listens there, or give "
            "another --port or --host"
        ) from None


def check_port(port: int) -> None:
    """ValueError unless something can listen at `port`."""
    if not 1 <= port <= 65535:
        raise ValueError(f"port is {port}; it must be from 1 to 65535")
