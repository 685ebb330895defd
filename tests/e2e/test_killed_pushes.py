"""A push that is killed, by whatever signal, and the next one, which goes on: against docker's registry 2 too.

That one forgets an upload of which half a piece has come: so the piece on its way is ended by a process that the killed one leaves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from e2e.test_serve import started
from real.command import COMMAND
from real.foreign import run
from real.web_proxy import trickling_proxy

import pybuild as api
from pybuild.registry.pieces import CHUNK

pytestmark = [pytest.mark.slow, pytest.mark.peers("docker-registry", "skopeo")]

SIZE = 2 * CHUNK + (10 << 20)
RATE = 60 << 20


def pushing(root, name):
    return subprocess.Popen(
        [*COMMAND, "--root", str(root), "push", name], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_until(is_so, seconds=30):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with an image of one layer of two pieces and a bit."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY a /a\n")
    (folder / "a").write_bytes(os.urandom(SIZE))
    api.build(folder, tags=["large"], root=folder / "store", compression="none")
    return folder / "store"


@pytest.fixture
def large(made, root):
    """That image in this test's store."""
    run("cp", "-a", made, root)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_registry_2_gets_the_rest(number, large, pybuild, root, registry, tmp_path):
    with trickling_proxy(registry.host, rate=RATE) as proxy:
        name = f"{proxy.host}/killed/{number.name.lower()}:1"
        pybuild("tag", "large", name)
        first = pushing(root, name)
        wait_until(lambda: proxy.sent > CHUNK * 1.3)
        first.send_signal(number)
        out, _ = first.communicate(timeout=20)
        assert first.returncode == (-9 if number == signal.SIGKILL else 130) and not out
        proxy.rate = None
        pybuild("push", name)
        assert proxy.sent < SIZE + (5 << 20), "no byte was sent twice"
    run(
        "skopeo",
        "copy",
        "-q",
        "--src-tls-verify=false",
        f"docker://{name.replace(proxy.host, registry.host)}",
        f"dir:{tmp_path}/x",
    )


def test_one_that_is_killed_in_its_first_piece_loses_nothing_either(large, pybuild, root, registry):
    with trickling_proxy(registry.host, rate=RATE) as proxy:
        name = f"{proxy.host}/killed/first:1"
        pybuild("tag", "large", name)
        first = pushing(root, name)
        wait_until(lambda: proxy.sent > CHUNK // 2)
        first.kill()
        first.communicate(timeout=20)
        pybuild("push", name)
        assert proxy.sent < SIZE + (5 << 20)


def test_nothing_is_left_when_no_piece_is_on_its_way(large, pybuild, root, tmp_path):
    """The registry is silent from the first piece on; the process that ends it gives up with its parent's next question."""
    with started(tmp_path / "served", "--writable") as host, trickling_proxy(host, most=1000) as proxy:
        name = f"{proxy.host}/killed/silent:1"
        pybuild("tag", "large", name)
        first = pushing(root, name)
        assert proxy.is_full.wait(30)
        (child,) = (int(text) for text in open(f"/proc/{first.pid}/task/{first.pid}/children").read().split())
        first.kill()
        first.communicate(timeout=20)
        proxy.let_through()
        wait_until(lambda: not os.path.exists(f"/proc/{child}"), 20)


def test_exit_codes_and_messages_are_the_push_s_own(large, pybuild, root, registry):
    name = registry.name("killed/ordinary:1")
    pybuild("tag", "large", name)
    done = pybuild("push", name)
    assert done.out.startswith("1: digest: sha256:")
    pybuild("tag", "large", "127.0.0.1:1/x:1")
    assert "cannot reach 127.0.0.1:1" in pybuild("push", "127.0.0.1:1/x:1", code=1).err
