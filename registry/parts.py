"""What a manifest or an index is made of, whatever it is about: images, several platforms, signatures and other artifacts.

For copying as it is, to the byte. `model.py` knows the images that are built and run. Source: image-spec, manifest.md,
image-index.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from pybuild.registry import media
from pybuild.registry.digest import Digest
from pybuild.registry.document import Fields, load
from pybuild.registry.errors import InvalidDocument, RegistryError, UnsupportedMediaType
from pybuild.registry.model import Descriptor, hint_for, kind_of
from pybuild.registry.store import Store
from pybuild.values import frozen, replace

# Deeper, or wider, is nothing that anybody makes on purpose.
_DEEPEST = 4
_MOST = 1000


@frozen
class Parts:
    """One document: an index has `manifests`, a manifest a config and layers. `subject` is what it is about."""

    media_type: str
    raw: bytes
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, content: bytes, media_type: str, where: str) -> Parts:
        """Read a document. Raises InvalidDocument, and UnsupportedMediaType for schema 1 and what is no manifest at all."""
        fields = Fields(load(content, where), where)
        kind = kind_of(fields, media_type, where)
        if kind not in (*media.MANIFESTS, *media.INDEXES):
            raise UnsupportedMediaType(kind, where=where, hint=hint_for(kind))
        config = fields.get("config", dict, {})
        subject = fields.get("subject", dict, {})
        parts = cls(
            kind,
            content,
            Descriptor.read(Fields(config, f"{where}: config")) if config else None,
            tuple(Descriptor.read(item) for item in fields.objects("layers")),
            tuple(Descriptor.read(item) for item in fields.objects("manifests")),
            Descriptor.read(Fields(subject, f"{where}: subject")) if subject else None,
            fields.text("artifactType"),
            fields.pairs("annotations"),
        )
        if kind in media.MANIFESTS and parts.config is None:
            raise InvalidDocument(f"{where}: config is missing")
        if max(len(parts.layers), len(parts.manifests)) > _MOST:
            raise InvalidDocument(
                f"{where}: {max(len(parts.layers), len(parts.manifests))} parts", hint=f"at most {_MOST} are taken"
            )
        return parts

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor of the document itself."""
        return Descriptor.of(self.raw, self.media_type)

    @property
    def is_index(self) -> bool:
        """Whether it leads to other documents."""
        return self.media_type in media.INDEXES

    @property
    def referrer(self) -> Descriptor:
        """How an index of referrers lists it. Source: distribution-spec, "Listing Referrers"."""
        kind = self.artifact_type or (self.config.media_type if self.config else None)
        return replace(self.descriptor, artifact_type=kind, annotations=self.annotations)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers: what comes before the document itself."""
        return (*((self.config,) if self.config else ()), *self.layers)


def is_document(item: Descriptor) -> bool:
    """Whether a descriptor says that it is of a manifest or an index."""
    return item.media_type in media.MANIFESTS or item.media_type in media.INDEXES


def walk(root: Parts, read: Callable[[Descriptor], Parts], *, depth: int = 0) -> Iterator[Parts]:
    """A document and all below it, those that it leads to before itself, each once. Raises what `read` does, InvalidDocument."""
    if depth > _DEEPEST:
        raise InvalidDocument(f"{root.descriptor.digest}: indexes within indexes within indexes")
    for item in dict.fromkeys(root.manifests):
        yield from walk(read(item), read, depth=depth + 1)
    yield root


def reachable(store: Store, item: Descriptor) -> tuple[Descriptor, ...]:
    """An entry of the store and all that it leads to: documents and blobs, as far as the store has what tells of them."""
    found: dict[Digest, Descriptor] = {}
    pending = [(item, 0)]
    while pending:
        descriptor, depth = pending.pop()
        if descriptor.digest in found or depth > _DEEPEST or not store.has(descriptor):
            continue
        found[descriptor.digest] = descriptor
        with contextlib.suppress(RegistryError):
            document = Parts.parse(store.read(descriptor), descriptor.media_type, str(descriptor.digest))
            pending += [(inner, depth + 1) for inner in document.manifests]
            found |= {blob.digest: blob for blob in document.blobs}
    return tuple(found.values())
