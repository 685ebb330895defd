"""What the tests of the registry package share: images, and registries beside the plain ones."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import re
import subprocess
import tarfile
import threading
from dataclasses import dataclass, field

import pytest
from real.faulty_registry import Fault, faulty_registry
from real.token_server import token_server as token_server_of

from pybuild.registry import Digest, ImageConfig, Manifest, Platform, Store, media, redaction
from pybuild.registry.reference import Reference
from pybuild.registry.retries import Patience


@pytest.fixture
def other_store(tmp_path):
    return Store.open(tmp_path / "other")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home without credentials, and no proxies; no secret of another test is masked in this one's messages."""
    monkeypatch.setattr(redaction, "_known", set())
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "PYBUILD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
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


@contextlib.contextmanager
def _docker_registry(folder, **extra):
    """A docker-registry with other settings, on a port of its own choice; yields its address."""
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
    drain = threading.Thread(target=lambda: process.stderr.read(), daemon=True)
    try:
        for line in process.stderr:
            if found := re.search(r"listening on (\S+:\d+)", line):
                break
        else:
            pytest.fail("docker-registry did not start")
        drain.start()
        yield found[1].replace("[::]", "0.0.0.0")
    finally:
        process.terminate()
        process.wait()
        drain.join()
        process.stderr.close()


@pytest.fixture(scope="session")
def docker_registry():
    """Runs a docker-registry with other settings, as a context."""
    return _docker_registry


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate and its key, for 0.0.0.0: an address of this machine that does not count as local."""
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=tests",
            "-addext",
            "subjectAltName=IP:0.0.0.0,IP:127.0.0.1",
            "-keyout",
            folder / "key.pem",
            "-out",
            folder / "cert.pem",
        ],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="session")
def tls_registry(tmp_path_factory, certificate):
    """The address of a registry that speaks TLS, and has a certificate that nobody knows."""
    tls = {"certificate": str(certificate / "cert.pem"), "key": str(certificate / "key.pem")}
    with _docker_registry(tmp_path_factory.mktemp("tls"), http={"addr": "0.0.0.0:0", "tls": tls}) as host:
        yield host


@pytest.fixture(scope="session")
def token_server(certificate):
    """Gives `user` with the password `secret` any token, and others those to pull what is `public/`."""
    with token_server_of(certificate) as server:
        yield server


@pytest.fixture(scope="session")
def token_registry(tmp_path_factory, token_server):
    """The address of a registry that wants tokens."""
    settings = {
        "realm": token_server.url,
        "service": "registry",
        "issuer": "tests",
        "rootcertbundle": str(token_server.certificate / "cert.pem"),
    }
    with _docker_registry(tmp_path_factory.mktemp("token"), auth={"token": settings}) as host:
        yield host


@pytest.fixture
def faulty():
    """A registry in memory, and what is to go wrong in it: `.faults`."""
    with faulty_registry() as registry:
        yield registry


@pytest.fixture
def name(faulty):
    """The repository `app` there."""
    return Reference.parse(f"{faulty.host}/app")


@pytest.fixture
def fault():
    """Makes a fault."""
    return Fault


@dataclass
class Pauses:
    """Patience that does not wait, and the pauses that there would have been."""

    seconds: list = field(default_factory=list)

    def __post_init__(self):
        self.patience = Patience(pause=self.seconds.append, chance=lambda: 1.0, answer_seconds=5)


@pytest.fixture
def pauses():
    return Pauses()
