"""The app's static files: only those present at startup, with the type of their suffix."""

from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}


class Static:
    """Serves a folder under /static; looks a request's path up in a table and never opens it."""

    def __init__(self, folder: Path) -> None:
        self.files = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.suffix in TYPES and path.is_file()
        }
        self.route = Route("/static/{name:path}", self.answer, methods=["GET"])

    async def answer(self, request: Request) -> Response:
        """The file; 304 if the browser has it, 404 if there is none."""
        path = self.files.get(request.path_params["name"])
        if path is None:
            return PlainTextResponse("There is no such file.", status_code=404)
        body = path.read_bytes()
        headers = {"etag": f'"{sha256(body).hexdigest()[:32]}"', "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=TYPES[path.suffix], headers=headers)
