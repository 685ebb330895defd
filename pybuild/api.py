"""The public functions: plain arguments in, values out."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from pybuild.arguments import check_choices, pairs, texts
from pybuild.builder.errors import PlanError
from pybuild.builder.events import Event, Progress
from pybuild.builder.request import BuildRequest, BuildResult, Limit, Output, RunOptions, SecretSource
from pybuild.builder.sandbox.confinement import Confinement
from pybuild.builder.workspace import Workspace, place_of
from pybuild.hints import TYPE_CHECKING, BinaryIO
from pybuild.registry.platform import Platform
from pybuild.registry.reference import Reference
from pybuild.registry.store import Image, Store

if TYPE_CHECKING:
    from pybuild.builder.doctor import Report

_SECONDS_TO_NEXT_PRUNE = 3600


class Silent:
    """Shows nothing."""

    def emit(self, event: Event) -> None:
        """Take one event."""


def open_store(root: str | os.PathLike[str] | None) -> Store:
    """The store in a folder. Raises StoreError."""
    return Store.open(place_of(root, os.environ))


def build(
    context: str | os.PathLike[str],
    *,
    tags: Sequence[str] = (),
    dockerfile: str | os.PathLike[str] | None = None,
    build_args: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    target: str | None = None,
    build_contexts: Mapping[str, str] | None = None,
    platform: str | None = None,
    no_cache: bool = False,
    no_cache_filter: Sequence[str] = (),
    pull: bool = False,
    compression: str = "gzip",
    network: str = "default",
    outputs: Sequence[Output] = (),
    push: bool = False,
    insecure: bool = False,
    timestamp: int | str | None = None,
    verify_reproducible: bool = False,
    jobs: int = 4,
    allow: Sequence[str] = (),
    secrets: Sequence[SecretSource] = (),
    ssh: Mapping[str, Sequence[str]] | None = None,
    add_hosts: Sequence[tuple[str, str]] = (),
    shm_size: int | None = None,
    ulimits: Sequence[Limit] = (),
    isolation: str = "auto",
    memory: int | None = None,
    cpus: float | None = None,
    pids_limit: int | None = None,
    debug_on_error: bool = False,
    keep_failed: bool = False,
    progress: Progress | None = None,
    root: str | os.PathLike[str] | None = None,
) -> BuildResult:
    """Build an image from the Dockerfile of a folder; it is in the store afterwards, under `tags`.

    `compression` is gzip, zstd or none, with `:level`. `timestamp` takes the place of the clock in the image: seconds since
    1970, or the name of what has a time, such as `context`. `allow` has entitlements (security.insecure, network.host), `ssh`
    agents by their ids: a socket or keys, none for $SSH_AUTH_SOCK; `add_hosts` names with addresses; `shm_size` is bytes.
    `progress` hears of everything that happens, and of ten ticks a second while steps are made; what it raises ends the build,
    which is how another thread ends one. A Dockerfile with RUN should be built before the process starts threads; an ordinary
    user's is built by a child of this process, in a user namespace. Raises BuildError, DockerfileError, RegistryError.
    """
    from pybuild.builder.build import build as build_request

    check_choices(network=network, isolation=isolation, jobs=jobs, timestamp=timestamp)
    if compression != "gzip":
        from pybuild.builder.layers.compression import Compression

        # One spelling for one thing: `gzip:1` finds what `gzip` has left in the records.
        compression = str(Compression.parse(compression))
    given = dict(pairs("build_args", build_args))
    if isinstance(timestamp, str):
        # What has a time is found out where the argument is.
        given.setdefault("SOURCE_DATE_EPOCH", timestamp)
    request = BuildRequest(
        context=os.fspath(context),
        dockerfile=os.fspath(dockerfile) if dockerfile is not None else None,
        tags=tuple(Reference.parse(name) for name in texts("tags", tags)),
        build_args=tuple(given.items()),
        labels=pairs("labels", labels),
        target=target,
        contexts=pairs("build_contexts", build_contexts),
        platform=Platform.parse(platform) if platform else None,
        no_cache=no_cache,
        no_cache_filter=texts("no_cache_filter", no_cache_filter),
        pull=pull,
        compression=compression,
        network=network,
        outputs=tuple(outputs),
        push=push,
        insecure=insecure,
        timestamp=None if isinstance(timestamp, str) else timestamp,
        jobs=jobs,
        run=RunOptions(
            # Who gives all builds the host's network allows it.
            allow=(*texts("allow", allow), *(("network.host",) if network == "host" else ())),
            secrets=tuple(secrets),
            agents=tuple((name, tuple(sources)) for name, sources in (ssh or {}).items()),
            hosts=tuple(add_hosts),
            shm_size=shm_size,
            limits=tuple(ulimits),
            confinement=Confinement(isolation, memory, cpus, pids_limit),
            debug_on_error=debug_on_error,
            keep_failed=keep_failed,
        ),
    )
    if os.environ.get("PYBUILD_KEEP_STORAGE"):
        # What is wrong with it is better known before a build than behind one.
        from pybuild.limits import limit_of

        limit_of(os.environ, 0)
    with Workspace.open(place_of(root, os.environ)) as workspace:
        if verify_reproducible:
            from pybuild.builder.reproducing import verify_reproducible as build_twice

            result = build_twice(request, workspace=workspace, progress=progress or Silent())
        else:
            result = build_request(request, workspace=workspace, progress=progress or Silent())
        if workspace.is_due("prune", _SECONDS_TO_NEXT_PRUNE, time.time()):
            from pybuild.upkeep import keep_to_limit

            keep_to_limit(workspace, os.environ)
        return result


def tag(source: str, target: str, *, root: str | os.PathLike[str] | None = None) -> None:
    """Give an image another name. Raises ImageNotFound, InvalidReference."""
    store = open_store(root)
    name = Reference.parse(target)
    with store.in_use():
        store.tag(store.find(source).descriptor, name)


def images(*, root: str | os.PathLike[str] | None = None) -> tuple[tuple[Image, tuple[Reference, ...]], ...]:
    """All images with their names, the newest first."""
    store = open_store(root)
    found = [(image, store.names(image.descriptor.digest)) for image in store.images()]
    return tuple(sorted(found, key=lambda item: item[0].config.created or "", reverse=True))


def inspect(name: str, *, root: str | os.PathLike[str] | None = None) -> dict[str, object]:
    """What docker's `image inspect` says of an image. Raises ImageNotFound."""
    from pybuild.listings import inspected

    store = open_store(root)
    image = store.find(name)
    return inspected(image, store.names(image.descriptor.digest))


def history(name: str, *, root: str | os.PathLike[str] | None = None) -> tuple[dict[str, object], ...]:
    """How an image came to be, the newest step first. Raises ImageNotFound."""
    from pybuild.listings import history_rows

    return history_rows(open_store(root).find(name))


def remove(name: str, *, force: bool = False, root: str | os.PathLike[str] | None = None) -> tuple[str, ...]:
    """Take a name away, and the image with what only it needs when that was its last; what was done, a line each.

    Raises ImageNotFound, and StoreError when an ID has several names and `force` is not given.
    """
    from pybuild.removal import remove as remove_image

    with Workspace.open(place_of(root, os.environ)) as workspace:
        return remove_image(workspace, name, force=force)


def save(names: Sequence[str], out: BinaryIO, *, root: str | os.PathLike[str] | None = None) -> None:
    """Write images as one archive that `docker load` and OCI tools read. Raises ImageNotFound."""
    from pybuild.registry.archives import save as save_images
    from pybuild.registry.lazy import complete

    store = open_store(root)
    found: dict[str, tuple[Image, list[Reference]]] = {}
    for name in texts("names", names):
        image = store.find(name)
        complete(store, image)
        entry = found.setdefault(image.descriptor.digest, (image, []))
        reference = Reference.parse(name) if not image.id.hex.startswith(name.removeprefix("sha256:")) else None
        if reference is not None and reference.tag:
            entry[1].append(reference)
    save_images(store, [(image, tuple(references)) for image, references in found.values()], out, docker=True)


def load(stream: BinaryIO, *, root: str | os.PathLike[str] | None = None) -> tuple[tuple[Image, tuple[Reference, ...]], ...]:
    """Read an archive of docker or of OCI into the store; its images and their names. Raises RegistryError."""
    from pybuild.registry.archives import load as load_images

    return load_images(open_store(root), stream)


def run(
    image: str,
    command: Sequence[str] = (),
    *,
    env: Mapping[str, str] | None = None,
    network: str = "host",
    entrypoint: str | None = None,
    user: str | None = None,
    workdir: str | None = None,
    hostname: str | None = None,
    add_hosts: Sequence[tuple[str, str]] = (),
    shm_size: int | None = None,
    ulimits: Sequence[Limit] = (),
    tty: bool = False,
    root: str | os.PathLike[str] | None = None,
) -> int:
    """Run an image in the foreground, on our own standard streams; its exit code. Raises BuildError, RegistryError.

    With `tty` it has a terminal of its own, which ours shows, if our streams are one.
    """
    if network not in ("host", "none"):
        raise PlanError(f"no such network: {network!r}", hint="there are host and none")
    from pybuild.containers.run import Container
    from pybuild.containers.run import run as run_container

    wanted = Container(
        image=image,
        command=texts("command", command),
        env=pairs("env", env),
        network=network,
        entrypoint=entrypoint,
        user=user,
        workdir=workdir,
        hostname=hostname,
        hosts=tuple(add_hosts),
        shm_size=shm_size,
        limits=tuple(ulimits),
        has_terminal=tty,
    )
    with Workspace.open(place_of(root, os.environ)) as workspace:
        return run_container(wanted, workspace)


def doctor(*, root: str | os.PathLike[str] | None = None) -> Report:
    """Try what RUN and the store need of this place. Call it while the process has one thread."""
    from pybuild.builder.doctor import examine

    return examine(place_of(root, os.environ), os.environ)
