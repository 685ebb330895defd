"""Manifests and indexes: which blobs make an image.

What was pulled keeps its raw bytes, since its digest is of those. Source: image-spec, descriptor.md, manifest.md,
image-index.md; distribution, manifest v2 schema 2.
"""

from __future__ import annotations

from pybuild.registry import media
from pybuild.registry.digest import Digest
from pybuild.registry.document import Fields, dump, load
from pybuild.registry.errors import InvalidDocument, PlatformNotFound, UnsupportedMediaType
from pybuild.registry.platform import Platform
from pybuild.values import frozen

REF_NAME = "org.opencontainers.image.ref.name"


@frozen
class Descriptor:
    """A pointer to a blob: what it is, its digest, its size in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: tuple[tuple[str, str], ...] = ()
    platform: Platform | None = None
    artifact_type: str | None = None

    @classmethod
    def of(cls, content: bytes, media_type: str) -> Descriptor:
        """The descriptor of these bytes."""
        return cls(media_type, Digest.of(content), len(content))

    @classmethod
    def read(cls, fields: Fields) -> Descriptor:
        """A descriptor inside another document."""
        platform = fields.get("platform", dict, {})
        return cls(
            fields.text("mediaType") or "",
            fields.digest("digest"),
            fields.size("size"),
            fields.pairs("annotations"),
            _read_platform(Fields(platform, "platform")) if platform else None,
            fields.text("artifactType"),
        )

    def annotation(self, name: str) -> str | None:
        """The value of one annotation."""
        return dict(self.annotations).get(name)

    def document(self) -> dict[str, object]:
        """The descriptor as JSON spells it."""
        document: dict[str, object] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.platform:
            document["platform"] = platform_document(self.platform)
        return document


@frozen
class Manifest:
    """One image for one platform: a config and its layers, lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    raw: bytes

    @classmethod
    def build(cls, config: Descriptor, layers: tuple[Descriptor, ...]) -> Manifest:
        """A new OCI manifest."""
        document = {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "config": config.document(),
            "layers": [layer.document() for layer in layers],
        }
        return cls(media.OCI_MANIFEST, config, layers, dump(document))

    @classmethod
    def parse(cls, content: bytes, media_type: str, where: str) -> Manifest:
        """Read a manifest of either kind. Raises UnsupportedMediaType for anything else."""
        fields = Fields(load(content, where), where)
        kind = kind_of(fields, media_type, where)
        if kind not in media.MANIFESTS:
            raise UnsupportedMediaType(kind, where=where, hint=hint_for(kind))
        config = Descriptor.read(Fields(fields.need("config", dict), f"{where}: config"))
        if config.media_type not in media.CONFIGS:
            raise UnsupportedMediaType(
                config.media_type, where=f"{where}: config", hint="this is an artifact, not a container image"
            )
        layers = tuple(Descriptor.read(layer) for layer in fields.objects("layers"))
        for layer in layers:
            if layer.media_type not in media.LAYERS and layer.media_type not in media.FOREIGN_LAYERS:
                raise UnsupportedMediaType(layer.media_type, where=f"{where}: layer {layer.digest}")
        return cls(kind, config, layers, content)

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor of the manifest itself."""
        return Descriptor.of(self.raw, self.media_type)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers."""
        return (self.config, *self.layers)


@frozen
class Index:
    """Several manifests: one image for many platforms, or the tags of a layout."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    raw: bytes

    @classmethod
    def build(cls, manifests: tuple[Descriptor, ...], annotations: tuple[tuple[str, str], ...] = ()) -> Index:
        """A new OCI index."""
        document: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": media.OCI_INDEX,
            "manifests": [manifest.document() for manifest in manifests],
        }
        if annotations:
            document["annotations"] = dict(annotations)
        return cls(media.OCI_INDEX, manifests, dump(document))

    @classmethod
    def parse(cls, content: bytes, media_type: str, where: str) -> Index:
        """Read an index of either kind. Raises UnsupportedMediaType for anything else."""
        fields = Fields(load(content, where), where)
        kind = kind_of(fields, media_type, where)
        if kind not in media.INDEXES:
            raise UnsupportedMediaType(kind, where=where, hint=hint_for(kind))
        return cls(kind, tuple(Descriptor.read(item) for item in fields.objects("manifests")), content)

    def select(self, platform: Platform, where: str) -> Descriptor:
        """The first manifest that suits `platform`. Raises PlatformNotFound, listing what there is."""
        here = [item for item in self.manifests if item.platform]
        suiting = [item for item in here if item.platform and item.platform.suits(platform)]
        exact = [item for item in suiting if item.platform and item.platform.variant == platform.variant]
        for item in (*exact, *suiting):
            return item
        if not here and len(self.manifests) == 1:
            return self.manifests[0]
        offers = sorted({str(item.platform) for item in here if item.platform and item.platform.os != "unknown"})
        raise PlatformNotFound(f"{where}: no image for {platform}", hint=f"it has {', '.join(offers) or 'none at all'}")


def is_index(content: bytes, media_type: str, where: str) -> bool:
    """Whether a fetched document is an index, by its own word first, then by the one it came with."""
    return kind_of(Fields(load(content, where), where), media_type, where) in media.INDEXES


def platform_document(platform: Platform) -> dict[str, object]:
    """The platform as an index and a config spell it."""
    document: dict[str, object] = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        document["os.version"] = platform.os_version
    if platform.variant:
        document["variant"] = platform.variant
    return document


def _read_platform(fields: Fields) -> Platform:
    return Platform(
        fields.get("os", str, ""),
        fields.get("architecture", str, ""),
        fields.text("variant"),
        fields.text("os.version"),
    )


def kind_of(fields: Fields, media_type: str, where: str) -> str:
    """The document's own mediaType; an OCI document may leave it out, and its shape tells."""
    own = fields.text("mediaType")
    is_manifest = bool(fields.get("layers", list, [])) or bool(fields.get("config", dict, {}))
    if fields.get("manifests", list, []) and is_manifest:
        raise InvalidDocument(f"{where}: an index and a manifest in one", hint="do not trust where it came from")
    if own:
        return own
    version = fields.get("schemaVersion", int, 0)
    if version != 2:
        return "application/vnd.docker.distribution.manifest.v1+json" if version == 1 else media_type
    if media_type in media.MANIFESTS or media_type in media.INDEXES:
        return media_type
    if fields.get("manifests", list, []):
        return media.OCI_INDEX
    if fields.get("config", dict, {}):
        return media.OCI_MANIFEST
    raise UnsupportedMediaType(media_type, where=where)


def hint_for(kind: str) -> str | None:
    """What to do about a document of a kind that is not read."""
    if "manifest.v1" in kind:
        return "schema 1 was withdrawn in 2019: push the image again with a newer tool"
    return None
