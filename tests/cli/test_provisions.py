"""What RUN is given on the command line, as values; and what makes no sense."""

from __future__ import annotations

import pytest

from pybuild.builder.request import Limit, SecretSource
from pybuild.cli import provisions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id=a,src=f", SecretSource("a", "f")),
        ("id=a,source=f", SecretSource("a", "f")),
        ("id=a,env=V", SecretSource("a", None, "V")),
        ("type=file,id=a,src=f", SecretSource("a", "f")),
        ("type=env,id=a,src=V", SecretSource("a", None, "V")),
        ("type=env,id=a", SecretSource("a", None, "a")),
        ("id=THERE", SecretSource("THERE", None, "THERE")),
        ("id=missing", SecretSource("missing", "missing")),
    ],
)
def test_secrets(text, expected, monkeypatch):
    monkeypatch.setenv("THERE", "x")
    assert provisions.secrets((text,)) == (expected,)


@pytest.mark.parametrize("text", ["a", "src=f", "id=,src=f", "id=a,what=f", "id=a,type=x"])
def test_secrets_that_make_no_sense(text):
    with pytest.raises(ValueError):
        provisions.secrets((text,))


def test_agents():
    assert provisions.agents(("default", "key=a,b", "one=/s")) == {"default": (), "key": ("a", "b"), "one": ("/s",)}
    for text in ("", "=a", "id="):
        with pytest.raises(ValueError):
            provisions.agents((text,))


def test_hosts():
    values = ("a:1.2.3.4", "b=::1", "c:[fe80::1]", "d:fe80::2")
    assert provisions.hosts(values) == (("a", "1.2.3.4"), ("b", "::1"), ("c", "fe80::1"), ("d", "fe80::2"))
    for text in ("a", "a:b", ":1.2.3.4", "a b:1.2.3.4", "a\nb:1.2.3.4"):
        with pytest.raises(ValueError):
            provisions.hosts((text,))


def test_sizes():
    assert [provisions.size((text,)) for text in ("64m", "1G", "512", "2kb", "7b")] == [64 << 20, 1 << 30, 512, 2048, 7]
    assert provisions.size(()) is None
    for text in ("", "m", "-1m", "1.5g", "1x"):
        with pytest.raises(ValueError):
            provisions.size((text,))


def test_limits():
    values = ("nofile=1024:2048", "core=0", "memlock=-1", "nofile=5")
    assert provisions.limits(values) == (Limit("nofile", 5, 5), Limit("core", 0, 0), Limit("memlock", -1, -1))
    for text in ("nofile", "what=1", "nofile=x", "nofile=2:1", "nofile=-1:5", "nofile=-2"):
        with pytest.raises(ValueError):
            provisions.limits((text,))


def test_entitlements():
    assert provisions.entitlements(("network.host", "security.insecure")) == ("network.host", "security.insecure")
    with pytest.raises(ValueError, match=r"security\.insecure and network\.host"):
        provisions.entitlements(("device",))
