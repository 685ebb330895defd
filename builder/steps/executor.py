"""What carries out a RUN. `Executor` is all that a build asks of it; `running.Runner` does it on this machine.

An executor elsewhere is another class with these methods. What it is given are plain values, but for the file systems: of those
it takes the layers (`Snapshots.pieces`), as blobs or entries; what it gives back is a layer. COPY, ADD and WORKDIR are no work
for it: they read what is here, and run nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pybuild.builder.graph import RunStep
from pybuild.builder.steps.snapshots import Form, Snapshots
from pybuild.builder.workspace import Workspace
from pybuild.hints import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pybuild.builder.steps.job import Job

# A stream, 1 or 2, and what a command wrote to it.
Output = Callable[[int, bytes], None]


class Executor(Protocol):
    """Carries out the RUNs of one build, several of them at once."""

    def start(self, steps: Sequence[RunStep], notify: Callable[[str], None]) -> None:
        """Get ready for these steps; `notify` hears what the user should know. The process has one thread yet.

        Raises SandboxError.
        """

    def run(self, step: RunStep, snapshots: Snapshots, place: str, *, output: Output, check: Callable[[], None]) -> Form:
        """Run a step over the file systems that it names; what it changed, as the directory `place` or as a layer in the store.

        The directory is not there yet, and becomes what overlay calls an upper one: what is new or changed alone, a character
        device 0:0 for what was deleted, overlay's attribute `opaque` on a directory that hides the one below. Who cannot make
        these gives a layer: it has the compression of the build, and no time behind its timestamp. `check` is called while
        something is waited for, and may raise. Raises StepFailed and SandboxError.
        """

    def interrupt(self) -> None:
        """End all steps that are running."""

    def look_into(self, *, compression: str, now: str) -> None:
        """Do with what a failed step has left what the user wants to be done. Behind all steps."""

    def close(self) -> None:
        """Give back what is held."""


ExecutorOf = Callable[["Job", Workspace], Executor]
