"""Layout folders: read what skopeo and umoci wrote, write what they read."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from pybuild.registry import Index, Platform, Reference, media
from pybuild.registry.errors import BlobNotFound, DigestMismatch, ImageNotFound, InvalidDocument, PlatformNotFound, StoreError
from pybuild.registry.layout import read_layout, write_layout


@pytest.fixture
def image(store, make_image):
    return make_image(store, {"etc/a": b"one"}, {"etc/b": b"two"})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "layout"


V1, V2 = Reference.parse("example.com/app:v1"), Reference.parse("example.com/app:v2")


def test_what_was_written_is_read(store, other_store, image, folder):
    write_layout(store, image, (V1,), folder)
    for name in (None, "v1", "example.com/app:v1", str(image.descriptor.digest)):
        found = read_layout(other_store, folder, name)
        assert (found.manifest, found.config) == (image.manifest, image.config)
    for blob in image.manifest.blobs:
        assert other_store.read(blob) == store.read(blob)
    assert other_store.index().manifests == (), "it was not asked for a name"


def test_a_second_image_stays_beside_the_first(store, other_store, image, folder, make_image):
    second = make_image(store, {"c": b"3"})
    write_layout(store, image, (V1,), folder)
    write_layout(store, second, (V2,), folder)
    assert read_layout(other_store, folder, "v1").id == image.id
    assert read_layout(other_store, folder, "v2").id == second.id
    with pytest.raises(ImageNotFound) as failed:
        read_layout(other_store, folder, "v3")
    assert failed.value.hint == "it has v1, v2"
    with pytest.raises(ImageNotFound, match="its only image"):
        read_layout(other_store, folder)


def test_a_name_moves_to_the_image_written_last(store, other_store, image, folder, make_image):
    second = make_image(store, {"c": b"3"})
    write_layout(store, image, (V1,), folder)
    write_layout(store, second, (V1,), folder)
    assert read_layout(other_store, folder, "v1").id == second.id
    assert len(json.loads((folder / "index.json").read_bytes())["manifests"]) == 1


def test_writing_again_changes_nothing(store, image, folder):
    def state():
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    write_layout(store, image, (V1, V2), folder)
    before = state()
    write_layout(store, image, (V1, V2), folder)
    assert state() == before


def test_files_of_the_layout_are_not_the_store_s(store, image, folder):
    write_layout(store, image, (V1,), folder)
    blob = image.manifest.layers[0]
    with open(folder / "blobs" / "sha256" / blob.digest.hex, "wb") as file:
        file.write(b"?")
    assert store.read(blob)


def test_a_folder_with_something_else_is_left_alone(store, image, folder):
    folder.mkdir()
    (folder / "precious").write_text("data")
    with pytest.raises(StoreError, match="not empty"):
        write_layout(store, image, (V1,), folder)
    assert os.listdir(folder) == ["precious"]


def test_a_damaged_layout_is_not_taken(store, other_store, image, folder):
    write_layout(store, image, (V1,), folder)
    path = folder / "blobs" / "sha256" / image.manifest.layers[0].digest.hex
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(DigestMismatch, match=path.name):
        read_layout(other_store, folder)
    path.unlink()
    with pytest.raises(BlobNotFound, match=path.name) as failed:
        read_layout(other_store, folder)
    assert "not complete" in failed.value.hint
    assert not other_store.has(image.manifest.layers[0]) and os.listdir(f"{other_store.root}/tmp") == []
    config = folder / "blobs" / "sha256" / image.manifest.config.digest.hex
    config.write_bytes(config.read_bytes().replace(b"linux", b"plan9"))
    with pytest.raises(DigestMismatch):
        read_layout(other_store, folder)


def test_what_is_no_layout(other_store, folder):
    with pytest.raises(InvalidDocument, match="no OCI layout"):
        read_layout(other_store, folder)
    folder.mkdir()
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    with pytest.raises(InvalidDocument, match="unknown version"):
        read_layout(other_store, folder)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    with pytest.raises(InvalidDocument, match=r"no index\.json"):
        read_layout(other_store, folder)
    (folder / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    with pytest.raises(ImageNotFound) as failed:
        read_layout(other_store, folder)
    assert failed.value.hint == "it has none at all"


def test_an_index_in_the_layout_is_resolved_to_the_platform(store, other_store, make_image, folder):
    images = [make_image(store, {"a": name.encode()}, platform=Platform("linux", name)) for name in ("s390x", "riscv64")]
    for image in images:
        write_layout(store, image, (), folder)
    inner = Index.build(Index.parse((folder / "index.json").read_bytes(), media.OCI_INDEX, "").manifests)
    blob = store.add(inner.raw, media.OCI_INDEX)
    (folder / "blobs" / "sha256" / blob.digest.hex).write_bytes(inner.raw)
    (folder / "index.json").write_bytes(Index.build((blob,)).raw)
    assert read_layout(other_store, folder, platform=Platform("linux", "riscv64")).id == images[1].id
    with pytest.raises(PlatformNotFound):
        read_layout(other_store, folder, platform=Platform("linux", "arm64"))


def run(*command):
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.peers("skopeo", "umoci")
def test_skopeo_and_umoci_read_what_was_written(store, image, folder, tmp_path):
    write_layout(store, image, (V1,), folder)
    assert json.loads(run("skopeo", "inspect", f"oci:{folder}:v1"))["Digest"] == image.descriptor.digest
    run("umoci", "unpack", "--rootless", "--image", f"{folder}:v1", str(tmp_path / "bundle"))
    assert (tmp_path / "bundle" / "rootfs" / "etc" / "b").read_bytes() == b"two"


@pytest.mark.peers("skopeo")
def test_skopeo_reads_the_store_as_it_lies(store, image):
    store.tag(image.descriptor, V1)
    assert json.loads(run("skopeo", "inspect", f"oci:{store.root}:{V1}"))["Digest"] == image.descriptor.digest


@pytest.mark.peers("umoci")
def test_what_umoci_wrote_is_read(other_store, folder, tmp_path):
    run("umoci", "init", "--layout", str(folder))
    run("umoci", "new", "--image", f"{folder}:base")
    (tmp_path / "file").write_text("hello")
    run("umoci", "insert", "--rootless", "--image", f"{folder}:base", str(tmp_path / "file"), "/file")
    image = read_layout(other_store, folder, "base")
    assert len(image.manifest.layers) == len(image.config.diff_ids) == 1
