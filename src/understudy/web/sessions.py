"""Sign-in sessions: a random cookie, kept on the server as a hash, with two lifetimes.

The CSRF token is derived from the cookie, which no other site can read: a page has it in a meta
tag, and every modifying request sends it back in a header. Browsers that are not signed in have a
cookie too, which the server does not store.
"""

import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

TOKEN_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Lifetimes:
    """How long a sign-in lasts."""

    idle: timedelta = timedelta(hours=8)
    """Longest time without a request."""
    absolute: timedelta = timedelta(days=7)
    """Longest time in total."""
    touch: timedelta = timedelta(minutes=1)
    """How often a session's last use is stored; more often, every page would wait for the disk."""

    def over(self, created: datetime, seen: datetime, now: datetime) -> bool:
        """Whether a session has ended; one from the future (after the clock was set back) has."""
        if max(created, seen) - now > self.touch:
            return True
        return now - seen >= self.idle or now - created >= self.absolute


@dataclass(frozen=True, kw_only=True, slots=True)
class Cookie:
    """The session cookie. With TLS it is bound to this host and never sent in the clear."""

    secure: bool

    @property
    def name(self) -> str:
        """The cookie's name: browsers require Secure, this host and path / for a __Host- cookie."""
        return "__Host-understudy" if self.secure else "understudy"

    def set(self, token: str, lifetime: timedelta) -> str:
        """A Set-Cookie header."""
        secure = "; Secure" if self.secure else ""
        age = int(lifetime.total_seconds())
        return f"{self.name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}"


def new_token() -> str:
    """A cookie's value: 256 random bits."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def is_token(text: str) -> bool:
    """Whether a text has the form of a token."""
    return len(text) == 43 and all(c.isascii() and (c.isalnum() or c in "-_") for c in text)


def session_id(token: str) -> str:
    """The stored hash of a cookie, so that a stolen database signs nobody in."""
    return sha256(token.encode()).hexdigest()


def csrf_token(token: str) -> str:
    """The CSRF token of a cookie."""
    return hmac.new(token.encode(), b"csrf", sha256).hexdigest()


def csrf_ok(token: str, given: str | None) -> bool:
    """Whether the header holds the cookie's token, in constant time."""
    right = csrf_token(token).encode()
    return hmac.compare_digest(right, (given or "").encode("utf-8", "replace"))
