"""Archives: what save writes is read by us and by docker, podman and skopeo; what others write is read by load."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from pybuild.registry import Digest, Index, Platform, Reference, Store, media
from pybuild.registry.archives import load, save
from pybuild.registry.errors import BlobNotFound, DigestMismatch, InvalidDocument, PlatformNotFound


@pytest.fixture
def image(store, make_image):
    return make_image(store, {"etc/a": b"one"}, {"etc/b": b"two"}, config={"created": "2020-01-02T03:04:05Z"})


NAMES = (Reference.parse("app:v1"), Reference.parse("example.com/app:latest"))


def saved(store, *images, docker=True):
    out = io.BytesIO()
    save(store, images, out, docker=docker)
    return out.getvalue()


def tar(*members):
    """A tar of (name, content) and (name, kind, target)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, *rest in members:
            entry = tarfile.TarInfo(name)
            if len(rest) == 2:
                entry.type, entry.linkname = rest
                archive.addfile(entry)
            else:
                entry.size = len(rest[0])
                archive.addfile(entry, io.BytesIO(rest[0]))
    return out.getvalue()


def members(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}


def without(content, *names, **replaced):
    found = {name: data for name, data in members(content).items() if name not in names}
    return tar(*(found | replaced).items())


@pytest.mark.parametrize("docker", [True, False])
def test_what_was_saved_is_loaded(docker, store, other_store, image):
    content = saved(store, (image, NAMES), docker=docker)
    ((loaded, names),) = load(other_store, io.BytesIO(content))
    assert names == NAMES
    assert loaded.manifest == image.manifest
    assert other_store.find("app:v1").manifest == other_store.find("example.com/app").manifest == image.manifest
    for blob in image.manifest.blobs:
        assert other_store.read(blob) == store.read(blob)
    assert os.listdir(f"{other_store.root}/tmp") == []


def test_equal_images_give_equal_bytes(store, other_store, image, make_image):
    again = make_image(other_store, {"etc/a": b"one"}, {"etc/b": b"two"}, config={"created": "2020-01-02T03:04:05Z"})
    assert saved(store, (image, NAMES)) == saved(other_store, (again, NAMES))


def test_several_images_share_their_layers(store, other_store, make_image):
    first, second = make_image(store, {"a": b"1"}, {"b": b"2"}), make_image(store, {"a": b"1"}, {"c": b"3"})
    content = saved(store, (first, NAMES[:1]), (second, ()))
    assert sum(name.startswith("blobs/sha256/") for name in members(content)) == 3 + 2 * 2
    loaded = load(other_store, io.BytesIO(content))
    assert [(image.id, names) for image, names in loaded] == [(first.id, NAMES[:1]), (second.id, ())]
    assert {image.id for image in other_store.images()} == {first.id, second.id}


def test_writing_needs_no_seeking(store, image):
    class Pipe:
        def __init__(self):
            self.content = b""

        def write(self, content):
            self.content += content

    pipe = Pipe()
    save(store, [(image, NAMES)], pipe, docker=True)
    assert pipe.content == saved(store, (image, NAMES))


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress], ids=["gzip", "xz"])
def test_a_compressed_archive_from_a_pipe(compress, store, other_store, image):
    class Pipe:
        def __init__(self, content):
            self.stream = io.BytesIO(content)

        def read(self, size):
            return self.stream.read(size)

    assert load(other_store, Pipe(compress(saved(store, (image, NAMES)))))[0][0].id == image.id


def test_saving_what_is_missing_writes_nothing(store, image):
    store.delete(image.manifest.layers[0].digest)
    out = io.BytesIO()
    with pytest.raises(BlobNotFound):
        save(store, [(image, NAMES)], out, docker=True)
    assert out.getvalue() == b""


@pytest.mark.damaged
def test_saving_what_is_damaged_fails(store, image):
    with open(store.path(image.manifest.layers[0].digest), "r+b") as file:
        file.write(b"?")
    with pytest.raises(DigestMismatch):
        saved(store, (image, NAMES))


def test_docker_s_old_archive(other_store):
    """One folder a layer, a layer.tar in each, and a link where two are the same."""
    layer = tar(("a", b"1"))
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer))] * 2}}
    ).encode()
    name = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{name}.json", "RepoTags": ["old:1"], "Layers": ["one/layer.tar", "two/layer.tar"]}]
    content = tar(
        ("one/VERSION", b"1.0"), ("one/layer.tar", layer), ("two/layer.tar", tarfile.SYMTYPE, "../one/layer.tar"),
        (f"{name}.json", config), ("manifest.json", json.dumps(manifest).encode()), ("repositories", b"{}"),
    )  # fmt: skip
    ((image, names),) = load(other_store, io.BytesIO(content))
    assert image.id == f"sha256:{name}"
    assert names == (Reference.parse("old:1"),)
    assert [blob.media_type for blob in image.manifest.layers] == [media.OCI_LAYER] * 2
    assert other_store.read(image.manifest.layers[0]) == layer


def test_docker_s_archive_with_a_compressed_layer(other_store):
    layer = tar(("a", b"1"))
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer))]}}
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": None, "Layers": ["l.tar.gz"]}]
    content = tar(("l.tar.gz", gzip.compress(layer)), ("config.json", config), ("manifest.json", json.dumps(manifest).encode()))
    ((image, names),) = load(other_store, io.BytesIO(content))
    assert (names, image.manifest.layers[0].media_type) == ((), media.OCI_LAYER + "+gzip")


def test_of_an_index_the_platform_s_image_is_loaded(store, other_store, make_image):
    images = [make_image(store, {"a": name.encode()}, platform=Platform("linux", name)) for name in ("s390x", "riscv64")]
    items = tuple(
        type(i.descriptor)(media.OCI_MANIFEST, i.descriptor.digest, i.descriptor.size, (), i.config.platform) for i in images
    )
    inner = Index.build(items)
    outer = Index.build((store.add(inner.raw, media.OCI_INDEX),))
    blobs = {f"blobs/sha256/{digest.hex}": Path(store.path(digest)).read_bytes() for digest in store.blobs()}
    content = tar(("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", outer.raw), *blobs.items())
    ((loaded, _),) = load(other_store, io.BytesIO(content), platform=Platform("linux", "riscv64"))
    assert loaded.id == images[1].id
    with pytest.raises(PlatformNotFound):
        load(other_store, io.BytesIO(content), platform=Platform("linux", "arm64"))


@pytest.mark.parametrize(
    "hostile",
    [
        ("../x", b""), ("a/../../x", b""), ("/etc/x", b""), ("..", b""),
        ("l", tarfile.SYMTYPE, "../../etc/passwd"), ("l", tarfile.SYMTYPE, "/etc/passwd"), ("d/l", tarfile.LNKTYPE, "../x"),
    ],
)  # fmt: skip
def test_names_that_lead_out_are_refused(hostile, other_store, tmp_path):
    with pytest.raises(InvalidDocument, match="leads out of it"):
        load(other_store, io.BytesIO(tar(hostile)))
    assert os.listdir(f"{other_store.root}/tmp") == []


def test_links_in_a_circle(store, other_store, image):
    content = without(saved(store, (image, NAMES)), "index.json", "manifest.json")
    content = tar(("index.json", tarfile.SYMTYPE, "b"), ("b", tarfile.SYMTYPE, "index.json"), ("manifest.json", b"[{}]"))
    with pytest.raises(InvalidDocument):
        load(other_store, io.BytesIO(content))


def test_a_device_and_a_name_twice(other_store):
    with pytest.raises(InvalidDocument, match="no file"):
        load(other_store, io.BytesIO(tar(("dev", tarfile.CHRTYPE, ""))))
    with pytest.raises(InvalidDocument, match="two entries"):
        load(other_store, io.BytesIO(tar(("a", b"1"), ("./a", b"2"))))


def test_a_damaged_blob_is_refused(store, other_store, image):
    name = f"blobs/sha256/{image.manifest.layers[0].digest.hex}"
    content = saved(store, (image, NAMES))
    changed = bytes([members(content)[name][0] ^ 1]) + members(content)[name][1:]
    with pytest.raises(DigestMismatch, match=name):
        load(other_store, io.BytesIO(without(content, **{name: changed})))
    with pytest.raises(InvalidDocument, match="lacks"):
        load(other_store, io.BytesIO(without(content, name)))
    assert (other_store.index().manifests, os.listdir(f"{other_store.root}/tmp")) == ((), [])


def test_a_damaged_layer_of_docker_s_archive_is_refused(other_store):
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [str(Digest.of(b"x"))]}}).encode()
    manifest = json.dumps([{"Config": "c.json", "RepoTags": [], "Layers": ["l.tar"]}]).encode()
    with pytest.raises(DigestMismatch):
        load(other_store, io.BytesIO(tar(("l.tar", b"y"), ("c.json", config), ("manifest.json", manifest))))
    named = json.dumps([{"Config": f"{'0' * 64}.json", "RepoTags": [], "Layers": ["l.tar"]}]).encode()
    with pytest.raises(DigestMismatch):
        load(other_store, io.BytesIO(tar(("l.tar", b"x"), (f"{'0' * 64}.json", config), ("manifest.json", named))))


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b broken", b"\x28\xb5\x2f\xfd zstd", bytes(10240)])
def test_what_is_no_archive(content, other_store):
    with pytest.raises(InvalidDocument) as failed:
        load(other_store, io.BytesIO(content))
    assert failed.value.hint


@pytest.mark.parametrize("part", [3, 10, 50, 60])
def test_an_archive_cut_short(part, store, other_store, image):
    content = saved(store, (image, NAMES))
    for packed in (content, gzip.compress(content)):
        with pytest.raises(InvalidDocument):
            load(other_store, io.BytesIO(packed[: len(packed) * part // 100]))
    assert (other_store.index().manifests, os.listdir(f"{other_store.root}/tmp")) == ((), [])


def test_a_file_system_is_no_image(other_store):
    with pytest.raises(InvalidDocument, match="no image"):
        load(other_store, io.BytesIO(tar(("etc/passwd", b""))))


# Peers


def _run(*command, **options):
    done = subprocess.run(command, capture_output=True, check=False, **options)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.peers("skopeo")
@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_skopeo_reads_and_writes_archives(kind, store, other_store, image, tmp_path):
    (tmp_path / "saved.tar").write_bytes(saved(store, (image, NAMES[:1])))
    _run("skopeo", "copy", f"{kind}:{tmp_path}/saved.tar", f"{kind}:{tmp_path}/copied.tar:other:2")
    with open(tmp_path / "copied.tar", "rb") as stream:
        ((loaded, names),) = load(other_store, stream)
    assert loaded.config.diff_ids == image.config.diff_ids
    assert names == ((Reference.parse("other:2"),))


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.peers("podman")
def test_podman_takes_both_kinds(store, make_image, tmp_path, request):
    image = make_image(store, {"a": b"1"})
    # podman wants a short path.
    run = tempfile.mkdtemp()
    request.addfinalizer(lambda: shutil.rmtree(run))
    podman = ("podman", "--root", str(tmp_path / "root"), "--runroot", run, "--storage-driver", "vfs")
    for docker in (True, False):
        path = tmp_path / f"{docker}.tar"
        path.write_bytes(saved(store, (image, [Reference.parse(f"example.com/app:{docker}".lower())]), docker=docker))
        _run(*podman, "load", "-i", str(path))
        told = json.loads(_run(*podman, "image", "inspect", f"example.com/app:{docker}".lower()))
        assert f"sha256:{told[0]['Id']}" == image.id
    _run(*podman, "save", "-o", str(tmp_path / "podman.tar"), "example.com/app:true")
    with open(tmp_path / "podman.tar", "rb") as stream:
        ((loaded, names),) = load(Store.open(tmp_path / "back"), stream)
    assert (loaded.id, names) == (image.id, (Reference.parse("example.com/app:true"),))
    _run(*podman, "rmi", "-a", "-f")
