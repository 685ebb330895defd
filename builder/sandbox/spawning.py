"""The spawn server's own side: one process with one thread that forks sandboxes, and tells how each of them ended.

It is forked from pybuild before any thread exists: Python code after a fork of many threads may deadlock. It ends when
pybuild does, however that ends, and ends every sandbox before. It holds a pidfd on each: a number could be somebody
else's by now, and a parent's death signal is forgotten by the kernel when a sandbox starts a setuid program.

Pid 1 of a sandbox is forked before its command is known, while another runs, with what all sandboxes of a setting have
already put up; then it waits for a command. It ends when the server does.

The server never enters a sandbox itself, and neither it nor pid 1 imports a module after pid 1 has turned to the image:
that module would come out of the image.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import selectors
import signal
import socket
import sys

from pybuild.builder.errors import SandboxError
from pybuild.builder.sandbox import attaching, devices, kernel, launching, network, privileges, setup, staging, tries
from pybuild.builder.sandbox.ground import Ground, find
from pybuild.builder.sandbox.spec import LARGEST_MESSAGE, Command, Setting
from pybuild.builder.sandbox.supervising import END, supervise
from pybuild.values import frozen

_DESCRIPTORS = 4
_NOT_SET_UP = 125
_LONGEST_REASON = 2000
# What a terminal or a shutdown sends to everybody: pybuild decides what becomes of it.
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE)


@frozen
class _Tools:
    """What pid 1 needs for its last steps, read before there is any image."""

    seccomp: bytes
    launcher: bytes


@frozen
class _Sandbox:
    """One that runs a command."""

    number: int
    pid: int
    pidfd: int
    status: int
    ending: int


@frozen
class _Waiting:
    """One that waits for its command, to come over `channel`."""

    setting: Setting
    joined: network.Network | None
    pid: int
    pidfd: int
    channel: socket.socket
    ending: int

    @property
    def has_ended(self) -> bool:
        """Whether somebody has killed it."""
        return bool(select.select([self.pidfd], [], [], 0)[0])


def serve(channel: socket.socket, owner: int) -> None:
    """Do what comes over the channel, until it closes or `owner`, a pidfd, says that pybuild has ended."""
    _leave_pybuild(channel.fileno(), owner)
    with selectors.DefaultSelector() as selector:
        selector.register(owner, selectors.EVENT_READ)
        selector.register(channel, selectors.EVENT_READ)
        server = _Server(channel, selector)
        try:
            while True:
                for key, _ in selector.select():
                    if isinstance(key.data, _Sandbox):
                        server.end(key.data)
                    elif key.fd == owner or not server.obey():
                        return
        finally:
            server.close()


class _Server:
    """What runs, and what is done with it by pybuild's word."""

    def __init__(self, channel: socket.socket, selector: selectors.BaseSelector) -> None:
        self._channel = channel
        self._selector = selector
        self._sandboxes = _Sandboxes()
        self._running: dict[int, _Sandbox] = {}
        self._is_last = False
        self._is_cleared = False

    def obey(self) -> bool:
        """Do what the next message says; False when none will come."""
        message, descriptors, _, _ = socket.recv_fds(self._channel, LARGEST_MESSAGE, _DESCRIPTORS)
        if not message:
            return False
        match pickle.loads(message):
            case ("run", number, (setting, command, is_last)):
                self._run(number, setting, command, descriptors, is_last=is_last)
            case ("expect", _, setting):
                self._sandboxes.expect(setting)
            case ("find", _, (isolation, folder)):
                _find(isolation, folder, descriptors[0])
            case ("signal", number, signal_number):
                if number in self._running:
                    _send(self._running[number], signal_number)
            case ("end", _, _):
                self._is_cleared = True
        return True

    def _run(self, number: int, setting: Setting, command: bytes, descriptors: list[int], *, is_last: bool) -> None:
        self._is_last = is_last
        sandbox = self._sandboxes.start(number, setting, command, descriptors)
        if sandbox is not None:
            self._running[number] = sandbox
            self._selector.register(sandbox.pidfd, selectors.EVENT_READ, sandbox)
        if not is_last:
            self._sandboxes.expect(setting)

    def end(self, sandbox: _Sandbox) -> None:
        """A sandbox has ended: tell so."""
        self._selector.unregister(sandbox.pidfd)
        del self._running[sandbox.number]
        _reap(sandbox)
        if self._is_last and not self._running:
            self._sandboxes.rest()

    def close(self) -> None:
        """End everything."""
        for sandbox in self._running.values():
            _send(sandbox, signal.SIGKILL)
        for sandbox in self._running.values():
            _reap(sandbox)
        self._sandboxes.close(is_cleared=self._is_cleared)


def _find(isolation: str, folder: str, answer: int) -> None:
    """Try what this place allows, and answer with a pickle: the ground, or why there is none and what to do."""
    try:
        found: Ground | tuple[str, str | None] = find(isolation, folder)
    except SandboxError as error:
        found = (error.message, error.hint)
    except OSError as error:
        found = (f"cannot find out what this place allows: {error.strerror}", None)
    with contextlib.suppress(OSError), open(answer, "wb") as stream:
        stream.write(pickle.dumps(found))


def _leave_pybuild(*kept: int) -> None:
    """Hold nothing of pybuild's: its files, locks, terminal and signal handlers."""
    os.setsid()
    # Nothing of what was forked may be finalized here: it would close descriptors that are by now ours.
    gc.disable()
    gc.freeze()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    kernel.close_all_but(*kept)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN if number in _IGNORED else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _send(sandbox: _Sandbox, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(sandbox.pidfd, sandbox.ending if number == signal.SIGKILL else number)
        if sandbox.ending == END:
            # A supervisor that its command has stopped would hear of nothing.
            signal.pidfd_send_signal(sandbox.pidfd, signal.SIGCONT)


def _reap(sandbox: _Sandbox) -> None:
    """Wait for pid 1, and tell how it ended. The kernel lets it end last of its namespace."""
    _, result = os.waitpid(sandbox.pid, 0)
    code = os.waitstatus_to_exitcode(result)
    _tell(sandbox.status, b"exit %d" % (code if code >= 0 else 128 - code))
    os.close(sandbox.status)
    os.close(sandbox.pidfd)


def _tell(status: int, record: bytes) -> None:
    # Whoever asked may be gone.
    with contextlib.suppress(OSError):
        os.write(status, record + b"\0")


def _tell_failure(status: int, stage: bytes, error: BaseException) -> None:
    text = str(error)
    if isinstance(error, OSError) and error.strerror is not None:
        text = error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    _tell(status, b"failed %s %s" % (stage, text.encode("utf-8", "replace").replace(b"\0", b"")[:_LONGEST_REASON]))


class _Sandboxes:
    """Makes them, and has one waiting if one is expected."""

    def __init__(self) -> None:
        self._own = os.pidfd_open(os.getpid())
        self._tools = _Tools(privileges.seccomp_filter(), launching.launcher())
        self._namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._fence = devices.put_up()
        self._networks = network.Networks(self._fence.leave)
        self._waiting: _Waiting | None = None

    def expect(self, setting: Setting) -> None:
        """Have one ready for a command of that setting, if it may be seen by nobody meanwhile."""
        if self._waiting is None and not setting.is_bare:
            # What stands in the way is told to whoever has the command.
            with contextlib.suppress(OSError):
                self._waiting = self._fork(setting, self._joined(setting))

    def start(self, number: int, setting: Setting, command: bytes, descriptors: list[int]) -> _Sandbox | None:
        """Run a command, a pickle, with a status pipe and three streams; None when that fails, which is told."""
        status, *streams = descriptors
        stage = b"network"
        try:
            joined = self._joined(setting)
            stage = b"sandbox"
            waiting, self._waiting = self._waiting, None
            if waiting is not None and (waiting.setting != setting or waiting.joined is not joined or waiting.has_ended):
                _end(waiting)
                waiting = None
            waiting = waiting or self._fork(setting, joined)
            with waiting.channel:
                socket.send_fds(waiting.channel, [command], descriptors)
        except OSError as error:
            # A command that takes all processes must not get the next one the host's network.
            is_short = stage == b"network" and error.errno in tries.SHORT
            _tell_failure(status, b"short" if is_short else stage, error)
            os.close(status)
            return None
        finally:
            for descriptor in streams:
                os.close(descriptor)
        _tell(status, b"pid %d" % waiting.pid)
        return _Sandbox(number, waiting.pid, waiting.pidfd, status, waiting.ending)

    def rest(self) -> None:
        """Nothing more is expected, for now: give up what takes time to end."""
        if self._waiting is None:
            self._networks.leave()

    def close(self, *, is_cleared: bool) -> None:
        """End what waits, and the network; `is_cleared` when somebody else removes the fence, behind us."""
        if self._waiting is not None:
            _end(self._waiting)
        self._networks.close()
        if not is_cleared:
            self._fence.take_down()

    def _joined(self, setting: Setting) -> network.Network | None:
        return self._networks.get(setting.stack) if setting.network == "isolated" else None

    def _fork(self, setting: Setting, joined: network.Network | None) -> _Waiting:
        """Fork pid 1 of a new namespace. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST_MESSAGE)
        with theirs:
            is_supervised = _stays(setting)
            try:
                pid = os.fork()
                if pid == 0:
                    _become(setting, theirs, self._own, self._tools, self._fence, joined, is_supervised=is_supervised)
            finally:
                # Only children go into the new one, and the next child into a newer one.
                if not is_supervised:
                    kernel.enter_namespace(self._namespace, kernel.CLONE_NEWPID)
        return _Waiting(setting, joined, pid, os.pidfd_open(pid), ours, END if is_supervised else signal.SIGKILL)


def _end(waiting: _Waiting) -> None:
    waiting.channel.close()
    signal.pidfd_send_signal(waiting.pidfd, signal.SIGKILL)
    os.waitpid(waiting.pid, 0)
    os.close(waiting.pidfd)


def _stays(setting: Setting) -> bool:
    """Let the next child go into a process namespace of its own; True when that is refused, and can be done without."""
    try:
        kernel.unshare(kernel.CLONE_NEWPID)
    except OSError:
        if not setting.is_bare:
            raise
        return True
    return False


def _become(
    setting: Setting,
    channel: socket.socket,
    server: int,
    tools: _Tools,
    fence: devices.Fence,
    joined: network.Network | None,
    *,
    is_supervised: bool,
) -> None:
    """Pid 1: never returns."""
    code, status = _NOT_SET_UP, -1
    try:
        kernel.die_with_parent(signal.SIGKILL)
        if select.select([server], [], [], 0)[0]:
            return
        # A module imported from here on could be the image's.
        sys.meta_path.clear()
        refused: BaseException | None = None
        try:
            if joined is not None:
                kernel.enter_namespace(joined.namespace, kernel.CLONE_NEWNET)
            kernel.close_all_but(channel.fileno(), *((joined.keeper,) if joined is not None else ()))
            os.umask(0o022)
            if setting.security == "insecure":
                fence.leave()
            if not setting.is_bare:
                staging.put_up(setting, has_devices=_has_devices(setting, fence))
        except BaseException as error:
            refused = error
        message, descriptors, _, _ = socket.recv_fds(channel, LARGEST_MESSAGE, _DESCRIPTORS)
        if not message:
            return
        channel.close()
        status, *streams = descriptors
        # What comes over a socket is inheritable: the command would have it, and could write on it.
        os.set_inheritable(status, False)
        for place, descriptor in enumerate(streams):
            os.dup2(descriptor, place)
            os.close(descriptor)
        if refused is not None:
            _tell_failure(status, b"sandbox", refused)
            return
        code = _turn_into(pickle.loads(message), status, tools, fence, joined, is_supervised=is_supervised)
    except BaseException as error:
        _tell_failure(status, b"sandbox", error)
    finally:
        os._exit(code)


def _has_devices(setting: Setting, fence: devices.Fence) -> bool:
    """Whether nodes may be there that open devices: all may be opened, or the fence says which."""
    return setting.security == "insecure" or fence.is_up or not devices.is_needed()


def _turn_into(
    command: Command,
    status: int,
    tools: _Tools,
    fence: devices.Fence,
    joined: network.Network | None,
    *,
    is_supervised: bool,
) -> int:
    """Set up the rest, and become the command; the exit code when that fails."""
    setting = command.setting
    stage = b"sandbox"
    try:
        if is_supervised:
            supervise()
        if setting.security != "insecure":
            fence.spread(command.groups)
        has_devices = _has_devices(setting, fence)
        setup.furnish(command, has_devices=has_devices)
        stage = b"mount"
        if not setting.is_bare:
            attaching.attach(command.rootfs.mountpoint, command.attachments, has_devices=has_devices)
        if joined is not None:
            # It comes up while all that is made.
            stage = b"network"
            network.wait(joined)
            os.close(joined.keeper)
        stage = b"sandbox"
        setup.enter(command)
        stage = b"workdir"
        setup.go_to(command.cwd)
        stage = b"account"
        privileges.limit(command.limits)
        privileges.give_up(
            command.account, setting.security, seccomp=tools.seccomp, ignored=_IGNORED, has_terminal=command.has_terminal
        )
        stage = b"start"
        return launching.execute(command, tools.launcher)
    except BaseException as error:
        _tell_failure(status, stage, error)
    return _NOT_SET_UP
