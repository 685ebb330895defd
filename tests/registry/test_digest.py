from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pybuild.registry import Digest
from pybuild.registry.errors import InvalidDigest


@given(some.binary())
def test_the_digest_of_bytes_is_their_sha256(content):
    digest = Digest.of(content)
    assert digest.hex == hashlib.sha256(content).hexdigest()
    assert Digest(str(digest)) == digest == Digest.from_hex(digest.hex)
    assert digest.short == digest.hex[:12]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "A" * 64,
        "sha512:" + "a" * 128,
        "a" * 64,
        "sha256:" + "a" * 64 + "\n",
        "SHA256:" + "a" * 64,
    ],
)
def test_anything_else_is_no_digest(text):
    with pytest.raises(InvalidDigest) as failed:
        Digest(text)
    assert "64 lower-case hex digits" in failed.value.hint


@given(some.text())
def test_no_text_passes_by_chance(text):
    with pytest.raises(InvalidDigest):
        Digest(text)
