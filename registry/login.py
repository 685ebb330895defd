"""Logging in and out: credentials are tried on the registry, then kept where docker keeps them.

With a helper in the file's `credHelpers` or `credsStore` the secret goes there, else into the file's `auths`. The file is
replaced whole, readable by its owner alone; what else is in it stays. Source: docker/cli, cli/command/registry/login.go
and cli/config/configfile.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pybuild.registry import keychain
from pybuild.registry.credentials import TOKEN_USER, Credentials, keys_of, login_file, plain_key
from pybuild.registry.document import Fields, load
from pybuild.registry.errors import AuthenticationFailed, InvalidReference, RegistryError
from pybuild.registry.reference import HUB, Reference
from pybuild.registry.retries import Patience
from pybuild.values import frozen, replace


@frozen
class LoggedIn:
    """What a login has done: for which registry, and where the secret is kept now."""

    registry: str
    kept_in: str
    is_encrypted: bool


def registry_of(text: str) -> tuple[str, str]:
    """Registry and path of what a user calls a registry: a host, `host/path`, a URL, Docker Hub's many names.

    Raises InvalidReference.
    """
    name = plain_key(text.strip()).rstrip("/")
    host, _, path = name.partition("/")
    if host in (HUB, "index.docker.io", "registry-1.docker.io", "hub.docker.com"):
        return HUB, "" if path in ("", "v1") else path
    try:
        # Any path will do: it is the host's form that is looked at.
        found = Reference.parse(f"{name if path else f'{host}/x'}:latest")
    except InvalidReference as error:
        raise InvalidReference(f"not a registry: {text!r}", hint="write HOST[:PORT], such as registry.example.com") from error
    if found.registry != host:
        raise InvalidReference(f"not a registry: {text!r}", hint="write HOST[:PORT], such as registry.example.com")
    return host, path


def login(
    registry: str,
    username: str,
    password: str,
    *,
    environ: Mapping[str, str],
    insecure: bool = False,
    file: Path | None = None,
    patience: Patience | None = None,
) -> LoggedIn:
    """Try credentials on a registry, and keep them when it takes them; its identity token in their place if it gives one.

    `file` is the first that is read when None. Raises AuthenticationFailed, TransferError, RegistryError.
    """
    host, path = registry_of(registry)
    if not username or not password:
        raise AuthenticationFailed(f"{host}: a login needs a user and a password", url=host)
    credentials = _tried(host, Credentials(username, password), environ, insecure=insecure, patience=patience)
    target = file or login_file(environ)
    key = f"{host}/{path}" if path else keys_of(host)[0]
    with _editing(target) as document:
        helper = _helper(Fields(document, str(target)), host, path)
        auths = document.setdefault("auths", {})
        if not isinstance(auths, dict):
            raise RegistryError(f"{target}: auths is not an object", hint="mend the file, or move it away")
        _drop(auths, host, path)
        if helper:
            token = credentials.identity_token
            keychain.store(helper, key, TOKEN_USER if token else username, token or password, str(target))
            # An empty entry says that there is something to ask the helper for.
            auths[key] = {}
        else:
            auths[key] = _entry(credentials)
    kept_in = f"docker-credential-{helper}" if helper else str(target)
    return LoggedIn(host if not path else f"{host}/{path}", kept_in, bool(helper))


def logout(registry: str, *, environ: Mapping[str, str], file: Path | None = None) -> bool:
    """Forget the credentials of a registry; False when there were none. Raises RegistryError."""
    host, path = registry_of(registry)
    target = file or login_file(environ)
    if not target.exists():
        return False
    with _editing(target) as document:
        fields = Fields(document, str(target))
        auths = document.get("auths")
        was_there = isinstance(auths, dict) and _drop(auths, host, path)
        if helper := _helper(fields, host, path):
            for key in (f"{host}/{path}",) if path else keys_of(host):
                was_there |= keychain.erase(helper, key, str(target))
    return was_there


def _tried(
    host: str, credentials: Credentials, environ: Mapping[str, str], *, insecure: bool, patience: Patience | None
) -> Credentials:
    """The credentials, or the identity token in their place, once the registry has taken them."""
    from pybuild.registry.client import Client

    with Client(host, insecure=insecure, patience=patience, environ=environ, credentials=credentials, is_login=True) as client:
        try:
            client.request("GET", "/v2/", subject=f"login to {host}", scopes=(), accept=(200,))
        except AuthenticationFailed as error:
            error.hint = "is the user name right, and the password? Some registries want an access token in its place"
            raise
        token = client.identity_token
    return replace(credentials, identity_token=token) if token else credentials


def _helper(fields: Fields, host: str, path: str) -> str | None:
    helpers = dict(fields.pairs("credHelpers"))
    return next((helpers[key] for key in keys_of(host, path) if key in helpers), None) or fields.text("credsStore")


def _entry(credentials: Credentials) -> dict[str, str]:
    token = credentials.identity_token
    # docker leaves the password out when there is a token, and the user name in.
    pair = f"{credentials.username}:{'' if token else credentials.password}"
    entry = {"auth": base64.b64encode(pair.encode()).decode()}
    return entry | {"identitytoken": token} if token else entry


def _drop(auths: dict[str, object], host: str, path: str) -> bool:
    """Take all entries of a registry out, however they are spelled; whether there was one."""
    wanted = {f"{host}/{path}"} if path else set(keys_of(host)) | {plain_key(key) for key in keys_of(host)}
    doomed = [key for key in auths if key in wanted or plain_key(key) in wanted]
    for key in doomed:
        del auths[key]
    return bool(doomed)


@contextlib.contextmanager
def _editing(path: Path) -> Iterator[dict[str, object]]:
    """The file's document, written back when the block ends well. Of several logins at once none is lost."""
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RegistryError(f"cannot write {target}: {error.strerror}", hint="set DOCKER_CONFIG to a folder of yours") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        content = target.read_bytes() if target.exists() else b""
        document = dict(load(content, str(target))) if content.strip() else {}
        before = json.dumps(document)
        yield document
        if json.dumps(document) != before:
            _replace(target, json.dumps(document, indent="\t", ensure_ascii=False).encode() + b"\n")
    except OSError as error:
        raise RegistryError(f"cannot write {target}: {error.strerror}", hint="is it yours, and the disk not full?") from error
    finally:
        os.close(folder)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            # Passwords of other registries are in it too: it has to be there after a power loss.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
