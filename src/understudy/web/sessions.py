"""Sign-in sessions: a random cookie, kept on the server as a hash, with two lifetimes.

The CSRF token is derived from the cookie, which no other site can read: a page holds it in a meta
tag, and every request that changes something sends it back in a header. Somebody who is not signed
in has a cookie as well, of which the server keeps nothing.
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
    """Without any request."""
    absolute: timedelta = timedelta(days=7)
    """In all."""
    touch: timedelta = timedelta(minutes=1)
    """How often a request is written down: not more, as every page would then wait for the disk."""

    def over(self, created: datetime, seen: datetime, now: datetime) -> bool:
        """Whether a session has ended; one from the future (a clock that was set back) has."""
        if max(created, seen) - now > self.touch:
            return True
        return now - seen >= self.idle or now - created >= self.absolute


@dataclass(frozen=True, kw_only=True, slots=True)
class Cookie:
    """The session cookie. With TLS it belongs to this host alone and never travels in the clear."""

    secure: bool

    @property
    def name(self) -> str:
        """The browser holds a __Host- cookie to Secure, this host and all paths."""
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
    """Whether a text can be one of ours."""
    return len(text) == 43 and all(c.isascii() and (c.isalnum() or c in "-_") for c in text)


def session_id(token: str) -> str:
    """What the server keeps of a cookie, so that a stolen database signs nobody in."""
    return sha256(token.encode()).hexdigest()


def csrf_token(token: str) -> str:
    """The CSRF token of a cookie."""
    return hmac.new(token.encode(), b"csrf", sha256).hexdigest()


def csrf_ok(token: str, given: str | None) -> bool:
    """Whether the header holds the cookie's token, in constant time."""
    right = csrf_token(token).encode()
    return hmac.compare_digest(right, (given or "").encode("utf-8", "replace"))
