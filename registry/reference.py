"""Image names: `[registry[:port]/]path[:tag][@digest]`.

A name without a registry is Docker Hub's, and Hub's own images live under `library/`:
`ubuntu` is `docker.io/library/ubuntu:latest`. Source: distribution/reference, and distribution-spec,
"Pulling manifests" (the grammar of names and tags).
"""

from __future__ import annotations

import re

from pybuild.registry.digest import Digest
from pybuild.registry.errors import InvalidDigest, InvalidReference
from pybuild.values import frozen, replace

HUB = "docker.io"
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PATH_PART}(?:/{_PATH_PART})*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_LABEL = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
# Compiled when a name has one: that takes as long as all else that is done about a name.
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?"
_LONGEST_NAME = 255


@frozen
class Reference:
    """A fully spelled name. At least one of `tag` and `digest` is set."""

    registry: str
    path: str
    tag: str | None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a name as users write it, filling in Docker Hub, `library/` and `latest`.

        Raises InvalidReference, saying which part is wrong.
        """
        name, at, digest_text = text.partition("@")
        digest = None
        if at:
            try:
                digest = Digest(digest_text)
            except InvalidDigest as error:
                raise InvalidReference(f"invalid image name {text!r}: {error}", hint=error.hint) from error
        tag: str | None = None
        head, colon, tail = name.rpartition(":")
        if colon and "/" not in tail:
            name, tag = head, tail
            if not _TAG.match(tag):
                raise InvalidReference(
                    f"invalid image name {text!r}: bad tag {tag!r}",
                    hint="a tag has up to 128 letters, digits, '_', '.' and '-', and starts with none of '.-'",
                )
        elif digest is None:
            tag = "latest"
        if len(name) == 64 and not name.strip("0123456789abcdef"):
            # docker, too: it would be taken for the ID of an image.
            raise InvalidReference(f"invalid image name {text!r}: it reads as an ID", hint="a name is not 64 hex digits")
        registry, path = _split_registry(name)
        if registry != HUB and not re.fullmatch(_HOST, registry):
            raise InvalidReference(f"invalid image name {text!r}: bad registry {registry!r}")
        if not _PATH.match(path) or len(registry) + 1 + len(path) > _LONGEST_NAME:
            raise InvalidReference(f"invalid image name {text!r}", hint=_hint_for_path(path, name.lower() + text[len(name) :]))
        return cls(registry, path, tag, digest)

    def with_digest(self, digest: Digest) -> Reference:
        """The same repository and tag, pinned to a digest."""
        return replace(self, digest=digest)

    @property
    def repository(self) -> str:
        """Registry and path, without tag and digest: `docker.io/library/ubuntu`."""
        return f"{self.registry}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """The repository as docker prints it: Docker Hub's parts left out."""
        if self.registry != HUB:
            return self.repository
        return self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path

    @property
    def familiar(self) -> str:
        """The name as docker prints it: `ubuntu:latest`, `127.0.0.1:5000/app:v1`."""
        return self.familiar_repository + self._suffix

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.repository + self._suffix


def same_image(first: str, second: str) -> bool:
    """Whether two names mean one image: `ubuntu` is `docker.io/library/ubuntu:latest`."""
    try:
        return first == second or Reference.parse(first) == Reference.parse(second)
    except InvalidReference:
        return False


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    names_a_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not names_a_host:
        return HUB, name if "/" in name else f"library/{name}"
    if first in ("index.docker.io", "registry-1.docker.io"):
        first = HUB
    if first == HUB and "/" not in rest:
        rest = f"library/{rest}"
    return first, rest


def _hint_for_path(path: str, lowered: str) -> str:
    if path != path.lower() and _PATH.match(path.lower()):
        return f"names are lower case: {lowered!r}"
    return "a name has lower-case letters and digits, separated by '.', '_', '__', '-' and '/'"
