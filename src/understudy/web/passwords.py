"""Passwords: argon2id with OWASP's parameters, at most two at a time, so that memory is bounded.

Passwords are normalised (NFC), since systems encode the same accented letter differently.
"""

import threading
from unicodedata import normalize

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH, MAX_LENGTH = 12, 256
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_at_once = threading.BoundedSemaphore(2)
_nobody: list[str] = []


def hash_password(password: str) -> str:
    """The argon2id hash; ValueError if the password is too short or too long."""
    password = normalize("NFC", password)
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise ValueError(
            f"the password has {len(password)} characters; it must have {MIN_LENGTH} to "
            f"{MAX_LENGTH}: a few words are good"
        )
    with _at_once:
        return _hasher.hash(password.encode("utf-8", "surrogatepass"))


def verify(hashed: str | None, password: str) -> bool:
    """Whether a password is correct; takes equally long for an unknown account (None)."""
    with _at_once:
        try:
            right = _hasher.verify(hashed or _hash_of_nobody(), _bytes(password))
        except (VerificationError, InvalidHashError):
            return False
    return right and hashed is not None


def outdated(hashed: str) -> bool:
    """Whether a hash was made with outdated parameters."""
    return _hasher.check_needs_rehash(hashed)


def _bytes(password: str) -> bytes:
    return normalize("NFC", password)[: MAX_LENGTH + 1].encode("utf-8", "surrogatepass")


def _hash_of_nobody() -> str:
    if not _nobody:
        _nobody.append(_hasher.hash(b"nobody's password"))
    return _nobody[0]
