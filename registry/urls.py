"""What a URL says about whom it leads to. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit


def host(url: str) -> str:
    """Host and port alone: the rest of a URL may hold a signature."""
    return urlsplit(url).netloc.rpartition("@")[2]


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: whom credentials are for."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
