"""Where a registry is: from the name in a reference to the URLs to try. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from pybuild.registry.reference import HUB

_HUB_HOST = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place to try: a base URL without a slash at its end, and whether its certificate is checked."""

    url: str
    is_verified: bool = True


def endpoints(registry: str, *, insecure: bool = False) -> tuple[Endpoint, ...]:
    """The places to try in turn: https; http for this machine itself; with `insecure` both, whatever the certificate."""
    host = _HUB_HOST if registry == HUB else registry
    plain = Endpoint(f"http://{host}")
    secure = Endpoint(f"https://{host}", is_verified=not insecure)
    if is_local(registry):
        return (plain, secure) if insecure else (plain,)
    return (secure, plain) if insecure else (secure,)


def is_local(registry: str) -> bool:
    """Whether the registry is on this machine: localhost, 127.0.0.0/8, [::1], with or without a port."""
    host = registry.partition("]")[0].removeprefix("[") if registry.startswith("[") else registry.partition(":")[0]
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
