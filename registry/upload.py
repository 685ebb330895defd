"""One blob on its way out: a machine with few states, which goes on from whatever the registry says it has.

    new ──POST──▶ begun ──PATCH──▶ … ──PATCH──▶ whole ──PUT──▶ there
     ▲              │ ▲  broken: GET the registry's own offset │
     └── 404, 416 ──┘ └────────────────────────────────────────┘

A small blob goes in one PUT. A larger one goes in pieces, which a proxy's limit (413) or a trouble makes smaller, and the
registry's OCI-Chunk-Min-Length larger; a registry that takes no pieces gets it whole. There is no limit on how long a registry
needs to finish a large blob, as long as it answers to other questions. Source: distribution-spec, "Pushing blobs".
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urljoin

from pybuild.registry.answers import Answer
from pybuild.registry.errors import NotInRegistry, TransferError, UnexpectedAnswer, Unreachable
from pybuild.registry.model import Descriptor
from pybuild.registry.repository import Repository
from pybuild.registry.retries import RETRIED_STATUSES
from pybuild.registry.sessions import Session, Unremembered

# Up to here one request is better than several.
_SMALL = 8 << 20
_CHUNK = 64 << 20
# Where connections break, pieces don't become smaller than this; where a proxy has a limit, than that.
_SMALLER = 1 << 20
_LEAST_CHUNK = 64 << 10
# What a registry says that takes no pieces, or has lost the upload.
_NO_PIECES = (400, 404, 405, 411, 501)
_LOST = (404, 416)


class Content(Protocol):
    """A blob's bytes, which can be read from any place, by several threads."""

    def read_at(self, offset: int, size: int, /) -> bytes:
        """Up to `size` bytes from `offset` on; fewer only at the end."""


class Window:
    """A part of a blob, as a request's body: `start` and `size` in bytes. `told` hears how far in the blob it was read."""

    def __init__(self, content: Content, start: int, size: int, told: Callable[[int], None]) -> None:
        self._content = content
        self._start = start
        self._size = size
        self._told = told
        self._done = 0

    def __len__(self) -> int:
        return self._size

    def seek(self, offset: int, /) -> None:
        """Go to a place in the window."""
        self._done = offset

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes of the window."""
        left = self._size - self._done
        content = self._content.read_at(self._start + self._done, left if size < 0 else min(size, left))
        self._done += len(content)
        if content:
            self._told(self._start + self._done)
        return content


class Upload:
    """One blob's way into a repository. `told` hears how many bytes have been sent."""

    def __init__(
        self,
        repository: Repository,
        blob: Descriptor,
        content: Content,
        *,
        session: Session | None = None,
        told: Callable[[int], None] = lambda done: None,
        chunk: int = _CHUNK,
    ) -> None:
        self._repository = repository
        self._client = repository.client
        self._blob = blob
        self._content = content
        self._session = session or Unremembered()
        self._told = told
        self._subject = repository.about(blob)
        self._location: str | None = None
        self._offset = 0
        self._chunk = chunk
        self._was_resumed = False
        self._least = 0
        self._in_pieces = blob.size > min(_SMALL, chunk)

    def send(self) -> None:
        """Send the blob. Raises TransferError, and DigestMismatch when the registry stored another.

        A trouble that passes is waited out; each piece that arrives gives all attempts back.
        """
        if self._session.url is not None:
            self._location = self._session.url
            self._resume()
            self._was_resumed = self._offset > 0
        attempt, reached = 0, self._offset
        while True:
            attempt += 1
            try:
                self._advance()
                break
            except TransferError as error:
                if not self._may_pass(error):
                    raise
                if self._offset > reached:
                    attempt, reached = 1, self._offset
                if attempt >= self._client.patience.attempts:
                    raise
                advised = error.retry_after if isinstance(error, UnexpectedAnswer) else 0.0
            self._client.patience.wait(attempt, advised)
            # The answer may be all that was lost.
            if self._repository.has(self._blob):
                break
            self._resume()
            if self._offset > reached:
                attempt, reached = 0, self._offset
        self._session.forget()

    def _advance(self) -> None:
        if self._location is None:
            self._begin()
        while self._in_pieces and self._offset < self._blob.size:
            self._send_piece()
        self._finish()

    def _begin(self) -> None:
        answer = self._repository.ask("POST", "blobs/uploads/", subject=self._subject, accept=(202,))
        least = answer.headers.get("oci-chunk-min-length", "")
        self._least = int(least) if least.isascii() and least.isdigit() else 0
        self._offset = 0
        self._go_to(answer)

    def _go_to(self, answer: Answer) -> None:
        location = answer.headers.get("location")
        if not location:
            raise UnexpectedAnswer(
                f"{self._subject}: {self._client.registry} names no place to upload to", url=answer.url, status=answer.status
            )
        self._location = urljoin(answer.url, location)
        if self._in_pieces:
            self._session.keep(self._location)

    def _send_piece(self) -> None:
        size = min(max(self._chunk, self._least), self._blob.size - self._offset)
        start = self._offset
        try:
            answer = self._request(
                "PATCH",
                str(self._location),
                accept=(202, 201, 204),
                headers={"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{start + size - 1}"},
                body=Window(self._content, start, size, self._told),
            )
        except (UnexpectedAnswer, NotInRegistry) as error:
            if start == 0 and _status(error) in _NO_PIECES:
                # One that knows no pieces has not begun with this one: the whole goes in one request, into a new upload.
                self._in_pieces = False
                self._lose()
                self._begin()
                return
            raise
        self._offset = self._said(answer, start + size)
        self._go_to(answer)

    def _said(self, answer: Answer, sent: int) -> int:
        """How many bytes the registry has, by its own word if it gives one. Raises UnexpectedAnswer for what cannot be."""
        found = re.match(r"(?:bytes=)?0-(\d+)", answer.headers.get("range", ""))
        if found is None:
            return sent
        # `0-0` is said of nothing at all, too.
        offset = int(found[1]) + 1 if int(found[1]) else 0
        if offset > sent:
            raise UnexpectedAnswer(
                f"{self._subject}: {self._client.registry} says that it has {offset} bytes of {sent}",
                url=answer.url,
                status=answer.status,
            )
        return offset

    def _finish(self) -> None:
        start, size = self._offset, self._blob.size - self._offset
        location = str(self._location)
        target = f"{location}{'&' if '?' in location else '?'}digest={self._blob.digest}"
        headers = {"Content-Type": "application/octet-stream"}
        if start and size:
            headers["Content-Range"] = f"{start}-{self._blob.size - 1}"
        body = Window(self._content, start, size, self._told) if size else b""
        try:
            answer = self._patiently(lambda: self._request("PUT", target, accept=(201, 204), headers=headers, body=body))
        except UnexpectedAnswer as error:
            if error.status == 413 and not self._in_pieces:
                self._in_pieces = True
            if error.status == 400 and self._was_resumed:
                # What an earlier process has left there is not what it should be: once more, from the start.
                self._was_resumed = False
                self._lose()
                self._advance()
                return
            raise
        if answer is not None:
            self._repository.check_answered(answer, self._blob, self._subject)
            # Anybody on the way can answer 201: one that does not say what was stored is not taken at its word.
            if "docker-content-digest" not in answer.headers and not self._repository.has(self._blob):
                raise NotInRegistry(
                    f"{self._subject}: {self._client.registry} says that it took the blob, and has not", url=answer.url
                )

    def _patiently(self, action: Callable[[], Answer]) -> Answer | None:
        """An answer, however long it takes, while the registry answers otherwise; None when the blob is there without one.

        The connection is not given up in between: some registries stop their work then.
        """
        outcome: list[Answer | BaseException] = []
        ended = threading.Event()

        def work() -> None:
            try:
                outcome.append(action())
            except BaseException as error:
                outcome.append(error)
            ended.set()

        threading.Thread(target=work, daemon=True).start()
        while not ended.wait(self._client.patience.answer_seconds):
            if self._repository.has(self._blob):
                return None
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def _resume(self) -> None:
        """Find out how far the registry is; an upload that it has lost begins anew."""
        if self._location is None:
            return
        try:
            answer = self._request("GET", self._location, accept=(204, 200, 202), attempts=self._client.patience.attempts)
            if "range" not in answer.headers:
                self._lose()
                return
            self._offset = self._said(answer, self._blob.size)
            if answer.headers.get("location"):
                self._go_to(answer)
            # Whatever was sent in one piece before is there in part now: the rest is a piece.
            self._in_pieces = self._in_pieces or self._offset > 0
        except (NotInRegistry, UnexpectedAnswer):
            self._lose()

    def _lose(self) -> None:
        self._location, self._offset = None, 0
        self._session.forget()

    def _request(
        self,
        method: str,
        target: str,
        *,
        accept: tuple[int, ...],
        headers: dict[str, str] | None = None,
        body: Window | bytes | None = None,
        attempts: int = 1,
    ) -> Answer:
        return self._client.request(
            method,
            target,
            subject=self._subject,
            scopes=self._repository.scopes,
            accept=accept,
            headers=headers,
            body=body,
            attempts=attempts,
            is_patient=method == "PUT",
        )

    def _may_pass(self, error: TransferError) -> bool:
        """Whether another attempt makes sense; smaller pieces are tried where size may be the trouble."""
        status = _status(error)
        if status == 413:
            before = min(self._chunk, self._blob.size)
            self._chunk = max(before // 4, self._least, _LEAST_CHUNK)
            return self._chunk < before
        if isinstance(error, Unreachable) and self._in_pieces:
            self._chunk = max(self._chunk // 4, min(self._chunk, _SMALLER))
        return isinstance(error, Unreachable) or status in (*RETRIED_STATUSES, *_LOST)


def _status(error: TransferError) -> int:
    if isinstance(error, UnexpectedAnswer):
        return error.status
    return 404 if isinstance(error, NotInRegistry) else 0
