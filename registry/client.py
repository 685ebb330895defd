"""One registry over HTTP: requests with authentication, retries and errors that say what to do. The only user of requests.

Source: distribution-spec; distribution's token authentication; RFC 9110.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import BinaryIO
from urllib.parse import urlencode, urljoin, urlsplit

import requests
import requests.adapters
import urllib3

from pybuild.registry.credentials import Credentials, find_credentials
from pybuild.registry.errors import AuthenticationFailed, NotInRegistry, TransferError, UnexpectedAnswer, Unreachable
from pybuild.registry.reference import HUB

_HUB_HOST = "registry-1.docker.io"
_CONNECT_SECONDS = 10
_SILENCE_SECONDS = 60
_TRIES = 5
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 20.0
_LARGEST_DOCUMENT = 8 << 20
_RETRIED = (408, 429, 500, 502, 503, 504)
_BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, urllib3.exceptions.HTTPError)

Response = requests.Response
Sleep = Callable[[float], None]


def is_local(registry: str) -> bool:
    """Whether a registry is on this machine, and so spoken to without TLS: localhost, 127.0.0.0/8, [::1]."""
    host = registry.rpartition(":")[0] if re.search(r":\d+$", registry) else registry
    return host == "localhost" or host.endswith(".localhost") or host == "[::1]" or bool(re.match(r"127(\.\d{1,3}){3}$", host))


class Client:
    """A connection pool to one registry. Safe for several threads."""

    def __init__(
        self,
        registry: str,
        *,
        insecure: bool = False,
        credentials: Credentials | None = None,
        environ: Mapping[str, str] | None = None,
        sleep: Sleep = time.sleep,
    ) -> None:
        self.registry = registry
        host = _HUB_HOST if registry == HUB else registry
        self._base = f"{'http' if is_local(registry) else 'https'}://{host}"
        self._can_fall_back = insecure and not is_local(registry)
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": "pybuild", "Accept-Encoding": "identity"})
        adapter = requests.adapters.HTTPAdapter(pool_connections=8, pool_maxsize=16)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        # Proxies count; .netrc does not: it would take the place of docker's credentials.
        self._session.trust_env = False
        self._proxies = requests.utils.get_environ_proxies(self._base) if not is_local(registry) else {}
        environment = os.environ if environ is None else environ
        self._verify: bool | str = not insecure
        if not insecure:
            self._verify = environment.get("REQUESTS_CA_BUNDLE") or environment.get("SSL_CERT_FILE") or True
        self._credentials = credentials or find_credentials(registry, environment)
        self._authorizations: dict[str, str] = {}
        self._mutex = threading.Lock()
        self._sleep = sleep

    def url(self, path: str) -> str:
        """A path under /v2/ as a whole URL; a URL stays, a relative one is meant from the registry."""
        if path.startswith(("http://", "https://")):
            return path
        return urljoin(self._base, path if path.startswith("/") else f"/v2/{path}")

    def request(
        self,
        method: str,
        path: str,
        *,
        scope: str,
        expect: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
        body: Callable[[], bytes | BinaryIO] | None = None,
        stream: bool = False,
        tries: int = _TRIES,
    ) -> Response:
        """Send a request until it is answered with one of `expect`. `body` is called anew for each try.

        `scope` is what a token has to allow, such as `repository:library/ubuntu:pull`. Raises TransferError.
        """
        pause = _FIRST_PAUSE_SECONDS
        for left in reversed(range(tries)):
            url = self.url(path)
            try:
                response = self._authorized(method, url, scope, headers, body, stream)
            except _BROKEN as error:
                if self._fall_back(error):
                    continue
                if left and not isinstance(error, requests.exceptions.SSLError):
                    self._sleep(_jittered(pause))
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                    continue
                raise self._unreachable(error, url) from error
            if response.status_code in expect:
                return response
            if left and response.status_code in _RETRIED:
                wait = _retry_after(response)
                response.close()
                self._sleep(min(wait, _LONGEST_PAUSE_SECONDS) if wait is not None else _jittered(pause))
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            with response:
                raise failure(response, self.registry)
        raise AssertionError("a last try either answers or raises")

    def document(self, path: str, *, scope: str, accept: tuple[str, ...]) -> tuple[bytes, str, str | None]:
        """A small document: its bytes, its media type, and the digest that the registry gives it. Raises TransferError."""
        response = self.request("GET", path, scope=scope, expect=(200,), headers={"Accept": ", ".join(accept)}, stream=True)
        with response:
            content = self.read_all(response)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
        return content, kind, response.headers.get("Docker-Content-Digest")

    def read_all(self, response: Response) -> bytes:
        """A document's bytes, up to 8 MiB. Raises UnexpectedAnswer."""
        parts, size = [], 0
        while content := self.read(response, 1 << 16):
            parts.append(content)
            size += len(content)
            if size > _LARGEST_DOCUMENT:
                raise UnexpectedAnswer(
                    f"{self.registry}: a document of more than 8 MiB", url=_shown(response.url), status=response.status_code
                )
        return b"".join(parts)

    def read(self, response: Response, size: int) -> bytes:
        """The next bytes of a streamed answer. Raises Unreachable when it breaks off."""
        try:
            return bytes(response.raw.read(size))
        except (*_BROKEN, OSError) as error:
            raise self._unreachable(error, response.url) from error

    def _authorized(
        self,
        method: str,
        url: str,
        scope: str,
        headers: Mapping[str, str] | None,
        body: Callable[[], bytes | BinaryIO] | None,
        stream: bool,
    ) -> Response:
        for has_asked in (False, True):
            sent = dict(headers or {})
            if urlsplit(url).netloc == urlsplit(self._base).netloc and (authorization := self._authorizations.get(scope)):
                sent["Authorization"] = authorization
            response = self._send(method, url, sent, body() if body else None, stream)
            if response.status_code != 401 or has_asked:
                return response
            challenge = response.headers.get("WWW-Authenticate", "")
            response.close()
            with self._mutex:
                if sent.get("Authorization") == self._authorizations.get(scope):
                    self._authorizations[scope] = self._authorize(challenge, scope, url)
        return response

    def _send(self, method: str, url: str, headers: Mapping[str, str], data: bytes | BinaryIO | None, stream: bool) -> Response:
        return self._session.request(
            method, url, headers=headers, data=data, stream=stream, timeout=(_CONNECT_SECONDS, _SILENCE_SECONDS),
            verify=self._verify, proxies=self._proxies, allow_redirects=method in ("GET", "HEAD"),
        )

    def _authorize(self, challenge: str, scope: str, url: str) -> str:
        """The Authorization header that answers a challenge. Raises AuthenticationFailed."""
        kind, _, rest = challenge.partition(" ")
        values = {key.lower(): value for key, value in re.findall(r'([A-Za-z_]+)="([^"]*)"', rest)}
        if kind.lower() == "basic":
            if self._credentials is None:
                raise AuthenticationFailed(
                    f"{self.registry} wants a user and a password", url=_shown(url), hint=f"log in first: docker login {self.registry}"
                )
            return self._credentials.basic
        if kind.lower() != "bearer" or "realm" not in values:
            raise AuthenticationFailed(f"{self.registry} wants an unknown kind of authentication: {kind or 'none'}", url=_shown(url))
        return f"Bearer {self._token(values, scope)}"

    def _token(self, values: Mapping[str, str], scope: str) -> str:
        query = {"service": values["service"]} if "service" in values else {}
        query["scope"] = values.get("scope") or scope
        credentials = self._credentials
        realm = values["realm"]
        if credentials is not None and credentials.identity_token:
            form = {**query, "grant_type": "refresh_token", "refresh_token": credentials.identity_token, "client_id": "pybuild"}
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._send("POST", realm, headers, urlencode(form).encode(), False)
        else:
            headers = {"Authorization": credentials.basic} if credentials is not None else {}
            separator = "&" if "?" in realm else "?"
            response = self._send("GET", f"{realm}{separator}{urlencode(query)}", headers, None, False)
        if response.status_code in (400, 401, 403):
            raise AuthenticationFailed(
                f"{self.registry} refuses these credentials" if credentials else f"{self.registry} wants credentials",
                url=_shown(realm), hint=f"log in again: docker login {self.registry}",
            )
        if response.status_code != 200:
            raise failure(response, self.registry)
        try:
            answer = response.json()
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str) or not token:
            raise UnexpectedAnswer(f"{self.registry}: no token in the answer", url=_shown(realm), status=200)
        return token

    def _fall_back(self, error: Exception) -> bool:
        """Go over to plain HTTP when the user allows it and TLS is not spoken here."""
        if self._can_fall_back and isinstance(error, requests.exceptions.SSLError | requests.ConnectionError):
            self._can_fall_back = False
            self._base = self._base.replace("https://", "http://", 1)
            return True
        return False

    def _unreachable(self, error: BaseException, url: str) -> TransferError:
        if isinstance(error, requests.exceptions.SSLError):
            return Unreachable(
                f"{self.registry}: TLS failed: {_reason(error)}", url=_shown(url),
                hint="trust its certificate authority (SSL_CERT_FILE), or pass --insecure for a registry of your own",
            )
        if isinstance(error, requests.ConnectTimeout | requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
            return Unreachable(f"{self.registry} does not answer", url=_shown(url), hint="is the address right, and the registry up?")
        if isinstance(error, requests.ConnectionError) and "NewConnectionError" in repr(error):
            return Unreachable(
                f"cannot connect to {self.registry}: {_reason(error)}", url=_shown(url), hint="is the address right, and the registry up?"
            )
        return Unreachable(f"{self.registry} broke off the connection: {_reason(error)}", url=_shown(url), hint="try again")


def failure(response: Response, registry: str) -> TransferError:
    """The error for an answer that was not hoped for."""
    status = response.status_code
    said = _message(response)
    url = _shown(response.url)
    if status in (401, 403):
        what = "refuses these credentials" if status == 401 else "does not allow this"
        return AuthenticationFailed(f"{registry} {what}{said}", url=url, hint=f"log in first: docker login {registry}")
    if status == 404:
        return NotInRegistry(f"{registry} does not have {_what(url)}{said}", url=url, hint="check the name and the tag")
    if status == 413:
        return UnexpectedAnswer(f"{registry}: the upload is too large for it{said}", url=url, status=status,
                                hint="raise the body size limit of the proxy in front of the registry")
    if status == 429:
        return UnexpectedAnswer(f"{registry}: too many requests{said}", url=url, status=status, hint="wait, or log in for a higher limit")
    return UnexpectedAnswer(f"{registry} answered {status} {response.reason}{said}", url=url, status=status, hint="try again later")


def _message(response: Response) -> str:
    try:
        errors = response.json().get("errors") or []
        text = errors[0].get("message") or errors[0].get("code") or ""
    except (ValueError, AttributeError, IndexError, KeyError, TypeError, requests.RequestException):
        return ""
    return f": {text}" if text else ""


def _what(url: str) -> str:
    path = urlsplit(url).path.removeprefix("/v2/")
    match = re.match(r"(.*)/(manifests|blobs)/(.*)", path)
    return f"{match[1]}:{match[3]}".replace(":sha256:", "@sha256:") if match else path


def _shown(url: str) -> str:
    """A URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _reason(error: BaseException) -> str:
    text = str(error.__context__ or error)
    match = re.search(r"\[Errno -?\d+\] ([^'\")]+)", f"{error} {text}")
    if match:
        return match[1].strip()
    match = re.search(r"certificate verify failed: ([^(\"']+)", f"{error}")
    if match:
        return match[1].strip()
    return type(error).__name__


def _retry_after(response: Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None


def _jittered(seconds: float) -> float:
    return seconds * (0.5 + random.random())


