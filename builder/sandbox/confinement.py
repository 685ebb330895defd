"""How RUN is held: by what it is kept apart from the machine, and how much of the machine it may take."""

from __future__ import annotations

from pybuild.values import frozen

# `namespaces` goes through a user namespace where that takes no privilege; `chroot` is another root folder and nothing more.
NETWORKS = ("default", "host", "none")
ISOLATIONS = ("auto", "namespaces", "chroot")


@frozen
class Confinement:
    """What the user asked for. `memory` is bytes, `cpus` processors' worth of time, `pids` processes and threads of one step."""

    isolation: str = "auto"
    memory: int | None = None
    cpus: float | None = None
    pids: int | None = None

    @property
    def is_limited(self) -> bool:
        """Whether a step may take only so much."""
        return (self.memory, self.cpus, self.pids) != (None, None, None)
