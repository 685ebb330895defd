"""A network that is not the host's: what is reached from it and what not, and that nothing of it stays."""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import os
import select
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from pybuild.builder.errors import NetworkRefused, SandboxError
from pybuild.builder.sandbox import network
from pybuild.builder.sandbox.network import STACKS, Stack, find_stack, resolvers, start
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
    own = {"network": "isolated", "stack": stack.argv, "is_last": False}
    names = {sandbox("ls -l /proc/self/ns/net", **own)[1].rpartition(" ")[2] for _ in range(3)}
    assert len(names) == 1
    other = sandbox("ls -l /proc/self/ns/net", network="none")[1].rpartition(" ")[2]
    assert other not in names


def test_it_ends_with_the_server(sandbox, stack, server):
    before = stacks()
    sandbox("true", network="isolated", stack=stack.argv, is_last=False)
    assert stacks() - before
    server.close()
    assert not stacks() - before


def test_it_ends_as_soon_as_nothing_more_is_expected_and_comes_again(sandbox, stack):
    before = stacks()
    for _ in range(2):
        sandbox("true", network="isolated", stack=stack.argv)
        assert gone(before)
        assert "00000000" in sandbox("cat /proc/net/route", network="isolated", stack=stack.argv, is_last=False)[1]
        assert stacks() - before


def test_its_interface_stays_without_it_so_that_its_end_takes_no_time(sandbox, stack):
    before = stacks()
    given, word = os.pipe()
    answer, told = os.pipe()
    script = "echo ready; read word; cat /proc/net/dev"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = pool.submit(sandbox, script, network="isolated", stack=stack.argv, streams=(given, told, told))
        assert os.read(answer, 100) == b"ready\n"
        for pid in stacks() - before:
            os.kill(pid, signal.SIGKILL)
        gone(before)
        os.write(word, b"\n")
        assert running.result()[0] == 0
    assert "eth0:" in os.read(answer, 1 << 16).decode()
    for descriptor in (given, word, answer, told):
        os.close(descriptor)


def test_it_ends_when_the_server_is_killed(sandbox, stack, server):
    before = stacks()
    sandbox("true", network="isolated", stack=stack.argv, is_last=False)
    os.kill(server._pid, signal.SIGKILL)
    assert gone(before)


def test_it_comes_again_when_it_was_killed(sandbox, stack, server):
    before = stacks()
    sandbox("true", network="isolated", stack=stack.argv, is_last=False)
    keeper, _ = Path(f"/proc/{server._pid}/task/{server._pid}/children").read_text().split()
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


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EAGAIN, SandboxError), (errno.ENOMEM, SandboxError), (errno.EPERM, NetworkRefused)]
)
def test_what_is_short_for_the_moment_does_not_open_the_machine_s_network(sandbox, monkeypatch, number, kind):
    """Who hears that a network is refused goes on with the machine's. A command may have taken all processes for that."""

    def refuse():
        raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match="no network namespace") as raised:
        start(("/bin/true",), refuse)
    assert raised.value.errno == number
    monkeypatch.setattr(network, "start", lambda stack, leave: start(stack, refuse))
    server = SpawnServer.start()
    try:
        with pytest.raises(SandboxError, match=os.strerror(number)) as told:
            sandbox("true", server=server, network="isolated", stack=("/bin/true",))
    finally:
        server.close()
    assert type(told.value) is kind
