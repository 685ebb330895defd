"""Registries to talk to: Debian's docker-registry in several states, and one of our own that misbehaves on demand."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.server
import io
import json
import os
import re
import subprocess
import tarfile
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pybuild.registry import Digest, ImageConfig, Manifest, Platform, Store, media
from pybuild.registry.retries import Patience


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store")


@pytest.fixture
def other_store(tmp_path):
    return Store.open(tmp_path / "other")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Nobody's credentials and proxies get into a test."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def log_in(home):
    """Writes ~/.docker/config.json as `docker login` does."""

    def write(registry, username, password):
        (home / ".docker").mkdir(exist_ok=True)
        auth = base64.b64encode(f"{username}:{password}".encode()).decode()
        (home / ".docker" / "config.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))

    return write


@pytest.fixture
def make_image():
    """Makes an image of one layer for each mapping of names to contents."""

    def make(store, *layers, compression="gzip", platform=None, config=None):
        descriptors, diff_ids = [], []
        for files in layers:
            plain = _tar(files)
            diff_ids.append(Digest.of(plain))
            packed = gzip.compress(plain, 1, mtime=0) if compression == "gzip" else plain
            descriptors.append(store.add(packed, media.layer_type(compression)))
        image_config = ImageConfig(platform or Platform.here(), diff_ids=tuple(diff_ids), **(config or {}))
        manifest = Manifest.build(store.add(image_config.encode(), media.OCI_CONFIG), tuple(descriptors))
        store.add(manifest.raw, manifest.media_type)
        return store.image(manifest.descriptor)

    return make


def _tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


# docker-registry


@contextlib.contextmanager
def serving(folder: Path, **extra):
    """A docker-registry on a port of its own choice; yields its `host:port`."""
    config = {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0"},
        **extra,
    }
    (folder / "config.yml").write_text(json.dumps(config))
    process = subprocess.Popen(
        ["docker-registry", "serve", str(folder / "config.yml")], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        for line in process.stderr:
            if found := re.search(r"listening on ([0-9.:\[\]]+\d)", line):
                break
        else:
            pytest.fail("docker-registry did not start")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield found[1].replace("[::]", "0.0.0.0")
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="session")
def htpasswd_registry(tmp_path_factory):
    """User `user` with the password `secret`."""
    folder = tmp_path_factory.mktemp("htpasswd")
    # bcrypt of "secret", cost 4.
    (folder / "htpasswd").write_text(HTPASSWD)
    with serving(folder, auth={"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}) as host:
        yield host


HTPASSWD = "user:@@BCRYPT@@\n"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate and its key, for 0.0.0.0: an address of this machine that does not count as local."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests",
            "-addext", "subjectAltName=IP:0.0.0.0,IP:127.0.0.1",
            "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def tls_registry(tmp_path_factory, certificate):
    tls = {"certificate": str(certificate / "cert.pem"), "key": str(certificate / "key.pem")}
    with serving(tmp_path_factory.mktemp("tls"), http={"addr": "0.0.0.0:0", "tls": tls}) as host:
        yield host


@dataclass
class TokenServer:
    """Signs what it is asked for, if the user may have it. `grants` maps users to the repositories that they may push to."""

    certificate: Path
    url: str = ""
    asked: list = field(default_factory=list)
    users: dict = field(default_factory=lambda: {"user": "secret"})

    def token(self, scopes, user):
        access = []
        for text in scopes:
            kind, name, actions = text.split(":")
            allowed = [action for action in actions.split(",") if user or action == "pull" and name.startswith("public/")]
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        der = subprocess.run(
            ["openssl", "x509", "-in", str(self.certificate / "cert.pem"), "-outform", "DER"], check=True, capture_output=True
        ).stdout
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": "tests", "sub": user, "aud": "registry", "exp": now + 300, "nbf": now - 60, "iat": now, "jti": os.urandom(8).hex(),
            "access": access,
        }  # fmt: skip
        signed = b".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self.certificate / "key.pem")], input=signed, check=True, capture_output=True
        ).stdout
        return (signed + b"." + _base64(signature)).decode()


def _base64(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=")


@pytest.fixture(scope="session")
def token_server(certificate):
    tokens = TokenServer(certificate)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            user, given = "", self.headers.get("Authorization", "")
            if given:
                user, _, password = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
                if tokens.users.get(user) != password:
                    return self.answer(401, {"details": "wrong password"})
            tokens.asked.append(query)
            return self.answer(200, {"token": tokens.token(query.get("scope", []), user)})

        def answer(self, status, document):
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with _in_thread(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        tokens.url = f"http://127.0.0.1:{port}/token"
        yield tokens


@pytest.fixture(scope="session")
def token_registry(tmp_path_factory, token_server):
    settings = {
        "realm": token_server.url, "service": "registry", "issuer": "tests",
        "rootcertbundle": str(token_server.certificate / "cert.pem"),
    }  # fmt: skip
    with serving(tmp_path_factory.mktemp("token"), auth={"token": settings}) as host:
        yield host


# A registry that misbehaves


@contextlib.contextmanager
def _in_thread(server):
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Fault:
    """What to do instead of the right thing: once each, for the first requests whose `METHOD path` matches `pattern`."""

    pattern: str
    status: int = 0
    headers: dict = field(default_factory=dict)
    content: bytes | None = None
    cut_after: int | None = None
    damage: bool = False
    times: int = 1


class FaultyRegistry:
    """A whole registry in memory: a second implementation of the specification, with faults."""

    def __init__(self):
        self.blobs = {}
        self.manifests = {}
        self.uploads = 0
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


def _handler(registry: FaultyRegistry):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            request = f"{self.command} {self.path}"
            with registry.mutex:
                registry.requests.append(request)
                registry.headers.append(dict(self.headers))
            fault = registry.fault_for(request)
            if fault and fault.status:
                return self.answer(fault.status, fault.content or b"", fault.headers)
            status, content, headers = self.right(body)
            if fault and fault.damage:
                content = bytes([content[0] ^ 1]) + content[1:]
            if fault and fault.content is not None:
                content = fault.content
            headers = headers | (fault.headers if fault else {})
            return self.answer(status, content, headers, fault.cut_after if fault else None)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = respond

        def answer(self, status, content, headers, cut_after=None):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[:cut_after])
            if cut_after is not None:
                self.close_connection = True

        def right(self, body):
            """What the specification asks for."""
            path, _, query = self.path.partition("?")
            arguments = urllib.parse.parse_qs(query)
            if found := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path):
                return self.manifest(found[1], found[2], body)
            if found := re.fullmatch(r"/v2/(.+)/blobs/uploads/(.*)", path):
                return self.upload(found[1], found[2], arguments, body)
            if found := re.fullmatch(r"/v2/(.+)/blobs/(sha256:.+)", path):
                return self.blob(found[2])
            return (200, b"", {}) if path == "/v2/" else (404, b"", {})

        def manifest(self, name, key, body):
            if self.command == "PUT":
                registry.add_manifest(name, key, body, self.headers["Content-Type"])
                return 201, b"", {"Docker-Content-Digest": str(Digest.of(body))}
            if (name, key) not in registry.manifests:
                return 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}', {}
            content, media_type = registry.manifests[name, key]
            return 200, content, {"Content-Type": media_type}

        def upload(self, name, session, arguments, body):
            if self.command == "POST":
                registry.uploads += 1
                return 202, b"", {"Location": f"/v2/{name}/blobs/uploads/{registry.uploads}?state=x"}
            if self.command == "PUT":
                if str(Digest.of(body)) != arguments["digest"][0]:
                    return 400, b'{"errors":[{"code":"DIGEST_INVALID"}]}', {}
                registry.blobs[arguments["digest"][0]] = body
                return 201, b"", {"Docker-Content-Digest": arguments["digest"][0]}
            return 204, b"", {}

        def blob(self, digest):
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


@pytest.fixture
def faulty():
    registry = FaultyRegistry()
    with _in_thread(http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(registry))) as port:
        registry.host = f"127.0.0.1:{port}"
        yield registry


@pytest.fixture
def fault():
    return Fault


@pytest.fixture
def patience():
    """Patience without pauses; `.pauses` holds those that there would have been."""
    pauses = []
    made = Patience(pause=pauses.append, chance=lambda: 1.0, answer_seconds=5)
    object.__setattr__(made, "__dict__", {}) if False else None
    return Paused(made, pauses)


@dataclass(frozen=True)
class Paused:
    patience: Patience
    pauses: list
