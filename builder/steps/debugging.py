"""A step that has failed, to look into: a shell where it was, or an image of what it has left.

What it stood on is held until it has been looked into: its overlay, its mounts, its locks.
"""

from __future__ import annotations

import contextlib
import os
import sys

from pybuild.builder.errors import StepFailed
from pybuild.builder.graph import RunStep
from pybuild.builder.layers.changes import changes
from pybuild.builder.layers.compression import Compression
from pybuild.builder.layers.entry import Entry
from pybuild.builder.layers.packing import pack
from pybuild.builder.output import harmless
from pybuild.builder.publishing.assemble import as_oci
from pybuild.builder.sandbox.server import SpawnServer
from pybuild.builder.sandbox.spec import Command
from pybuild.builder.sandbox.terminal import run_on_terminal
from pybuild.builder.steps.roots import Root
from pybuild.builder.steps.snapshots import Snapshots
from pybuild.builder.workspace import Layer, Workspace
from pybuild.registry import Digest, History, ImageConfig, Manifest, Platform, Reference, RunConfig, media
from pybuild.values import frozen, replace

_SHELL = ("/bin/sh", "-c", "command -v bash >/dev/null && exec bash; exec sh")
_REPOSITORY = "failed"


@frozen
class Failure:
    """What a failed step has left. `held` keeps it."""

    step: RunStep
    error: StepFailed
    command: Command
    root: Root
    missing: tuple[str, ...]
    snapshots: Snapshots
    held: contextlib.ExitStack

    def close(self) -> None:
        """Let it go. Idempotent."""
        self.held.close()


def open_shell(failure: Failure, server: SpawnServer) -> None:
    """A shell as the step's user, in its directory, with its variables and mounts, on our own streams. Raises SandboxError."""
    environment = {"TERM": os.environ.get("TERM", "xterm")} | dict(failure.command.env)
    shown = "".join(f"{harmless(line)}\n" for line in failure.error.output.split("\n"))
    sys.stderr.write(
        f"\n{shown}{failure.error.message}\n"
        "This is a shell in its file system, as it left it, with its mounts, variables, user.\n"
        "Leave it with 'exit' or Ctrl-D: the build then ends, and what was done here is gone.\n"
    )
    sys.stderr.flush()
    command = replace(failure.command, argv=_SHELL, env=tuple(environment.items()))
    if run_on_terminal(server, command) == 127:
        sys.stderr.write("There is no /bin/sh in it: --keep-failed makes an image of it to look at from outside.\n")


def keep(failure: Failure, workspace: Workspace, *, compression: str, now: str) -> Reference:
    """Make an image of the step's file system as it was left, and its name. Its config has the step's variables and user.

    Secrets are not in it, if the command has not written them there itself. Raises BuildError and RegistryError.
    """
    codec = Compression.parse(compression)

    def packed(entries: tuple[Entry, ...]) -> Layer:
        found = pack(entries, workspace.store, codec)
        return Layer(found.descriptor, found.diff_id)

    step, snapshots = failure.step, failure.snapshots
    layers = []
    for piece in snapshots.pieces(step.parent):
        layers.append(Layer(as_oci(workspace.blob(piece)), piece.diff_id) if isinstance(piece, Layer) else packed(piece))
    layers.append(packed(changes(failure.root.changes(failure.missing), snapshots.readable(step.parent))))
    config = ImageConfig(
        snapshots.platform(step.parent) or Platform.here(),
        RunConfig(
            env=tuple(f"{name}={value}" for name, value in step.env), user=step.user, working_dir=step.cwd, cmd=("/bin/sh",)
        ),
        tuple(layer.diff_id for layer in layers),
        tuple(History(now, step.created_by if layer is layers[-1] else "", None, "kept", empty_layer=False) for layer in layers),
        now,
    )
    descriptor = workspace.store.add(config.encode(), media.OCI_CONFIG)
    manifest = Manifest.build(descriptor, tuple(layer.descriptor for layer in layers))
    name = Reference.parse(f"{_REPOSITORY}:{Digest(descriptor.digest).short}")
    workspace.store.tag(workspace.store.add(manifest.raw, manifest.media_type), name)
    return name
