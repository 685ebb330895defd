"""Mirrors, other places, proxies: whom a pull and a push really talk to."""

from __future__ import annotations

import os

import pytest
from real.faulty_registry import faulty_registry
from real.web_proxy import web_proxy

from pybuild.registries import copy
from pybuild.registry import Reference
from pybuild.registry.errors import Blocked, BrokenOff, NotInRegistry, TooSlow, UnexpectedAnswer, Unreachable
from pybuild.registry.sources import Sources
from pybuild.registry.transfer import pull, push


@pytest.fixture
def mirror():
    with faulty_registry() as registry:
        yield registry


@pytest.fixture
def proxy():
    with web_proxy() as found:
        yield found


@pytest.fixture
def configure(home):
    """Writes the user's config.toml."""

    def write(text):
        (home / ".config" / "pybuild").mkdir(parents=True, exist_ok=True)
        (home / ".config" / "pybuild" / "config.toml").write_text(text)

    return write


@pytest.fixture
def image(store, make_image):
    return make_image(store, {"a": os.urandom(3_000_000)}, {"b": b"b"})


def layer(image):
    return str(image.manifest.layers[0].digest)


@pytest.fixture
def name(faulty, mirror, configure):
    """A name in the registry, which has a mirror."""
    configure(f'[[registry]]\nprefix = "{faulty.host}"\nmirrors = ["{mirror.host}/cache"]\n')
    return Reference.parse(f"{faulty.host}/app")


def test_a_mirror_is_asked_first_and_enough(name, faulty, mirror, image, store, other_store):
    mirror.serve(image, store, "cache/app")
    assert pull(other_store, name).id == image.id
    assert faulty.requests == [] and other_store.tagged(name)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_what_the_mirror_cannot_give_the_registry_does(status, name, faulty, fault, mirror, image, store, other_store, pauses):
    faulty.serve(image, store, "app")
    mirror.faults = [fault("manifests", status=status, times=99)]
    assert pull(other_store, name, patience=pauses.patience).id == image.id
    assert len(pauses.seconds) <= 1, "a mirror is not waited for long"


def test_a_mirror_that_is_away_is_passed_over(faulty, image, store, other_store, configure, pauses):
    configure(f'[[registry]]\nprefix = "{faulty.host}"\nmirrors = ["127.0.0.1:1"]\n')
    faulty.serve(image, store, "app")
    assert pull(other_store, Reference.parse(f"{faulty.host}/app"), patience=pauses.patience).id == image.id
    assert pauses.seconds == []


def test_a_mirror_that_is_away_is_asked_once(faulty, configure):
    """It may take its time to be away; one that breaks off has at least answered."""
    configure(f'[[registry]]\nprefix = "{faulty.host}"\nmirrors = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]\n')
    errors = {"127.0.0.1:1": Unreachable, "127.0.0.1:2": BrokenOff, "127.0.0.1:3": TooSlow}
    asked = []

    def ask(repository):
        asked.append(repository.client.registry)
        if error := errors.get(asked[-1]):
            raise error(f"{asked[-1]} is away", url="")
        return "here"

    with Sources(Reference.parse(f"{faulty.host}/app")) as sources:
        assert [sources.first(ask) for _ in range(3)] == ["here"] * 3
        assert [asked.count(name) for name in errors] == [1, 3, 3]
        errors[faulty.host] = Unreachable
        for _ in range(2):
            with pytest.raises(Unreachable) as failed:
                sources.first(ask)
            assert "127.0.0.1:1 is away" in failed.value.hint
    assert asked.count(faulty.host) == 5


def test_a_copy_takes_what_the_mirror_has(name, faulty, mirror, image, store):
    mirror.serve(image, store, "cache/app")
    with faulty_registry() as target:
        copy(str(name), f"{target.host}/app")
        assert ("app", "latest") in target.manifests and target.blobs == mirror.blobs
    assert not faulty.count("blobs")


def test_a_blob_that_breaks_off_at_the_mirror_goes_on_at_the_registry(
    name, faulty, fault, mirror, image, store, other_store, pauses
):
    for registry, path in ((faulty, "app"), (mirror, "cache/app")):
        registry.serve(image, store, path)
    mirror.faults = [fault(layer(image), cut_after=2_000_000), fault(layer(image), cut_after=0, times=99)]
    assert pull(other_store, name, patience=pauses.patience).id == image.id
    ranges = [headers["Range"] for headers in faulty.headers if "Range" in headers]
    assert ranges and ranges[0] != "bytes=0-"


def test_a_mirror_that_gives_other_bytes_is_not_believed(name, faulty, fault, mirror, image, store, other_store):
    for registry, path in ((faulty, "app"), (mirror, "cache/app")):
        registry.serve(image, store, path)
    mirror.faults = [fault(f"GET .*{layer(image)}", damage=True)]
    assert pull(other_store, name).id == image.id
    assert other_store.read(image.manifest.layers[0]) == store.read(image.manifest.layers[0])


def test_when_nobody_has_it_the_mirror_s_word_is_told_too(name, faulty, mirror, other_store):
    with pytest.raises(NotInRegistry, match=rf"^{faulty.host}/app:latest") as failed:
        pull(other_store, name)
    assert f"its mirrors could not help: {mirror.host}/cache/app:latest" in failed.value.hint


def test_a_push_goes_to_the_registry_alone(name, faulty, mirror, image, store):
    push(store, image, name)
    assert mirror.requests == [] and ("app", "latest") in faulty.manifests


def test_a_name_leads_to_another_place(faulty, image, store, other_store, configure):
    configure(f'[[registry]]\nprefix = "docker.io/team"\nlocation = "{faulty.host}/moved"\n')
    name = Reference.parse("team/app:v1")
    push(store, image, name)
    assert ("moved/app", "v1") in faulty.manifests
    assert pull(other_store, name).id == image.id and other_store.tagged(name)


def test_a_blocked_name_is_asked_nowhere(faulty, image, store, configure):
    configure(f'[[registry]]\nprefix = "{faulty.host}"\nblocked = true\n')
    for action in (
        lambda: pull(store, Reference.parse(f"{faulty.host}/app")),
        lambda: push(store, image, Reference.parse(f"{faulty.host}/app")),
    ):
        with pytest.raises(Blocked):
            action()
    assert faulty.requests == []


def test_an_insecure_registry_of_the_settings_needs_no_flag(registry, image, store, configure):
    host = registry.host.replace("127.0.0.1", "0.0.0.0")
    name = Reference.parse(f"{host}/settings")
    with pytest.raises(Unreachable):
        push(store, image, name)
    configure(f'[[registry]]\nprefix = "{host}"\ninsecure = true\n')
    assert push(store, image, name)


def test_a_proxy_is_gone_through_with_its_password(registry, proxy, image, store, other_store, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("://", "://me:proxy-password@"))
    name = Reference.parse(f"{registry.host.replace('127.0.0.1', '0.0.0.0')}/proxied")
    push(store, image, name, insecure=True)
    assert pull(other_store, name, insecure=True).id == image.id
    assert any(text.startswith("PUT http://0.0.0.0:") for text in proxy.asked)
    assert set(proxy.authorizations) == {"Basic bWU6cHJveHktcGFzc3dvcmQ="}


def test_tls_goes_through_a_proxy_in_a_tunnel(tls_registry, certificate, proxy, image, store, monkeypatch):
    monkeypatch.setenv("https_proxy", proxy.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    push(store, image, Reference.parse(f"{tls_registry}/proxied"))
    assert set(proxy.asked) == {f"CONNECT {tls_registry}"}


@pytest.mark.parametrize("excluded", ["0.0.0.0", "*", "example.com,0.0.0.0"])
def test_no_proxy_is_heeded(excluded, tls_registry, certificate, proxy, image, store, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", excluded)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    push(store, image, Reference.parse(f"{tls_registry}/direct"))
    assert proxy.asked == []


def test_a_proxy_that_wants_a_user(registry, image, store, monkeypatch, faulty):
    faulty.redirects = lambda request: (407, {"Proxy-Authenticate": 'Basic realm="x"'})
    monkeypatch.setenv("HTTP_PROXY", f"http://{faulty.host}")
    with pytest.raises(UnexpectedAnswer, match="407") as failed:
        push(store, image, Reference.parse(f"{registry.host.replace('127.0.0.1', '0.0.0.0')}/app"), insecure=True)
    assert "write USER:PASSWORD@ before its name" in failed.value.hint


def test_a_proxy_that_is_away_is_told_where_plain_http_is_allowed(registry, image, store, monkeypatch):
    """And not that there is no TLS, which nobody has asked for."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with pytest.raises(Unreachable, match="through the proxy: connection refused") as failed:
        push(store, image, Reference.parse(f"{registry.host.replace('127.0.0.1', '0.0.0.0')}/app"), insecure=True)
    assert "HTTP_PROXY" in failed.value.hint


def test_a_proxy_that_is_away_is_told_without_its_password(tls_registry, image, store, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me:proxy-password@127.0.0.1:1")
    with pytest.raises(Unreachable) as failed:
        push(store, image, Reference.parse(f"{tls_registry}/x"))
    assert "HTTPS_PROXY" in failed.value.hint and "proxy-password" not in f"{failed.value}{failed.value.hint}"
