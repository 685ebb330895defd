from __future__ import annotations

import gzip
import io
import os
import tarfile

import pytest

from pybuild.builder.errors import LayerError
from pybuild.builder.layers import tapping
from pybuild.builder.layers.extraction import index
from pybuild.builder.layers.tapping import Tap
from pybuild.registry import Digest, media
from pybuild.registry.errors import DiffIdMismatch, DigestMismatch


@pytest.fixture
def plain():
    """A tar of a large file and some small ones."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, size in (("large", 20 << 20), *((f"small{number}", 10) for number in range(50))):
            entry = tarfile.TarInfo(name)
            entry.size = size
            archive.addfile(entry, io.BytesIO(os.urandom(size)))
    return out.getvalue()


def feed(tap, content, size):
    for place in range(0, len(content), size):
        tap.write(content[place : place + size])


@pytest.mark.parametrize("size", [1000, 1 << 18, 1 << 26])
def test_what_is_kept_is_the_index_of_the_blob(size, plain, store):
    packed = gzip.compress(plain, 1)
    blob = store.add(packed, media.layer_type("gzip"))
    kept = []
    tap = Tap(blob, Digest.of(plain), lambda diff_id, entries: kept.append(entries))
    feed(tap, packed, size)
    tap.finish()
    assert kept == [index(blob, store, Digest.of(plain))]


def test_another_diff_id_than_the_config_s_is_told(plain, store):
    blob = store.add(plain, media.layer_type("none"))
    kept = []
    tap = Tap(blob, Digest.of(b"another"), lambda diff_id, entries: kept.append(entries))
    feed(tap, plain, 1 << 20)
    with pytest.raises(DigestMismatch, match="unpacked"):
        tap.finish()
    assert kept == []


def test_a_blob_that_starts_over_is_read_from_its_start(plain, store):
    blob = store.add(plain, media.layer_type("none"))
    kept = []
    tap = Tap(blob, Digest.of(plain), lambda diff_id, entries: kept.append(entries))
    feed(tap, b"rubbish" * 100_000, 1 << 16)
    tap.restart()
    feed(tap, plain, 1 << 20)
    tap.finish()
    assert len(kept) == 1


@pytest.mark.parametrize("content", [os.urandom(3 << 20), gzip.compress(os.urandom(1 << 20))[:-9]], ids=["rubbish", "cut"])
def test_what_does_not_decompress_is_refused(content, store):
    blob = store.add(content, media.layer_type("gzip"))
    tap = Tap(blob, Digest.of(content), lambda diff_id, entries: pytest.fail("nothing is kept"))
    feed(tap, content, 1 << 16)
    with pytest.raises((LayerError, DiffIdMismatch), match=str(blob.digest)):
        tap.finish()


def test_a_tar_that_cannot_be_read_is_left_to_who_reads_it(store):
    """Its diffID is right: so it may be kept, without an index."""
    content = os.urandom(3 << 20)
    packed = gzip.compress(content, 1)
    blob = store.add(packed, media.layer_type("gzip"))
    tap = Tap(blob, Digest.of(content), lambda diff_id, entries: pytest.fail("nothing is kept"))
    feed(tap, packed, 1 << 16)
    tap.finish()


def test_a_layer_of_very_many_files_is_checked_and_gets_its_index_later(plain, store, monkeypatch):
    monkeypatch.setattr(tapping, "_MOST_ENTRIES", 10)
    blob = store.add(plain, media.layer_type("none"))
    tap = Tap(blob, Digest.of(plain), lambda diff_id, entries: pytest.fail("nothing is kept"))
    feed(tap, plain, 1 << 20)
    tap.finish()


def test_one_that_is_given_up_ends_its_thread(plain, store):
    blob = store.add(plain, media.layer_type("none"))
    tap = Tap(blob, Digest.of(plain), lambda diff_id, entries: None)
    feed(tap, plain[: 1 << 20], 1 << 16)
    tap.close()
    assert not tap._thread.is_alive()
