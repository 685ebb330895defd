"""Who we are to a registry: docker's own configuration, and the helper programs that it names. Reads only."""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pybuild.registry.document import Fields, load
from pybuild.registry.errors import InvalidDocument, RegistryError
from pybuild.registry.reference import HUB

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")
_HELPER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password, or an identity token in place of both. Never printed."""

    username: str
    password: str
    identity_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, ...)"

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def config_path(environ: Mapping[str, str]) -> Path:
    """Where docker keeps its configuration: $DOCKER_CONFIG, else ~/.docker."""
    folder = environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".docker")
    return Path(folder, "config.json")


def find_credentials(registry: str, environ: Mapping[str, str]) -> Credentials | None:
    """The credentials for a registry; None to stay anonymous. Raises InvalidDocument for a damaged configuration."""
    path = config_path(environ)
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    fields = Fields(load(content, str(path)), str(path))
    keys = _HUB_KEYS if registry == HUB else (registry, f"https://{registry}", f"http://{registry}", f"https://{registry}/v2/")
    helpers = dict(fields.pairs("credHelpers"))
    helper = next((helpers[key] for key in keys if key in helpers), None) or fields.text("credsStore")
    if helper:
        found = _from_helper(helper, keys[0])
        if found is not None:
            return found
    auths = fields.get("auths", dict, {})
    for key in keys:
        entry = auths.get(key) or auths.get(f"{key}/")
        if entry:
            return _from_entry(Fields(entry, f"{path}: auths: {key}"), f"{path}: auths: {key}")
    return None


def _from_entry(entry: Fields, where: str) -> Credentials | None:
    token = entry.text("identitytoken")
    encoded = entry.text("auth")
    if encoded:
        try:
            username, colon, password = base64.b64decode(encoded).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidDocument(f"{where}: auth is not base64", hint="log in again with docker login") from None
        if colon:
            return Credentials(username, password.rstrip("\0"), token)
    if entry.text("username"):
        return Credentials(entry.text("username") or "", entry.text("password") or "", token)
    return Credentials("", "", token) if token else None


def _from_helper(name: str, server: str) -> Credentials | None:
    import subprocess

    program = f"docker-credential-{name}"
    try:
        done = subprocess.run([program, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_SECONDS, check=False)
    except FileNotFoundError:
        raise RegistryError(f"the credential helper {program} is not installed", hint="install it, or change docker's config.json") from None
    except subprocess.TimeoutExpired:
        raise RegistryError(f"the credential helper {program} does not answer") from None
    if done.returncode != 0:
        return None
    try:
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise RegistryError(f"the credential helper {program} answered something else than credentials") from None
    return Credentials("", "", secret) if username == "<token>" else Credentials(username, secret)
