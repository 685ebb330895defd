"""Work in a child of ours that is root in a user namespace: for sandboxes, and for files of many owners, without privilege.

    pybuild --fork--> keeper --fork--> child, pid 1 over the sandboxes' namespaces --fork--> spawn server --fork--> sandboxes

There is no way back out of a user namespace, and only a process with one thread gets in; so a child goes, works, and answers,
and pybuild itself (or the program that uses it) stays what it is. What the child tells and what it returns comes back as
pickles over a socket that nobody else has. A process namespace of their own is what the spawn server may come back to after a
fork; with the child ends everything in it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from pybuild.builder.errors import SandboxError
from pybuild.builder.records.database import none_open
from pybuild.builder.sandbox import kernel, mapping
from pybuild.builder.sandbox.forking import fork, reap
from pybuild.hints import TypeVar, cast

T = TypeVar("T")
Tell = Callable[[object], None]
_HEAD = struct.Struct("!I")
_GO = b"g"


def inside(
    work: Callable[[Tell], T],
    *,
    listen: Tell | None = None,
    on_one_id: Callable[[str], None] | None = None,
    passed_on: tuple[signal.Signals, ...] = (),
    store: str | None = None,
) -> T:
    """Call `work` in a child that is root in a user namespace; what it returns, or raises.

    `listen` gets, here, what `work` hands to the function that it is given. `on_one_id` hears why there is but one id. The child
    hears of Ctrl-C, and of the signals `passed_on`, through us alone. It holds none of the locks that we have in `store`. Call it
    while the process has one thread. Raises SandboxError when there can be no user namespace.
    """
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    with none_open():
        pid = fork()
    if pid == 0:
        ours.close()
        _work(work, theirs, parent, store)
    theirs.close()
    with ours, contextlib.ExitStack() as stack:
        stack.callback(_end, pid)
        head = _receive(ours, _HEAD.size)
        child = _HEAD.unpack(head)[0] if head is not None else 0
        if child == 0:
            reason = _answer(ours, None)
            assert isinstance(reason, BaseException)
            raise reason
        found = mapping.apply(mapping.own_mapping(), pid)
        if found.reason is not None and on_one_id is not None:
            on_one_id(found.reason)
        ours.sendall(_GO)
        stack.enter_context(_passing_on(child, passed_on))
        try:
            answer = _answer(ours, listen)
        except KeyboardInterrupt:
            # It ends what it has begun, and says so.
            os.kill(child, signal.SIGINT)
            answer = _answer(ours, listen)
        if isinstance(answer, BaseException):
            raise answer
        return cast(T, answer[0])


def over_trees(store: str, work: Callable[[], T]) -> T:
    """Do something with what RUNs have left in a store, as who may read it: ids of a user namespace may own it."""
    folders = [f"{store}/{name}" for name in ("trees", "caches")]
    if os.geteuid() == 0 or not any(os.path.isdir(folder) and os.listdir(folder) for folder in folders):
        return work()
    return inside(lambda _: work(), store=store)


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    reap(pid)


@contextlib.contextmanager
def _passing_on(pid: int, signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    before = {number: signal.signal(number, handle) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# What goes over the socket: the child's number, 0 for none; then lengths, each with a pickle of ("told", value),
# ("done", value) or ("failed", class, arguments, attributes).


def _answer(channel: socket.socket, listen: Tell | None) -> tuple[object] | BaseException:
    """Hand on what the child tells until it has an answer: a tuple of the result, or what was raised."""
    while True:
        head = _receive(channel, _HEAD.size)
        content = _receive(channel, _HEAD.unpack(head)[0]) if head is not None else None
        if content is None:
            return SandboxError("the process in the user namespace was killed", hint="memory may have run out; build again")
        kind, *values = pickle.loads(content)
        if kind == "done":
            return (values[0],)
        if kind == "failed":
            return _error(*values)
        if listen is not None:
            listen(values[0])


def _receive(channel: socket.socket, size: int) -> bytes | None:
    content = bytearray()
    while len(content) < size:
        part = channel.recv(size - len(content))
        if not part:
            return None
        content += part
    return bytes(content)


def _error(kind: type[BaseException], arguments: tuple[object, ...], attributes: dict[str, object]) -> BaseException:
    # Not by calling it: our errors take more than exceptions keep as their arguments.
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(attributes)
    return error


# The child


def _work(work: Callable[[Tell], T], channel: socket.socket, parent: int, store: str | None) -> None:
    """The child: never returns."""
    mutex = threading.Lock()

    def send(*message: object) -> None:
        content = pickle.dumps(message)
        with mutex:
            channel.sendall(_HEAD.pack(len(content)) + content)

    try:
        try:
            # A terminal's Ctrl-C is for pybuild, which passes it on.
            os.setsid()
            _leave(channel, parent)
            if store is not None:
                _let_go_of_locks(store)
            send("done", work(lambda value: send("told", value)))
        except BaseException as error:
            if "PYBUILD_DEBUG" in os.environ:
                import traceback

                error.add_note("".join(traceback.format_exception(error)))
            send("failed", type(error), error.args, error.__dict__)
    finally:
        os._exit(0)


def _let_go_of_locks(store: str) -> None:
    """Hold no lock (flock) of threads that stay with the parent: it would last until we end, and we may wait for it ourselves.

    What our own thread has locked stays so, for the parent waits for us. Also those that are waited for just now are let go. The
    numbers stay taken, so that nobody closes what is ours by then.
    """
    folder = f"{os.path.realpath(store)}/locks/"
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for name in os.listdir("/proc/self/fd"):
        # That of the listing is gone by now.
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{name}").startswith(folder):
                os.dup2(null, int(name), inheritable=False)
    os.close(null)


def _leave(channel: socket.socket, parent: int) -> None:
    """Go into the namespaces: what returns is the child, and we stay behind to wait for it."""
    try:
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID)
    except OSError as error:
        channel.sendall(_HEAD.pack(0))
        raise SandboxError(
            f"RUN needs namespaces, and user namespaces are refused here: {error.strerror}",
            hint="'pybuild doctor' says what this place allows; a Dockerfile without RUN builds all the same",
        ) from error
    keeper = os.pidfd_open(os.getpid())
    pid = os.fork()
    if pid:
        # Whoever kills us means the child.
        kernel.die_with_parent(signal.SIGKILL)
        if os.getppid() == parent:
            channel.sendall(_HEAD.pack(pid))
            # Also locks that threads of the parent hold, or wait for.
            kernel.close_all_but()
            os.waitpid(pid, 0)
        os._exit(0)
    if channel.recv(1) != _GO:
        os._exit(1)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    # Behind the change of ids, which forgets it.
    kernel.die_with_parent(signal.SIGKILL)
    if select.select([keeper], [], [], 0)[0]:
        os._exit(1)
    os.close(keeper)
