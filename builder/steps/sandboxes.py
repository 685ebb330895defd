"""Where the sandboxes of one build come from: the spawn server, the stage that the next one is put up on, and networks.

The first sandbox and its network take 30 ms, and so does a Dockerfile to be read and planned: when there is a RUN in one that is
new, both happen at the same time. What is expected then is a guess, and nothing is lost when it is wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

from pybuild.builder.errors import SandboxError
from pybuild.builder.request import BuildRequest, RunOptions
from pybuild.builder.sandbox import privilege
from pybuild.builder.sandbox.folders import make_stage
from pybuild.builder.sandbox.ground import Ground, Standing, first_guess
from pybuild.builder.sandbox.network import Stack
from pybuild.builder.sandbox.server import SpawnServer
from pybuild.builder.sandbox.spec import Setting
from pybuild.builder.steps.networking import Networking
from pybuild.builder.workspace import Workspace


class Sandboxes:
    """Those of one build. Made while the process has one thread; then safe for several, once somebody listens.

    `folder` is for files that several of them share. Raises SandboxError.
    """

    def __init__(self, workspace: Workspace, options: RunOptions) -> None:
        self._options = options
        self._where = (options.confinement.isolation, f"{workspace.store.root}/tmp")
        self._guess = first_guess(*self._where)
        with contextlib.ExitStack() as held:
            self.folder = held.enter_context(workspace.scratch())
            self._stage = make_stage(self.folder)
            self.server = SpawnServer.start()
            held.callback(self.server.close)
            self._held = held.pop_all()
        self.networking = Networking()

    def listen(self, notify: Callable[[str], None]) -> Standing:
        """Have `notify` hear what the user should know of this place, also what was to be said before; what commands stand on."""
        self.networking.listen(notify)
        return Standing(self._guess, partial(self.server.find_ground, *self._where), notify)

    def expect(self, network: str, security: str) -> None:
        """Have a sandbox ready for the next command that wants such a one."""
        if self._guess.isolation == "namespaces":
            self.server.expect(self.setting(self._guess, *self.networking.first(network), security))

    def setting(self, ground: Ground, network: str, stack: Stack | None, security: str) -> Setting:
        """That of a command on this ground."""
        stage = self._stage if ground.isolation == "namespaces" else ""
        return Setting(stage, network, stack.argv if stack else (), security, self._options.shm_size)

    def close(self) -> None:
        """End what runs, and the server. Idempotent."""
        self._held.close()


def foreseen(text: str, request: BuildRequest, workspace: Workspace) -> Sandboxes | None:
    """Sandboxes for a Dockerfile that is still to be read, if it seems to have a RUN that this process can carry out itself.

    Where it cannot be done so, nothing is said: that is for whoever has the step.
    """
    lines = (line.split(None, 1)[:1] for line in text.splitlines())
    if not any(word and word[0].upper() == "RUN" for word in lines) or not privilege.has(privilege.CAP_SYS_ADMIN):
        return None
    try:
        found = Sandboxes(workspace, request.run)
    except (OSError, SandboxError):
        return None
    if "--network" not in text and "--security" not in text:
        found.expect(request.network, "sandbox")
    return found
