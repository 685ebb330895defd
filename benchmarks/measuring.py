"""A command, run once and measured: seconds, processor seconds, and the largest resident set of its processes.

The command is not a child of this process but of a small one, `wrapper.py`: Linux counts what a parent had in memory when it
forked as the child's, and this one has more in memory than a builder may need.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_WRAPPER = Path(__file__).with_name("wrapper.py")
_TAIL = 3000
_END_SECONDS = 5


class CommandFailed(Exception):
    """A builder did not do what it was asked for; the message has the end of its output."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What commands took, one behind the other: `memory` is in bytes, and the largest of any process."""

    seconds: float
    processor_seconds: float
    memory: int

    def __add__(self, other: Measure) -> Measure:
        return Measure(
            self.seconds + other.seconds, self.processor_seconds + other.processor_seconds, max(self.memory, other.memory)
        )


def run(argv: Sequence[str], *, environment: dict[str, str], folder: Path) -> str:
    """Run a command to its end without measuring it, and return what it printed. Raises CommandFailed."""
    with open(folder / "output.log", "w+b") as output, open(folder / "errors.log", "w+b") as errors:
        code = _finish(argv, environment, folder, output, errors)
        if code:
            raise CommandFailed(_failure(argv, code, _text(output) + _text(errors)))
        return _text(output)


def measure(*commands: Sequence[str], environment: dict[str, str], folder: Path) -> Measure:
    """Run commands one behind the other, and measure them as one. Raises CommandFailed."""
    os.sync()
    total = Measure(0, 0, 0)
    for argv in commands:
        total += _measure(argv, environment, folder)
    return total


def _measure(argv: Sequence[str], environment: dict[str, str], folder: Path) -> Measure:
    result = folder / "measured.json"
    with open(folder / "output.log", "w+b") as log:
        code = _finish([sys.executable, "-I", "-S", str(_WRAPPER), str(result), *argv], environment, folder, log, log)
        if code:
            raise CommandFailed(_failure(argv, code, _text(log)))
    return Measure(**json.loads(result.read_text()))


def _finish(argv: Sequence[str], environment: dict[str, str], folder: Path, out: BinaryIO, err: BinaryIO) -> int:
    """Run a command in a process group of its own, of which nothing is left when this is interrupted; the exit code."""
    process = subprocess.Popen(
        argv, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
    )
    try:
        return process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # The leader is gone, and what it had started is on its way: mounts and files are free when the group is empty.
        end = time.monotonic() + _END_SECONDS
        while _alive(process.pid) and time.monotonic() < end:
            time.sleep(0.01)
        raise


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _text(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _failure(argv: Sequence[str], code: int, output: str) -> str:
    return f"{' '.join(argv)}: exit code {code}\n{output[-_TAIL:]}"
