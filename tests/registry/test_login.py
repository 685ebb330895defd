"""Logging in and out: what is tried on the registry, and what is in the file, or with the helper, afterwards."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import threading

import pytest

from pybuild.registry import Reference
from pybuild.registry.credentials import find
from pybuild.registry.errors import AuthenticationFailed, InvalidDocument, InvalidReference, NotInRegistry, RegistryError
from pybuild.registry.login import login, logout, registry_of
from pybuild.registry.transfer import resolve


@pytest.fixture
def file(tmp_path):
    return tmp_path / "docker" / "config.json"


@pytest.fixture
def environ(file, tmp_path):
    return {"DOCKER_CONFIG": str(file.parent), "HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """A credential helper that keeps everything in a folder, one file a server; that folder."""
    kept = tmp_path / "kept"
    kept.mkdir()
    path = tmp_path / "docker-credential-folder"
    path.write_text(
        f"""#!/bin/sh
cd {kept}
read -r text
case $1 in
store) echo "$text" > "$(echo "$text" | sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/' | tr / _)" ;;
get) cat "$(echo "$text" | tr / _)" 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }} ;;
erase) rm "$(echo "$text" | tr / _)" 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }} ;;
esac
"""
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return kept


def document(file):
    return json.loads(file.read_text())


@pytest.mark.parametrize(
    ("text", "host", "path"),
    [
        ("docker.io", "docker.io", ""),
        ("https://index.docker.io/v1/", "docker.io", ""),
        ("registry-1.docker.io", "docker.io", ""),
        ("https://r.example.com:5000/", "r.example.com:5000", ""),
        ("https://r.example.com/v2/", "r.example.com", ""),
        ("localhost", "localhost", ""),
        ("[::1]:5000", "[::1]:5000", ""),
        ("quay.io/team", "quay.io", "team"),
    ],
)
def test_what_a_registry_may_be_called(text, host, path):
    assert registry_of(text) == (host, path)


@pytest.mark.parametrize("text", ["", "team", "user@host", "a b", "https://", "-r.io"])
def test_what_is_no_registry(text):
    with pytest.raises(InvalidReference, match="not a registry"):
        registry_of(text)


@pytest.mark.peers("docker-registry")
def test_a_login_is_found_again_and_ended(htpasswd_registry, file, environ):
    host = htpasswd_registry.host
    done = login(host, "alice", "secret", environ=environ)
    assert (done.registry, done.kept_in, done.is_encrypted) == (host, str(file), False)
    found = find(host, environ=environ)
    assert (found.username, found.password) == ("alice", "secret")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert logout(host, environ=environ) is True
    assert find(host, environ=environ) is None and logout(host, environ=environ) is False


@pytest.mark.peers("docker-registry")
def test_a_wrong_password_changes_nothing(htpasswd_registry, file, environ):
    with pytest.raises(AuthenticationFailed) as failed:
        login(htpasswd_registry.host, "alice", "a-wrong-one", environ=environ)
    assert "a-wrong-one" not in f"{failed.value} {failed.value.hint}" and "password" in failed.value.hint
    assert not file.exists()


@pytest.mark.peers("docker-registry", "skopeo")
def test_other_tools_take_the_login(htpasswd_registry, file, environ):
    login(htpasswd_registry.host, "alice", "secret", environ=environ)
    done = subprocess.run(
        ["skopeo", "list-tags", "--tls-verify=false", f"docker://{htpasswd_registry.host}/nothing/here"],
        env=environ | {"REGISTRY_AUTH_FILE": str(file)},
        capture_output=True,
        text=True,
    )
    assert "404" in done.stderr, "it got in, and there is nothing"


@pytest.mark.peers("docker-registry", "skopeo")
def test_the_login_of_another_tool_is_taken(htpasswd_registry, tmp_path, environ):
    auth = tmp_path / "auth.json"
    subprocess.run(
        ["skopeo", "login", "--tls-verify=false", "-u", "alice", "-p", "secret", "--authfile", auth, htpasswd_registry.host],
        check=True,
        capture_output=True,
    )
    assert find(htpasswd_registry.host, environ=environ | {"REGISTRY_AUTH_FILE": str(auth)}).username == "alice"


def test_the_rest_of_the_file_stays(faulty, file, environ):
    file.parent.mkdir()
    rest = {"psFormat": "table", "auths": {"other.io": {"auth": "eDp5"}}, "proxies": {"default": {"noProxy": "é"}}}
    file.write_text(json.dumps(rest))
    file.chmod(0o644)
    login(faulty.host, "me", "password", environ=environ)
    after = document(file)
    assert after["auths"].pop(faulty.host)["auth"] and after == rest
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    logout(faulty.host, environ=environ)
    assert document(file) == rest
    assert os.listdir(file.parent) == ["config.json"]


def test_old_spellings_of_a_registry_are_replaced(faulty, file, environ):
    file.parent.mkdir()
    file.write_text(json.dumps({"auths": {f"https://{faulty.host}/v1/": {"auth": "eDp5"}}}))
    login(faulty.host, "me", "password", environ=environ)
    assert list(document(file)["auths"]) == [faulty.host]


def test_a_file_that_is_a_link_stays_one(faulty, file, environ, tmp_path):
    file.parent.mkdir()
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "dotfiles" / "real.json").write_text("{}")
    file.symlink_to(tmp_path / "dotfiles" / "real.json")
    login(faulty.host, "me", "password", environ=environ)
    assert file.is_symlink() and faulty.host in document(file)["auths"]


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": 1}'])
def test_a_file_that_is_damaged_is_left_alone(content, faulty, file, environ):
    file.parent.mkdir()
    file.write_text(content)
    with pytest.raises((InvalidDocument, RegistryError), match=r"config\.json"):
        login(faulty.host, "me", "password", environ=environ)
    assert file.read_text() == content


def test_many_logins_at_once_are_all_kept(faulty, file, environ):
    def log_in(number):
        login(f"{faulty.host}/team{number}", "me", f"password{number}", environ=environ)

    threads = [threading.Thread(target=log_in, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(document(file)["auths"]) == 8
    assert find(faulty.host, path="team3/app", environ=environ).password == "password3"


@pytest.mark.parametrize("setting", ["credsStore", "credHelpers"])
def test_a_helper_keeps_the_password(setting, faulty, file, environ, helper):
    file.parent.mkdir()
    file.write_text(json.dumps({setting: "folder" if setting == "credsStore" else {faulty.host: "folder"}}))
    done = login(faulty.host, "me", "password", environ=environ)
    assert done.is_encrypted and done.kept_in == "docker-credential-folder"
    assert document(file)["auths"] == {faulty.host: {}} and "password" not in file.read_text()
    assert find(faulty.host, environ=environ).password == "password"
    assert logout(faulty.host, environ=environ) is True
    assert os.listdir(helper) == [] and find(faulty.host, environ=environ) is None


def test_an_identity_token_is_kept_in_place_of_the_password(faulty, fault, file, environ):
    challenge = {"WWW-Authenticate": f'Bearer realm="http://{faulty.host}/token",service="r"'}
    faulty.faults = [
        fault("GET /v2/$", status=401, headers=challenge),
        fault("GET /token", status=200, content=b'{"token":"first-token","refresh_token":"for-later"}'),
    ]
    login(faulty.host, "me", "password", environ=environ)
    assert faulty.count("GET /token.*offline_token=true") == 1
    entry = document(file)["auths"][faulty.host]
    assert entry["identitytoken"] == "for-later"
    found = find(faulty.host, environ=environ)
    assert found.identity_token == "for-later" and not found.password


def test_an_old_password_does_not_keep_from_what_is_public(token_registry, token_server, log_in):
    log_in(token_registry, "user", "no longer this one")
    with pytest.raises(NotInRegistry):
        resolve(Reference.parse(f"{token_registry}/public/nothing"))
    with pytest.raises(AuthenticationFailed) as failed:
        resolve(Reference.parse(f"{token_registry}/private/nothing"))
    assert "'user'" in failed.value.hint and "log in again" in failed.value.hint


def test_the_password_is_in_no_argument_and_no_message(htpasswd_registry, file, tmp_path):
    from real.command import COMMAND

    environ = {**os.environ, "DOCKER_CONFIG": str(file.parent)}
    host = htpasswd_registry.host

    def run(*arguments, text=""):
        return subprocess.run([*COMMAND, *arguments], input=text, env=environ, capture_output=True, text=True)

    done = run("login", "-u", "alice", "--password-stdin", host, text="secret\n")
    assert done.returncode == 0 and done.stdout == "Login Succeeded\n" and "unencrypted" in done.stderr
    wrong = run("login", "-u", "alice", "--password-stdin", host, text="not-this-one\n")
    assert wrong.returncode == 1 and "401" in wrong.stderr and "not-this-one" not in wrong.stdout + wrong.stderr
    typed = run("login", "-u", "alice", "-p", "secret", host)
    assert typed.returncode == 2 and "--password-stdin" in typed.stderr and "secret" not in typed.stderr
    assert run("login", "-u", "alice", host).returncode == 2, "no terminal"
    assert run("login", "--password-stdin", host).returncode == 2
    assert run("logout", host).stdout == f"Removed the login credentials for {host}\n"
    assert run("logout", host).stdout == f"Not logged in to {host}\n"
