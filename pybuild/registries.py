"""The public functions that talk to registries: plain arguments in, values out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pybuild.api import Silent, open_store
from pybuild.arguments import pairs, texts
from pybuild.hints import TYPE_CHECKING
from pybuild.registry.platform import Platform
from pybuild.registry.reference import Reference
from pybuild.values import replace

if TYPE_CHECKING:
    from pybuild.builder.events import Progress
    from pybuild.registry.lists import List
    from pybuild.registry.login import LoggedIn
    from pybuild.registry.model import Descriptor
    from pybuild.registry.parallel import Stop
    from pybuild.registry.parts import Parts
    from pybuild.registry.store import Image
    from pybuild.registry.transports import Settings


def login(
    registry: str,
    username: str,
    password: str,
    *,
    insecure: bool = False,
    authfile: str | os.PathLike[str] | None = None,
) -> LoggedIn:
    """Try credentials on a registry, and keep them as docker does when it takes them, for docker and podman too.

    `authfile` is ~/.docker/config.json when None. Raises RegistryError.
    """
    from pybuild.registry.login import login as log_in

    file = Path(authfile) if authfile is not None else None
    return log_in(registry, username, password, environ=os.environ, insecure=insecure, file=file)


def logout(registry: str, *, authfile: str | os.PathLike[str] | None = None) -> bool:
    """Forget the credentials of a registry; False when there were none. Raises RegistryError."""
    from pybuild.registry.login import logout as log_out

    return log_out(registry, environ=os.environ, file=Path(authfile) if authfile is not None else None)


def push(
    name: str,
    *,
    insecure: bool = False,
    timeout_seconds: float | None = None,
    jobs: int = 4,
    progress: Progress | None = None,
    stop: Stop | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Descriptor:
    """Put the image of this name into the registry that the name says; what is an index here goes with all its platforms.

    `timeout_seconds` is for all of it. The descriptor of what was put. Raises RegistryError, and Stopped by `stop`.
    """
    from pybuild.registry.retries import Patience
    from pybuild.registry.transfer import push as push_image
    from pybuild.registry.transfer import push_index

    store = open_store(root)
    reference, patience = Reference.parse(name), Patience.within(timeout_seconds)
    listener = (progress or Silent()).emit
    image = store.find(name)
    if image.descriptor.digest != image.manifest.descriptor.digest:
        return push_index(
            store, image.descriptor, reference, insecure=insecure, jobs=jobs, listener=listener, patience=patience, stop=stop
        )
    return push_image(store, image, reference, insecure=insecure, jobs=jobs, listener=listener, patience=patience, stop=stop)


def goes_in_pieces(name: str, *, root: str | os.PathLike[str] | None = None) -> bool:
    """Whether the image of this name has a layer that a push sends in pieces. Raises RegistryError."""
    from pybuild.registry.attached import with_attached
    from pybuild.registry.upload import SMALL

    store = open_store(root)
    return any(blob.size > SMALL for blob in with_attached(store, store.find(name).descriptor))


def pull(
    name: str,
    *,
    platform: str | None = None,
    all_platforms: bool = False,
    insecure: bool = False,
    timeout_seconds: float | None = None,
    jobs: int = 4,
    progress: Progress | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Image:
    """Fetch an image into the store, for one platform (this machine's) or for all.

    Each layer's digest and diffID are checked while it comes in. Raises RegistryError, and LayerError for what does not unpack.
    """
    from pybuild.builder.records.indexing import indexing
    from pybuild.builder.workspace import Workspace
    from pybuild.registry.retries import Patience
    from pybuild.registry.transfer import pull as pull_image

    wanted, patience = Platform.parse(platform) if platform else None, Patience.within(timeout_seconds)
    if all_platforms:
        places = f"docker://{name}", f"store:{name}"
        copy(*places, insecure=insecure, jobs=jobs, timeout_seconds=timeout_seconds, progress=progress, root=root)
        return open_store(root).find(name)
    with Workspace.open(open_store(root).root) as workspace:
        return pull_image(
            workspace.store,
            Reference.parse(name),
            platform=wanted,
            insecure=insecure,
            jobs=jobs,
            listener=(progress or Silent()).emit,
            patience=patience,
            taps=indexing(workspace.database),
        )


def copy(
    source: str,
    target: str,
    *,
    platform: str | None = None,
    referrers: bool = False,
    insecure: bool = False,
    timeout_seconds: float | None = None,
    jobs: int = 4,
    progress: Progress | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Descriptor:
    """Copy an image between registries, the store, folders and archives; between registries nothing touches the disk.

    Places are written as `pybuild.registry.transports` has them. All platforms of an index are copied, or the one that is named;
    with `referrers`, what refers to it too: signatures and the like. Raises RegistryError.
    """
    from pybuild.registry import transports
    from pybuild.registry.copying import copy as copy_image
    from pybuild.registry.retries import Patience

    come_from, go_to = transports.parse(source), transports.parse(target)
    wanted = Platform.parse(platform) if platform else Platform.here() if transports.single(go_to) else None
    patience = Patience.within(timeout_seconds)
    settings = replace(_settings(root, insecure=insecure, jobs=jobs), platform=wanted, patience=patience)
    listener = (progress or Silent()).emit
    with transports.source(come_from, settings) as giver, transports.target(go_to, settings) as taker:
        return copy_image(
            giver, taker, platform=wanted, with_referrers=referrers, listener=listener, jobs=jobs, seconds=patience.left
        )


def _settings(root: str | os.PathLike[str] | None, *, insecure: bool, jobs: int = 4) -> Settings:
    from pybuild.builder.layers.tapping import taps
    from pybuild.registry.transports import Settings

    return Settings(lambda: open_store(root), insecure, jobs, taps=taps)


def _in_registry(name: str) -> Reference:
    """A name in a registry, as `copy` takes it too. Raises InvalidReference."""
    return Reference.parse(name.removeprefix("docker://"))


def tags(name: str, *, insecure: bool = False) -> tuple[str, ...]:
    """All tags of a repository in its registry. Raises RegistryError."""
    from pybuild.registry.sources import Sources

    with Sources(_in_registry(name), insecure=insecure) as sources:
        return sources.first(lambda repository: repository.tags())


def delete(name: str, *, all_tags: bool = False, insecure: bool = False) -> None:
    """Delete a tag from its registry, or, by digest or with `all_tags`, a manifest with all its tags.

    One that refers to another leaves the list of its referrers. Raises RegistryError.
    """
    from pybuild.registry.errors import NotInRegistry, UnexpectedAnswer
    from pybuild.registry.parts import Parts
    from pybuild.registry.referrers import withdraw
    from pybuild.registry.sources import Sources

    reference = _in_registry(name)
    with Sources(reference, insecure=insecure, actions=("pull", "push", "delete")) as sources:
        repository = sources.main
        tag = str(reference.tag)
        document = Parts.parse(*repository.manifest(reference.digest or tag), reference.familiar)
        digest = document.descriptor.digest
        if reference.digest or all_tags:
            repository.delete_manifest(digest)
            withdraw(repository, document)
            return
        try:
            repository.delete_manifest(tag)
        except (NotInRegistry, UnexpectedAnswer) as error:
            if isinstance(error, UnexpectedAnswer) and error.status not in (400, 405, 501):
                raise
            error.hint = f"the registry deletes no single tags; --all-tags deletes {digest.short}… with all tags that it has"
            raise


def manifest(name: str, *, insecure: bool = False, root: str | os.PathLike[str] | None = None) -> Parts:
    """The manifest or index that a place names, or a list in the making of that name. Raises RegistryError."""
    from pybuild.registry import lists, transports
    from pybuild.registry.parts import Parts

    place = transports.parse(name)
    if place.kind == "docker" and (made := lists.read(open_store(root), place.path)):
        return Parts.parse(made.index.raw, made.index.media_type, name)
    with transports.source(place, _settings(root, insecure=insecure)) as giver:
        return giver.root()


def referrers(name: str, *, insecure: bool = False) -> tuple[Descriptor, ...]:
    """What refers to an image in its registry: signatures, attestations and the like. Raises RegistryError."""
    from pybuild.registry.referrers import referrers as referrers_of
    from pybuild.registry.remote import RegistryEnd
    from pybuild.registry.sources import Sources

    reference = _in_registry(name)
    with Sources(reference, insecure=insecure) as sources:
        digest = reference.digest or RegistryEnd(reference, sources).root().descriptor.digest
        return sources.first(lambda repository: referrers_of(repository, digest))


def create_list(
    name: str,
    members: Sequence[str],
    *,
    amend: bool = False,
    annotations: Mapping[str, str] | None = None,
    insecure: bool = False,
    root: str | os.PathLike[str] | None = None,
) -> List:
    """Begin a list of images for several platforms, or add to it with `amend`. Raises RegistryError."""
    from pybuild.registry import lists, transports
    from pybuild.registry.errors import StoreError

    store = open_store(root)
    made = lists.read(store, name)
    if made is not None and not amend:
        raise StoreError(f"there is a list {name}", hint="--amend adds to it, 'pybuild manifest rm' removes it")
    made = made or lists.List(str(Reference.parse(name)))
    for text in texts("members", members):
        with transports.source(transports.parse(text), _settings(root, insecure=insecure)) as giver:
            for member in lists.members_of(giver, text):
                made = made.with_member(member)
    made = replace(made, annotations=tuple((dict(made.annotations) | dict(pairs("annotations", annotations))).items()))
    lists.write(store, made)
    return made


def annotate_list(
    name: str,
    member: str,
    *,
    platform: str | None = None,
    os_version: str | None = None,
    annotations: Mapping[str, str] | None = None,
    root: str | os.PathLike[str] | None = None,
) -> None:
    """Change what a list says of one of its members. Raises RegistryError."""
    from pybuild.registry import lists

    def change(item: Descriptor) -> Descriptor:
        wanted = Platform.parse(platform) if platform else item.platform
        if os_version is not None and wanted is not None:
            wanted = replace(wanted, os_version=os_version)
        said = dict(item.annotations) | dict(pairs("annotations", annotations))
        return replace(item, platform=wanted, annotations=tuple(said.items()))

    store = open_store(root)
    lists.write(store, lists.need(store, name).annotated(member, change=change))


def push_list(
    name: str,
    target: str | None = None,
    *,
    purge: bool = False,
    insecure: bool = False,
    jobs: int = 4,
    progress: Progress | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Descriptor:
    """Push a list as an index: its members first, from where they are, each by its digest. Raises RegistryError."""
    from pybuild.registry import lists, transports
    from pybuild.registry.copying import copy as copy_image
    from pybuild.registry.parts import Parts
    from pybuild.registry.remote import RegistryEnd
    from pybuild.registry.sources import Sources

    store = open_store(root)
    made = lists.need(store, name)
    reference = Reference.parse(target or made.name)
    settings = _settings(root, insecure=insecure, jobs=jobs)
    listener = (progress or Silent()).emit
    with Sources(reference, insecure=insecure, connections=jobs + 1, actions=("pull", "push")) as sources:
        for member in made.members:
            digest = member.descriptor.digest
            place = transports.parse(member.source)
            if place.kind == "docker":
                place = replace(place, path=str(Reference.parse(place.path).with_digest(digest)))
            elif place.kind == "store":
                place = replace(place, path=str(digest))
            by_digest = replace(reference, tag=None, digest=digest)
            with transports.source(place, settings) as giver:
                copy_image(giver, RegistryEnd(by_digest, sources, store=store), listener=listener, jobs=jobs)
        index = Parts.parse(made.index.raw, made.index.media_type, name)
        RegistryEnd(reference, sources, store=store).name(index)
    if purge:
        lists.remove(store, name)
    return index.descriptor


def remove_list(name: str, *, root: str | os.PathLike[str] | None = None) -> None:
    """Forget a list in the making. Raises ImageNotFound."""
    from pybuild.registry import lists

    lists.remove(open_store(root), name)
