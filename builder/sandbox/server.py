"""The spawn server: a small process with one thread that forks sandboxes, so that a step costs a fork and no start.

It is forked from pybuild before any thread exists: Python code after a fork of many threads may deadlock. It ends when
pybuild does, and every sandbox ends with it, even if pybuild is killed.

    pybuild -- socket --> server --fork--> keeper --fork--> pid 1 of the sandbox

The keeper waits for pid 1, passes signals on, and tells the exit code. Messages on the socket are pickles: both ends are
this program, and nobody else has the socket.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import socket
import threading
from collections.abc import Callable

from pybuild.builder.errors import SandboxError
from pybuild.builder.sandbox import kernel, setup
from pybuild.builder.sandbox.spec import Command

_BLOCK = 1 << 16
_LARGEST_MESSAGE = 8 << 20
_NOT_SET_UP = 125

Output = Callable[[int, bytes], None]


class SpawnServer:
    """Our end of the server. Safe for several threads."""

    def __init__(self, channel: socket.socket, pid: int) -> None:
        self._channel = channel
        self._pid = pid
        self._mutex = threading.Lock()
        self._running: dict[int, int] = {}
        self._last = 0
        self._is_interrupted = False

    @classmethod
    def start(cls) -> SpawnServer:
        """Fork the server. Raises SandboxError when the place does not allow sandboxes."""
        if os.geteuid() != 0:
            raise SandboxError("RUN needs root", hint="build as root; a Dockerfile without RUN builds as any user")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST_MESSAGE)
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                kernel.die_with_parent(signal.SIGKILL)
                if os.getppid() == parent:
                    _serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        return cls(ours, pid)

    def run(self, command: Command, *, output: Output | None) -> int:
        """Run a command to its end; its exit code, 128 + n when signal n ended it.

        `output` gets what it writes: stream 1 or 2, and bytes. None gives it our own standard streams.
        Raises SandboxError when the sandbox could not be made.
        """
        status_in, status_out = os.pipe2(os.O_CLOEXEC)
        readers: dict[int, int] = {status_in: 0}
        sent = [status_out]
        if output is None:
            sent += [0, 1, 2]
        else:
            null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            out_in, out_out = os.pipe2(os.O_CLOEXEC)
            err_in, err_out = os.pipe2(os.O_CLOEXEC)
            readers |= {out_in: 1, err_in: 2}
            sent += [null, out_out, err_out]
        try:
            number = self._send(command, sent)
        except BaseException:
            for descriptor in readers:
                os.close(descriptor)
            raise
        finally:
            for descriptor in sent:
                if descriptor > 2:
                    os.close(descriptor)
        try:
            status = _collect(readers, output)
        finally:
            with self._mutex:
                self._running.pop(number, None)
            for descriptor in readers:
                os.close(descriptor)
        return _exit_code(status)

    def _send(self, command: Command, descriptors: list[int]) -> int:
        with self._mutex:
            self._last += 1
            number = self._last
            if self._is_interrupted:
                raise SandboxError("interrupted")
            try:
                socket.send_fds(self._channel, [pickle.dumps(("run", number, command))], descriptors)
            except OSError as error:
                raise SandboxError(f"the sandbox's server is gone: {error.strerror}", hint="build again") from error
            self._running[number] = number
            return number

    def signal(self, number: int) -> None:
        """Send a signal to everything that runs."""
        with self._mutex:
            for running in self._running:
                self._tell(("signal", running, number))

    def interrupt(self) -> None:
        """End everything that runs, and start nothing more."""
        with self._mutex:
            self._is_interrupted = True
            for running in self._running:
                self._tell(("kill", running, 0))

    def _tell(self, message: tuple[str, int, int]) -> None:
        # A server that is gone has taken with it what it ran.
        with contextlib.suppress(OSError):
            self._channel.send(pickle.dumps(message))

    def close(self) -> None:
        """End the server, and what still runs."""
        self._channel.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _collect(readers: dict[int, int], output: Output | None) -> bytes:
    """Hand on what comes out of the pipes until all are at their end; what came through the status pipe."""
    status = b""
    with selectors.DefaultSelector() as selector:
        for descriptor in readers:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                content = os.read(key.fd, _BLOCK)
                if not content:
                    selector.unregister(key.fd)
                elif readers[key.fd] == 0:
                    status += content
                elif output is not None:
                    output(readers[key.fd], content)
    return status


def _exit_code(status: bytes) -> int:
    kind, _, text = status.partition(b" ")
    if kind == b"failed":
        message = text.partition(b"\0")[0].decode(errors="replace")
        raise SandboxError(
            f"cannot make the sandbox: {message}", hint="RUN needs root with CAP_SYS_ADMIN, and a store that is not on overlayfs"
        )
    if kind == b"exit":
        return int(text)
    return 128 + signal.SIGKILL


# The server's side


def _serve(channel: socket.socket) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Keepers are not waited for: they tell their result themselves.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    keepers: dict[int, int] = {}
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, _LARGEST_MESSAGE, 4)
        if not message:
            break
        kind, number, value = pickle.loads(message)
        if kind == "run":
            pid = os.fork()
            if pid == 0:
                channel.close()
                _keep(value, descriptors)
            keepers[number] = pid
            for descriptor in descriptors:
                os.close(descriptor)
        elif number in keepers:
            try:
                os.kill(keepers[number], signal.SIGKILL if kind == "kill" else value)
            except ProcessLookupError:
                del keepers[number]
    for pid in keepers.values():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _keep(command: Command, descriptors: list[int]) -> None:
    """The keeper: never returns."""
    status = descriptors[0]
    try:
        kernel.die_with_parent(signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        setup.unshare_namespaces(command.network)
        child = os.fork()
        if child == 0:
            _become(command, descriptors)
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        for number in (
            signal.SIGINT,
            signal.SIGTERM,
            signal.SIGHUP,
            signal.SIGQUIT,
            signal.SIGUSR1,
            signal.SIGUSR2,
            signal.SIGWINCH,
        ):
            signal.signal(number, lambda number, _: os.kill(child, number))
        _, result = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(result)
        if code != _NOT_SET_UP or not _has_failed(status):
            os.write(status, b"exit %d" % (code if code >= 0 else 128 - code))
    except BaseException as error:
        os.write(status, b"failed " + str(error).encode(errors="replace") + b"\0")
    finally:
        os._exit(0)


def _has_failed(status: int) -> bool:
    # Pid 1 has told of its failure on the same pipe; a program that exits with 125 has not.
    import array
    import fcntl
    import termios

    waiting = array.array("i", [0])
    fcntl.ioctl(status, termios.FIONREAD, waiting)
    return waiting[0] > 0


def _become(command: Command, descriptors: list[int]) -> None:
    """Pid 1: never returns."""
    status = descriptors[0]
    code = _NOT_SET_UP
    try:
        kernel.die_with_parent(signal.SIGKILL)
        for place, descriptor in enumerate(descriptors[1:]):
            os.dup2(descriptor, place)
        os.set_inheritable(status, False)
        setup.enter(command)
        setup.give_up(command)
        _close_all_but(status)
        os.chdir(command.cwd)
        code = setup.execute(command)
    except BaseException as error:
        os.write(status, b"failed " + str(error).encode(errors="replace") + b"\0")
    finally:
        os._exit(code)


def _close_all_but(kept: int) -> None:
    last = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, kept)
    os.closerange(max(3, kept + 1), last)
