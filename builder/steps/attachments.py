"""What the mounts of a RUN are made of, outside of its sandbox: trees of stages and contexts, caches, secrets, agents.

Nothing of it is in a layer. A secret is read when its step runs, and is only in memory.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping

from pybuild.builder.contexts.context import Context
from pybuild.builder.errors import BuildError, ContextError
from pybuild.builder.graph import Mount, RunStep
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.extraction import materialise
from pybuild.builder.layers.index import Tree, follow, walk
from pybuild.builder.layers.selection import Choice
from pybuild.builder.request import RunOptions, SecretSource
from pybuild.builder.sandbox import kernel
from pybuild.builder.sandbox.folders import make_overlay
from pybuild.builder.sandbox.spec import Attachment, Folder, Lookup, Memory, Overlay, Secret
from pybuild.builder.steps.caches import Cache, taken
from pybuild.builder.steps.snapshots import Snapshots, fetched
from pybuild.builder.workspace import Workspace
from pybuild.values import frozen

_LARGEST_SECRET = 500 << 10
_PIPES = "/dev/pipes"


@frozen
class Attached:
    """The mounts of a step in the order in which they are made, and the variables that come with them."""

    attachments: tuple[Attachment, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


class Attachments:
    """The mounts of one build's RUNs. Safe for several threads; a context is laid out once for all steps that read it."""

    def __init__(self, workspace: Workspace, contexts: Mapping[str, Context], keys: tuple[str, ...], options: RunOptions) -> None:
        self._workspace = workspace
        self._contexts = contexts
        self._keys = keys
        self._options = options
        self._mutex = threading.Lock()
        self._laid_out: dict[tuple[str, str], str] = {}
        self._resources = contextlib.ExitStack()

    def close(self) -> None:
        """Remove what was laid out."""
        self._resources.close()

    @contextlib.contextmanager
    def of(
        self, step: RunStep, snapshots: Snapshots, scratch: str, *, check: Callable[[], None], are_caches_moved: bool = False
    ) -> Iterator[Attached]:
        """What a step's mounts need, for as long as the context lasts; `check` may raise while a cache is waited for.

        Caches that are moved to where the command has them, for want of mounts, are the step's alone meanwhile. Raises
        BuildError when something that is asked for is not there.
        """
        with contextlib.ExitStack() as stack:
            made = _Made(step, snapshots, scratch, check, stack)
            made.are_caches_moved = are_caches_moved
            # Locks in one order, so that two steps never wait for each other.
            for number, mount in sorted(enumerate(step.mounts), key=lambda pair: pair[1].id or ""):
                made.number = number
                self._add(mount, f"{scratch}/mount{number}", made)
            if step.scripts:
                made.number = len(step.mounts)
                made.add(_PIPES, _scripts(step, f"{scratch}/pipes"))
            # Parents first; of two with one target the last is meant.
            found = {attachment.target.rstrip("/"): attachment for _, attachment in sorted(made.found, key=lambda pair: pair[0])}
            yield Attached(tuple(found[target] for target in sorted(found)), tuple(made.variables.items()))

    def _add(self, mount: Mount, folder: str, made: _Made) -> None:
        os.mkdir(folder)
        place = f"{folder}/root"
        match mount.type:
            case "bind":
                made.add(mount.target, *self._bound(mount, folder, made))
            case "cache":
                os.mkdir(place)
                path, source = self._cache(mount, made)
                made.add(mount.target, Folder(path, place, is_read_only=mount.is_read_only), source)
            case "tmpfs":
                made.add(mount.target, Memory(mount.size, is_read_only=mount.is_read_only))
            case "secret":
                self._secret(mount, place, made)
            case "ssh":
                self._agent(mount, folder, made)

    # Trees

    def _bound(self, mount: Mount, folder: str, made: _Made) -> tuple[Overlay, str]:
        """A file system, and where in it the source is, links followed."""
        trees, lookup = self._trees(mount, made)
        place = follow(lookup, mount.source)
        if lookup(place) is None:
            raise BuildError(
                f"--mount of {mount.target}: there is no {mount.source} in {_spoken(mount, made)}",
                hint="source= is a path inside of it; .dockerignore may hide it" if isinstance(mount.origin, str) else None,
            )
        if not mount.is_read_only:
            # What is written goes with the folder.
            return make_overlay(folder, trees), place
        for name in ("root", "empty", "empty2"):
            os.mkdir(f"{folder}/{name}")
        return Overlay((*trees, f"{folder}/empty", f"{folder}/empty2"), "", "", f"{folder}/root"), place

    def _trees(self, mount: Mount, made: _Made) -> tuple[tuple[str, ...], Lookup]:
        if isinstance(mount.origin, int):
            return made.snapshots.trees(mount.origin), made.snapshots.readable(mount.origin).lookup
        assert mount.origin is not None
        context = self._contexts[mount.origin]
        return (self._layout(mount.origin, follow(context.lookup, mount.source)),), context.lookup

    def _layout(self, name: str, place: str) -> str:
        """A part of a context as a folder that no RUN can change, without what its ignore file hides, root's as in a COPY."""
        with self._mutex:
            if (name, place) not in self._laid_out:
                folder = f"{self._resources.enter_context(self._workspace.scratch())}/tree"
                entries = [entry._replace(uid=0, gid=0) for entry in _part(self._contexts[name], place)]
                with fetched(entries, (), self._workspace) as readable:
                    materialise(readable, folder)
                if self._contexts[name].has_changed(entries):
                    raise ContextError(f"files of {_context(name)} changed while a RUN was given them", hint="build again")
                self._laid_out[name, place] = folder
            return self._laid_out[name, place]

    # Caches

    def _cache(self, mount: Mount, made: _Made) -> tuple[str, str]:
        """A folder, and what of it is meant: of one that started from something, what the source named is the beginning."""
        seed = None
        source = mount.source
        if mount.origin is not None:
            tree = self._tree(mount.origin, made)
            place = follow(tree.lookup, mount.source)
            top = tree.lookup(place)
            if top is None or top.kind not in (Kind.DIRECTORY, Kind.FILE):
                raise BuildError(f"--mount of {mount.target}: there is no {mount.source} in {_spoken(mount, made)}")
            source = "" if top.kind is Kind.DIRECTORY else top.name
        if isinstance(mount.origin, int):
            seed = self._keys[mount.origin] + mount.source
        elif mount.origin is not None:
            choice = Choice((mount.source,))
            seed = self._contexts[mount.origin].digest(choice, self._workspace.database) + mount.source
        cache = Cache(mount.id or mount.target or "", seed, mount.mode, mount.uid, mount.gid)
        if cache not in made.caches:
            fill = None if seed is None else lambda path: self._fill(mount, path, made)
            sharing = mount.sharing or "shared"
            if made.are_caches_moved and sharing == "shared":
                sharing = "locked"
            context = taken(cache, sharing, self._workspace, fill=fill, check=made.check)
            made.caches[cache] = made.stack.enter_context(context)
        if mount.origin is None and not _is_inside(made.caches[cache], source):
            hint = "without from=, source= is a path inside of the cache itself; from= names what a new cache begins with"
            raise BuildError(f"--mount of {mount.target}: there is no {source} in the cache", hint=hint)
        return made.caches[cache], source

    def _tree(self, origin: int | str, made: _Made) -> Tree:
        return made.snapshots.view(origin) if isinstance(origin, int) else self._contexts[origin]

    def _fill(self, mount: Mount, path: str, made: _Made) -> None:
        """The beginning of a cache: the directory that `from` and `source` name, or a directory with the file."""
        assert mount.origin is not None
        tree = self._tree(mount.origin, made)
        place = follow(tree.lookup, mount.source)
        top = tree.lookup(place)
        assert top is not None
        if top.kind is Kind.DIRECTORY:
            found, cut = [top, *walk(tree, place)], len(place) + 1 if place else 0
        else:
            found, cut = [top], len(place) - len(top.name)
            os.mkdir(path)
        if isinstance(mount.origin, str):
            found = [entry._replace(uid=0, gid=0) for entry in found]
        blobs = made.snapshots.blobs(mount.origin) if isinstance(mount.origin, int) else ()
        with fetched(found, blobs, self._workspace) as readable:
            materialise((entry._replace(path=entry.path[cut:]) for entry in readable), path)

    # Secrets and agents

    def _secret(self, mount: Mount, place: str, made: _Made) -> None:
        source = next((source for source in self._options.secrets if source.id == mount.id), None)
        if source is None:
            if mount.is_required:
                raise BuildError(f"the secret {mount.id!r} is required", hint=f"build with --secret id={mount.id},src=FILE")
            # The variable is there all the same, for scripts that mind; BuildKit has it so too.
            if mount.env is not None:
                made.variables[mount.env] = ""
            return
        content = read_secret(source)
        if mount.env is not None:
            made.variables[mount.env] = content.decode("utf-8", "surrogateescape")
        if mount.target is not None:
            os.mkdir(place)
            mode = 0o400 if mount.mode is None else mount.mode
            made.add(mount.target, Secret(content, place, mode, mount.uid or 0, mount.gid or 0))

    def _agent(self, mount: Mount, folder: str, made: _Made) -> None:
        from pybuild.builder.steps.agents import agent

        target = mount.target or f"/run/buildkit/ssh_agent.{made.agents}"
        made.agents += 1
        if "SSH_AUTH_SOCK" not in dict(made.step.env):
            made.variables.setdefault("SSH_AUTH_SOCK", target)
        sources = dict(self._options.agents).get(mount.id or "default")
        if sources is None:
            if mount.is_required:
                raise BuildError(f"the SSH agent {mount.id!r} is required", hint=f"build with --ssh {mount.id}")
            return
        os.mkdir(f"{folder}/root")
        os.mkdir(f"{folder}/agent")
        owner = (mount.uid or 0, mount.gid or 0)
        made.stack.enter_context(agent(sources, f"{folder}/agent", mode=0o600 if mount.mode is None else mount.mode, owner=owner))
        made.add(target, Folder(f"{folder}/agent", f"{folder}/root"), "socket")


class _Made:
    """What was made for one step so far."""

    def __init__(
        self, step: RunStep, snapshots: Snapshots, scratch: str, check: Callable[[], None], stack: contextlib.ExitStack
    ) -> None:
        self.step = step
        self.snapshots = snapshots
        self.scratch = scratch
        self.check = check
        self.stack = stack
        self.found: list[tuple[int, Attachment]] = []
        self.variables: dict[str, str] = {}
        self.caches: dict[Cache, str] = {}
        self.agents = 0
        self.number = 0
        self.are_caches_moved = False

    def add(self, target: str | None, origin: Overlay | Folder | Secret | Memory, source: str = "") -> None:
        assert target is not None
        self.found.append((self.number, Attachment(target, origin, source)))


def read_secret(source: SecretSource) -> bytes:
    """The content of a secret. Raises BuildError when there is none, or too much; no message has any of it."""
    if source.variable is not None:
        text = os.environ.get(source.variable)
        if text is None:
            raise BuildError(f"the secret {source.id!r}: there is no variable {source.variable}", hint="export it")
        return os.fsencode(text)
    assert source.file is not None
    try:
        with open(source.file, "rb") as file:
            content = file.read(_LARGEST_SECRET + 1)
    except OSError as error:
        raise BuildError(f"the secret {source.id!r}: cannot read {source.file}: {error.strerror}") from None
    if len(content) > _LARGEST_SECRET:
        raise BuildError(f"the secret {source.id!r} is larger than {_LARGEST_SECRET >> 10} kB")
    return content


def _scripts(step: RunStep, folder: str) -> Folder:
    """Here-documents that are programs, as files."""
    for path in (folder, f"{folder}/root", f"{folder}/files"):
        os.mkdir(path)
    for script in step.scripts:
        path = f"{folder}/files/{script.name}"
        with open(path, "wb") as file:
            file.write(script.content.encode("utf-8", "surrogateescape"))
        os.chmod(path, 0o755)
    return Folder(f"{folder}/files", f"{folder}/root", is_read_only=True)


def _is_inside(folder: str, path: str) -> bool:
    """Whether there is something at this path of a folder, which no link leads out of."""
    top = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(kernel.open_in_root(top, path))
    except OSError:
        return False
    finally:
        os.close(top)
    return True


def _part(tree: Tree, place: str) -> Iterator[Entry]:
    """The entry at a place, the directories above it, and all below it."""
    parts = place.split("/") if place else []
    entry = None
    for end in range(len(parts) + 1):
        entry = tree.lookup("/".join(parts[:end]))
        if entry is None:
            return
        yield entry
    if entry is not None and entry.kind is Kind.DIRECTORY:
        yield from walk(tree, place)


def _spoken(mount: Mount, made: _Made) -> str:
    """How errors call what a mount is out of."""
    return made.snapshots.called(mount.origin) if isinstance(mount.origin, int) else _context(mount.origin or "")


def _context(name: str) -> str:
    return f"the context {name!r}" if name else "the context"
