"""Taking images out of the store, and with them what nothing else needs."""

from __future__ import annotations

import contextlib

from pybuild.builder.workspace import Workspace
from pybuild.builder.workspace import remove as remove_tree
from pybuild.registry.errors import InvalidReference, RegistryError, StoreError
from pybuild.registry.reference import Reference
from pybuild.registry.store import Image


def remove(workspace: Workspace, name: str, *, force: bool) -> tuple[str, ...]:
    """Take a name away, or an image by its ID; what was done, a line each. Raises ImageNotFound, StoreError.

    While a build is at work no blob is deleted: its layers may be among them.
    """
    store = workspace.store
    image = store.find(name)
    names = store.names(image.descriptor.digest)
    reference = _named(store.tagged, name)
    if reference is None and len(names) > 1 and not force:
        raise StoreError(
            f"{name} has {len(names)} names: {', '.join(other.familiar for other in names)}",
            hint="remove it name by name, or with --force",
        )
    doomed = names if reference is None else (reference,)
    for other in doomed:
        store.untag(other)
    done = [f"Untagged: {other.familiar}" for other in doomed]
    if len(doomed) < len(names):
        return tuple(done)
    store.forget(image.descriptor.digest)
    with store.lock("build", exclusive=True, blocking=False) as is_alone:
        if is_alone:
            done += _delete(workspace, image)
    return tuple(done)


def _named(tagged: object, name: str) -> Reference | None:
    with contextlib.suppress(InvalidReference):
        reference = Reference.parse(name)
        if callable(tagged) and tagged(reference) is not None:
            return reference
    return None


def _delete(workspace: Workspace, image: Image) -> list[str]:
    store = workspace.store
    kept = set()
    for other in store.images():
        kept |= {other.descriptor.digest, *(blob.digest for blob in other.manifest.blobs)}
    done = []
    layers = {diff_id for other in store.images() for diff_id in other.config.diff_ids}
    for diff_id in image.config.diff_ids:
        if diff_id not in layers and (tree := workspace.existing_tree(diff_id)):
            remove_tree(tree)
    blobs = (image.descriptor, image.manifest.descriptor, *image.manifest.blobs)
    for digest in dict.fromkeys(blob.digest for blob in blobs):
        if digest not in kept:
            with contextlib.suppress(RegistryError):
                store.delete(digest)
                done.append(f"Deleted: {digest}")
    return done
