"""The IR: what a build is to do, with every variable expanded and every stage and base resolved.

A step names the step that it builds on by its place in `BuildGraph.steps`; a step never refers to a later one.
Plain values all through, so that a graph can be stored, printed and compared (`describe`).
"""

from __future__ import annotations

from bisect import bisect_right

from pybuild.grammar import Span
from pybuild.registry import ImageConfig
from pybuild.values import frozen

Pairs = tuple[tuple[str, str], ...]


@frozen
class SourceStep:
    """FROM: the layers of `image`, or none for `scratch`. `digest` pins the manifest once it is known.

    `platform` is there when it was said which one of several images this is.
    """

    name: str
    span: Span
    image: str
    digest: str | None
    platform: str | None = None


@frozen
class HttpStep:
    """A file at a URL, for ADD. `filename` is its name; `checksum`, `sha256:...`, is what it has to be, None for anything."""

    name: str
    span: Span
    url: str
    filename: str
    checksum: str | None = None


@frozen
class GitStep:
    """The files of a git repository, for ADD and as a context, or those of its folder `subdir`.

    `ref` is a branch, a tag or a commit, "" the default branch; `checksum` the beginning of the commit that it has to be. With
    `fetches_commit` the checksum is the commit itself. `times` is `commit` for the commit's time on every file.
    """

    name: str
    span: Span
    remote: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keeps_git_dir: bool = False
    has_submodules: bool = True
    times: str = ""
    fetches_commit: bool = False


@frozen
class Mount:
    """One --mount of a RUN, with every default filled in.

    `type` is bind, cache, tmpfs, secret or ssh. `target` is an absolute path; None is a secret that is an environment variable
    alone, or an agent's socket where nobody said where. `origin` is the number of a step, whose file system is meant, the name
    of a context, "" the main one, or None: an empty cache, tmpfs, secret, ssh. `source` is an absolute path inside of it.
    `id` names a cache, a secret or an agent. `sharing` is a cache's: shared, private or locked. `mode`, `uid` and `gid` are None
    where nothing was said; `size`, a tmpfs's, is in bytes, None without a limit. `env` is the variable that has the secret.
    """

    type: str
    target: str | None
    origin: int | str | None = None
    source: str = "/"
    id: str | None = None
    sharing: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    env: str | None = None
    is_read_only: bool = False
    is_required: bool = False


@frozen
class File:
    """A file that stands in the Dockerfile, out of a here-document: its name, and its content as a build sees it."""

    name: str
    content: str


@frozen
class Device:
    """One --device of a RUN: a CDI name such as `vendor.com/class=name`."""

    name: str
    is_required: bool = False


@frozen
class RunStep:
    """RUN: a command in a sandbox over the file system of `parent`.

    `env` is all that the command sees, build arguments included; `proxies` reach it too, and count for nothing else.
    `network` is default, host or none, `security` sandbox or insecure; `scripts` are files that the
    command finds under /dev/pipes, with mode 0755: a here-document that begins with `#!`. `hostname` is "" for the usual one.
    """

    name: str
    span: Span
    parent: int
    argv: tuple[str, ...]
    env: Pairs
    proxies: Pairs
    cwd: str
    user: str
    created_by: str
    network: str = "default"
    mounts: tuple[Mount, ...] = ()
    security: str = "sandbox"
    scripts: tuple[File, ...] = ()
    devices: tuple[Device, ...] = ()
    hostname: str = ""

    @property
    def origins(self) -> tuple[int | str, ...]:
        """What file systems the mounts show, each once."""
        return tuple(dict.fromkeys(mount.origin for mount in self.mounts if mount.origin is not None))

    def paths(self, origin: int | str) -> tuple[str, ...]:
        """What binds show of one origin."""
        return tuple(mount.source for mount in self.mounts if mount.type == "bind" and mount.origin == origin)


@frozen
class CopySource:
    """One source: `path` in `origin`, a step by its number, or a context by its name, "" being the main one."""

    origin: int | str
    path: str


@frozen
class CopyStep:
    """COPY and ADD: `sources`, then `files`, to `destination`, an absolute path, with `/` behind it if written so.

    `owner` is --chown and `mode` --chmod as written, octal or in letters, None when not given. `unpack` says whether archives
    are, None is ADD's own way: local ones are. With `link` the layer is made without a look at `parent`; with `parents` the
    directories before a source's name, or behind a `/./` in it, come along. `excludes` are patterns.
    """

    name: str
    span: Span
    parent: int
    sources: tuple[CopySource, ...]
    destination: str
    created_by: str
    files: tuple[File, ...] = ()
    owner: str | None = None
    mode: str | None = None
    unpack: bool | None = False
    link: bool = False
    parents: bool = False
    excludes: tuple[str, ...] = ()

    @property
    def stands_alone(self) -> bool:
        """Whether the layer is the same on any parent: no link and no name in it is looked up there."""
        return self.link and (self.owner is None or all(part.isdigit() for part in self.owner.split(":")))

    @property
    def origins(self) -> tuple[int | str, ...]:
        """Where the sources are, each once."""
        return tuple(dict.fromkeys(source.origin for source in self.sources))

    def paths(self, origin: int | str) -> tuple[str, ...]:
        """The sources in one origin."""
        return tuple(source.path for source in self.sources if source.origin == origin)


@frozen
class WorkdirStep:
    """WORKDIR: the directory `path`, made when the file system of `parent` has none there, as `user`'s; "" is root."""

    name: str
    span: Span
    parent: int
    path: str
    user: str
    created_by: str


@frozen
class MetaStep:
    """An instruction that changes only the config: it never runs. It makes one history entry, and none if `created_by` is ""."""

    name: str
    span: Span
    parent: int
    created_by: str


# What stands on nothing.
Root = SourceStep | HttpStep | GitStep
Step = SourceStep | HttpStep | GitStep | RunStep | CopyStep | WorkdirStep | MetaStep


@frozen
class PlannedStage:
    """One stage that the target needs: its last step, and the config that it ends with. Its own steps begin with `first`.

    `config` has the history and layers of the base image; those of the stage's own steps are added when they are known.
    """

    name: str
    last: int
    config: ImageConfig
    first: int = 0


@frozen
class BuildGraph:
    """All steps, in an order in which they can run, and the stages; the target is the last stage.

    `epoch` is the time that the Dockerfile or its arguments set by SOURCE_DATE_EPOCH, in seconds since 1970.
    """

    steps: tuple[Step, ...]
    stages: tuple[PlannedStage, ...]
    warnings: tuple[str, ...] = ()
    epoch: int | None = None

    @property
    def target(self) -> PlannedStage:
        """The stage that becomes the image."""
        return self.stages[-1]

    def stage_of(self, number: int) -> str:
        """The name of the stage that a step belongs to."""
        return self.stages[bisect_right(self.stages, number, key=lambda stage: stage.first) - 1].name

    def file_steps(self, last: int) -> tuple[int, ...]:
        """The steps up to `last`, from its base on, that can change files."""
        return tuple(n for n in self.chain(last) if not isinstance(self.steps[n], MetaStep | SourceStep))

    def chain(self, last: int) -> tuple[int, ...]:
        """The steps from one that stands on nothing to `last`, each built on the one before."""
        numbers = [last]
        while not isinstance(step := self.steps[numbers[-1]], Root):
            numbers.append(step.parent)
        return tuple(reversed(numbers))
