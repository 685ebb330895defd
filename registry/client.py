"""HTTP to one registry: connections, authentication, redirects, retries. The only module that imports requests.

Knows nothing of manifests and blobs. Sends credentials to nobody but the registry and its token server, does not follow
https to http, reads no .netrc. Source: distribution-spec; RFC 9110.
"""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

with warnings.catch_warnings():
    # That nobody is there who guesses the encoding of a text: see pybuild/__main__.py.
    warnings.simplefilter("ignore")
    import requests
import urllib3
from requests.adapters import HTTPAdapter

from pybuild.hints import Self
from pybuild.registry import answers, certificates
from pybuild.registry.answers import Answer
from pybuild.registry.authorization import Authorization, Scopes, TokenRequest
from pybuild.registry.connections import POOLS, close_pools
from pybuild.registry.credentials import Credentials, find
from pybuild.registry.endpoint import endpoints, is_local
from pybuild.registry.errors import BrokenOff, OutOfTime, UnexpectedAnswer, Unreachable
from pybuild.registry.proxies import proxy_of
from pybuild.registry.retries import RETRIED_STATUSES, Patience, seconds_of
from pybuild.registry.stream import Body, Stream
from pybuild.registry.troubles import cause_of, is_plain, is_tls, unreachable
from pybuild.registry.urls import host, joined, origin
from pybuild.values import frozen, natural, replace

_BLOCK = 1 << 18
_REDIRECTS = (301, 302, 303, 307, 308)
# These keep the method and the body; the others make a GET of all that is no HEAD. Source: RFC 9110, 15.4.
_SAME_AGAIN = (307, 308)
_MOST_REDIRECTS = 5
_BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError)
_HOPELESS = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)
# urllib3's newer releases have two for a host that is not there, and for one that does not answer.
_NOBODY = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)


class _Adapter(HTTPAdapter):
    """Sends bodies in larger blocks than 16 KiB, and speaks TLS as the given context says: one for all connections.

    requests would read the system's certificates anew for each, which is 20 ms; plain http needs none of them.
    """

    def __init__(self, make_context: Callable[[], ssl.SSLContext], connections: int) -> None:
        self._context = functools.cache(make_context)
        super().__init__(pool_maxsize=connections)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **rest: object) -> None:
        super().init_poolmanager(connections, maxsize, block, blocksize=_BLOCK, **rest)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **rest: object) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(proxy, blocksize=_BLOCK, **rest)
        manager.pool_classes_by_scheme = POOLS
        return manager

    def build_connection_pool_key_attributes(  # type: ignore[override]
        self, request: requests.PreparedRequest, verify: object, cert: object = None
    ) -> tuple[dict[str, object], dict[str, object]]:
        parts = urlsplit(str(request.url))
        tls = {"ssl_context": self._context()} if parts.scheme == "https" else {}
        return {"scheme": parts.scheme, "host": parts.hostname, "port": parts.port}, dict(tls)

    def cert_verify(self, conn: object, url: object, verify: object, cert: object) -> None:
        """The context does it."""

    def close(self) -> None:
        """Close the connections that are not in use."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            close_pools(manager)


class _Session(requests.Session):
    """Keeps no cookies: who brings them is taken for a browser (Harbor then wants a CSRF token). Follows no redirects."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.headers.update({"User-Agent": "pybuild", "Accept-Encoding": "identity"})

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: requests would read the whole answer, and fail on a place that is no URL."""


@frozen
class _Call:
    """One request as it is made, perhaps several times."""

    method: str
    url: str
    subject: str
    headers: Mapping[str, str]
    body: Body
    answer_seconds: float | None
    scopes: Scopes = ()


class Client:
    """One registry. A context manager; safe for threads."""

    def __init__(
        self,
        registry: str,
        *,
        path: str = "",
        insecure: bool = False,
        patience: Patience | None = None,
        environ: Mapping[str, str] | None = None,
        connections: int = 8,
        credentials: Credentials | None = None,
        is_login: bool = False,
    ) -> None:
        self.registry = registry
        self.patience = patience or Patience()
        self._insecure = insecure
        self._environ = os.environ if environ is None else environ
        ours = None if credentials else functools.partial(find, registry, path=path, environ=self._environ)
        self._authorization = Authorization(credentials, insecure=insecure, ask=self._ask, find=ours, is_login=is_login)
        self._places = endpoints(registry, insecure=insecure)
        self._place: str | None = self._places[0] if len(self._places) == 1 else None
        self._choosing = threading.Lock()
        self._has_answered = False
        self._session = _Session()
        # What a redirect leads to is not shown our certificate, and not trusted for the registry's authorities.
        mounted = {"http://": None, "https://": None} | {f"{place}/": registry for place in self._places}
        for prefix, whose in mounted.items():
            context = functools.partial(certificates.context, whose, self._environ, insecure=insecure)
            self._session.mount(prefix, _Adapter(context, connections))

    @property
    def identity_token(self) -> str | None:
        """What the token server gave for later logins, if it did."""
        return self._authorization.identity_token

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(
        self,
        method: str,
        target: str,
        *,
        subject: str,
        scopes: Scopes,
        accept: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        attempts: int | None = None,
        is_patient: bool = False,
    ) -> Answer:
        """Make a request and read the whole answer, whose status is one of `accept`.

        `target` is a path under the registry, or a URL that it gave; `subject` names the matter in errors. A body that is
        a file is rewound for each attempt. With `is_patient` the answer may take any time. Raises TransferError.
        """
        most = attempts or self.patience.attempts
        attempt = 0
        while True:
            attempt += 1
            try:
                with self.stream(
                    method,
                    target,
                    subject=subject,
                    scopes=scopes,
                    accept=accept,
                    headers=headers,
                    body=body,
                    attempts=attempts,
                    is_patient=is_patient,
                ) as stream:
                    return Answer(stream.url, stream.status, _lowered(stream.headers), stream.read_text())
            except BrokenOff:
                if attempt >= most:
                    raise
            self.patience.wait(attempt)

    @contextlib.contextmanager
    def stream(
        self,
        method: str,
        target: str,
        *,
        subject: str,
        scopes: Scopes,
        accept: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        attempts: int | None = None,
        is_patient: bool = False,
    ) -> Iterator[Stream]:
        """The same, with the answer's body still to be read: what breaks there is the caller's to go on with."""
        base = self._base(subject)
        url = joined(base, target)
        self._check_encrypted(base, url, f"{subject}: {self.registry} wants content sent to {host(url)} unencrypted")
        seconds = None if is_patient else self.patience.answer_seconds
        call = _Call(method, url, subject, headers or {}, body, seconds, scopes)
        response = self._persistent(call, attempts or self.patience.attempts)
        with contextlib.closing(response):
            stream = self._stream(response, subject)
            if response.status_code not in accept:
                answer = Answer(response.url, response.status_code, _lowered(response.headers), stream.read_some())
                is_elsewhere = host(response.url) != host(base)
                mine = self._authorization
                refusal = answers.refusal(answer, subject, self.registry, credentials=mine.credentials, is_elsewhere=is_elsewhere)
                raise mine.explained(refusal)
            yield stream

    def _stream(self, response: requests.Response, subject: str) -> Stream:
        return Stream(
            response.raw,
            url=response.url,
            status=response.status_code,
            headers=response.headers,
            subject=subject,
            silence_seconds=self.patience.answer_seconds,
        )

    def _base(self, subject: str) -> str:
        """The place that answers; which one is found out once, where there is a choice."""
        with self._choosing:
            failed: Exception | None = None
            for place in self._places if self._place is None else ():
                try:
                    with contextlib.closing(self._send(self._plain("GET", f"{place}/v2/", subject))) as response:
                        # 400 is what a TLS server says to plain http.
                        if response.status_code != 400:
                            self._place = place
                            break
                except _BROKEN as error:
                    # What is wrong with somebody's TLS tells more than that they do not speak plain http.
                    failed = error if failed is None or is_plain(failed) or not is_tls(failed) else failed
                    if place == self._places[-1]:
                        raise unreachable(failed, subject, url=self._places[0]) from error
            return self._place or self._places[0]

    def _check_encrypted(self, before: str, url: str, message: str) -> None:
        if before.startswith("https:") and not url.startswith("https:") and not self._insecure:
            raise UnexpectedAnswer(
                message,
                url=url,
                status=307,
                hint="a proxy before the registry that sets no X-Forwarded-Proto? --insecure allows it",
            )

    def _persistent(self, call: _Call, attempts: int) -> requests.Response:
        """The answer to a request that is made again, after a pause, as long as that may help."""
        attempt = 0
        while True:
            attempt += 1
            retry_after = 0.0
            try:
                response = self._authorized(call)
            except _BROKEN as error:
                if attempt >= attempts or not self._may_recover(error):
                    raise self._unreachable(error, call) from error
            else:
                self._has_answered = True
                if response.status_code not in RETRIED_STATUSES or attempt >= attempts:
                    return response
                retry_after = seconds_of(response.headers.get("Retry-After", ""))
                response.close()
            self.patience.wait(attempt, retry_after)

    def _authorized(self, call: _Call) -> requests.Response:
        """One attempt; a 401 that names what it wants is answered with it."""
        is_ours = self._place is not None and origin(call.url) == origin(self._place)
        used = self._authorization.header(call.scopes, url=call.url) if is_ours else None
        response = self._followed(call, used)
        for meet in (self._authorization.answer, self._authorization.widened):
            demand = response.headers.get("WWW-Authenticate")
            if response.status_code != 401 or not demand or not is_ours:
                break
            header = meet(demand, call.scopes, url=call.url, used=used)
            if header is None:
                break
            _drain(response)
            used = header
            response = self._followed(call, used)
        return response

    def _followed(self, call: _Call, authorization: str | None) -> requests.Response:
        """One request and the redirects after it. The header goes to the host that it is meant for, and no further."""
        home = origin(call.url)
        for _ in range(_MOST_REDIRECTS + 1):
            own = {"Authorization": authorization} if authorization and origin(call.url) == home else {}
            response = self._send(replace(call, headers={**call.headers, **own}))
            place = response.headers.get("Location")
            is_followed = call.method in ("GET", "HEAD") or response.status_code in _SAME_AGAIN
            if response.status_code not in _REDIRECTS or not place or not is_followed:
                return response
            _drain(response)
            before, url = call.url, joined(call.url, place)
            self._check_encrypted(before, url, f"{host(before)} redirects to {host(url)} unencrypted")
            call = replace(call, url=url)
        raise UnexpectedAnswer(f"{host(call.url)}: too many redirects", url=call.url, status=response.status_code)

    def _send(self, call: _Call) -> requests.Response:
        if call.body is not None and not isinstance(call.body, bytes):
            call.body.seek(0)
        connect, answer = self.patience.connect_seconds, call.answer_seconds
        left = self.patience.left
        if left is not None:
            if not left:
                raise OutOfTime(f"{call.subject}: time is up", url=call.url, hint="it goes on from here the next time")
            connect, answer = min(connect, left), left if answer is None else min(answer, left)
        return self._session.request(
            call.method,
            call.url,
            headers=dict(call.headers),
            data=call.body,
            stream=True,
            allow_redirects=False,
            timeout=(connect, answer),
            proxies=self._proxies(call.url),
        )

    def _plain(self, method: str, url: str, subject: str) -> _Call:
        return _Call(method, url, subject, {}, None, self.patience.answer_seconds)

    def _ask(self, request: TokenRequest) -> bytes:
        """Fetch a token. Its own retries: the token server is another machine than the registry."""
        call = self._plain("GET" if request.form is None else "POST", request.url, f"token for {self.registry}")
        if request.form is not None:
            call = replace(call, headers={"Content-Type": "application/x-www-form-urlencoded"}, body=request.form)
        attempt = 0
        while True:
            attempt += 1
            is_last, retry_after = attempt >= self.patience.attempts, 0.0
            try:
                with contextlib.closing(self._followed(call, request.authorization)) as response:
                    stream = self._stream(response, call.subject)
                    if response.status_code == 200:
                        return stream.read_text()
                    if response.status_code not in RETRIED_STATUSES or is_last:
                        answer = Answer(response.url, response.status_code, {}, stream.read_some())
                        refusal = answers.no_token(answer, self.registry, credentials=self._authorization.credentials)
                        raise self._authorization.explained(refusal)
                    retry_after = seconds_of(response.headers.get("Retry-After", ""))
            except BrokenOff:
                if is_last:
                    raise
            except _BROKEN as error:
                if is_last or not self._may_recover(error):
                    raise self._unreachable(error, call) from error
            self.patience.wait(attempt, retry_after)

    def _may_recover(self, error: Exception) -> bool:
        """Whether it makes sense to try again: not with a bad certificate, and not where nobody has ever answered."""
        if isinstance(error, _HOPELESS) or is_tls(error):
            return False
        return self._has_answered or not isinstance(cause_of(error), _NOBODY)

    def _unreachable(self, error: Exception, call: _Call) -> Unreachable:
        # Behind a redirect it is another one who is not there.
        url = str(getattr(getattr(error, "request", None), "url", None) or call.url)
        return unreachable(error, call.subject, url=url, is_first=not self._has_answered)

    def _proxies(self, url: str) -> dict[str, str]:
        """What requests wants to hear. This machine is never asked through a proxy."""
        proxy = None if is_local(urlsplit(url).netloc) else proxy_of(url, self._environ)
        return {urlsplit(url).scheme: proxy} if proxy else {}


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _drain(response: requests.Response) -> None:
    """Be done with an answer; a short one is read to its end, so that the connection can be used again."""
    length = natural(response.headers.get("Content-Length", ""))
    if length is not None and length <= _BLOCK:
        with contextlib.suppress(*_BROKEN):
            response.raw.read(length, decode_content=False)
            return
    response.close()
