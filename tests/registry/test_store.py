from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from pybuild.registry import Descriptor, Digest, Manifest, Platform, Reference, Store, media
from pybuild.registry.errors import (
    AmbiguousName,
    BlobNotFound,
    DigestMismatch,
    ImageNotFound,
    InvalidDocument,
    InvalidReference,
    StoreError,
)

V1, V2 = Reference.parse("app:v1"), Reference.parse("app:v2")


def test_a_blob_is_kept_once(store):
    first, second = store.add(b"content", "text/x"), store.add(b"content", "text/x")
    assert first == second == Descriptor("text/x", Digest.of(b"content"), 7)
    assert store.read(first) == b"content"
    assert store.blobs() == (first.digest,)
    assert os.stat(store.path(first.digest)).st_mode & 0o777 == 0o644, "others may read it, and nobody else may write it"


def test_a_blob_that_is_not_there(store):
    blob = Descriptor.of(b"x", "")
    assert not store.has(blob)
    with pytest.raises(BlobNotFound, match=blob.digest):
        store.read(blob)
    assert store.delete(blob.digest) == 0


def test_a_blob_of_another_size_is_not_there(store):
    blob = store.add(b"content", "")
    os.truncate(store.path(blob.digest), 3)
    assert not store.has(blob)
    assert store.add(b"content", "") == blob
    assert store.read(blob) == b"content"


@pytest.mark.damaged
@pytest.mark.parametrize("content", [b"CONTENT", b"conten", b"content!", b""])
def test_damage_is_noticed_when_it_is_read(content, store):
    blob = store.add(b"content", "")
    with open(store.path(blob.digest), "wb") as file:
        file.write(content)
    with pytest.raises(DigestMismatch):
        store.read(blob)
    with store.open_blob(blob) as stream, pytest.raises(DigestMismatch):
        while stream.read(2):
            pass


def test_a_writer_that_is_not_committed_leaves_nothing(store):
    with pytest.raises(ValueError), store.writer() as writer:
        writer.write(b"half")
        raise ValueError
    assert (store.blobs(), os.listdir(f"{store.root}/tmp")) == ((), [])


def test_a_disk_that_fills_up_is_an_error_however_late(store):
    """The kernel takes what fits first, and fails only the next write."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError) as failed, store.writer() as writer:
            writer.write(bytes(1500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert failed.value.errno == errno.EFBIG
    assert os.listdir(f"{store.root}/tmp") == []


def test_names_move(store, make_image):
    first, second = make_image(store, {"a": b"1"}), make_image(store, {"a": b"2"})
    store.tag(first.descriptor, V1, V2)
    store.tag(second.descriptor, V1)
    assert store.names(first.descriptor.digest) == (V2,)
    assert store.find("app:v1").id == second.id
    assert store.untag(V2).digest == first.descriptor.digest
    assert store.untag(V2) is None
    assert [image.id for image in store.images()] == [second.id]


def test_an_image_that_loses_its_last_name_stays(store, make_image):
    first, second = make_image(store, {"a": b"1"}), make_image(store, {"a": b"2"})
    store.tag(first.descriptor, V1)
    store.tag(second.descriptor, V1)
    assert {image.id for image in store.images()} == {first.id, second.id}
    assert store.names(first.descriptor.digest) == ()
    store.tag(first.descriptor, V2)
    assert len(store.index().manifests) == 2
    store.forget(first.descriptor.digest)
    assert [image.id for image in store.images()] == [second.id]


def test_an_image_is_found_by_name_id_and_a_part_of_it(store, make_image):
    image, other = make_image(store, {"a": b"1"}), make_image(store, {"a": b"2"})
    store.tag(image.descriptor, V1)
    store.tag(other.descriptor)
    for name in (
        "app:v1",
        "docker.io/library/app:v1",
        image.id,
        image.id.hex,
        image.id.short,
        f"sha256:{image.id.short}",
        image.descriptor.digest,
    ):
        assert store.find(name).id == image.id
    assert store.find(other.id.short).id == other.id
    for name in ("app", "app:v3", "0" * 64, "zzz", "", "sha256:"):
        with pytest.raises(ImageNotFound) as failed:
            store.find(name)
        assert "pybuild images" in failed.value.hint


def test_a_part_of_several_ids_is_ambiguous(store, make_image):
    seen = {}
    for number in range(17):
        image = make_image(store, {"a": bytes([number])})
        store.tag(image.descriptor)
        seen.setdefault(image.id.hex[0], []).append(image)
    digit = next(digit for digit, images in seen.items() if len(images) > 1)
    with pytest.raises(AmbiguousName):
        store.find(digit)


def test_a_pinned_name_is_found_by_either_digest(store, make_image):
    image = make_image(store, {"a": b"1"})
    of_index = Reference.parse(f"app@{Digest.of(b'an index')}")
    with pytest.raises(InvalidReference, match="the image is sha256"):
        store.tag(image.descriptor, of_index)
    store.tag(image.descriptor, of_index, is_resolved=True)
    assert store.tagged(of_index).digest == image.descriptor.digest
    assert store.tagged(Reference.parse(f"other@{image.descriptor.digest}")).digest == image.descriptor.digest
    assert store.tagged(Reference.parse(f"app@{Digest.of(b'another')}")) is None


def test_a_config_that_cannot_be_read_says_what_to_do(store):
    config = store.add(b'{"author":"J\xf6rg"}', media.OCI_CONFIG)
    manifest = Manifest.build(config, ())
    made = store.add(manifest.raw, manifest.media_type)
    store.tag(made, Reference.parse("old"))
    with pytest.raises(InvalidDocument) as caught:
        store.images()
    assert "store verify --repair" in caught.value.hint
    store.forget(made.digest)


def test_an_index_gives_the_platform_s_image(store, make_image):
    from pybuild.registry import Index

    image = make_image(store, {"a": b"1"}, platform=Platform("linux", "riscv64"))
    item = Descriptor(media.OCI_MANIFEST, image.descriptor.digest, image.descriptor.size, (), image.config.platform)
    index = store.add(Index.build((item,)).raw, media.OCI_INDEX)
    found = store.image(index, Platform("linux", "riscv64"))
    assert (found.id, found.descriptor) == (image.id, index)


def test_opening_again_keeps_what_is_there(store, make_image):
    store.tag(make_image(store, {"a": b"1"}).descriptor, V1)
    assert Store.open(store.root).find("app:v1")


def test_a_layout_that_another_tool_made_becomes_a_store(tmp_path):
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (tmp_path / "index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    store = Store.open(tmp_path)
    store.tag(store.add(b"{}", media.OCI_MANIFEST), V1)
    assert store.tagged(V1)


def test_a_place_that_cannot_be_a_store(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as failed:
        Store.open(tmp_path / "file" / "store")
    assert "PYBUILD_ROOT" in failed.value.hint


def test_many_threads_and_processes_tag_at_once(store, make_image):
    image = make_image(store, {"a": b"1"})
    names = [Reference.parse(f"app:{number}") for number in range(20)]
    script = (
        "import sys; from pathlib import Path; from pybuild.registry import Reference, Store; s = Store.open(Path(sys.argv[1]));"
        "[s.tag(s.image(s.index().manifests[0]).descriptor, Reference.parse(f'p{sys.argv[2]}:{n}')) for n in range(20)]"
    )
    store.tag(image.descriptor, V1)
    processes = [subprocess.Popen([sys.executable, "-c", script, store.root, str(number)]) for number in range(2)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: store.tag(image.descriptor, name), names))
    assert [process.wait() for process in processes] == [0, 0]
    assert len(store.names(image.descriptor.digest)) == 1 + 20 + 2 * 20


def test_a_lock_is_not_inherited_and_says_when_it_is_not_to_be_had(store):
    with store.lock("x", exclusive=True) as is_mine:
        with store.lock("x", exclusive=True, blocking=False) as is_mine_too:
            assert (is_mine, is_mine_too) == (True, False)
        with store.lock("y", exclusive=False) as first, store.lock("y", exclusive=False, blocking=False) as second:
            assert first and second
    with store.lock("x", exclusive=True, blocking=False) as is_free:
        assert is_free
