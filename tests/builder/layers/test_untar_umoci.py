"""umoci's `insert` ends its archives behind the last byte of the last file; what it made has to be readable."""

from __future__ import annotations

import io

from pybuild.builder.layers.entry import BytesContent, Entry, Kind
from pybuild.builder.layers.tar import header
from pybuild.builder.layers.untar import read


def test_padding_and_end_may_be_missing():
    entry = Entry("a", Kind.FILE, 0o644, size=5, content=BytesContent(b"bytes"))
    ((found, content),) = ((entry, content.read(5)) for entry, content in read(io.BytesIO(header(entry) + b"bytes")))
    assert (found.path, content) == ("a", b"bytes")
