"""The Authorization header of each request: nothing, Basic, or a bearer token fetched for what is to be done.

Decides whom a password may be sent to; does no HTTP itself. Source: distribution, auth/token and auth/oauth; RFC 7617.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from pybuild.registry.challenge import Challenge, preferred
from pybuild.registry.credentials import Credentials
from pybuild.registry.document import Fields, load
from pybuild.registry.endpoint import is_local
from pybuild.registry.errors import AuthenticationFailed

Scopes = tuple[str, ...]
_CLIENT_NAME = "pybuild"


def scope(path: str, *actions: str) -> str:
    """The scope of some actions on a repository: `repository:library/ubuntu:pull,push`."""
    return f"repository:{path}:{','.join(actions)}"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What to ask a token server: a GET with an optional Authorization header, or, with `form`, a POST."""

    url: str
    authorization: str | None = field(default=None, repr=False)
    form: bytes | None = field(default=None, repr=False)


class Authorization:
    """Headers for one registry, remembered by scopes. Safe for threads: four blobs fetch one token."""

    def __init__(self, credentials: Credentials | None, *, insecure: bool, ask: Callable[[TokenRequest], bytes]) -> None:
        self.credentials = credentials
        self._insecure = insecure
        self._ask = ask
        self._mutex = threading.Lock()
        self._headers: dict[Scopes, str] = {}
        self._is_basic = False

    def header(self, scopes: Scopes) -> str | None:
        """The header that worked before for these scopes; None before anything was demanded."""
        return self._basic() if self._is_basic else self._headers.get(scopes)

    def answer(self, demand: str, scopes: Scopes, *, url: str, used: str | None) -> str | None:
        """The header that meets a 401's demand; None when the one `used` is all there is.

        Raises AuthenticationFailed when the token server refuses, or is none that a password may go to.
        """
        challenge = preferred(demand)
        if challenge is None:
            return None
        with self._mutex:
            known = self.header(scopes)
            if known != used:
                return known
            if challenge.scheme == "basic":
                self._is_basic = self.credentials is not None and not self.credentials.identity_token
                return self._basic() if self._is_basic and self._basic() != used else None
            header = "Bearer " + self._token(challenge, scopes, url)
            self._headers[scopes] = header
            return header

    def _basic(self) -> str | None:
        if self.credentials is None or not self.credentials.username:
            return None
        pair = f"{self.credentials.username}:{self.credentials.password}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def _token(self, challenge: Challenge, scopes: Scopes, url: str) -> str:
        realm = challenge.parameter("realm") or ""
        parts = urlsplit(realm)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise AuthenticationFailed(f"{url}: the registry names no usable token server: {realm!r}", url=url)
        is_plain = parts.scheme == "http" and not is_local(parts.hostname) and not self._insecure
        if is_plain and not url.startswith("http://"):
            raise AuthenticationFailed(
                f"{url}: the token server {realm} is not encrypted", url=url, hint="use --insecure if that is meant to be so"
            )
        request = self._request(realm, challenge.parameter("service"), scopes)
        fields = Fields(load(self._ask(request), realm), realm)
        token = fields.text("token") or fields.text("access_token")
        if not token or not token.isprintable() or not token.isascii():
            raise AuthenticationFailed(f"{realm}: the token server gave no token", url=realm)
        return token

    def _request(self, realm: str, service: str | None, scopes: Scopes) -> TokenRequest:
        asked = [("service", service)] if service else []
        mine = self.credentials
        if mine is not None and mine.identity_token:
            form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", mine.identity_token),
                ("client_id", _CLIENT_NAME),
                ("scope", " ".join(scopes)),
            ]
            return TokenRequest(realm, form=urlencode([*form, *asked]).encode())
        account = [("account", mine.username), ("client_id", _CLIENT_NAME)] if mine is not None else []
        query = urlencode([*asked, *account, *(("scope", text) for text in scopes)])
        return TokenRequest(f"{realm}{'&' if '?' in realm else '?'}{query}", self._basic())
