"""A registry of the tests' own: in memory, written from the distribution-spec, and wrong on demand."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import threading
import time
import urllib.parse
from dataclasses import dataclass, field

from pybuild.registry import Digest
from real.threads import serving


@dataclass
class Fault:
    """What to do instead of the right thing: once each, for the first requests whose `METHOD path` matches `pattern`."""

    pattern: str
    status: int = 0
    headers: dict = field(default_factory=dict)
    content: bytes | None = None
    cut_after: int | None = None
    hold: threading.Event | None = None  # with cut_after: fall silent there until this is set
    take: int | None = None  # of the request's body; then the connection is closed
    drip_seconds: float = 0.0  # send the answer a byte at a time, each after this pause
    damage: bool = False
    times: int = 1


class FaultyRegistry:
    """A whole registry in memory: a second implementation of the specification, with faults."""

    def __init__(self):
        self.blobs = {}
        self.manifests = {}
        self.uploads = 0
        self.sessions = {}
        self.takes_pieces = True
        self.least_piece = 0
        self.page = 1000
        self.mounts = False
        self.most_body = None  # what the proxy before it allows
        self.answers_status = True
        self.bare_pieces = False  # no Location, no Range
        self.ended = 0  # what the end of an upload is answered, without a digest
        self.answers_manifest = 0  # what a manifest is answered, without a digest
        self.no_head = 0  # what a HEAD of a blob is answered, as of a URL that is signed for GET alone
        self.drip_body = lambda request: 0
        self.hold_before = self.hold_after = lambda request: None
        self.redirects = lambda request: None  # status and headers, in place of all else
        self.faults = []
        self.requests = []
        self.headers = []
        self.knows_ranges = True
        self.host = ""
        self.mutex = threading.Lock()

    def serve(self, image, store, name, tag="latest"):
        """Have an image."""
        for blob in image.manifest.blobs:
            self.blobs[str(blob.digest)] = store.read(blob)
        self.add_manifest(name, tag, image.manifest.raw, image.manifest.media_type)

    def add_manifest(self, name, tag, content, media_type):
        for key in (tag, str(Digest.of(content))):
            self.manifests[name, key] = (content, media_type)

    def fault_for(self, request):
        with self.mutex:
            for fault in self.faults:
                if fault.times and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return None

    def count(self, pattern):
        return sum(bool(re.search(pattern, request)) for request in self.requests)


def _handler(registry):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self):
            length = int(self.headers.get("Content-Length") or 0)
            request = f"{self.command} {self.path}"
            with registry.mutex:
                registry.requests.append(request)
                registry.headers.append(dict(self.headers))
            fault = registry.fault_for(request)
            body = self.rfile.read(length if fault is None or fault.take is None else min(length, fault.take))
            if len(body) < length:
                # Broken off: what has come is kept, as newer registries do.
                if found := re.search(r"/blobs/uploads/(\d+)", self.path):
                    registry.sessions.get(found[1], bytearray()).extend(body)
                self.close_connection = True
                return None
            if moved := registry.redirects(request):
                return self.answer(moved[0], b"", moved[1])
            if registry.most_body is not None and length > registry.most_body:
                return self.answer(413, b"<html>too large</html>", {})
            if fault and fault.status:
                return self.answer(fault.status, fault.content or b"", fault.headers)
            registry.hold_before(request)
            status, content, headers = self.right(body)
            registry.hold_after(request)
            if fault and fault.damage:
                content = bytes([content[0] ^ 1]) + content[1:]
            if fault and fault.content is not None:
                content = fault.content
            headers = headers | (fault.headers if fault else {})
            if fault and fault.drip_seconds:
                return self.drip(status, content, fault.drip_seconds)
            self.answer(status, content, headers, fault.cut_after if fault else None)
            if fault and fault.hold:
                self.wfile.flush()
                fault.hold.wait(30)
            return None

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = respond

        def drip(self, status, content, pause):
            whole = b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n" % (status, len(content)) + content
            self.close_connection = True
            for place in range(len(whole)):
                self.wfile.write(whole[place : place + 1])
                self.wfile.flush()
                time.sleep(pause)

        def answer(self, status, content, headers, cut_after=None):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            pause = registry.drip_body(f"{self.command} {self.path}")
            if pause:
                for place in range(len(content)):
                    self.wfile.write(content[place : place + 1])
                    self.wfile.flush()
                    time.sleep(pause)
            elif self.command != "HEAD":
                self.wfile.write(content[:cut_after])
            if cut_after is not None:
                self.close_connection = True

        def right(self, body):
            """What the specification asks for."""
            path, _, query = self.path.partition("?")
            arguments = urllib.parse.parse_qs(query)
            if found := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path):
                return self.manifest(found[1], found[2], body)
            if found := re.fullmatch(r"/v2/(.+)/tags/list", path):
                return self.tags(found[1], arguments)
            if found := re.fullmatch(r"/v2/(.+)/blobs/uploads/(.*)", path):
                return self.upload(found[1], found[2], arguments, body)
            if found := re.fullmatch(r"/v2/(.+)/blobs/(sha256:.+)", path):
                return self.blob(found[2])
            return (200, b"", {}) if path == "/v2/" else (404, b"", {})

        def manifest(self, name, key, body):
            if self.command == "PUT":
                registry.add_manifest(name, key, body, self.headers["Content-Type"])
                if registry.answers_manifest:
                    return registry.answers_manifest, b"", {}
                return 201, b"", {"Docker-Content-Digest": str(Digest.of(body))}
            if (name, key) not in registry.manifests:
                return 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}', {}
            content, media_type = registry.manifests[name, key]
            return 200, content, {"Content-Type": media_type}

        def tags(self, name, arguments):
            known = sorted(key for path, key in registry.manifests if path == name and not key.startswith("sha256:"))
            rest = [tag for tag in known if tag > arguments.get("last", [""])[0]]
            page = rest[: registry.page]
            more = len(rest) > len(page)
            link = {"Link": f'</v2/{name}/tags/list?n={registry.page}&last={page[-1]}>; rel="next"'} if more else {}
            return 200, json.dumps({"name": name, "tags": page}).encode(), link

        def upload(self, name, session, arguments, body):
            place = {"Location": f"/v2/{name}/blobs/uploads/{session}?state=x"}
            if self.command == "POST" and registry.mounts and arguments.get("mount", [""])[0] in registry.blobs:
                return 201, b"", {"Location": f"/v2/{name}/blobs/{arguments['mount'][0]}"}
            if self.command == "POST":
                registry.uploads += 1
                registry.sessions[str(registry.uploads)] = bytearray()
                least = {"OCI-Chunk-Min-Length": str(registry.least_piece)} if registry.least_piece else {}
                return 202, b"", {"Location": f"/v2/{name}/blobs/uploads/{registry.uploads}?state=x"} | least
            if session not in registry.sessions:
                return 404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}', {}
            have = registry.sessions[session]
            start, _, _ = self.headers.get("Content-Range", f"{len(have)}-").partition("-")
            if int(start) != len(have):
                return 416, b"", place
            if self.command == "PATCH":
                if not registry.takes_pieces:
                    return 405, b"", {}
                have += body
                if registry.bare_pieces:
                    return 202, b"", {}
                return 202, b"", place | {"Range": f"0-{max(len(have) - 1, 0)}"}
            if self.command == "PUT":
                have += body
                if str(Digest.of(bytes(have))) != arguments["digest"][0]:
                    del registry.sessions[session]
                    return 400, b'{"errors":[{"code":"DIGEST_INVALID"}]}', {}
                registry.blobs[arguments["digest"][0]] = bytes(registry.sessions.pop(session))
                if registry.ended:
                    return registry.ended, b"", {}
                return 201, b"", {"Docker-Content-Digest": arguments["digest"][0]}
            if self.command == "DELETE":
                del registry.sessions[session]
                return 204, b"", {}
            if not registry.answers_status:
                return 405, b"", {}
            return 204, b"", place | {"Range": f"0-{max(len(have) - 1, 0)}"}

        def blob(self, digest):
            if registry.no_head and self.command == "HEAD":
                return registry.no_head, b"", {}
            if digest not in registry.blobs:
                return 404, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}', {}
            content = registry.blobs[digest]
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if wanted and registry.knows_ranges:
                start = int(wanted[1])
                return 206, content[start:], {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            return 200, content, {}

        def log_message(self, *_):
            pass

    return Handler


@contextlib.contextmanager
def faulty_registry():
    """The registry, listening on `host`."""
    registry = FaultyRegistry()
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(registry))) as port:
        registry.host = f"127.0.0.1:{port}"
        yield registry
