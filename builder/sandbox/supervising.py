"""Where there is no process namespace either: a process that gets the orphans of a command, and ends them all with it.

It is a process of this place like any other: a command that is root here can kill it, and what is left then is nobody's.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

from pybuild.builder.sandbox import kernel

# What ends everything; SIGKILL would end the supervisor alone.
END = signal.SIGRTMAX
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)


def supervise() -> None:
    """Fork: what returns is the command's process, and we stay behind until all that it has started has ended."""
    kernel.adopt_orphans()
    signal.pthread_sigmask(signal.SIG_BLOCK, (*_PASSED_ON, END))
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        kernel.die_with_parent(signal.SIGKILL)
        return

    def pass_on(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def end(number: int, frame: FrameType | None) -> None:
        _kill_children()

    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    signal.signal(END, end)
    kernel.die_with_parent(END)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            ended, status = os.waitpid(-1, 0)
            if ended == pid:
                code = os.waitstatus_to_exitcode(status)
                # Its number is free for others now.
                for number in _PASSED_ON:
                    signal.signal(number, signal.SIG_IGN)
            if code is not None:
                _kill_children()
    assert code is not None
    os._exit(code if code >= 0 else 128 - code)


def _kill_children() -> None:
    """What they leave comes to us in turn, and ends when we are here again."""
    # Where /proc is of other processes than those we see, its numbers are not ours to kill.
    if os.readlink("/proc/self") != str(os.getpid()):
        os._exit(1)
    with open("/proc/thread-self/children", "rb") as file:
        for pid in file.read().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
