"""Taking images out of the store, and with them what nothing else needs."""

from __future__ import annotations

import contextlib

from pybuild.builder.workspace import Workspace
from pybuild.registry import Descriptor, Reference, Store, pushed
from pybuild.registry.attached import with_attached
from pybuild.registry.errors import RegistryError, StoreError, UnsupportedMediaType
from pybuild.registry.reference import same_image


def remove(workspace: Workspace, name: str, *, force: bool) -> tuple[str, ...]:
    """Take a name away, or an image by its ID; what was done, a line each. Raises ImageNotFound, StoreError.

    While a build is at work no blob is deleted: its layers may be among them.
    """
    store = workspace.store
    # Held from the first look on: a name that `tag` gives in the meantime would be of an image that goes.
    with store.lock("build", exclusive=True, blocking=False) as is_alone:
        found = _find(store, name)
        names = store.names(found.digest)
        doomed = tuple(other for other in names if same_image(str(other), name))
        if not doomed:
            # An ID or a digest, which is about the image itself.
            if len(names) > 1 and not force:
                raise StoreError(
                    f"{name} has {len(names)} names: {', '.join(other.familiar for other in names)}",
                    hint="remove it name by name, or with --force",
                )
            doomed = names
        for other in doomed:
            store.untag(other)
        done = [f"Untagged: {other.familiar}" for other in doomed]
        if len(doomed) == len(names):
            store.forget(found.digest)
            if is_alone:
                done += _delete(workspace, found)
        return tuple(done)


def _find(store: Store, name: str) -> Descriptor:
    try:
        return store.find(name).descriptor
    except UnsupportedMediaType:
        # An artifact that has this name.
        tagged = store.tagged(Reference.parse(name))
        assert tagged is not None
        return tagged


def _delete(workspace: Workspace, doomed: Descriptor) -> list[str]:
    store = workspace.store
    blobs = {doomed.digest: doomed} | {blob.digest: blob for blob in with_attached(store, doomed)}
    with contextlib.suppress(RegistryError):
        image = store.image(doomed)
        layers = {diff_id for other in store.images() for diff_id in other.config.diff_ids}
        for diff_id in image.config.diff_ids:
            if diff_id not in layers and (tree := workspace.existing_tree(diff_id)):
                workspace.discard(tree)
    # An image may be an index: then all platforms that are here belong to it.
    others = (*store.index().manifests, *pushed.manifests(store))
    kept = {blob.digest for other in others if other.digest != doomed.digest for blob in with_attached(store, other)}
    done = []
    for digest in blobs:
        if digest not in kept:
            with contextlib.suppress(RegistryError):
                store.delete(digest)
                done.append(f"Deleted: {digest}")
    return done
