from __future__ import annotations

import base64
import json
import os

import pytest

from pybuild.registry.credentials import Credentials, find, login_file
from pybuild.registry.errors import InvalidDocument, RegistryError


def encoded(text):
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def config(tmp_path):
    """Writes a config.json and gives the environment in which it is the one."""

    def write(document):
        (tmp_path / "config.json").write_text(document if isinstance(document, str) else json.dumps(document))
        return {"DOCKER_CONFIG": str(tmp_path), "HOME": "/nowhere"}

    return write


def pair(found):
    return found and (found.username, found.password)


def test_nothing_to_find(tmp_path):
    assert find("example.com", environ={"HOME": str(tmp_path)}) is None
    assert find("example.com", environ={"HOME": str(tmp_path), "DOCKER_CONFIG": os.devnull}) is None


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("example.com", "example.com"),
        ("https://example.com", "example.com"),
        ("https://example.com/v1/", "example.com"),
        ("http://example.com/v2/", "example.com"),
        ("127.0.0.1:5000", "127.0.0.1:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
    ],
)
def test_keys_as_the_tools_write_them(key, registry, config):
    environ = config({"auths": {"other.com": {"auth": encoded("o:o")}, key: {"auth": encoded("me:pass:word")}}})
    assert pair(find(registry, environ=environ)) == ("me", "pass:word")
    assert find("example.com:5000", environ=environ) is None


def test_a_longer_path_wins(config):
    environ = config({"auths": {"r.io": {"auth": encoded("all:1")}, "r.io/team": {"auth": encoded("team:2")}}})
    assert pair(find("r.io", path="team/app", environ=environ)) == ("team", "2")
    assert pair(find("r.io", path="teams/app", environ=environ)) == ("all", "1")


def test_the_forms_of_an_entry(config):
    assert pair(find("r", environ=config({"auths": {"r": {"username": "a", "password": "b"}}}))) == ("a", "b")
    token = find("r", environ=config({"auths": {"r": {"auth": encoded("<token>:"), "identitytoken": "t"}}}))
    assert token.identity_token == "t"
    assert find("r", environ=config({"auths": {"r": {}}})) is None
    assert find("r", environ=config("")) is None


@pytest.mark.parametrize(
    "document", ["{", "[]", {"auths": {"r": {"auth": "!"}}}, {"auths": {"r": {"auth": encoded("nocolon")}}}, {"auths": []}]
)
def test_a_damaged_file_is_named(document, config, tmp_path):
    with pytest.raises(InvalidDocument, match=r"config\.json"):
        find("r", environ=config(document))


def test_a_file_that_is_named_comes_first(tmp_path, config):
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {"r": {"auth": encoded("p:1")}, "s": {"auth": encoded("p:2")}}}))
    environ = config({"auths": {"r": {"auth": encoded("d:1")}, "t": {"auth": encoded("d:3")}}}) | {
        "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")
    }
    assert pair(find("r", environ=environ)) == ("p", "1")
    assert pair(find("s", environ=environ)) == ("p", "2")
    assert pair(find("t", environ=environ)) == ("d", "3")
    assert login_file(environ) == tmp_path / "auth.json"


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """Puts a credential helper into PATH."""

    def write(name, script):
        path = tmp_path / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return write


def test_a_helper_is_asked_for_its_registry(helper, config):
    helper("vault", 'test "$1" = get && printf \'{"Username":"h","Secret":"%s"}\' "$(cat)"')
    assert pair(find("r.io", environ=config({"credHelpers": {"r.io": "vault"}}))) == ("h", "r.io")
    assert find("s.io", environ=config({"credHelpers": {"r.io": "vault"}})) is None
    assert pair(find("docker.io", environ=config({"credsStore": "vault"}))) == ("h", "https://index.docker.io/v1/")


def test_a_helper_s_token(helper, config):
    helper("vault", 'echo \'{"Username":"<token>","Secret":"t"}\'')
    assert find("r", environ=config({"credsStore": "vault"})) == Credentials("", "", "t", "docker-credential-vault")


def test_a_helper_that_knows_nothing(helper, config):
    helper("vault", "echo credentials not found in native keychain; exit 1")
    assert find("r", environ=config({"credsStore": "vault"})) is None


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "exit code 3"),
        ("kill -9 $$", "signal 9"),
        ("echo locked >&2; exit 1", "locked"),
        ("echo aws: not found; exit 127", "aws: not found"),
    ],
)
def test_a_helper_that_fails(script, reason, helper, config):
    helper("vault", script)
    with pytest.raises(RegistryError, match=f"docker-credential-vault failed for r: {reason}$"):
        find("r", environ=config({"credHelpers": {"r": "vault"}}))


def test_a_helper_that_is_missing_or_speaks_another_language(helper, config):
    with pytest.raises(RegistryError, match="docker-credential-absent"):
        find("r", environ=config({"credsStore": "absent"}))
    helper("vault", "echo hello")
    with pytest.raises(InvalidDocument, match="not JSON"):
        find("r", environ=config({"credsStore": "vault"}))
