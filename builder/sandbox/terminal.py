"""A sandbox on the user's terminal: a terminal of its own for the command, and what goes in and out of it passed on.

Ours is raw meanwhile, so Ctrl-C is the command's. Where standard input is no terminal the command just has our streams.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import termios
import threading
import tty
from types import FrameType

from pybuild.builder.sandbox.server import SpawnServer
from pybuild.builder.sandbox.spec import Command
from pybuild.values import replace

_BLOCK = 1 << 12


def run_on_terminal(server: SpawnServer, command: Command) -> int:
    """Run a command for the user to talk to; its exit code. Raises SandboxError."""
    if not (os.isatty(0) and os.isatty(1)):
        return server.run(command, output=None)
    ours, theirs = os.openpty()
    stop, stopped = os.pipe2(os.O_CLOEXEC)
    before = termios.tcgetattr(0)
    is_main = threading.current_thread() is threading.main_thread()

    def resize(number: int = 0, frame: FrameType | None = None) -> None:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))

    handler = signal.signal(signal.SIGWINCH, resize) if is_main else None
    relay = threading.Thread(target=_relay, args=(ours, stop), daemon=True)
    try:
        resize()
        tty.setraw(0)
        relay.start()
        return server.run(replace(command, has_terminal=True), output=None, streams=(theirs, theirs, theirs))
    finally:
        os.close(stopped)
        os.close(theirs)
        relay.join()
        # It may have been closed meanwhile.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSADRAIN, before)
        if is_main:
            signal.signal(signal.SIGWINCH, handler)
        for descriptor in (ours, stop):
            os.close(descriptor)


def _relay(terminal: int, stop: int) -> None:
    """Pass on what comes from either side, until the other side is gone and all that it wrote is shown."""
    watched = [0, terminal, stop]
    while True:
        ready = select.select(watched, [], [])[0]
        if terminal in ready:
            try:
                content = os.read(terminal, _BLOCK)
            except OSError:
                # The last who had it open has gone.
                return
            # What nobody sees any more is dropped.
            with contextlib.suppress(OSError):
                _write(1, content)
        elif stop in ready:
            watched = [terminal]
        elif 0 in ready:
            try:
                content = os.read(0, _BLOCK)
            except OSError:
                content = b""
            if not content:
                watched.remove(0)
            _write(terminal, content)


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
