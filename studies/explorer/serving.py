"""An explorer on this machine alone, over artefacts that are too large for one page: documents are read when asked for.

The server listens on 127.0.0.1, under a path that only whoever started it is told, and answers no other host name, so
that neither a page from elsewhere nor a name that leads here can read the data. It only reads.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np

from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.studies.explorer.content import content_of
from thresher.studies.explorer.documents import documents_of
from thresher.studies.explorer.packing import as_json
from thresher.studies.explorer.page import page_of
from thresher.studies.explorer.subject import Subject

HOST = "127.0.0.1"
MOST_ROWS = 200
"""Documents of one answer."""
CHUNK = 1024


class Server(ThreadingHTTPServer):
    """Serves one subject until it is closed. Raises InputError for a port that is taken."""

    daemon_threads = True

    def __init__(self, subject: Subject, port: int = 0) -> None:
        """`port` 0: any that is free."""
        self.page = page_of(content_of(subject), served=True).encode()
        self.examples: dict[str, Examples] = {"": subject.pool} | {f"={n}": one for n, one in subject.targets.items()}
        self.secret = secrets.token_urlsafe(16)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise InputError(f"port {port} cannot be used ({error.strerror}); give another, or 0 for any") from None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/{self.secret}/"

    def hosts(self) -> tuple[str, ...]:
        """What the header `Host` may be."""
        return tuple(f"{name}:{self.server_address[1]}" for name in (HOST, "localhost"))


class _Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        """The page, documents, or the rows that hold a text; anything else is not found."""
        parts = urlsplit(self.path)
        empty, secret, *rest = parts.path.split("/") if "/" in parts.path[1:] else ("", "", "?")
        known = secrets.compare_digest(secret.encode(), self.server.secret.encode())
        answers: dict[str, Callable[[dict[str, list[str]]], bytes]] = {
            "": lambda _: self.server.page,
            "documents": self._documents,
            "search": self._search,
        }
        if empty or not known or len(rest) != 1 or rest[0] not in answers:
            return self._answer(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
        if self.headers.get("Host") not in self.server.hosts():
            return self._answer(HTTPStatus.FORBIDDEN, b"another host", "text/plain")
        try:
            body = answers[rest[0]](parse_qs(parts.query))
        except (KeyError, ValueError, IndexError):
            return self._answer(HTTPStatus.BAD_REQUEST, b"no such rows", "text/plain")
        self._answer(HTTPStatus.OK, body, "text/html; charset=utf-8" if not rest[0] else "application/json")

    def _documents(self, query: dict[str, list[str]]) -> bytes:
        """Documents of the rows that are asked for, of the pool ("") or a target ("=NAME")."""
        examples = self.server.examples[query.get("of", [""])[0]]
        rows = [int(row) for row in query["rows"][0].split(",")]
        if len(rows) > MOST_ROWS or any(not 0 <= row < len(examples) for row in rows):
            raise ValueError("rows that are not there")
        return as_json(documents_of(examples, np.array(rows))).encode()

    def _search(self, query: dict[str, list[str]]) -> bytes:
        """Rows of the pool whose text holds the words that are asked for, whatever their case."""
        return json.dumps(list(rows_with(self.server.examples[""], query["text"][0]))).encode()

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: requests are no news."""


def rows_with(examples: Examples, text: str) -> Iterator[int]:
    """Rows whose document holds `text`, whatever the case of either."""
    wanted = text.casefold()
    for start in range(0, len(examples), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(examples)))
        for row, document in zip(rows.tolist(), documents_of(examples, rows), strict=True):
            if not isinstance(document, str) and document and wanted in "".join(document).casefold():
                yield row
