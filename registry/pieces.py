"""An upload as the registry has it: where it is, how far it is, and pieces that go into it one behind the other.

    new ──POST──▶ begun ──PATCH──▶ … ──PATCH──▶ whole
     ▲              │ ▲  broken: GET the registry's own offset
     └── 404, 416 ──┘ └──────────────────────────────┘

Pieces become smaller where a proxy has a limit (413), where connections break, and where one takes so long that much would be
lost with it; the registry's OCI-Chunk-Min-Length makes them larger. Source: distribution-spec, "Pushing a blob in chunks".
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager

from pybuild.hints import Protocol
from pybuild.registry.answers import Answer
from pybuild.registry.errors import BeginsNoUpload, NotInRegistry, TransferError, UnexpectedAnswer, Unreachable
from pybuild.registry.repository import Repository
from pybuild.registry.sessions import Session, Unremembered
from pybuild.registry.urls import joined
from pybuild.values import natural

CHUNK = 64 << 20
# A piece that took longer is the last of its size, down to this one.
_LONG_SECONDS = 10.0
_SHORTER = 8 << 20
# Where connections break, pieces don't become smaller than this; where a proxy has a limit, than that.
_SMALLER = 1 << 20
_LEAST_CHUNK = 64 << 10
# What a registry says that takes no pieces; 416 is GitHub's of those over 4 MiB.
_NO_PIECES = (400, 404, 405, 411, 416, 501)


class Content(Protocol):
    """A blob's bytes, which can be read from any place, by several threads."""

    def read_at(self, offset: int, size: int, /) -> bytes:
        """Up to `size` bytes from `offset` on; fewer only at the end."""


_MAKE_IT = "some registries want a repository to be made first (Amazon: 'aws ecr create-repository'): is the name right?"
# What is entered around each piece, until it is known where the next one goes.
Guard = Callable[[], AbstractContextManager[None]]


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


class TakesNoPieces(Exception):
    """The registry has refused the first piece: the whole has to go in one request, to another upload."""


class Pieces:
    """One upload. `offset` is how many bytes the registry has, `location` where it is; None before it has begun, or is lost.

    `told` hears how many bytes have been sent; each piece is sent within a `piece()`.
    """

    def __init__(
        self,
        repository: Repository,
        content: Content,
        *,
        subject: str,
        session: Session | None = None,
        told: Callable[[int], None] = lambda done: None,
        piece: Guard = contextlib.nullcontext,
        chunk: int = CHUNK,
    ) -> None:
        self.content = content
        self.session = session or Unremembered()
        self.location: str | None = None
        self.offset = 0
        # Whether `offset` is what the registry said last, and nothing was sent since.
        self.is_sure = True
        # Whether the URL is worth to be kept for another process: not for a blob that goes in one request.
        self.is_kept = True
        self._repository = repository
        self._client = repository.client
        self._subject = subject
        self._told = told
        self._piece = piece
        self._chunk = chunk
        self._least = 0

    @property
    def least(self) -> int:
        """How many bytes the registry wants a piece to have at least, the last one aside."""
        return self._least

    @property
    def size(self) -> int:
        """How many bytes the next piece may have."""
        return max(self._chunk, self._least)

    def belong_to(self, *, subject: str, session: Session, told: Callable[[int], None]) -> None:
        """It has turned out what the bytes so far are the beginning of."""
        self._subject, self.session, self._told = subject, session, told
        if self.location is not None:
            session.keep(self.location)

    def begin(self) -> None:
        """Begin a new upload. Raises TransferError; BeginsNoUpload where there is no such repository to push to."""
        try:
            answer = self.request("POST", f"/v2/{self._repository.path}/blobs/uploads/", accept=(202,))
        except NotInRegistry as error:
            raise BeginsNoUpload(error.message, url=error.url, hint=_MAKE_IT) from error
        self._least = natural(answer.headers.get("oci-chunk-min-length", "")) or 0
        self.offset = 0
        self._go_to(answer)

    def send(self, size: int) -> None:
        """Send the next piece, of so many bytes.

        Raises TransferError, what `piece` does, and TakesNoPieces, with the upload gone.
        """
        with self._piece():
            self._send(size)

    def _send(self, size: int) -> None:
        start, clock = self.offset, self._client.patience.clock
        since, self.is_sure = clock(), False
        try:
            answer = self.request(
                "PATCH",
                str(self.location),
                accept=(202, 201, 204),
                headers={"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{start + size - 1}"},
                body=self.window(start, size),
            )
        except (UnexpectedAnswer, NotInRegistry) as error:
            if start == 0 and status_of(error) in _NO_PIECES:
                self.lose()
                raise TakesNoPieces from error
            raise
        if clock() - since > _LONG_SECONDS:
            self._chunk = max(self._chunk // 2, min(self._chunk, _SHORTER))
        said = self._said(answer, start + size)
        # Amazon's stops to count after the first piece: one that has taken nothing refuses the next.
        self.offset = said if said > start else start + size
        self._go_to(answer)
        self.is_sure = True

    def window(self, start: int, size: int) -> Window:
        """A part of the content as a body."""
        return Window(self.content, start, size, self._told)

    def resume(self, most: int) -> None:
        """Find out how far the registry is, of `most` bytes; an upload that it has lost is begun anew by the caller."""
        if self.location is None:
            return
        try:
            answer = self.request("GET", self.location, accept=(204, 200, 202), attempts=self._client.patience.attempts)
            if "range" not in answer.headers:
                self.lose()
                return
            self.offset = self._said(answer, most)
            if answer.headers.get("location"):
                self._go_to(answer)
            self.is_sure = True
        except (NotInRegistry, UnexpectedAnswer):
            self.lose()

    def lose(self) -> None:
        """Know no upload any more."""
        self.location, self.offset, self.is_sure = None, 0, True
        self.session.forget()

    def abandon(self) -> None:
        """Give the upload back: nobody goes on with it. It times out in the registry if this fails."""
        location = self.location
        self.lose()
        if location is not None:
            with contextlib.suppress(TransferError):
                self.request("DELETE", location, accept=tuple(range(200, 600)))

    def shrink(self, error: TransferError, size: int) -> bool:
        """Make pieces smaller where their size may be the trouble; False when a limit (413) is below anything sensible.

        `size` is the whole blob's, as far as it is known.
        """
        if status_of(error) == 413:
            before = min(self._chunk, size)
            self._chunk = max(before // 4, self._least, _LEAST_CHUNK)
            return self._chunk < before
        if isinstance(error, Unreachable):
            self._chunk = max(self._chunk // 4, min(self._chunk, _SMALLER))
        return True

    def request(
        self,
        method: str,
        target: str,
        *,
        accept: tuple[int, ...],
        headers: dict[str, str] | None = None,
        body: Window | bytes | None = None,
        attempts: int = 1,
    ) -> Answer:
        """One request about the upload; the last one of it may take any time. Raises TransferError."""
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

    def _go_to(self, answer: Answer) -> None:
        location = answer.headers.get("location") or self.location
        if not location:
            raise UnexpectedAnswer(
                f"{self._subject}: {self._client.registry} names no place to upload to", url=answer.url, status=answer.status
            )
        self.location = joined(answer.url, location)
        if self.is_kept:
            self.session.keep(self.location)

    def _said(self, answer: Answer, sent: int) -> int:
        """How many bytes the registry has, by its own word if it gives one. Raises UnexpectedAnswer for what cannot be."""
        found = re.match(r"(?:bytes=)?0-([0-9]{1,19})", answer.headers.get("range", ""))
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


def status_of(error: TransferError) -> int:
    """The status of an answer that was no good; 0 when there was none."""
    if isinstance(error, UnexpectedAnswer):
        return error.status
    return 404 if isinstance(error, NotInRegistry) else 0
