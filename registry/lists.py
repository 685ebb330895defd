"""Images for several platforms under one name, in the making: created, annotated, pushed as an index.

They lie in the store as one file, `lists.json`; the members stay where they are until the list is pushed. As docker's and
podman's `manifest` commands have it.
"""

from __future__ import annotations

from collections.abc import Callable

from pybuild.registry import media
from pybuild.registry.copying import read_config
from pybuild.registry.document import Fields
from pybuild.registry.ends import Source
from pybuild.registry.errors import ImageNotFound, RegistryError
from pybuild.registry.model import Descriptor, Index
from pybuild.registry.notes import Notes
from pybuild.registry.platform import Platform
from pybuild.registry.reference import Reference
from pybuild.registry.store import Store
from pybuild.values import frozen, replace

Pairs = tuple[tuple[str, str], ...]


@frozen
class Member:
    """One image of a list: where it comes from, as the user wrote it, and what the index says of it."""

    source: str
    descriptor: Descriptor


@frozen
class List:
    """A list and its members, in their order."""

    name: str
    members: tuple[Member, ...] = ()
    annotations: Pairs = ()

    @property
    def index(self) -> Index:
        """What is pushed."""
        return Index.build(tuple(member.descriptor for member in self.members), self.annotations)

    def with_member(self, member: Member) -> List:
        """The list with one more member, in place of the same one and of another for the same platform."""
        wanted = member.descriptor.platform
        kept = tuple(
            other
            for other in self.members
            if other.descriptor.digest != member.descriptor.digest and (wanted is None or other.descriptor.platform != wanted)
        )
        return replace(self, members=(*kept, member))

    def annotated(self, wanted: str, *, change: Callable[[Descriptor], Descriptor]) -> List:
        """The list with what it says of one member changed; `wanted` is its source, a digest or a platform.

        Raises ImageNotFound.
        """
        found = [member for member in self.members if _is_named(member, wanted)]
        if len(found) != 1:
            raise ImageNotFound(
                f"{self.name} has {len(found) or 'no'} members {wanted!r}",
                hint=f"it has {', '.join(f'{member.source} ({member.descriptor.platform})' for member in self.members)}",
            )
        changed = replace(found[0], descriptor=change(found[0].descriptor))
        return replace(self, members=tuple(changed if member is found[0] else member for member in self.members))


def _is_named(member: Member, wanted: str) -> bool:
    descriptor = member.descriptor
    if wanted in (member.source, descriptor.digest, str(descriptor.platform)):
        return True
    hexadecimal = wanted.removeprefix("sha256:")
    if len(hexadecimal) >= 6 and descriptor.digest.hex.startswith(hexadecimal):
        return True
    try:
        return Reference.parse(wanted) == Reference.parse(member.source)
    except RegistryError:
        return False


def members_of(source: Source, text: str) -> tuple[Member, ...]:
    """The members that a place gives: itself, or, of an index, all in it. Raises RegistryError."""
    root = source.root()
    if root.is_index:
        return tuple(Member(text, replace(item, annotations=item.annotations)) for item in root.manifests)
    return (Member(text, replace(root.descriptor, platform=_platform(source, root.config))),)


def _platform(source: Source, config: Descriptor | None) -> Platform | None:
    if config is None or config.media_type not in media.CONFIGS:
        return None
    return read_config(source, config).platform


def read(store: Store, name: str) -> List | None:
    """The list of this name; None when there is none. Raises InvalidDocument for a damaged file."""
    reference = Reference.parse(name)
    entry = _notes(store).read().get(str(reference))
    if entry is None:
        return None
    where = _notes(store).path
    fields = Fields(entry, where)
    members = tuple(
        Member(item.need("source", str), Descriptor.read(Fields(item.need("descriptor", dict), where)))
        for item in fields.objects("members")
    )
    return List(str(reference), members, fields.pairs("annotations"))


def need(store: Store, name: str) -> List:
    """The list of this name. Raises ImageNotFound."""
    found = read(store, name)
    if found is None:
        raise ImageNotFound(f"no such list: {name}", hint="'pybuild manifest create NAME IMAGE...' makes one")
    return found


def names(store: Store) -> tuple[str, ...]:
    """The names of all lists."""
    return tuple(_notes(store).read())


def write(store: Store, made: List) -> None:
    """Keep a list, in place of the one of its name."""
    document: dict[str, object] = {
        "members": [{"source": member.source, "descriptor": member.descriptor.document()} for member in made.members],
        "annotations": dict(made.annotations),
    }
    with _notes(store).editing() as known:
        known.pop(made.name, None)
        known[made.name] = document


def remove(store: Store, name: str) -> None:
    """Forget a list. Raises ImageNotFound."""
    found = need(store, name)
    with _notes(store).editing() as known:
        known.pop(found.name, None)


def _notes(store: Store) -> Notes:
    return Notes(store, "lists", is_advice=False)
