"""Putting a store right after `verification`: what is damaged goes, and what is sound is kept or used to make it again.

A layer's blob is compressed again from one of another compression. A tree or a file index is made again when somebody needs it.
The database keeps the rows that can be read. An image that lost a part leaves index.json: it has to be built or pulled again.
"""

from __future__ import annotations

import hashlib
import os

from pybuild.builder.errors import BuildError
from pybuild.builder.layers.compression import BLOCK, Compression, decompressed
from pybuild.builder.layers.stored import FileIndexes
from pybuild.builder.upkeep.verification import BLOB, DATABASE, FILE_INDEX, IMAGE, INDEX, TREE, Fault, Verified
from pybuild.builder.workspace import Workspace, remove
from pybuild.registry import Descriptor, Digest, Index, Manifest, Store, earlier, media, pushed
from pybuild.registry.errors import RegistryError, UnsupportedMediaType
from pybuild.registry.parts import Parts
from pybuild.values import replace

_LARGEST_DOCUMENT = 4 << 20


def repair(workspace: Workspace, found: Verified) -> tuple[str, ...]:
    """Act on every fault; what was done, one text for each. The caller holds the build lock exclusively."""
    order = (DATABASE, TREE, FILE_INDEX, BLOB, INDEX, IMAGE)
    faults = sorted(found.faults, key=lambda fault: order.index(fault.kind))
    done = {fault: _ACTIONS[fault.kind](workspace, fault) for fault in faults}
    lost = _forget_broken(workspace)
    told = [done[fault] for fault in found.faults]
    return (*told, *lost)


def _database(workspace: Workspace, _: Fault) -> str:
    rows = workspace.database.rebuild()
    return f"made anew; {rows} records were sound and are kept"


def _tree(workspace: Workspace, fault: Fault) -> str:
    workspace.discard(workspace.tree_path(fault.name))
    return "removed; it is made again when it is needed"


def _file_index(workspace: Workspace, fault: Fault) -> str:
    with workspace.database.mutex:
        FileIndexes(workspace.database.connection).forget(fault.name)
    return "removed; it is made again when it is needed"


def _blob(workspace: Workspace, fault: Fault) -> str:
    store = workspace.store
    remove(f"{store.root}/blobs/sha256/{fault.name.removeprefix('sha256:')}")
    if fault.name.startswith("sha256:"):
        if _compressed_again(workspace, Digest(fault.name)):
            return "made again from the same layer in another compression"
        with workspace.database.mutex:
            workspace.database.connection.execute("delete from blobs where digest = ?", (fault.name,))
    return "removed"


def _compressed_again(workspace: Workspace, digest: Digest) -> bool:
    with workspace.database.mutex:
        rows = workspace.database.connection.execute(
            "select diff_id, compression from blobs where digest = ?", (digest,)
        ).fetchall()
    for diff_id, compression in rows:
        for other in workspace.database.blobs(Digest(diff_id)):
            if other.digest != digest and workspace.store.has(other) and _recompress(workspace, other, compression, digest):
                return True
    return False


def _recompress(workspace: Workspace, source: Descriptor, compression: str, digest: Digest) -> bool:
    """Make a blob of another one's content; False when it does not come out as the same bytes."""
    store, mark = workspace.store, hashlib.sha256()
    try:
        compressor = Compression.parse(compression).compressor()
        with store.open_blob(source) as file, store.writer() as writer:

            def put(content: bytes) -> None:
                mark.update(content)
                writer.write(content)

            stream = decompressed(file, media.LAYERS[source.media_type])
            rest = b""
            while content := stream.read(BLOCK):
                rest += content
                while len(rest) >= BLOCK:
                    block, rest = rest[:BLOCK], rest[BLOCK:]
                    put(compressor.compress(memoryview(block)))
            put(compressor.compress(memoryview(rest)) + compressor.flush())
            if Digest.from_hex(mark.hexdigest()) != digest:
                return False
            writer.commit(digest)
            return True
    except (RegistryError, BuildError):
        return False


def _index(workspace: Workspace, _: Fault) -> str:
    """A new index.json of all manifests among the blobs; what they were called is known from the one before, if it is there."""
    store = workspace.store
    found = []
    for digest in store.blobs():
        if os.path.getsize(store.path(digest)) > _LARGEST_DOCUMENT:
            continue
        with open(store.path(digest), "rb") as file:
            content = file.read()
        try:
            manifest = Manifest.parse(content, "", str(digest))
            image = store.image(manifest.descriptor)
        except RegistryError:
            continue
        found.append(replace(manifest.descriptor, platform=image.config.platform))
    before = earlier.newest(store.root)
    here = {item.digest: item for item in found}
    named = tuple(item for item in before.manifests if item.annotations and item.digest in here) if before else ()
    taken = {item.digest for item in named}
    store.put_index(Index.build((*named, *(item for item in found if item.digest not in taken))))
    lost = f"{len(named)} names are those of before the last change, later ones are lost" if named else "their names are lost"
    return f"made anew of the {len(found)} images whose manifests are here; {lost}: 'pybuild tag ID NAME'"


def _image(workspace: Workspace, fault: Fault) -> str:
    _forget(workspace, Digest(fault.name))
    return "removed; build or pull it again"


def _forget(workspace: Workspace, digest: Digest) -> None:
    workspace.store.forget(digest)
    pushed.drop(workspace.store, digest)


def _forget_broken(workspace: Workspace) -> tuple[str, ...]:
    """Forget what lacks a blob by now."""
    store, said = workspace.store, []
    for item in {item.digest: item for item in (*store.index().manifests, *pushed.manifests(store))}.values():
        if _is_whole(workspace, item):
            continue
        names = tuple(name.familiar for name in store.names(item.digest))
        _forget(workspace, item.digest)
        said.append(f"image {', '.join(names) or item.digest.short}: removed; build or pull it again")
    return tuple(said)


def _is_whole(workspace: Workspace, item: Descriptor) -> bool:
    store = workspace.store
    try:
        parts = _parts(store, item)
    except RegistryError:
        return False
    return all(store.has(part) or part.media_type in media.FOREIGN_LAYERS for part in parts)


def _parts(store: Store, item: Descriptor) -> tuple[Descriptor, ...]:
    try:
        return store.image(item).manifest.blobs
    except UnsupportedMediaType:
        # An artifact.
        document = Parts.parse(store.read(item), item.media_type, str(item.digest))
        return (*document.blobs, *document.manifests)


_ACTIONS = {DATABASE: _database, TREE: _tree, FILE_INDEX: _file_index, BLOB: _blob, INDEX: _index, IMAGE: _image}
