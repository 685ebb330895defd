"""Artifacts in the store by what they refer to: signatures, bills of materials. One file, `referrers.json`.

They have no name of their own; they stay as long as what they are about. Source: distribution-spec, "Listing Referrers".
"""

from __future__ import annotations

from pybuild.registry.digest import Digest
from pybuild.registry.document import Fields
from pybuild.registry.errors import RegistryError
from pybuild.registry.model import Descriptor
from pybuild.registry.notes import Notes
from pybuild.registry.parts import Parts, reachable
from pybuild.registry.store import Store


def path(store: Store) -> str:
    """The file."""
    return _notes(store).path


def referring(store: Store, digest: Digest) -> tuple[Descriptor, ...]:
    """What refers to a manifest, as an index of referrers lists it."""
    try:
        found = [Descriptor.read(item) for item in Fields(_notes(store).read(), path(store)).objects(digest)]
    except RegistryError:
        return ()
    return tuple(item for item in found if store.has(item))


def attach(store: Store, artifact: Parts) -> None:
    """Remember an artifact that is in the store by its subject."""
    if artifact.subject is not None:
        _edit(store, artifact.subject.digest, artifact.referrer, is_there=True)


def detach(store: Store, artifact: Parts) -> None:
    """Forget an artifact."""
    if artifact.subject is not None:
        _edit(store, artifact.subject.digest, artifact.referrer, is_there=False)


def with_attached(store: Store, item: Descriptor) -> tuple[Descriptor, ...]:
    """An entry of the store, all that it leads to, and all that refers to any of that."""
    found: dict[Digest, Descriptor] = {}
    pending = [item]
    while pending:
        for blob in reachable(store, pending.pop()):
            if blob.digest not in found:
                found[blob.digest] = blob
                pending += [other for other in referring(store, blob.digest) if other.digest not in found]
    return tuple(found.values())


def _edit(store: Store, subject: Digest, item: Descriptor, *, is_there: bool) -> None:
    with _notes(store).editing() as known:
        before = known.get(subject)
        entries = [entry for entry in before if isinstance(entry, dict)] if isinstance(before, list) else []
        kept = [entry for entry in entries if entry.get("digest") != item.digest]
        known[subject] = [*kept, item.document()] if is_there else kept
        if not known[subject]:
            del known[subject]


def _notes(store: Store) -> Notes:
    return Notes(store, "referrers")
