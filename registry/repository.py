"""The verbs of one repository in a registry: manifests and blobs, read and written, every byte checked.

Source: distribution-spec, "Pull" and "Push".
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping

from pybuild.hints import Protocol
from pybuild.registry import media
from pybuild.registry.answers import Answer
from pybuild.registry.authorization import Scopes, scope
from pybuild.registry.client import Client
from pybuild.registry.digest import Digest
from pybuild.registry.document import Fields, load
from pybuild.registry.errors import DigestMismatch, NotInRegistry, TransferError, UnexpectedAnswer
from pybuild.registry.model import Descriptor
from pybuild.registry.stream import Stream
from pybuild.registry.urls import joined
from pybuild.values import frozen, natural

_PAGE = 1000
_MOST_IDLE_PAGES = 100
_LINK = re.compile(r'<([^>]*)>((?:\s*;\s*[^\s=;,<>"]+(?:\s*=\s*(?:"[^"]*"|[^\s;,<>"]*))?)*)')
_LINK_PARAMETER = re.compile(r';\s*([^\s=;,<>"]+)\s*=\s*(?:"([^"]*)"|([^\s;,<>"]*))')
_ACCEPT = ", ".join((*media.MANIFESTS, *media.INDEXES))

# What registry:2 says when another push of the same layers is at work: it reads its own files while it writes them.
_PASSING = ("DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN")
_LOOKS_AT_A_MANIFEST = 3


# What is said to a HEAD that a GET may be answered well.
_NO_HEAD = (400, 403, 405, 501)


class Document(Protocol):
    """What is stored as a manifest: a manifest or an index."""

    @property
    def raw(self) -> bytes:
        """Its bytes."""

    @property
    def media_type(self) -> str:
        """What they are."""

    @property
    def descriptor(self) -> Descriptor:
        """Their digest and size."""


@frozen
class Repository:
    """One repository. `actions` is what a token has to allow: `pull`, or `pull` and `push`."""

    client: Client
    path: str
    actions: tuple[str, ...] = ("pull",)

    @property
    def name(self) -> str:
        """Registry and path."""
        return f"{self.client.registry}/{self.path}"

    @property
    def scopes(self) -> Scopes:
        """What a token has to allow."""
        return (scope(self.path, *self.actions),)

    def manifest(self, name: str) -> tuple[bytes, str]:
        """The document of a tag or digest, checked, and its media type. Raises TransferError and DigestMismatch."""
        where = f"{self.name}{'@' if name.startswith('sha256:') else ':'}{name}"
        answer = self.client.request(
            "GET",
            f"/v2/{self.path}/manifests/{name}",
            subject=where,
            scopes=self.scopes,
            accept=(200,),
            headers={"Accept": _ACCEPT},
        )
        actual = Digest.of(answer.content)
        for expected in (name if name.startswith("sha256:") else "", answer.headers.get("docker-content-digest", "")):
            if expected.startswith("sha256:") and expected != actual:
                raise DigestMismatch(expected=expected, actual=actual, where=where)
        return answer.content, answer.headers.get("content-type", "").partition(";")[0].strip()

    def put_manifest(self, manifest: Document, name: str) -> Answer:
        """Write a manifest or index under a tag or its digest. Raises TransferError, DigestMismatch when another was stored."""
        where = f"{self.name}{'@' if name.startswith('sha256:') else ':'}{name}"
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self.client.request(
                    "PUT",
                    f"/v2/{self.path}/manifests/{name}",
                    subject=where,
                    scopes=self.scopes,
                    accept=(200, 201, 202, 204),
                    headers={"Content-Type": manifest.media_type},
                    body=manifest.raw,
                )
                self.check_answered(answer, manifest.descriptor, where)
                if "docker-content-digest" not in answer.headers:
                    self._confirm(manifest.descriptor, name, where)
                return answer
            except UnexpectedAnswer as error:
                if error.code not in _PASSING or attempt >= _LOOKS_AT_A_MANIFEST:
                    raise
            except DigestMismatch:
                # It was damaged on the way, and the tag names what came: that must not stay so.
                if attempt >= _LOOKS_AT_A_MANIFEST:
                    raise
            self.client.patience.wait(attempt)

    def _confirm(self, manifest: Descriptor, name: str, where: str) -> None:
        """Look what is there after an answer that does not say: anybody on the way can answer 200. Raises DigestMismatch."""
        try:
            actual = str(Digest.of(self.manifest(name)[0]))
        except NotInRegistry:
            actual = "nothing"
        if actual != manifest.digest:
            raise DigestMismatch(expected=manifest.digest, actual=f"{actual} in the registry", where=where)

    def about(self, blob: Descriptor) -> str:
        """What an error about a blob begins with."""
        return f"{self.name}: blob {blob.digest.short}"

    @contextlib.contextmanager
    def opened(self, blob: Descriptor, *, start: int = 0) -> Iterator[tuple[Stream, int]]:
        """A blob's bytes from `start` on, unchecked, and where they really start: not behind it. Raises TransferError."""
        with self._opened(blob, {"Range": f"bytes={start}-"} if start else {}) as stream:
            begins = _start_of(stream, start)
            if begins is not None:
                yield stream, begins
                return
        # A registry, or a cache before it, that gives wrong ranges is not asked for one.
        with self._opened(blob, {}) as stream:
            yield stream, 0

    def _opened(self, blob: Descriptor, headers: Mapping[str, str]) -> contextlib.AbstractContextManager[Stream]:
        return self.client.stream(
            "GET",
            f"/v2/{self.path}/blobs/{blob.digest}",
            subject=self.about(blob),
            scopes=self.scopes,
            accept=(200, 206, 416) if headers else (200,),
            headers=headers,
        )

    def read(self, blob: Descriptor) -> bytes:
        """All bytes of a small blob, checked. Raises TransferError and DigestMismatch."""
        from pybuild.registry.download import Download, InMemory

        sink = InMemory()
        Download(blob, sink, told=lambda done: None).fetch(self)
        return sink.getvalue()

    def has(self, blob: Descriptor) -> bool:
        """Whether the blob is there. Raises DigestMismatch when it has another size there."""
        answer = self.client.request(
            "HEAD",
            f"/v2/{self.path}/blobs/{blob.digest}",
            subject=self.about(blob),
            scopes=self.scopes,
            accept=(200, 404, *_NO_HEAD),
        )
        if answer.status == 404:
            return False
        if answer.status == 200 and _length(answer.headers) in (None, blob.size):
            return True
        # The storage that a registry redirects to may have signed the URL for GET alone, and proxies say 0 of every HEAD.
        try:
            with self.opened(blob, start=0) as (stream, _):
                length = stream.length
        except NotInRegistry:
            return False
        if length not in (None, blob.size):
            raise DigestMismatch(expected=f"{blob.size} bytes", actual=f"{length} there", where=self.about(blob))
        return True

    def mount(self, blob: Descriptor, origin: str) -> bool:
        """Ask the registry to take a blob over from another repository; False when it won't, whatever the reason.

        It is asked once: to send the blob may take less than to wait for a mount.
        """
        scopes = (*self.scopes, scope(origin, "pull"))
        try:
            answer = self.client.request(
                "POST",
                f"/v2/{self.path}/blobs/uploads/?mount={blob.digest}&from={origin}",
                subject=self.about(blob),
                scopes=scopes,
                accept=tuple(range(200, 600)),
                attempts=1,
            )
        except TransferError:
            return False
        if answer.status == 202 and (location := answer.headers.get("location")):
            self._abandon(location, answer.url)
        # As of an upload, an answer that does not say what is there is not taken at its word.
        return answer.status == 201 and (answer.headers.get("docker-content-digest") == blob.digest or self.has(blob))

    def tags(self) -> tuple[str, ...]:
        """All tags, as the registry sorts them; it may give them in several pages. Raises TransferError."""
        found: dict[str, None] = {}
        target: str | None = f"/v2/{self.path}/tags/list?n={_PAGE}"
        idle = 0
        while target is not None:
            answer = self.client.request("GET", target, subject=self.name, scopes=self.scopes, accept=(200,))
            before = len(found)
            found |= dict.fromkeys(Fields(load(answer.content, f"{self.name}: tags"), f"{self.name}: tags").texts("tags"))
            # Pages that are empty are allowed; so many in a row are a list that goes in a circle.
            idle = 0 if len(found) > before else idle + 1
            if idle > _MOST_IDLE_PAGES:
                raise UnexpectedAnswer(f"{self.name}: {self.client.registry} lists its tags in a circle", url=target, status=200)
            target = next_page(answer)
        return tuple(found)

    def delete_manifest(self, name: str) -> None:
        """Delete a manifest by its digest, or a tag. Raises TransferError: UnexpectedAnswer where that is not allowed."""
        where = f"{self.name}{'@' if name.startswith('sha256:') else ':'}{name}"
        self.ask("DELETE", f"manifests/{name}", subject=where, accept=(202, 200, 204))

    def ask(self, method: str, path: str, *, subject: str, accept: tuple[int, ...]) -> Answer:
        """A request without a body to a path below the repository. Raises TransferError."""
        return self.client.request(method, f"/v2/{self.path}/{path}", subject=subject, scopes=self.scopes, accept=accept)

    def _abandon(self, location: str, url: str) -> None:
        """Give an upload back that the registry began instead of mounting; it times out there if this fails."""
        self.client.request(
            "DELETE",
            joined(url, location),
            subject=self.name,
            scopes=self.scopes,
            attempts=1,
            accept=tuple(range(200, 600)),
        )

    def check_answered(self, answer: Answer, blob: Descriptor, where: str) -> None:
        """Raise DigestMismatch when the registry says that it has stored something else."""
        said = answer.headers.get("docker-content-digest", "")
        if said.startswith("sha256:") and said != blob.digest:
            raise DigestMismatch(expected=blob.digest, actual=f"{said} in the registry", where=where)


def _length(headers: Mapping[str, str]) -> int | None:
    return natural(headers.get("content-length", ""))


def next_page(answer: Answer) -> str | None:
    """Where a list goes on, by its Link header; None at its end. Source: RFC 8288; distribution-spec, "Listing Tags"."""
    for target, parameters in _LINK.findall(answer.headers.get("link", "")):
        for name, quoted, plain in _LINK_PARAMETER.findall(parameters):
            if name.lower() == "rel" and "next" in (quoted or plain).lower().split():
                return joined(answer.url, target)
    return None


def _start_of(stream: Stream, asked: int) -> int | None:
    """Where an answer starts; None for one that is of no use, since it starts behind what was asked for, or is none."""
    if stream.status == 200:
        return 0
    found = re.match(r"bytes ([0-9]{1,19})-", stream.headers.get("Content-Range", ""))
    start = int(found[1]) if found else asked
    return start if stream.status == 206 and start <= asked else None
