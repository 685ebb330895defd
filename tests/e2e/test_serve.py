"""`pybuild serve` as a process: docker and podman pull from it, and a push that was killed goes on."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from real.command import COMMAND
from real.foreign import run
from real.web_proxy import trickling_proxy

from pybuild.cli.serve import _tell

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch):
    """Neither a docker configuration that is not there, which podman takes amiss, nor certificates of this machine's own."""
    for name in ("DOCKER_CONFIG", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@contextlib.contextmanager
def started(root: Path, *options: str, stdin: bytes = b""):
    """The server as a process; its address."""
    process = subprocess.Popen(
        [*COMMAND, "--root", str(root), "serve", "--port", "0", *options],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        process.stdin.write(stdin)
        process.stdin.close()
        seen = []
        for line in process.stderr:
            seen.append(line)
            if found := re.search(rb"serving the store at (https?)://(\S+),", line):
                break
        else:
            pytest.fail(f"it did not start: {seen}")
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield found[2].decode()
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(20)
        drain.join()
        process.stderr.close()
    assert code == 0, "Ctrl-C is how it ends"


@pytest.mark.peers("podman", "dockerd")
def test_docker_and_podman_pull_what_was_just_built(pybuild, context, root, docker, tmp_path, short):
    folder = context('FROM scratch\nCOPY a /a\nCMD ["/a"]\n', a="content")
    identity = pybuild("build", "-q", "-t", "team/app:v1", folder).out.strip()
    with started(root) as host:
        name = f"{host}/team/app:v1"
        run(*docker, "pull", name)
        assert run(*docker, "image", "inspect", "-f", "{{.Id}}", name).strip() == identity
        storage = ("--root", tmp_path / "podman", "--runroot", short, "--storage-driver", "vfs")
        run("podman", *storage, "pull", "--tls-verify=false", name)
        assert run("podman", *storage, "image", "inspect", "-f", "{{.Id}}", name).strip() == identity.removeprefix("sha256:")
        refused = subprocess.run([*docker, "push", name], capture_output=True, text=True)
        assert refused.returncode != 0 and "read-only" in refused.stderr + refused.stdout
        run(*docker, "rmi", name)


@pytest.mark.peers("podman", "dockerd")
def test_docker_and_podman_push_to_it(pybuild, context, root, docker, tmp_path, short):
    folder = context('FROM scratch\nCOPY a /a\nCMD ["/a"]\n', a="content")
    pybuild("build", "-q", "-t", "app:v1", "-o", f"type=docker,dest={tmp_path}/app.tar", folder)
    run(*docker, "load", "-i", tmp_path / "app.tar")
    storage = ("--root", tmp_path / "podman", "--runroot", short, "--storage-driver", "vfs")
    run("podman", *storage, "load", "-i", tmp_path / "app.tar")
    with started(tmp_path / "other", "--writable") as host:
        run(*docker, "tag", "app:v1", f"{host}/by/docker:v1")
        run(*docker, "push", f"{host}/by/docker:v1")
        run("podman", *storage, "push", "--tls-verify=false", "app:v1", f"docker://{host}/by/podman:v1")
        pybuild("pull", f"{host}/by/docker:v1")
        pybuild("pull", f"{host}/by/podman:v1")
        run(*docker, "rmi", f"{host}/by/docker:v1")
    run(*docker, "rmi", "app:v1")


def test_only_the_user_with_the_password_is_let_in(pybuild, context, root, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    folder = context("FROM scratch\nCOPY a /a\n", a="content")
    pybuild("build", "-q", "-t", "app:v1", folder)
    with started(root, "--user", "me", "--password-stdin", stdin=b"let me in\n") as host:
        other = ("--root", str(tmp_path / "other"))
        assert "pybuild login" in pybuild(*other, "pull", f"{host}/app:v1", code=1).err
        pybuild("login", "-u", "me", "--password-stdin", host, stdin=b"let me in\n")
        pybuild(*other, "pull", f"{host}/app:v1")


def test_with_a_certificate_it_speaks_tls(pybuild, context, root, tmp_path, monkeypatch):
    run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x", "-addext",
        "subjectAltName=IP:0.0.0.0", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem",
    )  # fmt: skip
    pybuild("build", "-q", "-t", "app:v1", context("FROM scratch\nCOPY a /a\n", a="content"))
    with started(root, "--host", "0.0.0.0", "--tls-cert", f"{tmp_path}/cert.pem", "--tls-key", f"{tmp_path}/key.pem") as host:
        other = ("--root", str(tmp_path / "other"))
        assert "certs.d" in pybuild(*other, "pull", f"{host}/app:v1", code=1).err
        monkeypatch.setenv("SSL_CERT_FILE", f"{tmp_path}/cert.pem")
        pybuild(*other, "pull", f"{host}/app:v1")


def test_a_push_that_was_killed_goes_on_in_the_next(pybuild, context, root, tmp_path):
    """The first push is killed when the registry has a part of the layer; the second sends the rest."""
    size = 40 << 20
    pybuild("build", "-q", "-t", "app:v1", context("FROM scratch\nCOPY a /a\n", a=os.urandom(size)))
    with started(tmp_path / "other", "--writable") as host, trickling_proxy(host, most=size // 2) as proxy:
        pybuild("tag", "app:v1", f"{proxy.host}/team/app:v1")
        first = subprocess.Popen([*COMMAND, "--root", str(root), "push", f"{proxy.host}/team/app:v1"], stderr=subprocess.DEVNULL)
        assert proxy.is_full.wait(60)
        first.kill()
        first.wait()
        proxy.let_through()
        before = proxy.sent
        pybuild("push", f"{proxy.host}/team/app:v1")
        assert proxy.sent - before < size * 0.6, "not all of it again"
        pybuild("--root", str(tmp_path / "third"), "pull", f"{host}/team/app:v1")


def test_wrong_usage_is_told(pybuild, root):
    assert "belong together" in pybuild("serve", "--user", "me", code=2).err
    assert "--tls-cert" in pybuild("serve", "--tls-key", "x", code=2).err
    with started(root) as host:
        assert (
            f"cannot listen on {host}: Address already in use\n"
            in pybuild("serve", "--port", host.rpartition(":")[2], code=1).err
        )


def test_what_a_client_asks_for_drives_no_terminal(capsys):
    _tell("GET /v2/\x1b[31m\n/tags/list 400 90")
    assert capsys.readouterr().err == "GET /v2/\ufffd[31m\ufffd/tags/list 400 90\n"
