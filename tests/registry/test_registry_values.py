"""The small pure parts of the client: endpoints, challenges, answers, pauses, platforms, origins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pybuild.registry import Digest, Platform
from pybuild.registry.answers import Answer, reason, refusal
from pybuild.registry.challenge import Challenge, parse, preferred
from pybuild.registry.credentials import Credentials
from pybuild.registry.endpoint import endpoints, is_local
from pybuild.registry.errors import InvalidPlatform, NotInRegistry
from pybuild.registry.origins import origins, remember
from pybuild.registry.retries import Patience


@pytest.mark.parametrize(
    ("registry", "insecure", "urls"),
    [
        ("docker.io", False, ("https://registry-1.docker.io",)),
        ("example.com:5000", False, ("https://example.com:5000",)),
        ("example.com", True, ("https://example.com", "http://example.com")),
        ("localhost:5000", False, ("http://localhost:5000",)),
        ("127.0.0.1", False, ("http://127.0.0.1",)),
        ("[::1]:5000", False, ("http://[::1]:5000",)),
        ("localhost", True, ("http://localhost", "https://localhost")),
    ],
)
def test_where_a_registry_is(registry, insecure, urls):
    assert endpoints(registry, insecure=insecure) == urls


def test_this_machine():
    assert all(
        is_local(host)
        for host in ("localhost", "localhost:1", "127.0.0.1:1", "127.255.0.3", "[::1]", "[::1]:80", "::1", "a.localhost")
    )
    assert not any(
        is_local(host)
        for host in ("localhost.example.com", "128.0.0.1", "0.0.0.0:5000", "10.0.0.1", "127.0.0.1.example.com", "[::2]:1", "")
    )


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ('Basic realm="a b"', [("basic", {"realm": "a b"})]),
        ('Bearer realm="https://auth/token",service="r",scope="repository:a:pull,push"',
         [("bearer", {"realm": "https://auth/token", "service": "r", "scope": "repository:a:pull,push"})]),
        ('bearer Realm = "x" , service=y', [("bearer", {"realm": "x", "service": "y"})]),
        ('Negotiate, Basic realm="x", Bearer realm="y"', [("negotiate", {}), ("basic", {"realm": "x"}),
         ("bearer", {"realm": "y"})]),
        (r'Basic realm="a \"quoted\" name"', [("basic", {"realm": 'a "quoted" name'})]),
        ("Negotiate", [("negotiate", {})]),
        ("", []),
        ("= ;", []),
    ],
)  # fmt: skip
def test_what_a_registry_demands(header, challenges):
    assert parse(header) == tuple(Challenge(scheme, tuple(values.items())) for scheme, values in challenges)


def test_bearer_is_preferred_to_basic_and_nothing_else_is_understood():
    assert preferred('Basic realm="x", Bearer realm="y"').scheme == "bearer"
    assert preferred('Digest realm="z", Basic realm="x"').scheme == "basic"
    assert preferred("Negotiate") is None


@given(some.text(max_size=60))
def test_no_header_breaks_the_parser(header):
    parse(header)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}', "manifest unknown"),
        (b'{"errors":[{"code":"TOO_MANY"}]}', "too many"),
        (b'{"details":"incorrect username or password"}', "incorrect username or password"),
        (b"Too many requests\nmore", "Too many requests"),
        (b"<html><body>no</body></html>", ""),
        (b'{"errors":"x"}', '{"errors":"x"}'),
        (b"", ""),
        (b"\x1b[2J evil", "[2J evil"),
        (b"\xff\xfe", "��"),
    ],
)
def test_what_a_registry_says(content, said):
    assert reason(content)[1] == said


def test_a_refusal_says_what_where_and_what_to_do():
    error = refusal(Answer("https://r/v2/x?sig=secret", 404, {}, b""), "r/x:1", registry="r", credentials=Credentials("u", "p"))
    assert isinstance(error, NotInRegistry)
    assert str(error) == "r/x:1: r answered 404"
    assert error.hint


def test_credentials_are_not_printed():
    assert "secret" not in repr(Credentials("me", "secret", "secret"))


def test_pauses_are_random_and_bounded():
    pauses = []
    for chance in (0.0, 1.0):
        patience = Patience(pause=pauses.append, chance=lambda chance=chance: chance, first_seconds=1, longest_seconds=5)
        for attempt in range(1, 6):
            patience.wait(attempt)
        patience.wait(1, at_least=3600)
    assert pauses == [0.5, 1, 2, 2.5, 2.5, 30, 1, 2, 4, 5, 5, 30]


@pytest.mark.parametrize(
    ("image", "wanted", "suits"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/386", "linux/amd64", False),
        ("windows/amd64", "linux/amd64", False),
    ],
)
def test_platforms_that_suit(image, wanted, suits):
    assert Platform(*image.split("/")).suits(Platform(*wanted.split("/"))) is suits
    assert str(Platform(*image.split("/"))) == image


@pytest.mark.parametrize(
    ("image", "wanted", "suits"),
    [
        ("windows(10.0.17763.5)/amd64", "windows(10.0.17763)/amd64", True),
        ("windows(10.0.17763)/amd64", "windows(10.0.20348)/amd64", False),
        ("windows(10.0.17763)/amd64", "windows/amd64", True),
        ("windows/amd64", "windows(10.0.17763)/amd64", True),
    ],
)
def test_the_version_of_a_system(image, wanted, suits):
    assert Platform.parse(image).suits(Platform.parse(wanted)) is suits
    assert Platform.parse(image).with_version == image
    assert str(Platform.parse(image)) == "windows/amd64"


@pytest.mark.parametrize("text", ["windows(/amd64", "windows()/amd64", "linux/amd64(1)", "windows(1 2)/amd64"])
def test_what_is_no_platform(text):
    with pytest.raises(InvalidPlatform):
        Platform.parse(text)


def test_origins_are_remembered_by_registry_the_latest_first(store):
    digest, other = Digest.of(b"1"), Digest.of(b"2")
    for path in ("a", "b", "a"):
        remember(store, f"r.example/{path}", [digest])
    remember(store, "s.example/c", [digest, other])
    assert origins(store, digest, "r.example") == ("a", "b")
    assert origins(store, digest, "s.example") == ("c",)
    assert origins(store, other, "r.example") == ()
    for number in range(20):
        remember(store, f"r.example/{number}", [digest])
    assert len(origins(store, digest, "r.example")) == 8


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}', json.dumps({Digest.of(b"1"): [1, {}]})])
def test_a_damaged_record_of_origins_is_an_empty_one(content, store):
    Path(store.root, "origins.json").write_text(content)
    assert origins(store, Digest.of(b"1"), "r") == ()
    remember(store, "r/a", [Digest.of(b"1")])
    assert origins(store, Digest.of(b"1"), "r") == ("a",)
