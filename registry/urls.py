"""What a URL says about whom it leads to. Pure."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from pybuild.registry.errors import UnexpectedAnswer


def host(url: str) -> str:
    """Host and port alone: the rest of a URL may hold a signature."""
    return urlsplit(url).netloc.rpartition("@")[2]


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: whom credentials are for."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def joined(base: str, target: str) -> str:
    """Where a URL or path in an answer leads to. Raises UnexpectedAnswer for what is no place on the web."""
    try:
        url = urljoin(base, target)
        scheme, name, _ = origin(url)
    except ValueError:
        scheme, name = "", None
    if scheme not in ("http", "https") or not name:
        raise UnexpectedAnswer(
            f"{host(base)} names a place that is none: {target[:200]!r}",
            url=base,
            status=0,
            hint="it, or a proxy before it, is not set up well",
        )
    return url
