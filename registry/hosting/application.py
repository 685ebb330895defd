"""The registry as a WSGI application: each line of ROUTES is one endpoint of the specification.

Read-only unless it is made writable. Source: distribution-spec, "Endpoints".
"""

from __future__ import annotations

import base64
import errno
import hmac
import re
from collections.abc import Callable, Iterable, Mapping

from pybuild.registry import attached, media
from pybuild.registry.digest import Digest
from pybuild.registry.document import dump
from pybuild.registry.errors import InvalidDigest, InvalidDocument, RegistryError
from pybuild.registry.hosting.catalogue import Catalogue, name_of
from pybuild.registry.hosting.exchange import EndOfBody, FilePart, Refusal, Request, Response, wanted_range
from pybuild.registry.hosting.uploads import Uploads, range_of
from pybuild.registry.model import Descriptor, Index
from pybuild.registry.parts import Parts
from pybuild.registry.pushed import BLOB
from pybuild.registry.store import Store
from pybuild.values import natural, replace

_LARGEST_MANIFEST = 4 << 20
_MOST_TAGS = 1000
_NAME = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_READING = ("GET", "HEAD")

Start = Callable[[str, list[tuple[str, str]]], object]
Log = Callable[[str], None]


class Application:
    """Answers for a store. `password` is what every request has to bring, as `user:password`; None lets everybody in."""

    def __init__(self, store: Store, *, writable: bool = False, password: str | None = None, log: Log | None = None) -> None:
        self.store = store
        self.catalogue = Catalogue(store)
        self.uploads = Uploads(store)
        self._writable = writable
        self._password = password
        self._log = log or (lambda line: None)

    def __call__(self, environ: Mapping[str, object], start: Start) -> Iterable[bytes]:
        request = Request.read(environ)
        try:
            response = self._answer(request)
        except Refusal as refusal:
            response = refusal.response
        except EndOfBody:
            response = Refusal(400, "BLOB_UPLOAD_INVALID", "the body ended too early").response
        except RegistryError as error:
            response = Refusal(500, "UNKNOWN", error.message).response
        except OSError as error:
            response = Refusal(507 if error.errno == errno.ENOSPC else 500, "UNKNOWN", str(error.strerror)).response
        self._log(f"{request.method} {request.path} {response.status} {response.size}")
        headers = [*response.headers, ("Docker-Distribution-Api-Version", "registry/2.0")]
        if response.status != 204:
            headers.append(("Content-Length", str(response.size)))
        start(response.line, headers)
        body = response.body
        if request.method == "HEAD":
            if isinstance(body, FilePart):
                body.close()
            return []
        return [body] if isinstance(body, bytes) else body

    def _answer(self, request: Request) -> Response:
        self._check_password(request)
        for pattern, handlers in ROUTES:
            if found := pattern.fullmatch(request.path):
                handler = handlers.get(request.method) or (handlers.get("GET") if request.method == "HEAD" else None)
                if handler is None:
                    raise Refusal(405, "UNSUPPORTED", f"{request.method} is not for this")
                if request.method not in _READING and not self._writable:
                    raise Refusal(405, "UNSUPPORTED", "this registry is read-only: start it with --writable")
                return handler(self, request, **found.groupdict())
        if re.fullmatch(r"/v2/.+/(manifests|blobs|tags|referrers)/.*", request.path):
            raise Refusal(400, "NAME_INVALID", "not a name, a tag or a digest")
        raise Refusal(404, "UNSUPPORTED", "there is no such endpoint")

    def _check_password(self, request: Request) -> None:
        if self._password is None:
            return
        expected = base64.b64encode(self._password.encode()).decode()
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic" or not hmac.compare_digest(given.strip().encode(), expected.encode()):
            challenge = ("WWW-Authenticate", 'Basic realm="pybuild", charset="UTF-8"')
            raise Refusal(401, "UNAUTHORIZED", "log in first", headers=(challenge,))

    # Reading

    def base(self, request: Request) -> Response:
        """Whether this is a registry."""
        return Response(200, (("Content-Type", "application/json"),), b"{}")

    def catalog(self, request: Request) -> Response:
        """All repositories."""
        return _listed("repositories", self.catalogue.repositories(), request, {})

    def tags(self, request: Request, name: str) -> Response:
        """All tags of a repository."""
        found = self.catalogue.tags(name)
        if not self.catalogue.has(name):
            raise Refusal(404, "NAME_UNKNOWN", f"no repository {name}")
        return _listed("tags", tuple(sorted(found)), request, {"name": name})

    def manifest(self, request: Request, name: str, reference: str) -> Response:
        """A manifest or index by its tag or digest."""
        item = self._manifest(name, reference)
        content = self.store.read(item)
        kind = Parts.parse(content, item.media_type, str(item.digest)).media_type
        return Response(200, (("Content-Type", kind), *_digest(item.digest), ("Etag", f'"{item.digest}"')), content)

    def _manifest(self, name: str, reference: str) -> Descriptor:
        if ":" in reference:
            item = self.catalogue.find(name, _parsed(reference))
        else:
            item = self.catalogue.tags(name).get(reference)
        if item is None or item.size > _LARGEST_MANIFEST:
            raise Refusal(404, "MANIFEST_UNKNOWN", f"no manifest {reference} in {name}")
        return item

    def blob(self, request: Request, name: str, digest: str) -> Response:
        """A blob, or a part of it."""
        found = self.catalogue.find(name, _parsed(digest))
        if found is None:
            raise Refusal(404, "BLOB_UNKNOWN", f"no blob {digest} in {name}")
        headers = (("Content-Type", "application/octet-stream"), *_digest(found.digest), ("Accept-Ranges", "bytes"))
        path = self.store.path(found.digest)
        part = wanted_range(request.headers.get("range", ""), found.size) if request.method == "GET" else None
        if part is None:
            return Response(200, headers, FilePart(path, 0, found.size), found.size)
        start, length = part
        place = ("Content-Range", f"bytes {start}-{start + length - 1}/{found.size}")
        return Response(206, (*headers, place), FilePart(path, start, length), length)

    def referrers(self, request: Request, name: str, digest: str) -> Response:
        """What refers to a manifest."""
        found = attached.referring(self.store, _parsed(digest))
        kind = request.query.get("artifactType")
        filtered = (("OCI-Filters-Applied", "artifactType"),) if kind else ()
        shown = tuple(item for item in found if not kind or item.artifact_type == kind)
        return Response(200, (("Content-Type", media.OCI_INDEX), *filtered), Index.build(shown).raw)

    # Writing

    def begin(self, request: Request, name: str) -> Response:
        """Begin an upload; or take a blob over from another repository; or take it whole."""
        self._check_name(name)
        mount, origin = request.query.get("mount"), request.query.get("from")
        if mount and origin and (blob := self.catalogue.find(origin, _parsed(mount))):
            self.catalogue.add(name, replace(blob, annotations=()))
            return _created(name, "blobs", blob.digest)
        upload = self.uploads.begin()
        if digest := request.query.get("digest"):
            self.uploads.append(upload, None, request.blocks())
            return self._finish(name, upload, _parsed(digest))
        return self._accepted(name, upload, 0)

    def status(self, request: Request, name: str, upload: str) -> Response:
        """How much of an upload has arrived."""
        return replace(self._accepted(name, upload, self.uploads.size(upload)), status=204)

    def append(self, request: Request, name: str, upload: str) -> Response:
        """Take a piece of an upload."""
        return self._accepted(name, upload, self.uploads.append(upload, _start(request), request.blocks()))

    def finish(self, request: Request, name: str, upload: str) -> Response:
        """Take the last piece, and make the blob."""
        digest = _parsed(request.query.get("digest", ""))
        self.uploads.append(upload, _start(request), request.blocks())
        return self._finish(name, upload, digest)

    def cancel(self, request: Request, name: str, upload: str) -> Response:
        """Give an upload up."""
        self.uploads.cancel(upload)
        return Response(204)

    def put_manifest(self, request: Request, name: str, reference: str) -> Response:
        """Take a manifest or index whose parts are all there."""
        self._check_name(name)
        if request.length is not None and request.length > _LARGEST_MANIFEST:
            raise Refusal(413, "SIZE_INVALID", f"a manifest has at most {_LARGEST_MANIFEST} bytes")
        content = b""
        for block in request.blocks():
            content += block
            if len(content) > _LARGEST_MANIFEST:
                raise Refusal(413, "SIZE_INVALID", f"a manifest has at most {_LARGEST_MANIFEST} bytes")
        digest = Digest.of(content)
        if ":" in reference and _parsed(reference) != digest:
            raise Refusal(400, "DIGEST_INVALID", f"what arrived is {digest}")
        if ":" not in reference and not _TAG.match(reference):
            raise Refusal(400, "TAG_INVALID", f"not a tag: {reference}")
        try:
            document = Parts.parse(content, request.headers.get("content-type", "").partition(";")[0].strip(), str(digest))
        except InvalidDocument as error:
            raise Refusal(400, "MANIFEST_INVALID", error.message) from error
        with self.store.in_use():
            self._check_parts(name, document)
            item = self.store.add(content, document.media_type)
            self.catalogue.add(name, item, document)
            if ":" not in reference and (named := name_of(name, reference)):
                self.store.tag(item, named)
            attached.attach(self.store, document)
        subject = (("OCI-Subject", str(document.subject.digest)),) if document.subject else ()
        made = _created(name, "manifests", digest)
        return replace(made, headers=(*made.headers, *subject))

    def _check_parts(self, name: str, document: Parts) -> None:
        for item in (*document.blobs, *document.manifests):
            is_foreign = item.media_type in media.FOREIGN_LAYERS
            if not is_foreign and (self.catalogue.find(name, item.digest) is None or not self.store.has(item)):
                raise Refusal(400, "MANIFEST_BLOB_UNKNOWN", f"{item.digest} is not in {name}")

    def delete_manifest(self, request: Request, name: str, reference: str) -> Response:
        """Delete a tag, or a manifest with all its tags in this repository. The bytes stay until `pybuild prune`."""
        item = self._manifest(name, reference)
        doomed = [reference] if ":" not in reference else [
            tag for tag, other in self.catalogue.tags(name).items() if other.digest == item.digest
        ]  # fmt: skip
        for tag in doomed:
            if named := name_of(name, tag):
                self.store.untag(named)
        if ":" in reference:
            attached.detach(self.store, Parts.parse(self.store.read(item), item.media_type, reference))
            self.catalogue.drop(name, item.digest)
        return Response(202)

    def delete_blob(self, request: Request, name: str, digest: str) -> Response:
        """Delete a blob that no image needs."""
        found = _parsed(digest)
        if self.catalogue.find(name, found) is None:
            raise Refusal(404, "BLOB_UNKNOWN", f"no blob {digest} in {name}")
        if self.catalogue.is_needed(found):
            raise Refusal(405, "UNSUPPORTED", "an image needs this blob")
        self.catalogue.drop(name, found)
        return Response(202)

    def _check_name(self, name: str) -> None:
        if name_of(name) is None:
            raise Refusal(400, "NAME_INVALID", f"not a repository: {name}")

    def _finish(self, name: str, upload: str, digest: Digest) -> Response:
        with self.store.in_use():
            size = self.uploads.finish(upload, digest)
        self.catalogue.add(name, Descriptor(BLOB, digest, size))
        return _created(name, "blobs", digest)

    def _accepted(self, name: str, upload: str, size: int) -> Response:
        place = ("Location", f"/v2/{name}/blobs/uploads/{upload}")
        return Response(202, (place, ("Range", range_of(size)), ("Docker-Upload-UUID", upload)))


def _listed(kind: str, items: tuple[str, ...], request: Request, document: dict[str, object]) -> Response:
    """A page of a list, with a Link to the next."""
    text = request.query.get("n", "")
    number = natural(text) if text else _MOST_TAGS
    if number is None:
        raise Refusal(400, "PAGINATION_NUMBER_INVALID", f"not a number: {text}")
    count = min(number, _MOST_TAGS)
    last = request.query.get("last", "")
    rest = [item for item in items if item > last] if last else list(items)
    page = rest[:count]
    goes_on = bool(page) and len(rest) > count
    link = (("Link", f'<{request.path}?n={count}&last={page[-1]}>; rel="next"'),) if goes_on else ()
    return Response(200, (("Content-Type", "application/json"), *link), dump(document | {kind: page}))


def _created(name: str, kind: str, digest: Digest) -> Response:
    return Response(201, (("Location", f"/v2/{name}/{kind}/{digest}"), *_digest(digest)))


def _digest(digest: Digest) -> tuple[tuple[str, str], ...]:
    return (("Docker-Content-Digest", str(digest)),)


def _parsed(text: str) -> Digest:
    try:
        return Digest(text)
    except InvalidDigest as error:
        raise Refusal(400, "DIGEST_INVALID", error.message) from error


def _start(request: Request) -> int | None:
    """Where a piece begins, by its Content-Range; None for one that says nothing of it."""
    text = request.headers.get("content-range", "")
    found = re.fullmatch(r"(?:bytes[ =])?([0-9]{1,19})-[0-9]+(?:/.*)?", text)
    if text and found is None:
        raise Refusal(416, "BLOB_UPLOAD_INVALID", f"not a range: {text}")
    return int(found[1]) if found else None


Handler = Callable[..., Response]
ROUTES: tuple[tuple[re.Pattern[str], dict[str, Handler]], ...] = (
    (re.compile(r"/v2/?"), {"GET": Application.base}),
    (re.compile(r"/v2/_catalog"), {"GET": Application.catalog}),
    (re.compile(rf"/v2/(?P<name>{_NAME})/tags/list"), {"GET": Application.tags}),
    (
        re.compile(rf"/v2/(?P<name>{_NAME})/manifests/(?P<reference>[^/]+)"),
        {"GET": Application.manifest, "PUT": Application.put_manifest, "DELETE": Application.delete_manifest},
    ),
    (re.compile(rf"/v2/(?P<name>{_NAME})/blobs/uploads/?"), {"POST": Application.begin}),
    (
        re.compile(rf"/v2/(?P<name>{_NAME})/blobs/uploads/(?P<upload>[^/]+)"),
        {"GET": Application.status, "PATCH": Application.append, "PUT": Application.finish, "DELETE": Application.cancel},
    ),
    (
        re.compile(rf"/v2/(?P<name>{_NAME})/blobs/(?P<digest>[^/]+)"),
        {"GET": Application.blob, "DELETE": Application.delete_blob},
    ),
    (re.compile(rf"/v2/(?P<name>{_NAME})/referrers/(?P<digest>[^/]+)"), {"GET": Application.referrers}),
)
