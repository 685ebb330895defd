"""A file at a URL: one GET, its redirects followed, its body as a stream. No registry, no credentials but the URL's own.

With the connections, certificates, proxies and patience that registries get. Source: RFC 9110.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import urllib3

from pybuild.registry import certificates
from pybuild.registry.connections import POOLS, close_pools
from pybuild.registry.errors import UnexpectedAnswer, Unreachable
from pybuild.registry.proxies import proxy_of
from pybuild.registry.retries import RETRIED_STATUSES, Patience
from pybuild.registry.stream import Stream
from pybuild.registry.troubles import is_plain, reason_of
from pybuild.registry.urls import host, origin

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 10
_HINTS = {
    401: "it wants a user: write USER:PASSWORD@ before the host",
    403: "it is not for everybody",
    404: "is the URL right?",
    410: "it was there, and is not any more",
}


@contextlib.contextmanager
def opened(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    may_lose_encryption: bool = False,
    patience: Patience | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Stream]:
    """Ask for a URL. `may_lose_encryption` lets https redirect to http, where the content is checked by other means.

    The status is 200, or 304, which has no body. Raises Unreachable, and UnexpectedAnswer for any other status.
    """
    patience = patience or Patience()
    environ = os.environ if environ is None else environ
    pools: dict[str, urllib3.PoolManager] = {}
    with contextlib.ExitStack() as resources:

        def pool_of(url: str) -> urllib3.PoolManager:
            proxy = proxy_of(url, environ) or ""
            if proxy not in pools:
                pools[proxy] = _pool(proxy, patience, environ)
                resources.callback(close_pools, pools[proxy])
            return pools[proxy]

        response, place = _followed(url, dict(headers or {}), pool_of, patience, may_lose_encryption=may_lose_encryption)
        resources.callback(response.close)
        if response.status not in (200, 304):
            raise UnexpectedAnswer(
                f"{_plain(place)}: {host(place)} answered {response.status}",
                url=place,
                status=response.status,
                hint=_HINTS.get(response.status, "try again later" if response.status in RETRIED_STATUSES else None),
            )
        yield Stream(
            response,
            url=place,
            status=response.status,
            headers=response.headers,
            subject=_plain(place),
            silence_seconds=patience.answer_seconds,
        )


def _followed(
    url: str,
    headers: dict[str, str],
    pool_of: Callable[[str], urllib3.PoolManager],
    patience: Patience,
    *,
    may_lose_encryption: bool,
) -> tuple[urllib3.BaseHTTPResponse, str]:
    bare, authorization = _separated(url)
    home = origin(bare)
    for _ in range(_MOST_REDIRECTS + 1):
        own = {"Authorization": authorization} if authorization and origin(bare) == home else {}
        response = _persistent(
            bare, {"User-Agent": "pybuild", "Accept-Encoding": "identity", **headers, **own}, pool_of, patience
        )
        place = response.headers.get("Location")
        if response.status not in _REDIRECTS or not place:
            return response, bare
        response.close()
        before, (bare, _) = bare, _separated(urljoin(bare, place))
        if urlsplit(bare).scheme not in ("http", "https"):
            raise UnexpectedAnswer(f"{_plain(before)} redirects to {urlsplit(bare).scheme}:", url=before, status=response.status)
        if before.startswith("https:") and not bare.startswith("https:") and not may_lose_encryption:
            raise UnexpectedAnswer(
                f"{_plain(before)} redirects to {host(bare)} unencrypted",
                url=before,
                status=response.status,
                hint="say what the content has to be with --checksum=sha256:..., and it is followed",
            )
    raise UnexpectedAnswer(f"{_plain(url)}: more than {_MOST_REDIRECTS} redirects", url=url, status=response.status)


def _persistent(
    url: str, headers: dict[str, str], pool_of: Callable[[str], urllib3.PoolManager], patience: Patience
) -> urllib3.BaseHTTPResponse:
    attempt = 0
    while True:
        attempt += 1
        try:
            response = pool_of(url).request(
                "GET", url, headers=headers, redirect=False, retries=False, preload_content=False, decode_content=False
            )
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            is_hopeless = isinstance(error, ValueError | urllib3.exceptions.SSLError | urllib3.exceptions.NewConnectionError)
            if attempt >= patience.attempts or is_hopeless:
                raise _unreachable(error, url) from error
        else:
            if response.status not in RETRIED_STATUSES or attempt >= patience.attempts:
                return response
            response.close()
        patience.wait(attempt)


def _unreachable(error: Exception, url: str) -> Unreachable:
    hint = "is the name right, and does the network reach it?"
    if isinstance(error, urllib3.exceptions.SSLError):
        hint = "it speaks plain http" if is_plain(error) else "set SSL_CERT_FILE to its certificate authority's file"
    elif isinstance(error, urllib3.exceptions.ProxyError):
        hint = "see HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the environment"
    return Unreachable(f"{_plain(url)}: cannot reach {host(url)}: {reason_of(error)}", url=url, hint=hint)


def _pool(proxy: str, patience: Patience, environ: Mapping[str, str]) -> urllib3.PoolManager:
    timeout = urllib3.Timeout(connect=patience.connect_seconds, read=patience.answer_seconds)
    context = certificates.context(None, environ, insecure=False)
    if proxy:
        bare, authorization = _separated(proxy)
        shown = {"Proxy-Authorization": authorization} if authorization else None
        made: urllib3.PoolManager = urllib3.ProxyManager(bare, timeout=timeout, ssl_context=context, proxy_headers=shown)
    else:
        made = urllib3.PoolManager(timeout=timeout, ssl_context=context)
    made.pool_classes_by_scheme = POOLS
    return made


def _separated(url: str) -> tuple[str, str]:
    """A URL without the user in it, and the header that says who that is."""
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    bare = urlunsplit((parts.scheme, place, parts.path or "/", parts.query, ""))
    if not at:
        return bare, ""
    return bare, "Basic " + base64.b64encode(unquote(user).encode()).decode()


def _plain(url: str) -> str:
    """The URL without what may be a secret in it."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, host(url), parts.path, "", ""))
