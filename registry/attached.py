"""Artifacts in the store by what they refer to: signatures, bills of materials. One file, `referrers.json`.

They have no name of their own; they stay as long as what they are about. Source: distribution-spec, "Listing Referrers".
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from pybuild.registry.digest import Digest
from pybuild.registry.document import Fields, load
from pybuild.registry.errors import RegistryError
from pybuild.registry.model import Descriptor
from pybuild.registry.parts import Parts, reachable
from pybuild.registry.store import Store


def path(store: Store) -> Path:
    """The file."""
    return store.root / "referrers.json"


def referring(store: Store, digest: Digest) -> tuple[Descriptor, ...]:
    """What refers to a manifest, as an index of referrers lists it."""
    try:
        fields = Fields(load(path(store).read_bytes(), str(path(store))), str(path(store)))
        found = [Descriptor.read(item) for item in fields.objects(digest)]
    except (FileNotFoundError, RegistryError):
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
    with store.lock("referrers", exclusive=True):
        try:
            known = dict(load(path(store).read_bytes(), str(path(store))))
        except (FileNotFoundError, RegistryError):
            known = {}
        before = known.get(subject)
        entries = [entry for entry in before if isinstance(entry, dict)] if isinstance(before, list) else []
        kept = [entry for entry in entries if entry.get("digest") != item.digest]
        known[subject] = [*kept, item.document()] if is_there else kept
        if not known[subject]:
            del known[subject]
        temporary = store.root / "tmp" / f"referrers.{os.urandom(6).hex()}"
        temporary.write_text(json.dumps(known), encoding="utf-8")
        os.replace(temporary, path(store))
