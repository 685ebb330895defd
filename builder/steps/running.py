"""RUN: a command over the file system of the step below, in the sandbox; its upper directory becomes the step's tree."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial

from pybuild.builder.errors import StepFailed
from pybuild.builder.graph import RunStep
from pybuild.builder.request import RunOptions
from pybuild.builder.sandbox import mapping, privilege
from pybuild.builder.sandbox.cgroups import Group, limited
from pybuild.builder.sandbox.folders import furnish, provide_files
from pybuild.builder.sandbox.ground import Ground, Standing
from pybuild.builder.sandbox.network import Stack
from pybuild.builder.sandbox.spec import Command, traces
from pybuild.builder.steps.accounts import resolve_user
from pybuild.builder.steps.attachments import Attachments
from pybuild.builder.steps.debugging import Failure, keep, open_shell
from pybuild.builder.steps.executor import Output
from pybuild.builder.steps.roots import make_root
from pybuild.builder.steps.sandboxes import Sandboxes
from pybuild.builder.steps.snapshots import Form, Snapshots
from pybuild.builder.steps.workers import Workers
from pybuild.builder.upkeep import reserve
from pybuild.builder.workspace import GROUPS, Workspace, adopt_tree, remove

_KEPT_OUTPUT = 64 << 10
_HOSTNAME = "pybuild"
_SHOWN_LINES = 20
_SWEEP_SECONDS = 60


class Runner:
    """Runs the RUN steps of one build on this machine: the local `Executor`.

    Its sandboxes may have been started before, and are closed with it.
    """

    def __init__(
        self, workspace: Workspace, attachments: Attachments, options: RunOptions, sandboxes: Sandboxes | None = None
    ) -> None:
        self._workspace = workspace
        self._options = options
        self._attachments = attachments
        self._sandboxes = sandboxes
        self._standing: Standing | None = None
        self._told: set[str] = set()
        self._mutex = threading.Lock()
        self._sweeper: Workers[str] = Workers(1)
        # By hostname, network, name server and, for one that is alone with them, step.
        self._files: dict[tuple[object, ...], str] = {}
        self._to_come = 0
        self._is_failed = False
        self.failure: Failure | None = None
        self._notify: Callable[[str], None] = lambda _: None

    def start(self, steps: Sequence[RunStep], notify: Callable[[str], None]) -> None:
        """Start the spawn server, for these steps; `notify` hears what the user should know of this place.

        Call it while the process has one thread. Raises SandboxError.
        """
        if self._standing is not None:
            return
        self._notify = notify
        self._sandboxes = self._sandboxes or Sandboxes(self._workspace, self._options)
        self._standing = self._sandboxes.listen(notify)
        self._to_come = len(steps)
        if steps:
            # What it takes is made while the first step is looked at.
            self._sandboxes.expect(steps[0].network, steps[0].security)

    def interrupt(self) -> None:
        """End all steps that are running."""
        if self._sandboxes is not None:
            self._sandboxes.server.interrupt()

    def close(self) -> None:
        """End the spawn server."""
        if self.failure is not None:
            self.failure.close()
        if self._sandboxes is not None:
            self._sandboxes.close()
        self._attachments.close()
        while self._sweeper.at_work:
            self._sweeper.take(_SWEEP_SECONDS)
        self._sweeper.close()

    def run(self, step: RunStep, snapshots: Snapshots, place: str, *, output: Output, check: Callable[[], None]) -> Form:
        """Run the step; what it changed is then the directory `place`. Raises StepFailed and SandboxError.

        `check` is called while something is waited for, and may raise.
        """
        assert self._standing is not None
        assert self._sandboxes is not None
        networking = self._sandboxes.networking

        def run(ground: Ground) -> None:
            # chroot leaves all of this place in reach, and has said so.
            asked = "host" if ground.isolation == "chroot" and step.network == "default" else step.network
            networking.on(asked, lambda *network: self._run(ground, network, step, snapshots, place, output=output, check=check))

        self._standing.on(run)
        return Form(tree=place)

    def _run(
        self,
        ground: Ground,
        network: tuple[str, Stack | None],
        step: RunStep,
        snapshots: Snapshots,
        place: str,
        *,
        output: Output,
        check: Callable[[], None],
    ) -> None:
        assert self._sandboxes is not None
        kind, stack = network
        trees = snapshots.trees(step.parent)
        view = snapshots.underfoot(step.parent)
        account = resolve_user(step.user, *snapshots.accounts(step.parent, view))
        tail = bytearray()

        def listen(stream: int, content: bytes) -> None:
            tail.extend(content)
            del tail[:-_KEPT_OUTPUT]
            output(stream, content)

        with contextlib.ExitStack() as held:
            scratch = self._workspace.new_scratch()
            held.callback(self._sweep, scratch)
            lookup = view.lookup
            root = make_root(ground, trees, scratch)
            furniture = furnish(self._provided(step, kind, stack), root.rootfs, lookup)
            group = held.enter_context(limited(self._options.confinement, os.urandom(6).hex(), f"{scratch}/{GROUPS}"))
            self._tell_once(group.refused)
            is_bare = ground.isolation == "chroot"
            attached = held.enter_context(self._attachments.of(step, snapshots, scratch, check=check, are_caches_moved=is_bare))
            missing = (*(path for path, _ in furniture.missing), *traces(lookup, (item.target for item in attached.attachments)))
            env = {"HOME": account.home} | dict(step.env) | dict(step.proxies) | dict(attached.variables)
            command = Command(
                argv=step.argv,
                env=tuple(env.items()),
                cwd=step.cwd,
                account=account,
                rootfs=furniture.rootfs,
                setting=self._sandboxes.setting(ground, kind, stack, step.security),
                hostname=step.hostname or _HOSTNAME,
                mounts=furniture.mounts,
                missing=furniture.missing,
                attachments=attached.attachments,
                groups=group.folders,
                limits=tuple((limit.name, limit.soft, limit.hard) for limit in self._options.limits),
            )
            held.callback(root.close)
            root.prepare(furniture, attached.attachments)
            code = self._sandboxes.server.run(command, output=listen, is_last=self._is_last())
            if code != 0:
                error = _failed(step, code, bytes(tail).decode("utf-8", "replace"), self._memory_of(group))
                if reserve.is_full(scratch):
                    error.hint = f"No space left on device: {reserve.ADVICE}"
                if self._is_wanted(step):
                    self.failure = Failure(step, error, command, root, missing, snapshots, held.pop_all())
                raise error
            adopt_tree(root.changes(missing), place)

    def _sweep(self, scratch: str) -> None:
        """Remove it while others go on: the next step need not wait."""
        with self._mutex:
            self._sweeper.submit(scratch, partial(remove, scratch))

    def _provided(self, step: RunStep, network: str, stack: Stack | None) -> str:
        """A folder with resolv.conf and the like: read-only, so steps share it, but those that may make it writable."""
        hostname, resolver = step.hostname or _HOSTNAME, stack.resolver if stack else None
        sort = (hostname, network, resolver, step.span if step.security == "insecure" else None)
        assert self._sandboxes is not None
        with self._mutex:
            if sort not in self._files:
                folder = self._files[sort] = f"{self._sandboxes.folder}/{len(self._files)}"
                os.mkdir(folder, 0o700)
                provide_files(folder, hostname, network, resolver=resolver, names=self._options.hosts)
            return self._files[sort]

    def _is_last(self) -> bool:
        with self._mutex:
            self._to_come -= 1
            return self._to_come <= 0

    def _is_wanted(self, step: RunStep) -> bool:
        """Whether what a failed step has left is to be looked into; the first that failed is."""
        with self._mutex:
            if self._is_failed or not (self._options.debug_on_error or self._options.keep_failed):
                return False
            self._is_failed = True
            return True

    def look_into(self, *, compression: str, now: str) -> None:
        """Do with what a failed step has left what is wanted. Behind all steps. Raises BuildError and RegistryError."""
        if self.failure is None or self._sandboxes is None:
            return
        self._sandboxes.server.allow()
        if self._options.debug_on_error:
            open_shell(self.failure, self._sandboxes.server)
        if self._options.keep_failed:
            name = keep(self.failure, self._workspace, compression=compression, now=now).familiar
            self._notify(
                f"the failed step's files are the image {name}; enter it with 'pybuild run -it {name}', leave it with 'exit', "
                f"and remove it with 'pybuild rmi {name}'"
            )

    def _tell_once(self, notices: tuple[str, ...]) -> None:
        for notice in notices:
            if notice not in self._told:
                self._told.add(notice)
                self._notify(notice)

    def _memory_of(self, group: Group) -> int | None:
        """How much memory there was, if it was not enough."""
        return self._options.confinement.memory if group.ran_out_of_memory() else None


def _failed(step: RunStep, code: int, output: str, memory: int | None) -> StepFailed:
    lines = output.rstrip("\n").split("\n")[-_SHOWN_LINES:]
    error = StepFailed(f"exit code {code}: {step.name}", exit_code=code, output="\n".join(lines))
    if memory is not None:
        error.message = f"out of memory, exit code {code}: {step.name}"
        error.hint = f"--memory allows {memory >> 20} MiB; the kernel has ended what took more"
    elif "Invalid argument" in output and privilege.has_one_id():
        error.hint = f"if that was a change of owner: there is no id here but one; {mapping.advice()}"
    elif code in (126, 127):
        error.hint = f"{code} means that the command was not {'found in the image' if code == 127 else 'executable'}"
    elif code == 137:
        error.hint = "137 means that it was killed, often because memory ran out"
    return error
