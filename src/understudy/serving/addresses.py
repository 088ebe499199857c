"""Checks the addresses that the gateway connects to.

The upstream's name comes from the config, but the name server decides where it leads, and that may
change while the gateway runs (DNS rebinding). So each new connection resolves the name, checks the
address, and connects to that address rather than to the name. A name may lead only to public
addresses, unless `private` allows a private network. An address in the config (or localhost) is
always allowed. Link-local addresses, where clouds serve metadata, and multicast and unspecified
ones are always refused.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]


async def ask_system(host: str, port: int) -> list[str]:
    """The addresses that the system's resolver gives."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def checked_addresses(
    host: str, port: int, *, private: bool, resolve: Resolve = ask_system
) -> list[str]:
    """Addresses of the upstream; ValueError if any is not allowed."""
    literal = parse_address(host)
    found = [host] if literal else await resolve(host, port)
    own = private or literal is not None or host.lower() == "localhost"
    for text in found:
        problem = why_refused(text, private=own)
        if problem:
            raise ValueError(f"upstream {host} leads to {text}, {problem}")
    return found


def why_refused(text: str, *, private: bool) -> str:
    """Why this address is refused; empty if it is allowed."""
    address = parse_address(text)
    if address is None:
        return "which is not an address"
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return "which is link-local, multicast or unspecified and never allowed"
    if not address.is_global and not private:
        return "which is not public; pass --upstream-private to allow it"
    return ""


def parse_address(text: str) -> Address | None:
    """An IP address, or the IPv4 address embedded in an IPv6 one; None for a name."""
    try:
        address = ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        teredo = address.teredo[1] if address.teredo else None
        translated = IPv4Address(int(address) & 0xFFFFFFFF) if _is_nat64(address) else None
        return address.ipv4_mapped or address.sixtofour or teredo or translated or address
    return address


def _is_nat64(address: IPv6Address) -> bool:
    """64:ff9b::/96 (RFC 6052)."""
    return int(address) >> 32 == 0x64_FF9B << 64
