"""The socket that a server listens at, bound before its address is announced."""

import errno
import os
import socket


def listen(host: str, port: int, *, backlog: int = 2048, reuse_port: bool = False) -> socket.socket:
    """A listening socket; ValueError that says what to do if it cannot listen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, port), family=family, backlog=backlog, reuse_port=reuse_port
        )
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO)
        raise ValueError(
            f"cannot listen at {host}:{port} ({reason}); stop what listens there, or give another "
            "--port or --host"
        ) from None


def check_port(port: int) -> None:
    """ValueError unless `port` is a valid port to listen at."""
    if not 1 <= port <= 65535:
        raise ValueError(f"port is {port}; it must be from 1 to 65535")
