"""Files at URLs, as blobs of the store: fetched once, and asked for again only whether they have changed.

What a URL last gave is in the records: its digest, and the marks (ETag, Last-Modified) by which the server says that it is
still so. A file whose digest the user gave is never asked for while the store has it.
"""

from __future__ import annotations

import hashlib
import json
from email.utils import parsedate_to_datetime

from pybuild.builder.errors import LayerError, RemoteError
from pybuild.builder.layers.entry import Kind
from pybuild.builder.remote.addresses import shown
from pybuild.builder.workspace import Workspace
from pybuild.hints import TYPE_CHECKING
from pybuild.registry import Descriptor, Digest
from pybuild.registry.errors import BrokenOff, RegistryError, TransferError
from pybuild.registry.retries import Patience
from pybuild.values import frozen

if TYPE_CHECKING:
    from pybuild.registry.stream import Stream

# More than any file that somebody adds to an image; what a server without an end would fill is the disk.
_MOST_BYTES = 64 << 30
_BLOCK = 1 << 20
_MEDIA_TYPE = "application/octet-stream"


@frozen
class Download:
    """A file that came from a URL: its digest and size, and the time that the server gave it, in seconds since 1970."""

    digest: Digest
    size: int
    modified: int
    etag: str = ""
    last_modified: str = ""

    @property
    def blob(self) -> Descriptor:
        """The file in the store."""
        return Descriptor(_MEDIA_TYPE, self.digest, self.size)


class Downloads:
    """The files of one build: each URL is asked for once."""

    def __init__(self, workspace: Workspace, *, most_bytes: int = _MOST_BYTES, patience: Patience | None = None) -> None:
        self._workspace = workspace
        self._most_bytes = most_bytes
        self._patience = patience or Patience()
        self._found: dict[str, Download] = {}

    def find(self, url: str, checksum: str | None) -> Download:
        """The file at a URL, in the store. With a `checksum`, `sha256:...`, it is that file or an error.

        Raises RemoteError, RegistryError.
        """
        known = self._found.get(url) or self._record(url)
        if checksum is not None and known is not None and known.digest != checksum:
            known = None
        if known is None or (checksum is None and url not in self._found) or not self._workspace.store.has(known.blob):
            with self._workspace.store.lock(f"download-{_key(url)[:2]}", exclusive=True):
                known = self._fetch(url, known, checksum)
        if checksum is not None and known.digest != checksum:
            raise RemoteError(
                f"{shown(url)}: the content is {known.digest}, and not {checksum}",
                hint="another version, or not to be trusted: look at it, then correct --checksum",
            )
        self._found[url] = known
        return known

    def moment(self, url: str, checksum: str | None) -> int | None:
        """When the file at a URL is from, in seconds since 1970: as the server says, else as the newest file in it, an archive.

        None when neither says anything. Raises RemoteError, RegistryError.
        """
        found = self.find(url, checksum)
        if found.last_modified:
            return found.modified
        from pybuild.builder.layers.unpacking import Archives

        with Archives(self._workspace.store) as archives:
            try:
                entries = archives.read(self._workspace.store.path(found.digest)) or ()
            except LayerError:
                entries = ()
            return max((entry.mtime_ns // 10**9 for entry in entries if entry.kind is Kind.FILE), default=None)

    def _fetch(self, url: str, known: Download | None, checksum: str | None) -> Download:
        # Imported here: a build whose files are all known by their checksums speaks to nobody.
        from pybuild.registry import web

        headers: dict[str, str] = {}
        if known is not None and self._workspace.store.has(known.blob):
            headers |= {"If-None-Match": known.etag} if known.etag else {}
            headers |= {"If-Modified-Since": known.last_modified} if known.last_modified else {}
        attempt = 0
        while True:
            attempt += 1
            try:
                with web.opened(url, headers=headers, may_lose_encryption=checksum is not None, patience=self._patience) as page:
                    etag = page.headers.get("ETag", "")
                    if known is not None and headers and (page.status == 304 or _is_same(etag, known.etag)):
                        return known
                    if page.status == 304:
                        raise RemoteError(f"{shown(url)}: the server says that nothing has changed, and was not asked that")
                    found = self._received(page, url)
                    self._workspace.database.add_memo("download", _key(url), _encoded(found))
                    return found
            except TransferError as error:
                if attempt >= self._patience.attempts or not isinstance(error, BrokenOff):
                    raise RemoteError(error.message, hint=error.hint) from error
            except OSError as error:
                hint = "free some space, or set PYBUILD_ROOT to another disk"
                raise RemoteError(
                    f"{shown(url)}: cannot write to {self._workspace.store.root}: {error.strerror}", hint=hint
                ) from error
            self._patience.wait(attempt)

    def _received(self, page: Stream, url: str) -> Download:
        if page.length is not None and page.length > self._most_bytes:
            raise self._too_large(url)
        mark, size = hashlib.sha256(), 0
        with self._workspace.store.writer() as writer:
            while block := page.read(_BLOCK):
                size += len(block)
                if size > self._most_bytes:
                    raise self._too_large(url)
                mark.update(block)
                writer.write(block)
            digest = Digest.from_hex(mark.hexdigest())
            writer.commit(digest)
        last_modified = page.headers.get("Last-Modified", "")
        return Download(digest, size, _seconds(last_modified), page.headers.get("ETag", ""), last_modified)

    def _too_large(self, url: str) -> RemoteError:
        return RemoteError(f"{shown(url)}: over {self._most_bytes} bytes", hint="this is more than is fetched into an image")

    def _record(self, url: str) -> Download | None:
        content = self._workspace.database.memo("download", _key(url))
        if content is None:
            return None
        try:
            digest, size, modified, etag, last_modified = json.loads(content)
            return Download(Digest(digest), int(size), int(modified), str(etag), str(last_modified))
        except (ValueError, TypeError, RegistryError):
            return None


def _encoded(found: Download) -> bytes:
    return json.dumps([found.digest, found.size, found.modified, found.etag, found.last_modified]).encode()


def _key(url: str) -> str:
    return hashlib.sha256(url.encode(errors="surrogateescape")).hexdigest()


def _is_same(etag: str, known: str) -> bool:
    """Whether two ETags are one, weak or not: there are servers that give them and do not heed If-None-Match."""
    return bool(known) and etag.removeprefix("W/") == known.removeprefix("W/")


def _seconds(date: str) -> int:
    """The time in a Last-Modified header; the beginning of all times without one, as BuildKit has it."""
    try:
        return int(parsedate_to_datetime(date).timestamp()) if date else 0
    except (ValueError, TypeError, OverflowError):
        return 0
