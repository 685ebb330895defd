"""Everything that can go wrong with an image at rest or in transit.

RegistryError
├── InvalidDigest            text that is no digest
├── InvalidReference         text that is no image name
├── InvalidDocument          a manifest, index, config or archive that breaks its specification
│   └── UnsupportedMediaType a document of a kind that pybuild does not read
├── Blocked                  a registry that the user's settings forbid
├── PlatformNotFound         an index without an image for the wanted platform
├── StoreError               the local store
│   ├── BlobNotFound
│   ├── ImageNotFound
│   └── AmbiguousName        an abbreviated image ID that fits several images
├── DigestMismatch           bytes that are not what their digest or size says
│   └── DiffIdMismatch       a layer that unpacks to something else than its image's config says
├── SourceFailed             where a copy comes from has given up
└── TransferError            a registry, carries its URL
    ├── Unreachable          no answer: refused, timed out, TLS
    │   ├── BrokenOff        an answer that ended in the middle
    │   └── TooSlow          an answer of which next to nothing came, for long
    ├── OutOfTime            not done in the time that the user gave
    ├── AuthenticationFailed 401 or 403
    ├── NotInRegistry        404
    │   └── BeginsNoUpload   404 to a push: there is no such repository, and none is made
    └── UnexpectedAnswer     any other status, or an answer that makes no sense
"""

from __future__ import annotations

from pybuild.registry.redaction import redacted

REPAIR = "the store is damaged: 'pybuild store verify --repair' finds what else is, and puts it right"


class RegistryError(Exception):
    """The root of the tree. `hint` says what to do next, when there is something to do. No secret is in either."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = redacted(message)
        super().__init__(self.message)
        self.hint = hint and redacted(hint)

    def __reduce__(self) -> tuple[object, ...]:
        # As it is, and not by calling the class: so it comes out of a process pool, too.
        import copyreg

        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class InvalidDigest(RegistryError, ValueError):
    """Text that is no digest."""

    exit_code = 2


class InvalidReference(RegistryError, ValueError):
    """Text that is no image name."""

    exit_code = 2


class InvalidPlatform(RegistryError, ValueError):
    """Text that is no platform."""

    exit_code = 2


class InvalidDocument(RegistryError):
    """A manifest, index, config or archive that breaks its specification."""


class UnsupportedMediaType(InvalidDocument):
    """A document of a kind that pybuild does not read."""

    def __init__(self, media_type: str, *, where: str, hint: str | None = None) -> None:
        super().__init__(f"{where}: unsupported media type {media_type!r}", hint=hint)
        self.media_type = media_type


class Blocked(RegistryError):
    """A registry that the user's settings forbid."""


class PlatformNotFound(RegistryError):
    """An index without an image for the wanted platform."""


class StoreError(RegistryError):
    """The local store can't do what was asked."""


class BlobNotFound(StoreError):
    """The store does not hold this blob."""


class ImageNotFound(StoreError):
    """The store does not hold this image."""


class AmbiguousName(StoreError):
    """An abbreviated image ID that fits several images."""


class DigestMismatch(RegistryError):
    """Bytes that are not what their digest or size says."""

    def __init__(self, *, expected: str, actual: str, where: str, hint: str | None = None) -> None:
        super().__init__(
            f"{where}: expected {expected}, got {actual}",
            hint=hint or "the content was damaged or changed on the way; nothing of it was kept",
        )
        self.where = where
        self.expected = expected
        self.actual = actual


class DiffIdMismatch(DigestMismatch):
    """A layer that unpacks to something else than its image's config says."""

    def __init__(self, *, expected: str, actual: str, layer: str) -> None:
        super().__init__(
            expected=expected,
            actual=actual,
            where=f"layer {layer}, unpacked",
            hint="the image's config lies about its layer: do not trust where it came from; nothing of it was kept",
        )


class SourceFailed(RegistryError):
    """Where a copy comes from gave up, after all attempts: nothing that where it goes could do better."""


class TransferError(RegistryError):
    """Talking to a registry failed; `url` is the request that did."""

    def __init__(self, message: str, *, url: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.url = url


class Unreachable(TransferError):
    """The registry did not answer."""


class BrokenOff(Unreachable):
    """The registry's answer ended in the middle."""


class TooSlow(Unreachable):
    """The registry's answer came drop by drop."""


class OutOfTime(TransferError):
    """It was not done in the time that the user gave."""


class AuthenticationFailed(TransferError):
    """The registry wants other credentials (401), or refuses these (403)."""


class NotInRegistry(TransferError):
    """The registry answered 404."""


class BeginsNoUpload(NotInRegistry):
    """There is no such repository, and a push does not make it."""


class UnexpectedAnswer(TransferError):
    """Any other status, or an answer that makes no sense. `code` is the registry's own, such as DIGEST_INVALID."""

    def __init__(
        self, message: str, *, url: str, status: int, code: str = "", hint: str | None = None, retry_after: float = 0.0
    ) -> None:
        super().__init__(message, url=url, hint=hint)
        self.status = status
        self.code = code
        self.retry_after = retry_after
