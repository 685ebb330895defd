"""A network for sandboxes that is not the host's: a namespace that a user-mode network stack, pasta or slirp4netns, serves.

Both take packets out of the namespace and make ordinary connections of ours of them, so nothing is needed of the host: no
bridge, no rule of a firewall, no privilege; and nothing is left when they end. Neither lets the sandbox reach the host's
loopback. All sandboxes of one spawn server have one such network.

    server --fork--> keeper (makes the namespace, starts the stack, ends it when the server ends)
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import shutil
import signal
import socket
import struct
import time
from collections.abc import Callable

from pybuild.builder.sandbox import kernel
from pybuild.values import frozen

_SIOCSIFFLAGS = 0x8914
_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TAP, _IFF_NO_PI = 2, 0x1000
_WAIT_SECONDS = 10
_POLL_SECONDS = 0.001


@frozen
class Stack:
    """A user-mode network stack: its command line, and the name server that it has in the namespace.

    The namespace is its standard input.
    """

    argv: tuple[str, ...]
    resolver: str


_NAMESPACE = "/proc/self/fd/0"
_INTERFACE = "eth0"
_NO_PORTS = ("-t", "none", "-u", "none", "-T", "none", "-U", "none", "--no-map-gw")
# The first that is there is taken. Source: the man pages passt(1), slirp4netns(1).
STACKS = (
    # As root it would change to an account that may not enter the namespace.
    Stack(
        (
            *("pasta", "-f", "-q", "--config-net", "--ns-ifname", _INTERFACE, "--runas", "0", *_NO_PORTS),
            *("--dns-forward", "169.254.1.1", "--netns", _NAMESPACE),
        ),
        "169.254.1.1",
    ),
    Stack(
        ("slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path", _NAMESPACE, _INTERFACE),
        "10.0.2.3",
    ),
)


def find_stack() -> Stack | None:
    """A stack that is installed here."""
    for stack in STACKS:
        path = shutil.which(stack.argv[0])
        if path is not None:
            return Stack((path, *stack.argv[1:]), stack.resolver)
    return None


@frozen
class Network:
    """A namespace with its stack: descriptors of the namespace and of the keeper (a pidfd)."""

    namespace: int
    keeper: int

    @property
    def has_ended(self) -> bool:
        """Whether the stack is gone."""
        return bool(select.select([self.keeper], [], [], 0)[0])


def start(stack: tuple[str, ...], leave: Callable[[], None] = lambda: None) -> Network:
    """Fork a keeper, which first does `leave`. Called by the server. Raises OSError when there can be no namespace."""
    ours, theirs = socket.socketpair()
    server = os.pidfd_open(os.getpid())
    pid = os.fork()
    if pid == 0:
        _keep(stack, theirs, server, leave)
    keeper = os.pidfd_open(pid)
    os.close(server)
    theirs.close()
    with ours:
        message, descriptors, _, _ = socket.recv_fds(ours, 100, 1)
        if not descriptors:
            os.waitpid(pid, 0)
            os.close(keeper)
            raise _refusal(message)
    return Network(descriptors[0], keeper)


def leave(network: Network) -> None:
    """Have the stack end."""
    signal.pidfd_send_signal(network.keeper, signal.SIGTERM)


def end(network: Network) -> None:
    """Have the stack end, and wait for it."""
    leave(network)
    os.waitid(os.P_PIDFD, network.keeper, os.WEXITED)
    os.close(network.keeper)
    os.close(network.namespace)


class Networks:
    """The network that the sandboxes of one server have when they do not have the host's: one, made when it is asked for.

    Its keeper first does `leave`.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._network: Network | None = None
        self._left: list[Network] = []

    def get(self, stack: tuple[str, ...]) -> Network:
        if self._network is not None and self._network.has_ended:
            self.leave()
        if self._network is None:
            self._network = start(stack, self._leave)
        return self._network

    def leave(self) -> None:
        """Have it end meanwhile; whoever wants one again gets a new one."""
        if self._network is not None:
            leave(self._network)
            self._left.append(self._network)
            self._network = None

    def close(self) -> None:
        self.leave()
        for item in self._left:
            end(item)


def _keep(stack: tuple[str, ...], channel: socket.socket, server: int, leave: Callable[[], None]) -> None:
    """The keeper: never returns. It ends the stack when the server has ended, however that did, or asks for it."""
    try:
        # The pipes of the step that is about to start: whoever reads them waits for their last holder.
        kernel.close_all_but(channel.fileno(), server)
        leave()
        # Found by the server's pidfd alone: a death signal would end us before the stack.
        wake, woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        maker, making = _making_namespace()
        # It is forked while the namespace is made, and waits for it: who has been told of the namespace counts on it.
        ours, theirs = socket.socketpair()
        running = os.fork()
        if running == 0:
            ours.close()
            _, descriptors, _, _ = socket.recv_fds(theirs, 100, 1)
            if not descriptors:
                os._exit(1)
            # pasta will not start with signals that are ignored.
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_DFL)
            os.dup2(descriptors[0], 0)
            os.execv(stack[0], stack)
        theirs.close()
        namespace = _made_namespace(maker, making)
        socket.send_fds(ours, [b"made"], [namespace])
        ours.close()
        pidfd = os.pidfd_open(running)
        socket.send_fds(channel, [b"made"], [namespace])
        channel.close()
        select.select([server, pidfd, wake], [], [])
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(running, 0)
    except OSError as error:
        with contextlib.suppress(OSError):
            channel.send(_told(error))
        os._exit(1)
    finally:
        os._exit(0)


def _told(error: OSError) -> bytes:
    return f"{error.errno or errno.EPERM} {error.strerror or error}".encode()


def _refusal(told: bytes) -> OSError:
    """What somebody else could not do, as he told it; nothing when he was killed."""
    number, _, reason = told.decode(errors="replace").partition(" ")
    return OSError(int(number or errno.EPERM), f"no network namespace: {reason or 'its maker ended'}")


def _making_namespace() -> tuple[int, socket.socket]:
    """A child that makes a new network namespace with a loopback, and where it hands that over; see `_made_namespace`.

    A process that leaves the host's for it may not come back without privilege, so a child goes.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            kernel.unshare(kernel.CLONE_NEWNET)
            raise_loopback()
            # Where it cannot be had, the stack has nothing either, and ends.
            with contextlib.suppress(OSError):
                _add_interface()
            descriptor = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            socket.send_fds(theirs, [b"made"], [descriptor])
        except OSError as error:
            theirs.send(_told(error))
        finally:
            os._exit(0)
    theirs.close()
    return pid, ours


def _made_namespace(maker: int, making: socket.socket) -> int:
    """The namespace that a child has made. Raises OSError."""
    with making:
        message, descriptors, _, _ = socket.recv_fds(making, 100, 1)
    os.waitpid(maker, 0)
    if not descriptors:
        raise _refusal(message)
    return descriptors[0]


def raise_loopback() -> None:
    """Have 127.0.0.1 in this network namespace."""
    request = struct.pack("16sh22x", b"lo", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        fcntl.ioctl(channel, _SIOCSIFFLAGS, request)


def _add_interface() -> None:
    """Make the interface that the stack will take, as one that stays without it and goes with the namespace.

    One that the stack makes goes with it, and its end then takes 50 ms: as long as the kernel needs to take an interface down.
    With the namespace it does so for itself, behind everybody's back.
    """
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", _INTERFACE.encode(), _IFF_TAP | _IFF_NO_PI))
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
    finally:
        os.close(descriptor)


def wait(network: Network) -> None:
    """Wait until the stack has made its interface. Called in the namespace, with the host's /proc. Raises OSError."""
    end = time.monotonic() + _WAIT_SECONDS
    while not _has_route():
        if network.has_ended or time.monotonic() > end:
            raise OSError(errno.ENETDOWN, "the network of its own did not come up")
        time.sleep(_POLL_SECONDS)


def _has_route() -> bool:
    with open("/proc/self/net/route", "rb") as file:
        # The first line is the head of the table.
        if file.read().count(b"\n") > 1:
            return True
    try:
        with open("/proc/self/net/ipv6_route", "rb") as file:
            return any(line.startswith(b"0" * 32 + b" 00 ") and not line.rstrip().endswith(b" lo") for line in file)
    except FileNotFoundError:
        return False


def resolvers(text: bytes, *, resolver: str | None) -> bytes:
    """The lines of a resolv.conf for a sandbox: with a stack's own `resolver`, None for the host's network as it is.

    What else there is stays: where to search, and options.
    """
    if resolver is None:
        return text
    lines = [line for line in text.splitlines() if line.split()[:1] != [b"nameserver"]]
    return b"".join(line + b"\n" for line in (b"nameserver " + resolver.encode(), *lines))
