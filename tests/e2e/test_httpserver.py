"""The tour's server: its source builds, and it answers on the port that it is told."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from real.registries import free_port

TOUR = Path(__file__).resolve().parents[2] / "fixtures" / "httpserver"
BINARY = TOUR / "bin" / "amd64" / "httpserver"


@contextlib.contextmanager
def serving(binary: Path):
    port = free_port()
    process = subprocess.Popen([binary], env={"MY_SERVICE_PORT": str(port)}, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "httpserver: listening\n"
        yield port, process
    finally:
        process.kill()
        process.communicate()


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        assert answer.status == 200
        return answer.read().decode()


def test_the_dockerfile_is_the_tour_s_to_the_letter():
    assert (TOUR / "Dockerfile").read_text() == (
        "FROM ubuntu\nENV MY_SERVICE_PORT=80\nADD bin/amd64/httpserver /httpserver\nENTRYPOINT /httpserver\n"
    )


def test_the_binary_is_small_static_and_executable():
    assert BINARY.stat().st_size < 100_000
    assert os.access(BINARY, os.X_OK)
    content = BINARY.read_bytes()
    assert content.startswith(b"\x7fELF")
    assert b"ld-linux" not in content


def test_the_source_builds_and_answers(tmp_path):
    built = tmp_path / "httpserver"
    subprocess.run(["make", "-s", "-C", TOUR / "src", f"OUT={built}"], check=True, capture_output=True)
    with serving(built) as (port, _):
        assert get(port, "/healthz") == "hello from pybuild: /healthz\n"


def test_it_answers_many_and_ends_when_told():
    with serving(BINARY) as (port, process):
        # Connections that say nothing do not keep others waiting.
        with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            for number in range(20):
                assert get(port, f"/{number}") == f"hello from pybuild: /{number}\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


@pytest.mark.parametrize("port", ["", "x", "0", "65536", "80x"])
def test_what_is_no_port_is_told(port):
    done = subprocess.run([BINARY], env={"MY_SERVICE_PORT": port}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "httpserver: MY_SERVICE_PORT is not a port\n")
