"""Bodies: what a request may have as one; that of an answer, how it is read, how much of it, and how slowly it may come."""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Mapping

import urllib3

from pybuild.hints import Protocol
from pybuild.registry.errors import BrokenOff, TooSlow, UnexpectedAnswer, Unreachable
from pybuild.registry.troubles import reason_of
from pybuild.registry.urls import host
from pybuild.values import natural

_BLOCK = 1 << 18
# Source: distribution-spec, "Pushing Manifests": registries take manifests of 4 MiB at least.
_LONGEST_TEXT = 4 << 20
# Bytes a second, over a silence's time: a server that sends less than a modem is not sending.
_LEAST_SPEED = 128


class Readable(Protocol):
    """A body that is read as it is sent: its length is known, and it can be read again."""

    def __len__(self) -> int: ...

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes."""

    def seek(self, offset: int, /) -> object:
        """Go back to a place."""


Body = Readable | bytes | None


class Stream:
    """The body of an answer that is still coming in. `silence_seconds` is how long it may do next to nothing."""

    def __init__(
        self,
        raw: urllib3.BaseHTTPResponse,
        *,
        url: str,
        status: int,
        headers: Mapping[str, str],
        subject: str,
        silence_seconds: float,
    ) -> None:
        self._raw = raw
        self._subject = subject
        self._silence_seconds = silence_seconds
        self._waited, self._seen = 0.0, 0
        self._broken: BrokenOff | None = None
        self.url = url
        self.status = status
        self.headers = headers

    @property
    def length(self) -> int | None:
        """How many bytes there are to come, by the server's word; None where it says nothing."""
        return natural(self.headers.get("Content-Length", ""))

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end. Raises BrokenOff when the connection breaks, TooSlow when it only drips.

        What came before it broke is given first: it need not come again.
        """
        if self._broken is not None:
            raise self._broken
        pieces: list[bytes] = []
        total = 0
        # What has come is passed on at a quarter of what was asked for: to wait for all of it would let a server drip.
        while total < size // 4 or not total:
            since = time.monotonic()
            try:
                piece: bytes = self._raw.read1(size - total, decode_content=False)
            except urllib3.exceptions.HTTPError as error:
                self._broken = BrokenOff(
                    f"{self._subject}: the connection to {host(self.url)} broke: {reason_of(error)}",
                    url=self.url,
                    hint="try again",
                )
                if not pieces:
                    raise self._broken from error
                break
            if not piece:
                break
            pieces.append(piece)
            total += len(piece)
            self._check_speed(len(piece), time.monotonic() - since)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_text(self) -> bytes:
        """All of a small body, unpacked if it was packed on the way. Raises UnexpectedAnswer for one that is not small."""
        pieces: list[bytes] = []
        size = 0
        while piece := self.read(_BLOCK):
            pieces.append(piece)
            size += len(piece)
            self._check_length(size)
        content = b"".join(pieces)
        # Nobody has asked for it, and some proxies do it all the same.
        if self.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip"):
            with contextlib.suppress(zlib.error):
                content = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(content, _LONGEST_TEXT + 1)
                self._check_length(len(content))
        return content

    def _check_length(self, size: int) -> None:
        if size > _LONGEST_TEXT:
            raise UnexpectedAnswer(f"{host(self.url)}: an answer of over {_LONGEST_TEXT} bytes", url=self.url, status=self.status)

    def read_some(self) -> bytes:
        """The start of a refusal's body, as far as it comes."""
        try:
            return self.read(1 << 16)
        except Unreachable:
            return b""

    def _check_speed(self, size: int, seconds: float) -> None:
        """Count what came in the time that was spent waiting for it: a slow reader is not the server's fault."""
        self._seen += size
        self._waited += seconds
        if self._seen >= _LEAST_SPEED * self._silence_seconds:
            self._waited, self._seen = 0.0, 0
        elif self._waited > self._silence_seconds:
            raise TooSlow(
                f"{self._subject}: {host(self.url)} sent {self._seen} bytes in {self._waited:.0f} seconds, and was given up",
                url=self.url,
                hint="the server, or the network to it, is in trouble: try again later",
            )
