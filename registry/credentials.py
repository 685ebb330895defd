"""Who we are to a registry: what `pybuild login`, `docker login` and `podman login` wrote down.

Reads `$REGISTRY_AUTH_FILE`, then `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`, and podman's `auth.json`:
`auths`, `credHelpers` and `credsStore`. `login.py` writes them. Source: docker/cli, cli/config; containers-auth.json(5).
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path

from pybuild.registry import keychain
from pybuild.registry.document import Fields, load
from pybuild.registry.errors import InvalidDocument, RegistryError
from pybuild.registry.redaction import keep_secret
from pybuild.registry.reference import HUB
from pybuild.values import frozen

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")
# The user name that a helper gives with an identity token.
TOKEN_USER = "<token>"


@frozen
class Credentials:
    """A user with a password, or an identity token that is exchanged for access tokens. `source` is the file."""

    _hidden = ("password", "identity_token")

    username: str
    password: str
    identity_token: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        pair = f"{self.username}:{self.password}"
        keep_secret(self.password, self.identity_token, base64.b64encode(pair.encode()).decode() if self.password else None)


def find(registry: str, *, path: str = "", environ: Mapping[str, str]) -> Credentials | None:
    """The credentials for a registry, those of a longer `registry/path` first; None when there are none.

    Raises InvalidDocument for a file that is not what it should be, and RegistryError when a helper fails.
    """
    for file in _files(environ):
        try:
            content = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise RegistryError(f"cannot read {file}: {error.strerror}", hint="is the file yours?") from error
        if content.strip() and (found := _in_file(Fields(load(content, str(file)), str(file)), str(file), registry, path)):
            return found
    return None


def login_file(environ: Mapping[str, str]) -> Path:
    """What a login is written to: the file that is read first."""
    return _files(environ)[0]


def _docker_file(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("DOCKER_CONFIG") or _home(environ) / ".docker") / "config.json"


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or os.path.expanduser("~"))


def _files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    auth_file = environ.get("REGISTRY_AUTH_FILE")
    files = [*([Path(auth_file)] if auth_file else ()), _docker_file(environ)]
    runtime = environ.get("XDG_RUNTIME_DIR")
    # Without a session, as under cron, podman has it here.
    files.append(Path(runtime) / "containers" / "auth.json" if runtime else Path(f"/run/containers/{os.geteuid()}/auth.json"))
    files.append(Path(environ.get("XDG_CONFIG_HOME") or _home(environ) / ".config") / "containers" / "auth.json")
    return tuple(files)


def _in_file(config: Fields, source: str, registry: str, path: str) -> Credentials | None:
    keys = keys_of(registry, path)
    helpers = dict(config.pairs("credHelpers"))
    default = config.text("credsStore")
    auths = config.get("auths", dict, {})
    for key in keys:
        helper = helpers.get(key)
        if helper and (found := _from_helper(helper, key, source)):
            return found
    by_key = {plain_key(key): value for key, value in auths.items()}
    for key in keys:
        entry = auths.get(key, by_key.get(plain_key(key)))
        if isinstance(entry, dict) and (found := _from_entry(Fields(entry, f"{source}: {key}"), f"{source}: {key}")):
            return found
    for key in keys if default else ():
        if found := _from_helper(str(default), key, source):
            return found
    return None


def keys_of(registry: str, path: str = "") -> tuple[str, ...]:
    """The names that a registry's entry may have, the most exact first."""
    parts = path.split("/") if path else []
    longer = tuple(f"{registry}/{'/'.join(parts[:count])}" for count in range(len(parts), 0, -1))
    return (*longer, *(_HUB_KEYS if registry == HUB else (registry, f"https://{registry}", f"http://{registry}")))


def plain_key(key: str) -> str:
    """An old key, `https://host/v1/`, as the host alone; Hub's own keeps its form, it is listed in full."""
    host = key.removeprefix("https://").removeprefix("http://")
    return host.removesuffix("/").removesuffix("/v1").removesuffix("/v2")


def _from_entry(entry: Fields, where: str) -> Credentials | None:
    token = entry.text("identitytoken")
    username, password = entry.get("username", str, ""), entry.get("password", str, "")
    if auth := entry.text("auth"):
        try:
            username, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise InvalidDocument(f"{where}: auth is not base64", hint="log in again") from error
        if not colon:
            raise InvalidDocument(f"{where}: auth is not user:password", hint="log in again")
        password = password.rstrip("\0")
    if not username and not token:
        return None
    return Credentials(username, password, token, where.partition(": ")[0])


def _from_helper(helper: str, key: str, source: str) -> Credentials | None:
    found = keychain.get(helper, key, source)
    if found is None:
        return None
    username, secret = found
    program = f"docker-credential-{helper}"
    return Credentials("", "", secret, program) if username == TOKEN_USER else Credentials(username, secret, None, program)
