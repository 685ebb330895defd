"""A network that is not the host's: what is reached from it and what not, and that nothing of it stays."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from pybuild.builder import ending
from pybuild.builder.errors import NetworkRefused
from pybuild.builder.sandbox.network import STACKS, Stack, find_stack, resolvers
from pybuild.builder.sandbox.server import SpawnServer
from pybuild.builder.steps.accounts import Account

pytestmark = pytest.mark.root


@pytest.fixture(params=[stack.argv[0] for stack in STACKS])
def stack(request):
    """Each stack that there is support for, from Debian."""
    found = next(stack for stack in STACKS if stack.argv[0] == request.param)
    path = shutil.which(request.param)
    assert path, f"{request.param} is missing; 'make test' as root installs it"
    return Stack((path, *found.argv[1:]), found.resolver)


def stacks():
    """The processes that serve networks."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                found += (
                    [int(name)]
                    if Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")[0].rpartition(b"/")[2]
                    in (b"pasta", b"pasta.avx2", b"slirp4netns")
                    else []
                )
    return set(found)


def gone(before):
    """Wait until the stacks of this test have ended."""
    end = time.monotonic() + 10
    while stacks() - before:
        assert time.monotonic() < end, stacks() - before
    return True


@pytest.fixture
def listener():
    """A server of the host's, on all of its addresses."""
    with socket.create_server(("0.0.0.0", 0)) as server:
        server.setblocking(False)
        yield server


def test_it_has_an_interface_and_a_route_of_its_own(sandbox, stack):
    _, output, _ = sandbox("ls -l /proc/self/ns/net; cat /proc/net/route; id", network="isolated", stack=stack.argv)
    assert os.readlink("/proc/self/ns/net") not in output
    assert "00000000" in output


def test_the_host_s_loopback_is_not_reached(sandbox, stack, listener):
    """Neither as our own nor by the gateway's address."""
    port = listener.getsockname()[1]
    gateways = "$(ip route | while read a b address rest; do [ $a = default ] && echo $address; done)"
    sandbox(f"for a in 127.0.0.1 {gateways} 10.0.2.2; do timeout 1 nc $a {port}; done", network="isolated", stack=stack.argv)
    with pytest.raises(BlockingIOError):
        listener.accept()
    # What is tried does work where it may.
    sandbox(f"timeout 1 nc 127.0.0.1 {port}; true", network="host")
    listener.accept()[0].close()


def test_an_abstract_socket_of_the_host_is_not_reached(sandbox, stack):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0pybuild-test")
        server.listen()
        _, output, _ = sandbox("cat /proc/net/unix", network="isolated", stack=stack.argv)
    assert "pybuild-test" not in output


def test_an_ordinary_user_has_it_too(sandbox, stack):
    _, output, _ = sandbox("cat /proc/net/route", network="isolated", stack=stack.argv, account=Account(1000, 1000))
    assert "00000000" in output


def test_several_sandboxes_have_one(sandbox, stack):
    names = {sandbox("ls -l /proc/self/ns/net", network="isolated", stack=stack.argv)[1].rpartition(" ")[2] for _ in range(3)}
    assert len(names) == 1
    other = sandbox("ls -l /proc/self/ns/net", network="none")[1].rpartition(" ")[2]
    assert other not in names


def test_it_ends_with_the_server(sandbox, stack, server):
    before = stacks()
    sandbox("true", network="isolated", stack=stack.argv)
    assert stacks() - before
    server.close()
    assert gone(before)


def test_it_ends_behind_a_server_that_does_not_wait(sandbox, stack, monkeypatch):
    monkeypatch.setattr(ending, "_is_near", True)
    before = stacks()
    with contextlib.closing(SpawnServer.start()) as server:
        sandbox("true", network="isolated", stack=stack.argv, server=server)
        assert stacks() - before
    assert gone(before)


def test_it_ends_when_the_server_is_killed(sandbox, stack, server):
    before = stacks()
    sandbox("true", network="isolated", stack=stack.argv)
    os.kill(server._pid, signal.SIGKILL)
    assert gone(before)


def test_it_comes_again_when_it_was_killed(sandbox, stack, server):
    before = stacks()
    sandbox("true", network="isolated", stack=stack.argv)
    (keeper,) = Path(f"/proc/{server._pid}/task/{server._pid}/children").read_text().split()
    for pid in stacks() - before:
        os.kill(pid, signal.SIGKILL)
    assert select.select([os.pidfd_open(int(keeper))], [], [], 10)[0]
    assert "00000000" in sandbox("cat /proc/net/route", network="isolated", stack=stack.argv)[1]


def test_what_does_not_come_up_is_told(sandbox):
    for argv in (("/bin/false",), ("/missing",)):
        with pytest.raises(NetworkRefused):
            sandbox("true", network="isolated", stack=argv)


def test_a_stack_is_found_on_the_path(monkeypatch, tmp_path):
    assert find_stack() is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_stack() is None


def test_resolvers_of_the_host_are_replaced():
    text = b"# made by\nnameserver 127.0.0.53\nnameserver 10.1.1.1\nsearch example.com\noptions edns0\n"
    assert resolvers(text, resolver=None) == text
    assert resolvers(text, resolver="169.254.1.1") == b"nameserver 169.254.1.1\n# made by\nsearch example.com\noptions edns0\n"
