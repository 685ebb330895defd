"""SSH agents for RUN --mount=type=ssh: a socket of a sandbox's own, which asks the user's agent, or one that holds given keys.

A command may list keys and have things signed. It may not add, remove or lock keys: such requests are refused here, as
BuildKit refuses them. Source: draft-ietf-sshm-ssh-agent, "Protocol Messages".
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Iterator

from pybuild.builder.errors import BuildError

# Request identities, sign, extension (which binds a session to a key).
_ALLOWED = (11, 13, 27)
_FAILURE = b"\x00\x00\x00\x01\x05"
_LARGEST_MESSAGE = 256 << 10
_START_SECONDS = 10


@contextlib.contextmanager
def agent(sources: tuple[str, ...], folder: str, *, mode: int, owner: tuple[int, int]) -> Iterator[None]:
    """Have a socket named `socket` in `folder`, with this mode and owner, that speaks for an agent.

    `sources` is an agent's socket, or files with keys; nothing is $SSH_AUTH_SOCK. Raises BuildError.
    """
    with contextlib.ExitStack() as stack:
        asked = stack.enter_context(_asked(sources, f"{folder}-keys"))
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        _bind(listening, folder, "socket")
        path = f"{folder}/socket"
        os.chown(path, *owner)
        os.chmod(path, mode & 0o777)
        listening.listen()
        # Closing it alone would not wake who waits for a connection.
        stack.callback(listening.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=_serve, args=(listening, asked), daemon=True).start()
        yield


def _bind(listening: socket.socket, folder: str, name: str) -> None:
    # A socket's path may have 107 bytes, a store's may have more.
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listening.bind(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)


def _serve(listening: socket.socket, asked: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_talk, args=(connection, asked), daemon=True).start()


def _talk(connection: socket.socket, asked: str) -> None:
    """Hand requests on until one side hangs up."""
    with connection, contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as other:
        _connect(other, asked)
        while (request := _message(connection)) is not None:
            if request[4] not in _ALLOWED:
                connection.sendall(_FAILURE)
                continue
            other.sendall(request)
            answer = _message(other)
            if answer is None:
                return
            connection.sendall(answer)


def _connect(other: socket.socket, path: str) -> None:
    folder, _, name = path.rpartition("/")
    descriptor = os.open(folder or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        other.connect(f"/proc/self/fd/{descriptor}/{name}")
    finally:
        os.close(descriptor)


def _message(stream: socket.socket) -> bytes | None:
    """One whole message with its length; None at the end, and for one that is none."""
    content = b""
    wanted = 4
    while len(content) < wanted:
        part = stream.recv(wanted - len(content))
        if not part:
            return None
        content += part
        if len(content) == 4:
            (length,) = struct.unpack("!I", content)
            if not 0 < length <= _LARGEST_MESSAGE:
                return None
            wanted = 4 + length
    return content


@contextlib.contextmanager
def _asked(sources: tuple[str, ...], folder: str) -> Iterator[str]:
    """The socket of the agent that is meant."""
    if not sources:
        path = os.environ.get("SSH_AUTH_SOCK")
        if not path:
            raise BuildError("--ssh default: there is no agent", hint="start one (SSH_AUTH_SOCK), or write --ssh default=KEYFILE")
        sources = (path,)
    found = [os.path.abspath(os.path.expanduser(source)) for source in sources]
    for path in found:
        try:
            is_socket = stat.S_ISSOCK(os.stat(path).st_mode)
        except OSError as error:
            raise BuildError(f"--ssh: cannot read {path}: {error.strerror}") from None
        if is_socket:
            if len(found) > 1:
                raise BuildError("--ssh: an agent's socket stands alone", hint="keys can be several")
            yield path
            return
    with _holding(found, folder) as path:
        yield path


@contextlib.contextmanager
def _holding(keys: list[str], folder: str) -> Iterator[str]:
    """An agent of our own with these keys."""
    for program in ("ssh-agent", "ssh-add"):
        if shutil.which(program) is None:
            raise BuildError(f"--ssh with a key needs {program}", hint="install openssh-client, or name an agent's socket")
    os.mkdir(folder, 0o700)
    # It ends with the command that it starts, and that with our end of a pipe, however we end.
    running = subprocess.Popen(
        ["ssh-agent", "-a", "own", "sh", "-c", 'cat; kill "$SSH_AGENT_PID"'],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    assert running.stdin is not None
    try:
        end = time.monotonic() + _START_SECONDS
        while not os.path.exists(f"{folder}/own"):
            if running.poll() is not None or time.monotonic() > end:
                raise BuildError("--ssh: ssh-agent does not start")
            time.sleep(0.005)
        environment = {**os.environ, "SSH_AUTH_SOCK": "own", "SSH_ASKPASS_REQUIRE": "never"}
        done = subprocess.run(
            ["ssh-add", "-q", "--", *keys],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=folder,
            check=False,
        )
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip().split("\n")[0]
            raise BuildError(f"--ssh: cannot use the key: {reason}", hint="a key with a passphrase has to be in an agent")
        yield f"{folder}/own"
    finally:
        running.stdin.close()
        running.wait()
