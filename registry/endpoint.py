"""Where a registry is: from the name in a reference to the URLs to try. Pure."""

from __future__ import annotations

import ipaddress

from pybuild.registry.reference import HUB

_HUB_HOST = "registry-1.docker.io"


def endpoints(registry: str, *, insecure: bool = False) -> tuple[str, ...]:
    """The base URLs to try in turn: https; http for this machine itself; with `insecure` both."""
    host = _HUB_HOST if registry == HUB else registry
    plain, secure = f"http://{host}", f"https://{host}"
    if is_local(registry):
        return (plain, secure) if insecure else (plain,)
    return (secure, plain) if insecure else (secure,)


def is_local(host: str) -> bool:
    """Whether a host, with or without a port, is this machine: localhost, 127.0.0.0/8, [::1]."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0] if host.count(":") < 2 else host
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
