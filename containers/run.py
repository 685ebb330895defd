"""Running an image in the foreground: docker's rules for what starts, as whom and where; nothing of it is kept."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from pybuild.builder.errors import SandboxError
from pybuild.builder.request import Limit
from pybuild.builder.sandbox.folders import furnish, make_stage, provide_files
from pybuild.builder.sandbox.ground import Ground, Standing, first_guess, is_user_namespace_needed
from pybuild.builder.sandbox.server import SpawnServer
from pybuild.builder.sandbox.spec import Command, Setting
from pybuild.builder.sandbox.terminal import run_on_terminal
from pybuild.builder.steps.accounts import resolve_user
from pybuild.builder.steps.roots import make_root
from pybuild.builder.steps.snapshots import Snapshots
from pybuild.builder.workspace import Workspace
from pybuild.registry import RunConfig
from pybuild.registry.lazy import complete

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
_ENDING = (signal.SIGINT, signal.SIGTERM)
_FORCED_AFTER = 3
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Container:
    """What is to run: an image by name or ID, and what takes the place of its defaults."""

    image: str
    command: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    network: str = "host"
    entrypoint: str | None = None
    user: str | None = None
    workdir: str | None = None
    hostname: str | None = None
    hosts: tuple[tuple[str, str], ...] = ()
    shm_size: int | None = None
    limits: tuple[Limit, ...] = ()
    has_terminal: bool = False


def command_line(container: Container, config: RunConfig) -> tuple[str, ...]:
    """What is executed: ENTRYPOINT and CMD, or what was given in their place. Raises SandboxError when there is nothing."""
    if container.entrypoint is not None:
        entrypoint = (container.entrypoint,) if container.entrypoint else ()
        argv = entrypoint + container.command
    else:
        argv = (config.entrypoint or ()) + (container.command or config.cmd or ())
    if not argv:
        raise SandboxError(f"{container.image} says nothing of what to run", hint="name a command behind the image")
    return argv


def run(container: Container, workspace: Workspace) -> int:
    """Run it to its end, on our own standard streams; its exit code. Raises SandboxError, RegistryError, PlanError."""
    if is_user_namespace_needed("auto"):
        return _run_inside(container, workspace)
    with workspace.store.lock("build", exclusive=False):
        return _run(container, workspace)


def _run_inside(container: Container, workspace: Workspace) -> int:
    """The same by a child that is root in a user namespace."""
    from pybuild.builder.sandbox.inside import inside

    def work(_: object) -> int:
        with Workspace.open(workspace.store.root) as own:
            return _run(container, own)

    with workspace.store.lock("build", exclusive=False), workspace.apart():
        return inside(work, passed_on=_PASSED_ON, store=workspace.store.root)


def _run(container: Container, workspace: Workspace) -> int:
    where = ("auto", f"{workspace.store.root}/tmp")
    guess = first_guess(*where)

    def notify(text: str) -> None:
        sys.stderr.write(f"warning: {text}\n")

    with contextlib.closing(SpawnServer.start()) as server:
        standing = Standing(guess, lambda: server.find_ground(*where), notify)
        return standing.on(lambda ground: _run_on(ground, container, workspace, server))


def _run_on(ground: Ground, container: Container, workspace: Workspace, server: SpawnServer) -> int:
    image = workspace.store.find(container.image)
    complete(workspace.store, image)
    config = image.config.config
    argv = command_line(container, config)
    snapshots = Snapshots.of_image(image, workspace)
    trees = snapshots.trees(0)
    account = resolve_user(config.user if container.user is None else container.user, *snapshots.accounts(0))
    hostname = container.hostname or image.id.short
    environment = {"PATH": _PATH, "HOSTNAME": hostname, "HOME": account.home}
    if os.isatty(0):
        environment["TERM"] = "xterm"
    environment |= config.environment | dict(container.env)
    cwd = container.workdir or config.working_dir or "/"
    with workspace.scratch() as scratch:
        lookup = snapshots.readable(0).lookup
        root = make_root(ground, trees, scratch)
        provide_files(scratch, hostname, container.network, names=container.hosts)
        furniture = furnish(scratch, root.rootfs, lookup, are_files_writable=True)
        command = Command(
            argv=argv,
            env=tuple(environment.items()),
            cwd=cwd,
            account=account,
            rootfs=furniture.rootfs,
            setting=Setting(
                make_stage(scratch) if ground.isolation == "namespaces" else "", container.network, shm_size=container.shm_size
            ),
            hostname=hostname,
            mounts=furniture.mounts,
            missing=furniture.missing,
            limits=tuple((limit.name, limit.soft, limit.hard) for limit in container.limits),
        )
        root.prepare(furniture)
        with _passing_on(server):
            return run_on_terminal(server, command) if container.has_terminal else server.run(command, output=None)


@contextmanager
def _passing_on(server: SpawnServer) -> Iterator[None]:
    """Send the signals that we get to the container, as long as it runs; only the main thread gets any.

    The kernel gives pid 1 no signal that it has no handler for: as with docker, the third that should end it does. So does a
    terminal that is closed: nobody is left to end it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    count = 0
    # `nohup` ignores the signal for us: then it goes on.
    terminals = [number for number in range(3) if os.isatty(number)] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += number in _ENDING
        is_hung_up = number == signal.SIGHUP and terminals and not any(map(os.isatty, terminals))
        if count == _FORCED_AFTER or is_hung_up:
            server.interrupt()
        else:
            server.signal(number)

    before = {number: signal.signal(number, handle) for number in _PASSED_ON}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
