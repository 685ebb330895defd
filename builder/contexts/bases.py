"""The images that a build stands on: out of a named build context, the store, or a registry, in this order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from pybuild.builder.contexts.together import together
from pybuild.builder.errors import ContextError
from pybuild.builder.graph import BuildGraph, CopyStep, Pairs, RunStep, SourceStep
from pybuild.builder.planning.wanted import Wanted
from pybuild.builder.request import BuildRequest
from pybuild.builder.workspace import Workspace
from pybuild.registry import Digest, Image, ImageConfig, Platform, Reference, Store, lazy
from pybuild.registry.errors import PlatformNotFound, TransferError
from pybuild.registry.progress import Transferred, one_at_a_time
from pybuild.registry.reference import same_image

LAYOUT = "oci-layout://"
IMAGE = "docker-image://"


def folders(contexts: Pairs) -> dict[str, str]:
    """The named contexts that are folders, by name."""
    return {name: place for name, place in contexts if not place.startswith((LAYOUT, IMAGE))}


def check(contexts: Pairs) -> None:
    """Raise ContextError for a named context of a kind that there is not."""
    for name, place in contexts:
        scheme, colon, _ = place.partition("://")
        if colon and scheme not in ("oci-layout", "docker-image") and not os.path.isdir(place):
            raise ContextError(
                f"--build-context {name}={place}: there is no {scheme}://",
                hint="give a folder, oci-layout://DIR, docker-image://NAME, an http(s) URL or a git repository",
            )


def wanted(name: str, request: BuildRequest, platform: Platform) -> Wanted:
    """The image of this name, or the build context in its place."""
    contexts = (given for given, _ in request.contexts if same_image(given.partition("::")[0], name))
    return Wanted(name, platform, next(contexts, None))


def resolve(
    images: tuple[Wanted, ...], request: BuildRequest, store: Store, *, listener: Callable[[Transferred], None]
) -> dict[Wanted, Image]:
    """These images; layers may be in their registry still (see `complete`). Raises RegistryError and ContextError."""
    found = {image: _find(image, request, store) for image in images}
    missing = [image for image, here in found.items() if here is None]
    if missing:
        tell = one_at_a_time(listener)
        pulls = [partial(_pull, image, request, store, tell) for image in missing]
        found |= dict(zip(missing, together(pulls, jobs=request.jobs), strict=True))
    return {image: here for image, here in found.items() if here is not None}


def look_up(wanted: Wanted, request: BuildRequest, store: Store) -> tuple[Digest, ImageConfig]:
    """The manifest's digest and the config of an image; no layer is fetched. Raises RegistryError and ContextError."""
    place = _place(wanted, request)
    if place.startswith(LAYOUT):
        image = _from_layout(place.removeprefix(LAYOUT), store, wanted.context or "", wanted.platform)
        return image.manifest.descriptor.digest, image.config
    reference, platform = Reference.parse(place), wanted.platform
    found = None if request.pull else store.tagged(reference)
    if found is not None:
        image = store.image(found, platform)
        if image.config.platform.suits(platform):
            return image.manifest.descriptor.digest, image.config
    from pybuild.registry.transfer import resolve as resolve_remote

    with _known_here(store, reference, platform):
        remote = resolve_remote(reference, platform=platform, insecure=request.insecure)
    return remote.manifest.descriptor.digest, remote.config


def _place(wanted: Wanted, request: BuildRequest) -> str:
    """An image's name in a registry, or the folder of a layout behind its scheme."""
    return wanted.name if wanted.context is None else dict(request.contexts)[wanted.context].removeprefix(IMAGE)


def _find(wanted: Wanted, request: BuildRequest, store: Store) -> Image | None:
    """An image that is in a layout or in the store; None for one that a registry is to be asked for."""
    place, platform = _place(wanted, request), wanted.platform
    if place.startswith(LAYOUT):
        return _from_layout(place.removeprefix(LAYOUT), store, wanted.context or "", platform)
    reference = Reference.parse(place)
    if not request.pull:
        found = store.tagged(reference)
        if found is not None:
            image = store.image(found, platform)
            suits = image.config.platform.suits(platform)
            if suits and lazy.is_at_hand(store, image):
                return image
            if not suits and reference.digest:
                raise PlatformNotFound(f"{place} is for {image.config.platform}, not for {platform}")
    return None


def _pull(wanted: Wanted, request: BuildRequest, store: Store, listener: Callable[[Transferred], None]) -> Image:
    from pybuild.registry.transfer import pull

    reference = Reference.parse(_place(wanted, request))
    with _known_here(store, reference, wanted.platform):
        # What a step reads is fetched when it is known which steps are to be made.
        return pull(store, reference, platform=wanted.platform, insecure=request.insecure, listener=listener, leave_layers=True)


@contextmanager
def _known_here(store: Store, reference: Reference, platform: Platform) -> Iterator[None]:
    """Say of an image that cannot be had when the store has it for another platform: it may be the platform that is wrong."""
    try:
        yield
    except TransferError as error:
        if (found := store.tagged(reference)) is not None:
            here = store.image(found).config.platform
            if not here.suits(platform):
                error.hint = f"it is here for {here}, and asked for is {platform}: build it for that, or give another --platform"
        raise


def complete(
    images: Iterable[Image],
    request: BuildRequest,
    workspace: Workspace,
    *,
    listener: Callable[[Transferred], None],
    with_indexes: bool = False,
) -> None:
    """Fetch the layers of these images that are not here; their file indexes are made in the same pass, if they are wanted.

    Raises RegistryError.
    """
    for image in images:
        if lazy.absent(workspace.store, image):
            from pybuild.builder.records.indexing import indexing
            from pybuild.registry.incoming import diff_ids_of, untapped

            tap = indexing(workspace.database)(diff_ids_of([(image.manifest, image.config)])) if with_indexes else untapped
            lazy.complete(workspace.store, image, insecure=request.insecure, listener=listener, tap=tap)


def read_images(graph: BuildGraph, steps: Iterable[int], images: Mapping[str, Image]) -> tuple[Image, ...]:
    """The images that these steps read files of, when they are made: those below them, and those that they copy from.

    A COPY that stands alone does not look below itself.
    """
    found: dict[str, Image] = {}
    seen: set[int] = set()
    pending = list(steps)
    while pending:
        number = pending.pop()
        if number in seen:
            continue
        seen.add(number)
        step = graph.steps[number]
        if isinstance(step, SourceStep):
            if step.digest is not None and step.digest in images:
                found[step.digest] = images[step.digest]
            continue
        if not isinstance(step, CopyStep) or not step.stands_alone:
            pending += graph.chain(number)[:1]
        for origin in step.origins if isinstance(step, CopyStep | RunStep) else ():
            if isinstance(origin, int):
                pending += (*graph.chain(origin)[:1], *graph.file_steps(origin))
    return tuple(found.values())


def _from_layout(place: str, store: Store, given: str, platform: Platform) -> Image:
    from pybuild.registry.layout import read_layout

    folder, name = place, None
    if not os.path.isdir(folder) and "@" in place:
        folder, _, name = place.rpartition("@")
    if not os.path.isdir(folder) and ":" in folder:
        # A digest says more than the tag before it.
        folder, _, tag = folder.rpartition(":")
        name = name or tag
    if not os.path.isdir(folder):
        raise ContextError(
            f"--build-context {given}: no such folder: {folder}", hint="write oci-layout://DIR or oci-layout://DIR:TAG"
        )
    return read_layout(store, folder, name, platform=platform)
