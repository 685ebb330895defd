"""Archives that unpack to what nobody can mean are given up; whatever real ones have is taken."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile

import pytest
import zstandard

from pybuild.builder.errors import LayerError
from pybuild.builder.layers.bombs import Limits, Tally, limits
from pybuild.builder.layers.compression import BLOCK, decompressed
from pybuild.builder.layers.untar import read

ZEROS = bytes(48 << 20)
BOMBS = {
    "gzip": gzip.compress(ZEROS),
    "zstd": zstandard.compress(ZEROS),
    "bzip2": bz2.compress(ZEROS),
    "xz": lzma.compress(ZEROS),
}


def unpacked(name: str, content: bytes) -> int:
    stream = decompressed(io.BytesIO(content), name)
    return sum(len(block) for block in iter(lambda: stream.read(BLOCK), b""))


@pytest.mark.parametrize("name", BOMBS)
def test_a_stream_that_becomes_far_too_large(name, monkeypatch):
    monkeypatch.setenv("PYBUILD_UNPACK_LIMIT", "16m")
    with pytest.raises(LayerError, match="taken for an attack") as caught:
        unpacked(name, BOMBS[name])
    assert "PYBUILD_UNPACK_LIMIT=off" in caught.value.hint


@pytest.mark.parametrize("setting", ["", "64m", "off"])
def test_what_is_not_large_or_is_allowed(setting, monkeypatch):
    monkeypatch.setenv("PYBUILD_UNPACK_LIMIT", setting)
    assert unpacked("zstd", BOMBS["zstd"]) == len(ZEROS)


def test_large_is_no_bomb_when_there_is_something_in_it(monkeypatch):
    monkeypatch.setenv("PYBUILD_UNPACK_LIMIT", "1m")
    content = b"".join(number.to_bytes(4, "big") for number in range(1 << 20))
    assert unpacked("gzip", gzip.compress(content)) == len(content)


def test_sparse_files_without_an_end():
    block = bytearray(tarfile.TarInfo("sparse").tobuf(tarfile.GNU_FORMAT))
    block[156:157] = b"S"
    block[483:495] = b"77777777777\0"
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:512]) + 8 * 32)
    archive = bytes(block) * 200 + bytes(1024)
    with pytest.raises(LayerError, match="without an end"):
        for _, content in read(io.BytesIO(archive)):
            assert content.read(1) == b"\0"


def test_entries_without_an_end(monkeypatch):
    tally = Tally()
    for _ in range(Limits().entries):
        tally._entries += 1
    with pytest.raises(LayerError, match="entries"):
        tally.add(0, 0)


def test_the_setting(monkeypatch):
    monkeypatch.setenv("PYBUILD_UNPACK_LIMIT", "100G")
    assert limits().size == 100 << 30
    for text in ("x", "-1", "1.5g", "g"):
        monkeypatch.setenv("PYBUILD_UNPACK_LIMIT", text)
        with pytest.raises(LayerError, match="is no size"):
            limits()
