"""Streams of every compression, as other programs write them; damaged ones; and ones that grow a thousandfold."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pybuild.builder.errors import LayerError
from pybuild.builder.layers.compression import BLOCK, COMPRESSIONS, Compression, decompressed, detect

WRITERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstandard.compress, "none": bytes}


def whole(content: bytes, name: str) -> bytes:
    source = decompressed(io.BytesIO(content), name)
    return b"".join(iter(lambda: source.read(BLOCK), b""))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, 3 * BLOCK + 7])
def test_what_others_write_is_read(name, size):
    content = os.urandom(size // 2) + bytes(size - size // 2)
    stream = WRITERS[name](content)
    assert detect(stream) == name
    assert whole(stream, name) == content


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
def test_several_members_are_one_stream(name):
    assert whole(WRITERS[name](b"one") + WRITERS[name](b"two"), name) == b"onetwo"


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_zeros_behind_the_last_member_are_padding(name):
    assert whole(WRITERS[name](b"one") + bytes(700_000), name) == b"one"


def test_a_skippable_frame_of_zstd_is_skipped():
    frame = b"\x50\x2a\x4d\x18" + (8).to_bytes(4, "little") + b"metadata"
    assert whole(frame + zstandard.compress(b"one") + frame, "zstd") == b"one"


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_a_stream_that_is_cut_off_is_an_error(name):
    with pytest.raises(LayerError, match="ends too early"):
        whole(WRITERS[name](os.urandom(10_000))[:-30], name)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
def test_a_damaged_stream_is_an_error(name):
    stream = bytearray(WRITERS[name](os.urandom(10_000)))
    stream[len(stream) // 2 : len(stream) // 2 + 200] = bytes(200)
    if name == "zstd":
        # What is random is stored as it is, so that only a checksum would tell.
        stream[:8] = stream[:4] + b"\xff" * 4
    with pytest.raises(LayerError, match="damaged"):
        whole(bytes(stream), name)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
def test_a_stream_that_grows_a_thousandfold_takes_no_more_memory(name):
    stream = WRITERS[name](bytes(64 * BLOCK))
    source = decompressed(io.BytesIO(stream), name)
    tracemalloc.start()
    try:
        size = sum(len(part) for part in iter(lambda: source.read(BLOCK), b""))
        assert size == 64 * BLOCK
        # xz has a dictionary of 8 MiB.
        assert tracemalloc.get_traced_memory()[1] < 16 * BLOCK
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", COMPRESSIONS)
@given(sizes=st.lists(st.integers(1, 4 * BLOCK), max_size=1))
def test_any_content_comes_back(name, sizes):
    content = b"".join(os.urandom(min(size, 1000)) * (size // min(size, 1000)) for size in sizes)
    compressor = Compression.parse(name).compressor()
    view = memoryview(content)
    parts = [compressor.compress(view[start : start + BLOCK]) for start in range(0, len(content), BLOCK)]
    assert whole(b"".join((*parts, compressor.flush())), name) == content
