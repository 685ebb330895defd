"""One blob on its way out: in pieces or in one request, going on from whatever the registry says it has, and ended by its digest.

A small blob goes in one PUT, a larger one in `pieces`; a registry that takes none gets it whole. There is no limit on how long a
registry needs to finish a large blob, as long as it answers to other questions. Source: distribution-spec, "Pushing blobs".
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack

from pybuild.registry.answers import Answer
from pybuild.registry.errors import BeginsNoUpload, NotInRegistry, TransferError, UnexpectedAnswer, Unreachable
from pybuild.registry.model import Descriptor
from pybuild.registry.pieces import CHUNK, Content, Guard, Pieces, TakesNoPieces, status_of
from pybuild.registry.progress import Action
from pybuild.registry.repository import Repository
from pybuild.registry.retries import RETRIED_STATUSES
from pybuild.registry.sessions import Session, session
from pybuild.registry.store import Store

# Up to here one request is better than several.
SMALL = 8 << 20
# No more mounts are tried: each may cost a token.
_MOST_MOUNTS = 2
# 201 it should be; what another answer without a digest means is asked for.
_ENDED = (200, 201, 202, 204)
# What a registry says that has lost the upload.
_LOST = (404, 416)


def deliver(
    repository: Repository,
    blob: Descriptor,
    content: Callable[[], AbstractContextManager[Content]],
    *,
    origins: Iterable[str],
    store: Store | None,
    told: Callable[[int], None],
    piece: Guard = contextlib.nullcontext,
) -> Action:
    """Have a blob mounted from one of the repositories `origins`, or send it; what was done.

    The store, if there is one, remembers how far it is. Raises TransferError, DigestMismatch, and what `told` and `piece` do.
    """
    for origin in [path for path in origins if path != repository.path][:_MOST_MOUNTS]:
        if repository.mount(blob, origin):
            return "mounted"
    with ExitStack() as resources:
        opened = resources.enter_context(content())
        kept = resources.enter_context(session(store, repository.name, blob.digest)) if store else None
        Upload(repository, blob, opened, session=kept, told=told, piece=piece).send()
    return "push"


class Upload:
    """One blob's way into a repository. `told` hears how many bytes have been sent; a piece is sent within a `piece()`.

    `begun` are pieces that were sent while the blob was still being made.
    """

    def __init__(
        self,
        repository: Repository,
        blob: Descriptor,
        content: Content,
        *,
        session: Session | None = None,
        told: Callable[[int], None] = lambda done: None,
        piece: Guard = contextlib.nullcontext,
        chunk: int = CHUNK,
        begun: Pieces | None = None,
    ) -> None:
        self._repository = repository
        self._client = repository.client
        self._blob = blob
        self._subject = repository.about(blob)
        self._pieces = begun or Pieces(
            repository, content, subject=self._subject, session=session, told=told, piece=piece, chunk=chunk
        )
        self._is_in_pieces = blob.size > min(SMALL, chunk)
        self._was_resumed = False
        # Its pieces have come to nothing.
        self._goes_whole = False

    def send(self) -> None:
        """Send the blob. Raises TransferError, and DigestMismatch when the registry stored another.

        A trouble that passes is waited out; each piece that arrives gives all attempts back.
        """
        pieces = self._pieces
        if pieces.location is None and pieces.session.url is not None:
            pieces.location, pieces.is_sure = pieces.session.url, False
        if not pieces.is_sure:
            self._resume()
        self._was_resumed = pieces.offset > 0
        attempt, reached = 0, pieces.offset
        while True:
            attempt += 1
            try:
                self._advance()
                break
            except TransferError as error:
                may_pass = self._may_pass(error)
                if pieces.offset > reached:
                    attempt, reached = 1, pieces.offset
                if not may_pass or attempt >= self._client.patience.attempts:
                    if not self._may_go_whole(error):
                        raise
                    attempt, reached = 0, 0
                advised = error.retry_after if isinstance(error, UnexpectedAnswer) else 0.0
            self._client.patience.wait(attempt, advised)
            # The answer may be all that was lost.
            if self._repository.has(self._blob):
                break
            self._resume()
            if pieces.offset > reached:
                attempt, reached = 0, pieces.offset
        pieces.session.forget()

    def _advance(self) -> None:
        pieces = self._pieces
        pieces.is_kept = self._is_in_pieces
        if pieces.location is None:
            pieces.begin()
        try:
            while self._is_in_pieces and pieces.offset < self._blob.size:
                pieces.send(min(pieces.size, self._blob.size - pieces.offset))
        except TakesNoPieces:
            self._goes_whole, self._is_in_pieces = True, False
            pieces.is_kept = False
            pieces.begin()
        self._finish()

    def _finish(self) -> None:
        pieces = self._pieces
        start, size = pieces.offset, self._blob.size - pieces.offset
        location = str(pieces.location)
        target = f"{location}{'&' if '?' in location else '?'}digest={self._blob.digest}"
        headers = {"Content-Type": "application/octet-stream"}
        if start and size:
            headers["Content-Range"] = f"{start}-{self._blob.size - 1}"
        body = pieces.window(start, size) if size else b""
        try:
            answer = self._patiently(lambda: pieces.request("PUT", target, accept=_ENDED, headers=headers, body=body))
        except UnexpectedAnswer as error:
            if error.status == 413 and not self._is_in_pieces:
                self._is_in_pieces = True
            if error.status == 400 and self._was_resumed:
                # What an earlier process has left there is not what it should be: once more, from the start.
                self._was_resumed = False
                pieces.lose()
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
        """Find out how far the registry is."""
        if self._goes_whole:
            self._pieces.lose()
            return
        self._pieces.resume(self._blob.size)
        # Whatever was sent in one piece before is there in part now: the rest is a piece.
        self._is_in_pieces = self._is_in_pieces or self._pieces.offset > 0

    def _may_go_whole(self, error: TransferError) -> bool:
        """The last resort where a registry takes pieces and makes nothing good of them: all in one request, as others do it."""
        if not self._is_in_pieces or self._goes_whole or status_of(error) in (0, 401, 403, 413, 429):
            return False
        if isinstance(error, BeginsNoUpload):
            return False
        self._goes_whole, self._is_in_pieces = True, False
        return True

    def _may_pass(self, error: TransferError) -> bool:
        """Whether another attempt makes sense; smaller pieces are tried where size may be the trouble."""
        if isinstance(error, BeginsNoUpload):
            return False
        status = status_of(error)
        if status == 413 or (isinstance(error, Unreachable) and self._is_in_pieces):
            return self._pieces.shrink(error, self._blob.size)
        return isinstance(error, Unreachable) or status in (*RETRIED_STATUSES, *_LOST)
