"""What a build is asked for, and what comes of it."""

from __future__ import annotations

from pybuild.builder.graph import Pairs
from pybuild.builder.sandbox.confinement import Confinement
from pybuild.registry import Digest, Platform, Reference
from pybuild.values import frozen


@frozen
class Output:
    """Where the result goes beside the store: `type` is a name in `EXPORTERS`, `dest` a path, `-` for standard output."""

    type: str
    dest: str | None = None
    attributes: Pairs = ()


@frozen
class SecretSource:
    """Where a secret comes from: a file, or a variable of our environment. Its content is never a part of a request."""

    id: str
    file: str | None = None
    variable: str | None = None


@frozen
class Limit:
    """A --ulimit: a name such as `nofile`, and its soft and hard values; -1 is no limit."""

    name: str
    soft: int
    hard: int


@frozen
class RunOptions:
    """What RUNs get beside their step: nothing of it is in an image, in a key, or in a record.

    `allow` has entitlements. `agents` are ids of --ssh, each with a socket or keys. `hosts` are names with addresses. A step that
    fails is looked into by a shell with `debug_on_error`, and its files become an image with `keep_failed`.
    """

    allow: tuple[str, ...] = ()
    secrets: tuple[SecretSource, ...] = ()
    agents: tuple[tuple[str, tuple[str, ...]], ...] = ()
    hosts: Pairs = ()
    shm_size: int | None = None
    limits: tuple[Limit, ...] = ()
    confinement: Confinement = Confinement()
    debug_on_error: bool = False
    keep_failed: bool = False


@frozen
class Inline:
    """A Dockerfile that is in no file of the user's: how errors call it, its content, and the ignore files that go with it."""

    name: str
    content: bytes
    ignore_names: tuple[str, ...] = ()


@frozen
class BuildRequest:
    """All that a build depends on beside files.

    `context` is a folder, `-` for standard input, or the address of an archive, of a Dockerfile or of a git repository.
    `dockerfile` is a path as the user gave it, in a context that is no folder one in there, `-`, or a URL; None for the context's
    own. `inline` takes its place. `contexts` are named build contexts, of the same kinds but `-`, or `oci-layout://DIR[:TAG]` or
    `docker-image://NAME`; those in `plain_contexts` have no ignore file. `moments` says when contexts from elsewhere are from, in
    seconds since 1970, the main one being "". `timestamp`, seconds since 1970 too, takes the place of the clock.
    """

    context: str
    dockerfile: str | None = None
    tags: tuple[Reference, ...] = ()
    build_args: Pairs = ()
    labels: Pairs = ()
    target: str | None = None
    contexts: Pairs = ()
    platform: Platform | None = None
    no_cache: bool = False
    no_cache_filter: tuple[str, ...] = ()
    pull: bool = False
    compression: str = "gzip"
    network: str = "default"
    outputs: tuple[Output, ...] = ()
    push: bool = False
    insecure: bool = False
    timestamp: int | None = None
    jobs: int = 4
    inline: Inline | None = None
    plain_contexts: tuple[str, ...] = ()
    moments: tuple[tuple[str, int], ...] = ()
    run: RunOptions = RunOptions()


@frozen
class BuildResult:
    """A finished build: the image ID (its config's digest), its manifest's digest, its names, its number in the history."""

    image_id: Digest
    digest: Digest
    names: tuple[Reference, ...]
    number: int | None = None
