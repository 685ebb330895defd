"""The root that a command runs in, and what it has changed there: an overlay over trees, or a copy of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pybuild.builder.layers.plain import PlainCopy
from pybuild.builder.sandbox.chrooted import Stand
from pybuild.builder.sandbox.folders import Furniture, clear, make_overlay
from pybuild.builder.sandbox.ground import Ground
from pybuild.builder.sandbox.spec import Attachment, Overlay, Plain
from pybuild.hints import Protocol

# What the kernel takes. Source: fs/overlayfs/params.h, OVL_MAX_STACK.
_MOST_LAYERS = 500


class Root(Protocol):
    """One root, for one command."""

    @property
    def rootfs(self) -> Overlay | Plain:
        """What the sandbox mounts or changes to."""

    def prepare(self, furniture: Furniture, attachments: tuple[Attachment, ...] = ()) -> None:
        """Make it ready for the command. Raises SandboxError."""

    def close(self) -> None:
        """Take out what `prepare` put in, before what it belongs to is given up. Idempotent."""

    def changes(self, missing: Iterable[str]) -> str:
        """Behind the command: a tree of what it has changed, in the folder that the root was made in.

        `missing` are the mount points that the image lacks, parents first.
        """


class OverlayRoot:
    """The kernel keeps the changes apart."""

    def __init__(self, trees: Sequence[str], folder: str) -> None:
        self._overlay = make_overlay(folder, tuple(trees))

    @property
    def rootfs(self) -> Overlay:
        return self._overlay

    def prepare(self, furniture: Furniture, attachments: tuple[Attachment, ...] = ()) -> None:
        pass

    def close(self) -> None:
        pass

    def changes(self, missing: Iterable[str]) -> str:
        clear(self._overlay.upper, missing)
        return self._overlay.upper


class CopiedRoot:
    """The changes are found by comparison; with chroot alone, what would be mounted is put in and taken out."""

    def __init__(self, trees: Sequence[str], folder: str, *, is_bare: bool) -> None:
        self._folder = folder
        self._copy = PlainCopy(trees, f"{folder}/root")
        self._stand: Stand | None = None
        self._is_bare = is_bare
        self.rootfs = Plain(self._copy.path)

    def prepare(self, furniture: Furniture, attachments: tuple[Attachment, ...] = ()) -> None:
        if self._is_bare:
            self._stand = Stand(furniture, attachments, self._copy.path, self._folder)
            self._stand.put_up()

    def close(self) -> None:
        if self._stand is not None:
            self._stand.take_down()

    def changes(self, missing: Iterable[str]) -> str:
        self.close()
        clear(self._copy.path, missing)
        self._copy.write_changes(f"{self._folder}/upper")
        return f"{self._folder}/upper"


def make_root(ground: Ground, trees: Sequence[str], folder: str) -> Root:
    """A root over `trees` (topmost first), with its files in the new folder `folder`."""
    if ground.root == "overlay" and len(trees) <= _MOST_LAYERS:
        return OverlayRoot(trees, folder)
    return CopiedRoot(trees, folder, is_bare=ground.isolation == "chroot")
