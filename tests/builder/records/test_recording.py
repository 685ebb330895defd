"""What the history calls the Dockerfile of a build: builds of the same one are compared with each other."""

from __future__ import annotations

import pytest

from pybuild.builder.records.recording import called
from pybuild.builder.request import BuildRequest


@pytest.mark.parametrize(
    ("context", "file", "name"),
    [
        ("/src", None, "/src/Dockerfile"),
        ("/", None, "/Dockerfile"),
        ("/src", "/other/file", "/other/file"),
        ("/src", "-", "stdin for /src"),
        ("/src", "https://me:secret@example.com/file", "https://***@example.com/file for /src"),
        ("-", None, "stdin"),
        ("-", "sub/file", "sub/file of stdin"),
        ("https://example.com/repository.git#v1", None, "https://example.com/repository.git#v1"),
        ("https://example.com/repository.git#v1", "sub/file", "sub/file of https://example.com/repository.git#v1"),
        ("https://me:secret@example.com/context.tar", "-", "stdin for https://***@example.com/context.tar"),
    ],
)
def test_the_name_of_a_dockerfile(context, file, name):
    assert called(BuildRequest(context, dockerfile=file)) == name
