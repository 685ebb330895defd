"""A command, run once and measured: seconds, processor seconds, and the largest resident set of its processes.

The command is not a child of this process but of a small one, `wrapper.py`: Linux counts what a parent had in memory when it
forked as the child's, and this one has more in memory than a builder may need.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_WRAPPER = Path(__file__).with_name("wrapper.py")
_TAIL = 3000


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
    done = subprocess.run(argv, env=environment, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise CommandFailed(_failure(argv, done.returncode, done.stdout + done.stderr))
    return done.stdout.decode(errors="replace")


def measure(*commands: Sequence[str], environment: dict[str, str], folder: Path) -> Measure:
    """Run commands one behind the other, and measure them as one. Raises CommandFailed."""
    os.sync()
    total = Measure(0, 0, 0)
    for argv in commands:
        total += _measure(argv, environment, folder)
    return total


def _measure(argv: Sequence[str], environment: dict[str, str], folder: Path) -> Measure:
    result, output = folder / "measured.json", folder / "output.log"
    with open(output, "wb") as log:
        wrapped = [sys.executable, "-I", "-S", str(_WRAPPER), str(result), *argv]
        code = subprocess.run(wrapped, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
    if code:
        raise CommandFailed(_failure(argv, code, output.read_bytes()))
    return Measure(**json.loads(result.read_text()))


def _failure(argv: Sequence[str], code: int, output: bytes) -> str:
    return f"{' '.join(argv)}: exit code {code}\n{output[-_TAIL:].decode(errors='replace')}"
