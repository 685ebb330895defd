"""A request and its answer, as the application sees them. Source: PEP 3333; distribution-spec, "Error Codes"."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qs

from pybuild.hints import BinaryIO
from pybuild.registry.document import dump
from pybuild.values import frozen, natural

_BLOCK = 1 << 18
_REASONS = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    206: "Partial Content",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    416: "Range Not Satisfiable",
    500: "Internal Server Error",
    507: "Insufficient Storage",
}


@frozen
class Request:
    """What was asked for. `body` is read once; `length` is None for one whose end only shows."""

    _hidden = ("body",)

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: BinaryIO
    length: int | None

    @classmethod
    def read(cls, environ: Mapping[str, object]) -> Request:
        """The request of a WSGI server."""
        headers = {name[5:].replace("_", "-").lower(): str(value) for name, value in environ.items() if name.startswith("HTTP_")}
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if value := environ.get(name):
                headers[name.replace("_", "-").lower()] = str(value)
        is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = None if is_chunked else natural(headers.get("content-length", "")) or 0
        # WSGI hands the path over as latin-1.
        path = str(environ.get("PATH_INFO", "")).encode("latin-1", "replace").decode("utf-8", "replace")
        query = {name: values[0] for name, values in parse_qs(str(environ.get("QUERY_STRING", "")), True).items()}
        return cls(str(environ["REQUEST_METHOD"]), path, query, headers, environ["wsgi.input"], length)  # type: ignore[arg-type]

    def blocks(self) -> Iterator[bytes]:
        """The body, piece by piece. Raises EndOfBody when the client has gone before its end."""
        left = self.length
        while left is None or left:
            try:
                block = self.body.read(_BLOCK if left is None else min(_BLOCK, left))
            except (OSError, ValueError) as error:
                raise EndOfBody from error
            if not block:
                if left:
                    raise EndOfBody
                return
            if left is not None:
                left -= len(block)
            yield block


class EndOfBody(Exception):
    """The client has gone in the middle of its body."""


@frozen
class Response:
    """What is answered. `body` is bytes, or pieces of `length` bytes in all."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Iterable[bytes] = b""
    length: int | None = None

    @property
    def line(self) -> str:
        """The status as WSGI wants it."""
        return f"{self.status} {_REASONS.get(self.status, 'Unknown')}"

    @property
    def size(self) -> int:
        """The body's length in bytes."""
        return len(self.body) if isinstance(self.body, bytes) else self.length or 0


class Refusal(Exception):
    """An answer that says no: a status and one of the specification's codes."""

    def __init__(self, status: int, code: str, message: str, *, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.response = Response(
            status,
            (("Content-Type", "application/json"), *headers),
            dump({"errors": [{"code": code, "message": message, "detail": {}}]}),
        )


class FilePart:
    """A part of a file as pieces of a body. Closed by the server when the client is done with it."""

    def __init__(self, path: str, start: int, size: int) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._place = start
        self._end = start + size

    def __iter__(self) -> Iterator[bytes]:
        while self._place < self._end:
            block = os.pread(self._file, min(_BLOCK, self._end - self._place), self._place)
            if not block:
                # Shorter than it was: the client sees that bytes are missing.
                return
            self._place += len(block)
            yield block

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def wanted_range(header: str, size: int) -> tuple[int, int] | None:
    """Start and length of a Range of bytes; None for none, and for several, which are answered with the whole.

    Raises Refusal for one that lies outside. Source: RFC 9110, 14.
    """
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        length = min(int(last), size)
        start = size - length
    else:
        start = int(first)
        length = min(int(last) + 1 if last else size, size) - start
    if start >= size or length <= 0:
        raise Refusal(416, "SIZE_INVALID", f"no bytes {header}", headers=(("Content-Range", f"bytes */{size}"),))
    return start, length
