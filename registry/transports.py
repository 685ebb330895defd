"""Where a copy comes from and goes to, as users write it: the prefixes of skopeo's, and `store:` for our own.

| text | what it is |
|---|---|
| `NAME`, `docker://NAME` | an image in a registry |
| `store:NAME` | an image in pybuild's store |
| `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]` | an OCI layout, as a folder or a tar |
| `docker-archive:FILE[:NAME]` | what `docker save` writes |
| `dir:DIR` | a folder with manifest.json, as skopeo writes it |
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pybuild.hints import BinaryIO
from pybuild.registry import archives, layout
from pybuild.registry.ends import DirectoryEnd, LayoutEnd, Source, StoreEnd, Target
from pybuild.registry.errors import InvalidDocument, InvalidReference, StoreError
from pybuild.registry.incoming import MakeTaps, taking_back, untapped
from pybuild.registry.platform import Platform
from pybuild.registry.reference import Reference
from pybuild.registry.remote import RegistryEnd
from pybuild.registry.retries import Patience
from pybuild.registry.sources import Sources
from pybuild.registry.store import Store
from pybuild.values import frozen

PREFIXES = ("docker", "store", "oci", "oci-archive", "docker-archive", "dir")


@frozen
class Place:
    """A place as the user named it: `kind` is one of PREFIXES, `path` a file, a folder or a name, `tag` what is behind it."""

    kind: str
    path: str
    tag: str | None = None


@frozen
class Settings:
    """What opening a place may need. `open_store` makes the store only when it is asked for; `taps` look at what comes."""

    open_store: Callable[[], Store]
    insecure: bool = False
    jobs: int = 4
    platform: Platform | None = None
    environ: Mapping[str, str] | None = None
    patience: Patience | None = None
    taps: MakeTaps = lambda diff_ids: untapped


def parse(text: str) -> Place:
    """Read a place. Raises InvalidReference."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in PREFIXES:
        return Place("docker", str(Reference.parse(text)))
    if kind == "docker":
        if not rest.startswith("//"):
            # An image of this name, with a tag.
            return Place("docker", str(Reference.parse(text)))
        return Place("docker", str(Reference.parse(rest[2:])))
    if not rest:
        raise InvalidReference(f"{text!r} names no place", hint=f"write {kind}:PATH")
    if kind == "store":
        return Place(kind, rest)
    if kind == "dir":
        return Place(kind, rest)
    head, colon, tail = rest.partition(":") if kind == "docker-archive" else rest.rpartition(":")
    if not colon or os.path.exists(rest) or (kind != "docker-archive" and "/" in tail):
        return Place(kind, rest)
    return Place(kind, head, tail)


@contextlib.contextmanager
def source(place: Place, settings: Settings) -> Iterator[Source]:
    """A place to copy from. Raises RegistryError."""
    with contextlib.ExitStack() as resources:
        match place.kind:
            case "docker":
                yield _registry(place, settings, resources, ("pull",))
            case "store":
                yield StoreEnd(settings.open_store(), place.path)
            case "oci":
                yield LayoutEnd(Path(place.path), place.tag)
            case "dir":
                yield DirectoryEnd(Path(place.path))
            case "oci-archive":
                folder = _folder(resources, place)
                archives.unpack_layout(Path(place.path), folder)
                yield LayoutEnd(folder, place.tag)
            case _:
                yield _docker_archive(place, settings, _folder(resources, place))


@contextlib.contextmanager
def target(place: Place, settings: Settings) -> Iterator[Target]:
    """A place to copy to; what is one file is written when the block ends well. Raises RegistryError."""
    with contextlib.ExitStack() as resources:
        match place.kind:
            case "docker":
                yield _registry(place, settings, resources, ("pull", "push"))
            case "store":
                store = settings.open_store()
                Reference.parse(place.path)
                fetched = resources.enter_context(taking_back(store))
                resources.enter_context(store.in_use())
                yield StoreEnd(store, place.path, taps=settings.taps, fetched=fetched)
            case "oci" | "dir":
                end = LayoutEnd(Path(place.path), place.tag) if place.kind == "oci" else DirectoryEnd(Path(place.path))
                end.prepare()
                yield end
            case "oci-archive":
                end = LayoutEnd(folder := _folder(resources, place), place.tag)
                end.prepare()
                yield end
                with layout.writing(Path(place.path)) as file:
                    archives.pack_layout(folder, file)
            case _:
                store = Store.open(_folder(resources, place))
                name = Reference.parse(place.tag or "image:latest")
                yield StoreEnd(store, str(name))
                with layout.writing(Path(place.path)) as file:
                    image = store.find(str(name))
                    archives.save(store, [(image, (name,) if place.tag else ())], file, docker=True)


def single(place: Place) -> bool:
    """Whether a place holds images for one platform each, no indexes."""
    return place.kind == "docker-archive"


def _registry(place: Place, settings: Settings, resources: contextlib.ExitStack, actions: tuple[str, ...]) -> RegistryEnd:
    reference = Reference.parse(place.path)
    sources = Sources(
        reference,
        insecure=settings.insecure,
        environ=settings.environ,
        patience=settings.patience,
        connections=settings.jobs + 1,
        actions=actions,
    )
    return RegistryEnd(reference, resources.enter_context(sources))


def _docker_archive(place: Place, settings: Settings, folder: Path) -> StoreEnd:
    store = Store.open(folder)
    with _opened(Path(place.path)) as stream:
        loaded = archives.load(store, stream, platform=settings.platform)
    if place.tag is not None:
        return StoreEnd(store, place.tag)
    if len(loaded) != 1:
        names = ", ".join(name.familiar for _, found in loaded for name in found)
        raise InvalidDocument(f"{place.path} holds {len(loaded)} images", hint=f"name one of {names} behind it, with a colon")
    return StoreEnd(store, loaded[0][0].id)


def _folder(resources: contextlib.ExitStack, place: Place) -> Path:
    """A temporary folder beside the archive: /tmp may be small, and in memory."""
    parent = Path(place.path).absolute().parent
    try:
        return Path(resources.enter_context(tempfile.TemporaryDirectory(prefix=".pybuild-", dir=parent)))
    except OSError as error:
        raise StoreError(f"cannot write to {parent}: {error.strerror}", hint="make it, or name another place") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError as error:
        raise StoreError(f"no such file: {path}") from error
