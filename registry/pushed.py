"""What clients have pushed to the store's repositories and no name leads to: manifests by their digest alone, blobs of none yet.

One file, `pushed.json`, so that it is there after a restart. A manifest in it can be pulled by its digest until a prune, as after
the garbage collection of any registry. Source: distribution-spec, "Pushing Manifests".
"""

from __future__ import annotations

from pybuild.registry import attached
from pybuild.registry.digest import Digest
from pybuild.registry.document import Fields
from pybuild.registry.errors import RegistryError
from pybuild.registry.model import Descriptor
from pybuild.registry.notes import Notes
from pybuild.registry.parts import Parts, is_document
from pybuild.registry.store import Store

BLOB = "application/octet-stream"


def path(store: Store) -> str:
    """The file."""
    return _notes(store).path


def read(store: Store) -> dict[str, dict[Digest, Descriptor]]:
    """By repository, as its familiar name is: what is in the store of what was pushed there."""
    found: dict[str, dict[Digest, Descriptor]] = {}
    known = _notes(store).read()
    for repository, entries in ((name, _entries(known, name)) for name in known):
        items = [item for entry in entries if (item := _descriptor(entry))]
        found[repository] = {item.digest: item for item in items if store.has(item)}
    return found


def manifests(store: Store) -> tuple[Descriptor, ...]:
    """The manifests that nothing else in the store leads to, each once; those that lead to others come alone."""
    known = {digest: item for items in read(store).values() for digest, item in items.items() if is_document(item)}
    # Most have got a name since.
    reached = {blob.digest for entry in store.index().manifests for blob in attached.with_attached(store, entry)}
    for item in known.values():
        reached |= {blob.digest for blob in attached.with_attached(store, item)} - {item.digest}
    return tuple(item for digest, item in known.items() if digest not in reached)


def add(store: Store, repository: str, item: Descriptor, document: Parts | None = None) -> None:
    """Something was pushed, or mounted: a blob, or a manifest, to whose `document` the blobs belong from now on."""
    with _notes(store).editing() as known:
        entry = Descriptor(item.media_type, item.digest, item.size).document()
        kept = [other for other in _entries(known, repository) if other != entry]
        if document is not None:
            # Once a push, not once a blob: what has gone since, too.
            gone = {blob.digest for blob in document.blobs}
            there = ((other, _descriptor(other)) for other in kept)
            kept = [other for other, found in there if found and found.digest not in gone and store.has(found)]
        known[repository] = [*kept, entry]


def drop(store: Store, digest: Digest, repository: str | None = None) -> None:
    """Something is no longer there: in a repository, or in none."""
    with _notes(store).editing() as known:
        for name in [repository] if repository is not None else list(known):
            kept = [entry for entry in _entries(known, name) if (item := _descriptor(entry)) and item.digest != digest]
            known[name] = kept
            if not kept:
                del known[name]


def _entries(known: dict[str, object], repository: str) -> list[object]:
    entries = known.get(repository)
    return entries if isinstance(entries, list) else []


def _descriptor(entry: object) -> Descriptor | None:
    try:
        return Descriptor.read(Fields(entry, "pushed.json"))
    except RegistryError:
        return None


def _notes(store: Store) -> Notes:
    return Notes(store, "pushed")
