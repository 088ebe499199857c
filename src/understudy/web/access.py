"""The parts of a web app: routes that each declare who may use them, and their calls and replies.

Every route needs an access level, and anything without a route is refused: the default is deny.
`tests/unit/labeling/test_matrix.py` walks the table of routes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Json = dict[str, Any]
Method = Literal["GET", "POST", "PUT", "DELETE"]


class Access(Enum):
    """Who may use a route."""

    PUBLIC = "public"
    """Anybody."""
    ACCOUNT = "account"
    """Any signed-in account."""
    WORKER = "worker"
    """Accounts that may take items: in practice, in screening or active."""
    OWNER = "owner"
    """Owners of the project."""


WORKING = ("practice", "screening", "active")
"""Stages in which an account takes items."""


@dataclass(frozen=True, slots=True)
class Account:
    """A signed-in account: `Account("lab-1", "Ann", "training", False, "active")`."""

    id: str
    """Opaque id; the labeler's id once there is a role."""
    name: str
    """Display and sign-in name."""
    role: str | None
    """training, held_out or researcher; None until it is given."""
    owner: bool
    """Whether this account owns the project."""
    stage: str
    """instructions, practice, screening, waiting, active or rejected."""
    rubric: str | None = None
    """The current version of the instructions; whether it was read depends on the stage."""

    @property
    def home(self) -> str:
        """The page to go to next."""
        if self.stage in ("instructions", "waiting"):
            return f"/{self.stage}"
        if self.stage in WORKING and not (self.owner and self.role is None):
            return "/work"
        return "/owner" if self.owner else "/waiting"

    def to_json(self) -> Json:
        """The JSON for the browser."""
        return {
            "id": self.id,
            "name": self.name,
            "role": self.role,
            "owner": self.owner,
            "stage": self.stage,
        }


def sentence(error: ValueError) -> str:
    """A check's complaint as a page shows it: with a capital and a full stop."""
    text = str(error)
    return text[:1].upper() + text[1:] + "."


class ApiError(Exception):
    """A refusal: status, code for the program, one sentence for the person."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers, self.more = dict(headers or {}), more

    @property
    def body(self) -> Json:
        """`go` becomes part of the error; anything else goes beside it."""
        error = {"code": self.code, "message": self.message}
        rest = dict(self.more)
        if "go" in rest:
            error["go"] = rest.pop("go")
        return {"error": error, **rest}


class Body(BaseModel):
    """The JSON body of a request; refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class Page:
    """An HTML page: a template's name; the page fetches its data as JSON."""

    template: str
    status: int = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """A redirect within this app."""

    to: str


@dataclass(frozen=True, slots=True)
class Download:
    """A file to download; never shown as a page of this app."""

    path: Path
    name: str
    """The file's name."""


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes of another type, like the SVG of a plot."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A JSON reply that begins a session: `token` becomes the cookie."""

    token: str
    body: Json


@dataclass(frozen=True, slots=True)
class SignedOut:
    """A JSON reply that ends the session."""

    body: Json


@dataclass(frozen=True, slots=True)
class WithToken:
    """A JSON reply with a fresh CSRF token, for pages whose token expired."""

    body: Json


Reply = Page | Redirect | Download | Content | SignedIn | SignedOut | WithToken | Json


@dataclass(frozen=True, slots=True)
class Call:
    """A request as a route gets it, after the access and CSRF checks."""

    app: Any
    """The application's own state."""
    account: Account | None
    """The signed-in account, or None."""
    path: Mapping[str, str]
    """Parameters in the path."""
    query: Mapping[str, str]
    """Query parameters."""
    body: Any
    """An instance of the route's body class, None for GET."""
    token: str
    """The session cookie's value."""
    address: str
    """The client's address."""

    @property
    def me(self) -> Account:
        """The signed-in account, on a route that requires one."""
        assert self.account is not None
        return self.account


class Nothing(Body):
    """The body `{}`."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path."""

    method: Method
    path: str
    """With parameters in braces: /work/{assignment_id}."""
    access: Access
    handler: Callable[[Call], Reply] = field(compare=False)
    """A plain function, run in a thread."""
    body: type[BaseModel] = Nothing
    """The class of the request's JSON; ignored for GET."""
    max_bytes: int = 256 * 1024
    """Largest body, in bytes."""
    apart: bool = False
    """Whether it is slow, so that a separate process answers it (`web/apart.py`)."""
    part: str = ""
    """Template that renders the JSON reply as part of a page, for requests that accept HTML."""

    def __post_init__(self) -> None:
        if self.apart and self.changes_state:
            raise ValueError(f"{self.method} {self.path} cannot be apart: the call may be repeated")
        if not re.fullmatch(r"(/[\w.{}:-]*)+", self.path):
            raise ValueError(f"path {self.path!r} must be like /work/{{assignment_id}}")

    @property
    def is_api(self) -> bool:
        """Whether it is a JSON route."""
        return self.path.startswith("/api/") or self.path == "/health"

    @property
    def changes_state(self) -> bool:
        """Whether it needs the CSRF token."""
        return self.method != "GET"


def refusal(access: Access, account: Account | None) -> ApiError | None:
    """Why an account may not use a route with this access; None if it may."""
    if access is Access.PUBLIC:
        return None
    if account is None:
        return ApiError(401, "signed_out", "You are signed out; sign in to continue.")
    if access is Access.ACCOUNT:
        return None
    if access is Access.OWNER:
        if account.owner:
            return None
        return ApiError(403, "forbidden", "Only an owner of the project may do this.")
    if account.stage in WORKING and not (account.owner and account.role is None):
        return None
    return ApiError(403, "gate", "You have to complete another step first.", go=account.home)
