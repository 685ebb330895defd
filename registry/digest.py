"""Content digests: `sha256:<64 hex digits>`.

Source: image-spec, descriptor.md, "Digests". Only sha256 is accepted: it is the one algorithm that
every registry and every store implements.
"""

from __future__ import annotations

from pybuild.hints import Self
from pybuild.lean import sha256
from pybuild.registry.errors import InvalidDigest


class Digest(str):
    """The digest of some bytes, as text. Equal digests mean equal bytes."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if len(text) != 71 or not text.startswith("sha256:") or text[7:].strip("0123456789abcdef"):
            raise InvalidDigest(f"not a digest: {text!r}", hint="a digest is sha256: and 64 lower-case hex digits")
        return str.__new__(cls, text)

    @classmethod
    def of(cls, content: bytes) -> Digest:
        """The digest of `content`."""
        return cls.from_hex(sha256(content).hexdigest())

    @classmethod
    def from_hex(cls, hex_digits: str) -> Digest:
        """The digest with these 64 hex digits, as a `hashlib` object gives them."""
        return cls(f"sha256:{hex_digits}")

    @property
    def hex(self) -> str:
        """The 64 hex digits alone: the blob's file name in an OCI layout."""
        return self[7:]

    @property
    def short(self) -> str:
        """The first 12 hex digits, as docker prints an image ID."""
        return self[7:19]
