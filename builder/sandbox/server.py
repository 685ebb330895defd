"""The spawn server, seen from pybuild: a small process that forks sandboxes, so that a step costs a fork and no start.

    pybuild -- socket --> server --fork--> pid 1 of a sandbox

A command goes over the socket with its streams and a status pipe. On the pipe come records that end in NUL: `pid N`,
`failed STAGE REASON` when the sandbox could not be made, `exit CODE`. Messages on the socket are pickles: both ends are
this program, and nobody else has the socket. `spawning` is the other end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import selectors
import signal
import socket
import threading
from collections.abc import Callable

from pybuild.builder.errors import NetworkRefused, SandboxError, SandboxRefused
from pybuild.builder.sandbox import devices, kernel, mapping, privilege
from pybuild.builder.sandbox.forking import fork, reap
from pybuild.builder.sandbox.ground import SHORT, Ground
from pybuild.builder.sandbox.spec import LARGEST_MESSAGE, Command, Setting

_BLOCK = 1 << 16
# By the stage that could not be done: what to say, and what to do.
_FAILURES = {
    "sandbox": ("cannot make the sandbox", "'pybuild doctor' says what this place allows; the store may not lie on overlayfs"),
    "mount": ("cannot mount", "it is about a --mount of this step"),
    "account": ("cannot take the user and his privileges", "a user has the ids of his ranges in /etc/subuid and /etc/subgid"),
    "start": ("cannot start the command", "programs in memory have to be allowed: sysctl vm.memfd_noexec=0"),
    "short": ("cannot make a sandbox for now", SHORT),
    "workdir": ("cannot enter the working directory", "it has to be a directory; one that is missing is made"),
}

Output = Callable[[int, bytes], None]


class SpawnServer:
    """Our end of the server. Safe for several threads, and for signal handlers."""

    def __init__(self, channel: socket.socket, pid: int) -> None:
        self._channel = channel
        self._pid = pid
        # A handler may come while its own thread holds the lock.
        self._mutex = threading.RLock()
        self._running: set[int] = set()
        self._last = 0
        self._is_interrupted = False

    @classmethod
    def start(cls) -> SpawnServer:
        """Fork the server; call it while the process has one thread. Making sandboxes takes CAP_SYS_ADMIN.

        Raises SandboxError on a machine that there is no filter of system calls for.
        """
        if os.uname().machine not in kernel.MACHINES:
            known = " and ".join(kernel.MACHINES)
            raise SandboxError(f"RUN works on {known}, and this is {os.uname().machine}", hint="a build without RUN works here")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST_MESSAGE)
        owner = os.pidfd_open(os.getpid())
        pid = fork()
        if pid == 0:
            try:
                # What only the server needs is imported there, beside what pybuild does meanwhile.
                from pybuild.builder.sandbox.spawning import serve

                serve(theirs, owner)
            finally:
                os._exit(0)
        os.close(owner)
        theirs.close()
        return cls(ours, pid)

    def expect(self, setting: Setting) -> None:
        """Have a sandbox of this setting made in advance, for the next command that wants such a one."""
        with self._mutex, contextlib.suppress(OSError):
            self._channel.send(pickle.dumps(("expect", 0, setting)))

    def run(
        self, command: Command, *, output: Output | None, streams: tuple[int, int, int] = (0, 1, 2), is_last: bool = True
    ) -> int:
        """Run a command to its end, with all that it started; its exit code, 128 + n when signal n ended it.

        `output` gets what it writes: stream 1 or 2, and bytes. None gives it `streams`, our own if no others are given. What
        `output` raises ends the command, and is raised here. Raises SandboxError when the sandbox could not be made. If it is
        not the last of its setting, a sandbox for the next is made meanwhile.
        """
        with contextlib.ExitStack() as ours:
            status, status_end = _pipe(ours)
            sources = {status: 0}
            with contextlib.ExitStack() as theirs:
                theirs.callback(os.close, status_end)
                given = [*streams]
                if output is not None:
                    given[0] = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
                    theirs.callback(os.close, given[0])
                    for stream in (1, 2):
                        source, given[stream] = _pipe(ours)
                        theirs.callback(os.close, given[stream])
                        sources[source] = stream
                number = self._send(command, [status_end, *given], is_last=is_last)
            try:
                return _exit_code(_collect(sources, output))
            except BaseException:
                self._tell(number, signal.SIGKILL)
                # Its folders are ours again only when it has ended.
                _collect(sources, None)
                raise
            finally:
                with self._mutex:
                    self._running.discard(number)

    def find_ground(self, isolation: str, folder: str) -> Ground:
        """What a sandbox can stand on here, by tries; see `ground.find`. Raises SandboxError."""
        with contextlib.ExitStack() as ours:
            source, end = _pipe(ours)
            try:
                with self._mutex:
                    socket.send_fds(self._channel, [pickle.dumps(("find", 0, (isolation, folder)))], [end])
            finally:
                os.close(end)
            with open(os.dup(source), "rb") as stream:
                answer = stream.read()
        found = pickle.loads(answer) if answer else ("the sandbox's server was killed", None)
        if isinstance(found, Ground):
            return found
        message, hint = found
        raise SandboxError(message, hint=hint or "'pybuild doctor' says what this place allows")

    def _send(self, command: Command, descriptors: list[int], *, is_last: bool) -> int:
        with self._mutex:
            if self._is_interrupted:
                raise SandboxError("interrupted")
            self._last += 1
            try:
                # The server hands the command on as it is.
                message = ("run", self._last, (command.setting, pickle.dumps(command), is_last))
                socket.send_fds(self._channel, [pickle.dumps(message)], descriptors)
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    raise SandboxError("the command and its environment are too long", hint="put them in files") from error
                raise SandboxError(f"the sandbox's server does not listen: {error.strerror}", hint="build again") from error
            self._running.add(self._last)
            return self._last

    def signal(self, number: int) -> None:
        """Send a signal to everything that runs."""
        with self._mutex:
            for running in tuple(self._running):
                self._tell(running, number)

    def interrupt(self) -> None:
        """End everything that runs, and start nothing more."""
        with self._mutex:
            self._is_interrupted = True
            self.signal(signal.SIGKILL)

    def allow(self) -> None:
        """Start commands again, after an interrupt."""
        with self._mutex:
            self._is_interrupted = False

    def _tell(self, running: int, number: int) -> None:
        # A server that is gone has taken with it what it ran.
        with contextlib.suppress(OSError):
            self._channel.send(pickle.dumps(("signal", running, number)))

    def close(self) -> None:
        """End what still runs, and the server. Idempotent."""
        if self._channel.fileno() >= 0:
            # Closing alone would not wake it if a child of pybuild's had the socket too.
            with contextlib.suppress(OSError):
                self._channel.send(pickle.dumps(("end", 0, None)))
                self._channel.shutdown(socket.SHUT_RDWR)
            self._channel.close()
            reap(self._pid)
            # For the server to leave its group would take it 10 ms; with its end it is out of it.
            devices.clear()


def _pipe(reading: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe whose first end is closed with `reading`."""
    source, end = os.pipe2(os.O_CLOEXEC)
    reading.callback(os.close, source)
    return source, end


def _collect(sources: dict[int, int], output: Output | None) -> bytes:
    """Hand on what comes out of the pipes until the command has ended; what came through the status pipe.

    If the server should be killed, what it ran is killed from here.
    """
    status = b""
    with contextlib.ExitStack() as held:
        selector = held.enter_context(selectors.DefaultSelector())
        pidfd = -1
        for descriptor in sources:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                content = os.read(key.fd, _BLOCK)
                if sources[key.fd] != 0:
                    if not content:
                        selector.unregister(key.fd)
                    elif output is not None:
                        output(sources[key.fd], content)
                    continue
                status += content
                if pidfd < 0 and (pid := _record(status, b"pid")):
                    with contextlib.suppress(ProcessLookupError):
                        pidfd = os.pidfd_open(int(pid))
                        held.callback(os.close, pidfd)
                # The server tells of the end when all of the sandbox is gone; it need not have closed the pipe.
                is_told = _record(status, b"exit") is not None
                if is_told or not content:
                    selector.unregister(key.fd)
                if not is_told and not content and pidfd >= 0:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    return status


def _record(status: bytes, kind: bytes) -> str | None:
    """What a record says behind its kind; None when there is no such record yet."""
    for record in status.split(b"\0")[:-1]:
        found, _, text = record.partition(b" ")
        if found == kind:
            return text.decode("utf-8", "replace")
    return None


def _exit_code(status: bytes) -> int:
    if failure := _record(status, b"failed"):
        stage, _, reason = failure.partition(" ")
        if stage == "network":
            raise NetworkRefused(reason)
        what, hint = _FAILURES[stage]
        if stage == "account" and privilege.has_one_id():
            hint = f"there is no id here but root's; {mapping.advice()}"
        raise (SandboxRefused if stage == "sandbox" else SandboxError)(f"{what}: {reason}", hint=hint)
    code = _record(status, b"exit")
    if code is None:
        raise SandboxError("the sandbox's server was killed", hint="memory may have run out; build again")
    return int(code)
