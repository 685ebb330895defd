"""Private authorities and our own certificate, from the places where docker and podman look for them."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import ssl
import subprocess

import pytest
from real.threads import serving

from pybuild.registry import Reference
from pybuild.registry.certificates import find
from pybuild.registry.client import Client
from pybuild.registry.errors import RegistryError, UnexpectedAnswer, Unreachable
from pybuild.registry.transfer import push, resolve

FOLDERS = (".config/pybuild/certs.d", ".config/containers/certs.d", ".config/docker/certs.d", ".docker/certs.d")


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """An authority, and a certificate of a client's that it has signed."""
    folder = tmp_path_factory.mktemp("authority")
    subject = ("-subj", "/CN=clients")
    openssl(
        folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, "-keyout", "ca.key", "-out", "ca.crt"
    )
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=me", "-keyout", "client.key", "-out", "client.csr")
    openssl(
        folder, "x509", "-req", "-in", "client.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", "client.cert"
    )
    return folder


@pytest.fixture(scope="session")
def mutual_registry(tmp_path_factory, certificate, authority, docker_registry):
    """The address of a registry that wants to see a certificate of its clients."""
    tls = {
        "certificate": str(certificate / "cert.pem"),
        "key": str(certificate / "key.pem"),
        "clientcas": [str(authority / "ca.crt")],
    }
    with docker_registry(tmp_path_factory.mktemp("mutual"), http={"addr": "0.0.0.0:0", "tls": tls}) as host:
        yield host


@contextlib.contextmanager
def tls_site(certificate, authority, redirect=""):
    """A site that speaks TLS and sends on what it is asked for; its address, and whether clients have shown a certificate."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(bool(self.connection.getpeercert()))
            self.send_response(307 if redirect else 200)
            self.send_header("Location", redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    context.load_verify_locations(authority / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server) as port:
        yield f"0.0.0.0:{port}", seen


def ask(host):
    with Client(host) as client:
        return client.request("GET", "/v2/a/blobs/b", subject="a blob", scopes=(), accept=(200,))


@pytest.mark.peers("openssl")
def test_our_own_certificate_is_not_shown_to_whom_a_registry_sends_us(certificate, authority, home, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    with tls_site(certificate, authority) as (elsewhere, theirs):
        with tls_site(certificate, authority, f"https://{elsewhere}/there") as (host, ours):
            place = home / ".docker" / "certs.d" / host
            place.mkdir(parents=True)
            for file in ("client.cert", "client.key"):
                shutil.copy(authority / file, place / file)
            assert ask(host).url == f"https://{elsewhere}/there"
    assert (ours, theirs) == ([True], [False])


@pytest.mark.peers("openssl")
def test_a_registry_with_tls_sends_nobody_on_without(certificate, authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    with tls_site(certificate, authority, "http://127.0.0.1:1/there") as (host, _):
        with pytest.raises(UnexpectedAnswer, match=r"redirects to 127\.0\.0\.1:1 unencrypted"):
            ask(host)


@pytest.mark.peers("docker-registry", "openssl")
@pytest.mark.parametrize("folder", FOLDERS)
def test_an_authority_in_certs_d_is_trusted_for_its_registry_alone(folder, tls_registry, certificate, store, make_image, home):
    image, name = make_image(store, {"a": b"1"}), Reference.parse(f"{tls_registry}/private-ca")
    place = home / folder / tls_registry
    place.mkdir(parents=True)
    with pytest.raises(Unreachable) as failed:
        push(store, image, name)
    assert "certs.d" in failed.value.hint
    shutil.copy(certificate / "cert.pem", place / "ca.crt")
    assert push(store, image, name)
    place.rename(place.with_name("other.example.com"))
    with pytest.raises(Unreachable, match="certificate verify failed"):
        push(store, image, name)


@pytest.mark.peers("docker-registry", "openssl")
def test_our_own_certificate_is_shown(mutual_registry, certificate, authority, store, make_image, home):
    image, name = make_image(store, {"a": b"1"}), Reference.parse(f"{mutual_registry}/mutual")
    place = home / ".docker" / "certs.d" / mutual_registry
    place.mkdir(parents=True)
    shutil.copy(certificate / "cert.pem", place / "ca.crt")
    with pytest.raises(Unreachable):
        push(store, image, name)
    for file in ("client.cert", "client.key"):
        shutil.copy(authority / file, place / file)
    assert push(store, image, name)


def test_a_host_without_its_port_counts_too(tmp_path):
    for name in ("r.io:5000", "r.io", "[::1]"):
        (tmp_path / ".docker" / "certs.d" / name).mkdir(parents=True)
        (tmp_path / ".docker" / "certs.d" / name / "ca.crt").touch()
    environ = {"HOME": str(tmp_path)}
    assert [path.parent.name for path in find("r.io:5000", environ).authorities] == ["r.io:5000", "r.io"]
    assert [path.parent.name for path in find("r.io", environ).authorities] == ["r.io"]
    assert [path.parent.name for path in find("[::1]:5000", environ).authorities] == ["[::1]"]


def test_a_certificate_without_a_key_is_named(tmp_path):
    (tmp_path / ".docker" / "certs.d" / "r.io").mkdir(parents=True)
    (tmp_path / ".docker" / "certs.d" / "r.io" / "ca.cert").touch()
    with pytest.raises(RegistryError, match=r"ca\.key is missing") as failed:
        find("r.io", {"HOME": str(tmp_path)})
    assert "*.crt" in failed.value.hint


@pytest.mark.peers("docker-registry", "openssl")
def test_a_file_that_is_no_certificate_is_named(tls_registry, store, make_image, home):
    place = home / ".docker" / "certs.d" / tls_registry
    place.mkdir(parents=True)
    (place / "ca.crt").write_text("hello\n")
    with pytest.raises(RegistryError, match=r"cannot use .*ca\.crt"):
        push(store, make_image(store, {"a": b"1"}), Reference.parse(f"{tls_registry}/x"))


CA = "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory, certificate):
    """Certificates that are wrong in one way each; each is its own authority."""
    folder = tmp_path_factory.mktemp("wrong")
    shutil.copy(certificate / "cert.pem", folder / "good.crt")
    shutil.copy(certificate / "key.pem", folder / "good.key")
    new = ("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-addext")
    other, mine = "subjectAltName=DNS:other.example.com", "subjectAltName=IP:0.0.0.0"
    openssl(folder, *new, other, "-x509", "-days", "2", "-keyout", "other.key", "-out", "other.crt")
    openssl(folder, *new, mine, "-keyout", "old.key", "-out", "old.csr")
    for name, content in (("ca.cnf", CA), ("index.txt", ""), ("serial", "10\n"), ("ext", mine)):
        (folder / name).write_text(content)
    dates = ("-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
    signed = ("-selfsign", "-keyfile", "old.key", "-in", "old.csr", "-out", "old.crt", "-extfile", "ext")
    openssl(folder, "ca", "-batch", "-config", "ca.cnf", "-notext", *signed, *dates)
    return folder


@contextlib.contextmanager
def tls_server(folder, which, *, wants_ours=False, newest=ssl.TLSVersion.TLSv1_3):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{which}.crt", folder / f"{which}.key")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = newest
    if wants_ours:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / "other.crt")

    class Server(http.server.ThreadingHTTPServer):
        def get_request(self):
            connection, address = super().get_request()
            return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, request, address):
            pass

    with serving(Server(("0.0.0.0", 0), http.server.BaseHTTPRequestHandler)) as port:
        yield f"0.0.0.0:{port}"


@pytest.mark.parametrize(
    ("which", "settings", "message", "hint"),
    [
        ("other", {}, "certificate verify failed: IP address mismatch, certificate is not valid for '0.0.0.0'$", "another name"),
        ("old", {}, "certificate verify failed: certificate has expired$", "renewed"),
        ("good", {"wants_ours": True}, "tlsv13 alert certificate required$", "certs.d/{host} as me.cert, with me.key"),
        ("good", {"newest": ssl.TLSVersion.TLSv1_1}, "protocol version$", "older than 1.2"),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_what_is_wrong_with_tls_is_told(which, settings, message, hint, certificates, home):
    with tls_server(certificates, which, **settings) as host:
        place = home / ".config/pybuild/certs.d" / host
        place.mkdir(parents=True)
        shutil.copy(certificates / f"{which}.crt", place / "ca.crt")
        with pytest.raises(Unreachable, match=message) as failed:
            resolve(Reference.parse(f"{host}/app"))
        assert hint.format(host=host) in failed.value.hint


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_what_was_said_of_tls_is_told_though_plain_http_was_tried_too(certificates, pauses):
    with (
        tls_server(certificates, "good", newest=ssl.TLSVersion.TLSv1_1) as host,
        pytest.raises(Unreachable, match="protocol version"),
    ):
        resolve(Reference.parse(f"{host}/app"), insecure=True, patience=pauses.patience)


def test_a_registry_of_this_machine_that_speaks_tls(certificates, pauses):
    with tls_server(certificates, "good") as host, pytest.raises(Unreachable) as failed:
        resolve(Reference.parse(f"{host.replace('0.0.0.0', '127.0.0.1')}/app"), patience=pauses.patience)
    assert "--insecure" in failed.value.hint
