"""Whom to trust, and how to show who we are: certificate authorities of the system and of single registries.

A registry's own lie in folders named `HOST[:PORT]`: `*.crt` are authorities, `NAME.cert` with `NAME.key` our certificate. The
folders are docker's, podman's and our own. Source: docker, "Verify repository client with certificates";
containers-certs.d(5).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pybuild.registry.errors import RegistryError
from pybuild.values import frozen

# The system's certificates before those that come with Python: a company's own are there.
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
_CA_FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


@frozen
class Certificates:
    """The files for one registry: authorities, and pairs of our certificate and its key."""

    authorities: tuple[Path, ...] = ()
    pairs: tuple[tuple[Path, Path], ...] = ()


def find(registry: str, environ: Mapping[str, str]) -> Certificates:
    """The files of a registry, from all folders that have some. Raises RegistryError for a certificate without its key."""
    authorities: list[Path] = []
    pairs: list[tuple[Path, Path]] = []
    host = registry if registry.endswith("]") else registry.rpartition(":")[0] or registry
    for folder in (base / name for base in _folders(environ) for name in dict.fromkeys((registry, host))):
        try:
            files = sorted(folder.iterdir())
        except OSError:
            continue
        authorities += [file for file in files if file.suffix == ".crt"]
        for file in files:
            if file.suffix == ".cert":
                key = file.with_suffix(".key")
                if key not in files:
                    raise RegistryError(
                        f"{file} has no key: {key} is missing", hint="a certificate authority's file must be called *.crt"
                    )
                pairs.append((file, key))
    return Certificates(tuple(authorities), tuple(pairs))


def context(registry: str | None, environ: Mapping[str, str], *, insecure: bool) -> ssl.SSLContext:
    """How to speak TLS to a registry, or, for None, to whomever it sends us to. Raises RegistryError."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    own = find(registry, environ) if registry else Certificates()
    if insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    else:
        _trust_system(made, environ)
        for file in own.authorities:
            _load(file, made.load_verify_locations)
    for certificate, key in own.pairs:
        _load(certificate, partial(made.load_cert_chain, keyfile=key))
    return made


def _trust_system(made: ssl.SSLContext, environ: Mapping[str, str]) -> None:
    named = next((environ[name] for name in _CA_VARIABLES if environ.get(name)), None)
    path = named or next(filter(os.path.exists, _CA_FILES), None)
    if path is None:
        made.load_default_certs()
    elif os.path.isdir(path):
        made.load_verify_locations(capath=path)
    else:
        _load(Path(path), made.load_verify_locations)


def _load(file: Path, action: Callable[[Path], None]) -> None:
    try:
        action(file)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RegistryError(f"cannot use {file}: {reason}", hint="it should be a certificate in PEM form") from error


def _folders(environ: Mapping[str, str]) -> tuple[Path, ...]:
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return (
        config / "pybuild" / "certs.d",
        config / "containers" / "certs.d",
        config / "docker" / "certs.d",
        home / ".docker" / "certs.d",
        Path("/etc/pybuild/certs.d"),
        Path("/etc/containers/certs.d"),
        Path("/etc/docker/certs.d"),
    )
