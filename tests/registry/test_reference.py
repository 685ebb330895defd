from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pybuild.registry import Digest, Reference
from pybuild.registry.errors import InvalidReference
from pybuild.registry.reference import same_image

DIGEST = Digest.of(b"")


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("ubuntu:22.04", "docker.io/library/ubuntu:22.04", "ubuntu:22.04"),
        ("me/app", "docker.io/me/app:latest", "me/app:latest"),
        ("docker.io/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("index.docker.io/me/app:1", "docker.io/me/app:1", "me/app:1"),
        ("registry-1.docker.io/library/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
        ("127.0.0.1:5000/a/b/c:v1", "127.0.0.1:5000/a/b/c:v1", "127.0.0.1:5000/a/b/c:v1"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        ("[2001:db8::1]/a/b:v1", "[2001:db8::1]/a/b:v1", "[2001:db8::1]/a/b:v1"),
        (f"[::1]:5000/a:v1@{DIGEST}", f"[::1]:5000/a:v1@{DIGEST}", f"[::1]:5000/a:v1@{DIGEST}"),
        ("ghcr.io/a/b", "ghcr.io/a/b:latest", "ghcr.io/a/b:latest"),
        ("Host/app", "Host/app:latest", "Host/app:latest"),
        (f"ubuntu@{DIGEST}", f"docker.io/library/ubuntu@{DIGEST}", f"ubuntu@{DIGEST}"),
        (f"ubuntu:1@{DIGEST}", f"docker.io/library/ubuntu:1@{DIGEST}", f"ubuntu:1@{DIGEST}"),
        ("a__b.c-d--e_f", "docker.io/library/a__b.c-d--e_f:latest", "a__b.c-d--e_f:latest"),
    ],
)
def test_names_as_users_write_them(text, full, familiar):
    reference = Reference.parse(text)
    assert (str(reference), reference.familiar) == (full, familiar)
    assert Reference.parse(full) == reference == Reference.parse(familiar)
    assert same_image(text, full)


@pytest.mark.parametrize(
    "text",
    ["", ":tag", "a:", "a:-x", "a:" + "x" * 129, "a@sha256:1", "A", "a//b", "a/", "/a", "a b", "a..b", "a___b", "-a", "a-", "http://a/b",
     "host_/a:x/y", "localhost:port/a", "a" * 256, "a.io:99/" + "b" * 250, "a\n", "é", "0" * 64, "0" * 64 + ":tag", "[::1/a", "[fe80::1%eth0]/a"],
)  # fmt: skip
def test_what_is_no_name(text):
    with pytest.raises(InvalidReference) as failed:
        Reference.parse(text)
    assert failed.value.exit_code == 2


def test_the_hint_for_capitals_gives_the_right_name():
    with pytest.raises(InvalidReference) as failed:
        Reference.parse("MyApp")
    assert failed.value.hint == "names are lower case: 'myapp'"


parts = some.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,8})?", fullmatch=True)
tags = some.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
hosts = some.sampled_from(["docker.io", "example.com", "localhost", "127.0.0.1:5000", "[::1]:1", "a.b-c.d:65535"])


@given(hosts, some.lists(parts, min_size=1, max_size=4), some.none() | tags, some.none() | some.just(DIGEST))
def test_a_printed_name_is_read_back(host, path, tag, digest):
    if tag is None and digest is None:
        tag = "latest"
    if host == "docker.io" and len(path) == 1:
        path = ["library", *path]
    reference = Reference(host, "/".join(path), tag, digest)
    assert Reference.parse(str(reference)) == reference
    if host != "docker.io" or not ("." in path[0] or path[0] == "localhost"):
        assert Reference.parse(reference.familiar) == reference


@given(some.text(max_size=40))
def test_any_text_is_a_name_or_an_error(text):
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return
    assert Reference.parse(str(reference)) == reference


def test_pinned():
    reference = Reference.parse("app:v1")
    assert str(reference.with_digest(DIGEST)) == f"docker.io/library/app:v1@{DIGEST}"
