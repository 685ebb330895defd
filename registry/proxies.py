"""Which proxy a URL is asked through, by what the environment says. Pure.

Go's rules, which docker and podman go by, since there is no standard. Source: golang.org/x/net/http/httpproxy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit


def proxy_of(url: str, environ: Mapping[str, str]) -> str | None:
    """The proxy for a URL; None where it is asked directly."""
    parts = urlsplit(url)
    name = f"{parts.scheme}_proxy"
    proxy = environ.get(name) or environ.get(name.upper()) or environ.get("all_proxy") or environ.get("ALL_PROXY")
    if not proxy:
        return None
    excluded = re.split(r"[,\s]+", environ.get("no_proxy") or environ.get("NO_PROXY") or "")
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    if any(_covers(entry, parts.hostname or "", port) for entry in excluded if entry):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY means a host: `*`, a network, an address, a domain with all below it; or with a port."""
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, wanted_port = _split(entry)
    if wanted_port not in (None, port):
        return False
    if address is not None:
        return _address(name) == address
    name = name.lower().removeprefix("*")
    return host.lower().endswith(name) if name.startswith(".") else host.lower() == name or host.lower().endswith(f".{name}")


def _split(entry: str) -> tuple[str, int | None]:
    """Host and port of an entry; an IPv6 address with a port stands in brackets."""
    found = re.fullmatch(r"(?:\[(.*)\]|([^:]*))(?::([0-9]{1,5}))?", entry)
    if found is None:
        return entry, None
    return found[1] or found[2] or "", int(found[3]) if found[3] else None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
