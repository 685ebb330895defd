"""Credential helpers: programs named `docker-credential-NAME` that keep passwords for us, each call a process.

Source: docker/docker-credential-helpers, README, "Development" (`get`, `store`, `erase`, JSON on standard streams).
"""

from __future__ import annotations

import json

from pybuild.registry.document import Fields, dump
from pybuild.registry.errors import InvalidDocument, RegistryError
from pybuild.registry.redaction import keep_secret, redacted

_SECONDS = 30


def get(helper: str, key: str, source: str) -> tuple[str, str] | None:
    """User name and secret for a server; None when the helper knows none, which it says with an error.

    Raises RegistryError for a helper that cannot be run or fails, InvalidDocument for an answer that is no JSON.
    """
    code, said = _call(helper, "get", key.encode(), source)
    if code:
        if _is_not_found(said):
            return None
        raise _failed(helper, key, said, code)
    try:
        fields = Fields(json.loads(said), f"docker-credential-{helper}")
    except ValueError as error:
        raise InvalidDocument(f"docker-credential-{helper}: its answer is not JSON") from error
    username, secret = fields.get("Username", str, ""), fields.get("Secret", str, "")
    keep_secret(secret)
    return (username, secret) if username else None


def store(helper: str, key: str, username: str, secret: str, source: str) -> None:
    """Have a secret kept. It goes through a pipe: arguments can be seen by everybody. Raises RegistryError."""
    keep_secret(secret)
    document = dump({"ServerURL": key, "Username": username, "Secret": secret})
    code, said = _call(helper, "store", document, source)
    if code:
        raise _failed(helper, key, said, code)


def erase(helper: str, key: str, source: str) -> bool:
    """Have a secret forgotten; False when there was none. Raises RegistryError."""
    code, said = _call(helper, "erase", key.encode(), source)
    if code and not _is_not_found(said):
        raise _failed(helper, key, said, code)
    return code == 0


def _call(helper: str, verb: str, content: bytes, source: str) -> tuple[int, str]:
    import subprocess

    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, verb], input=content, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise RegistryError(
            f"the credential helper {program} of {source} said nothing for {_SECONDS} seconds", hint="does it wait for a window?"
        ) from error
    except OSError as error:
        raise RegistryError(
            f"{source} names the credential helper {program}, which cannot be run: {error.strerror}",
            hint="install it, or take it out of that file and log in again",
        ) from error
    said = done.stdout if done.returncode == 0 else done.stdout + done.stderr
    return done.returncode, said.decode(errors="replace").strip()


def _is_not_found(said: str) -> bool:
    # Not of anything else: a helper's own programs may be not found.
    return "credentials not found" in said.lower()


def _failed(helper: str, key: str, said: str, code: int) -> RegistryError:
    reason = redacted(said) or (f"signal {-code}" if code < 0 else f"exit code {code}")
    return RegistryError(f"docker-credential-{helper} failed for {key}: {reason}", hint="log in again")
