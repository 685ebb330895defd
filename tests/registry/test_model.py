from __future__ import annotations

import json

import pytest

from pybuild.registry import Descriptor, Digest, Index, Manifest, Platform, media
from pybuild.registry.document import Fields
from pybuild.registry.errors import InvalidDocument, PlatformNotFound, UnsupportedMediaType
from pybuild.registry.model import is_index

CONFIG = {"mediaType": media.OCI_CONFIG, "digest": str(Digest.of(b"c")), "size": 1}
LAYER = {"mediaType": media.OCI_LAYER + "+gzip", "digest": str(Digest.of(b"l")), "size": 1}


def manifest(**changes):
    document = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]} | changes
    return json.dumps({name: value for name, value in document.items() if value is not None}, indent=3).encode()


def test_a_manifest_keeps_its_bytes():
    content = manifest(annotations={"x": "y"}, unknown=[1])
    parsed = Manifest.parse(content, media.OCI_MANIFEST, "here")
    assert parsed.raw == content
    assert parsed.descriptor == Descriptor(media.OCI_MANIFEST, Digest.of(content), len(content))
    assert [blob.digest for blob in parsed.blobs] == [CONFIG["digest"], LAYER["digest"]]


def test_what_was_built_is_parsed_back():
    built = Manifest.build(Descriptor.read(Fields(CONFIG, "")), (Descriptor.read(Fields(LAYER, "")),))
    assert Manifest.parse(built.raw, media.OCI_MANIFEST, "") == built
    index = Index.build((Descriptor(media.OCI_MANIFEST, Digest.of(b"m"), 1, (("a", "b"),), Platform("linux", "arm", "v7")),))
    assert Index.parse(index.raw, media.OCI_INDEX, "") == index


@pytest.mark.parametrize(
    ("changes", "given", "kind"),
    [
        ({}, "application/octet-stream", media.OCI_MANIFEST),
        ({"mediaType": media.DOCKER_MANIFEST}, "", media.DOCKER_MANIFEST),
        ({"mediaType": None}, media.DOCKER_MANIFEST, media.DOCKER_MANIFEST),
        ({"mediaType": None}, "text/plain", media.OCI_MANIFEST),
    ],
)
def test_the_kind_is_the_document_s_own_word_then_what_it_came_with_then_its_shape(changes, given, kind):
    assert Manifest.parse(manifest(**changes), given, "").media_type == kind


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"mediaType": "application/x"}, UnsupportedMediaType),
        ({"schemaVersion": 1, "mediaType": None}, UnsupportedMediaType),
        ({"config": None}, InvalidDocument),
        ({"config": CONFIG | {"mediaType": "application/vnd.cncf.helm.config.v1+json"}}, UnsupportedMediaType),
        ({"layers": [LAYER | {"mediaType": "text/x"}]}, UnsupportedMediaType),
        ({"layers": [LAYER | {"digest": "sha512:" + "0" * 128}]}, InvalidDocument),
        ({"layers": [LAYER | {"size": -1}]}, InvalidDocument),
        ({"layers": [LAYER | {"size": "1"}]}, InvalidDocument),
        ({"layers": [LAYER | {"size": True}]}, InvalidDocument),
        ({"layers": "x"}, InvalidDocument),
        ({"manifests": [CONFIG]}, InvalidDocument),
    ],
)
def test_what_breaks_the_specification(changes, error):
    with pytest.raises(error) as failed:
        Manifest.parse(manifest(**changes), media.OCI_MANIFEST, "here")
    assert str(failed.value).startswith("here")
    assert failed.value.exit_code == 1


def test_an_index_is_known_by_its_word_or_its_shape():
    index = Index.build((Descriptor(media.OCI_MANIFEST, Digest.of(b"m"), 1),))
    assert is_index(index.raw, media.OCI_MANIFEST, "")
    assert is_index(json.dumps({"schemaVersion": 2, "manifests": [LAYER]}).encode(), "", "")
    assert not is_index(manifest(), media.OCI_INDEX, "")


def entry(text):
    return Descriptor(media.OCI_MANIFEST, Digest.of(text.encode()), 1, (), Platform(*text.split("/")))


@pytest.mark.parametrize(
    ("offers", "wanted", "chosen"),
    [
        (["linux/amd64", "linux/arm64/v8"], "linux/arm64", "linux/arm64/v8"),
        (["linux/arm64"], "linux/arm64/v8", "linux/arm64"),
        (["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7", "linux/arm/v7"),
        (["linux/arm/v6", "linux/arm/v7"], "linux/arm", "linux/arm/v6"),
        (["windows/amd64", "linux/amd64"], "linux/amd64", "linux/amd64"),
        (["unknown/unknown", "linux/amd64"], "linux/amd64", "linux/amd64"),
    ],
)
def test_the_platform_s_manifest(offers, wanted, chosen):
    index = Index.build(tuple(entry(text) for text in offers))
    assert index.select(Platform(*wanted.split("/")), "").digest == Digest.of(chosen.encode())


def test_no_manifest_for_the_platform():
    index = Index.build((entry("linux/s390x"), entry("linux/arm/v7"), entry("unknown/unknown")))
    with pytest.raises(PlatformNotFound, match="x: no image for linux/amd64") as failed:
        index.select(Platform("linux", "amd64"), "x")
    assert failed.value.hint == "it has linux/arm/v7, linux/s390x"


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b'"x"', b"[" * 100_000, b"\xff"])
def test_what_is_no_json_object(content):
    with pytest.raises(InvalidDocument):
        Manifest.parse(content, media.OCI_MANIFEST, "here")
