"""The Authorization header of each request: nothing, Basic, or a bearer token fetched for what is to be done.

Decides whom a password may be sent to; does no HTTP itself. Source: distribution, auth/token and auth/oauth; RFC 7617.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

from pybuild.registry.challenge import Challenge, preferred
from pybuild.registry.credentials import Credentials
from pybuild.registry.document import Fields, load
from pybuild.registry.endpoint import is_local
from pybuild.registry.errors import AuthenticationFailed, RegistryError, TransferError
from pybuild.registry.redaction import keep_secret
from pybuild.values import frozen

Scopes = tuple[str, ...]
_CLIENT_NAME = "pybuild"
# What a token lives for when its server doesn't say. Source: distribution, auth/token.
_LIFETIME_SECONDS = 60
# A request that begins this shortly before the end might come too late.
_MARGIN_SECONDS = 5


def scope(path: str, *actions: str) -> str:
    """The scope of some actions on a repository: `repository:library/ubuntu:pull,push`."""
    return f"repository:{path}:{','.join(actions)}"


@frozen
class TokenRequest:
    """What to ask a token server: a GET with an optional Authorization header, or, with `form`, a POST."""

    _hidden = ("authorization", "form")

    url: str
    authorization: str | None = None
    form: bytes | None = None


@frozen
class _Token:
    _hidden = ("header",)

    header: str
    challenge: Challenge
    asked: Scopes
    until: float


class Authorization:
    """Headers for one registry, remembered by scopes. Safe for threads: four blobs fetch one token.

    A token is replaced before it expires, so that an upload of hours does not trip over it. Credentials that the token server
    refuses do not keep from what everybody may pull, and no more do a file or a helper that cannot say which they are. With
    `is_login`, an identity token is asked for.
    """

    def __init__(
        self,
        credentials: Credentials | None,
        *,
        insecure: bool,
        ask: Callable[[TokenRequest], bytes],
        find: Callable[[], Credentials | None] | None = None,
        is_login: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`find` is asked for credentials once something is demanded: a helper is a process, and may want to be unlocked."""
        self.credentials = credentials
        self._find = find
        self._trouble: RegistryError | None = None
        self.identity_token: str | None = None
        self._insecure = insecure
        self._ask = ask
        self._is_login = is_login
        self._clock = clock
        self._mutex = threading.Lock()
        self._tokens: dict[Scopes, _Token] = {}
        self._is_basic = False

    def header(self, scopes: Scopes, *, url: str = "") -> str | None:
        """The header that worked before for these scopes; None before anything was demanded."""
        if self._is_basic:
            return self._basic()
        token = self._tokens.get(scopes)
        if token is None or self._clock() < token.until:
            return token.header if token else None
        with self._mutex:
            if self._tokens[scopes] is token:
                self._tokens[scopes] = self._token(token.challenge, token.asked, url)
            return self._tokens[scopes].header

    def answer(self, demand: str, scopes: Scopes, *, url: str, used: str | None) -> str | None:
        """The header that meets a 401's demand; None when the one `used` is all there is.

        Raises AuthenticationFailed when the token server refuses, or is none that a password may go to.
        """
        challenge = preferred(demand)
        if challenge is None:
            return None
        with self._mutex:
            self._look(scopes)
            token = self._tokens.get(scopes)
            known = self._basic() if self._is_basic else token.header if token else None
            if known != used:
                return known
            if challenge.scheme == "basic":
                self._is_basic = self.credentials is not None and not self.credentials.identity_token
                return self._basic() if self._is_basic and self._basic() != used else None
            token = self._tokens[scopes] = self._token(challenge, token.asked if token else scopes, url)
            return token.header

    def widened(self, demand: str, scopes: Scopes, *, url: str, used: str | None) -> str | None:
        """The header for a 401 to a token that is new: it may want another scope than the repository's own.

        So it is behind a proxy that gives repositories other names. None when it names no other. Raises AuthenticationFailed.
        """
        challenge = preferred(demand)
        with self._mutex:
            token = self._tokens.get(scopes)
            if challenge is None or challenge.scheme != "bearer" or token is None:
                return None
            if token.header != used:
                return token.header
            more = [text for text in (challenge.parameter("scope") or "").split() if not _is_covered(text, token.asked)]
            if not more:
                return None
            token = self._tokens[scopes] = self._token(challenge, (*token.asked, *more), url)
            return token.header

    def explained(self, error: TransferError) -> TransferError:
        """A refusal, with the reason why there were no credentials to show, if it is that."""
        if self._trouble is not None and isinstance(error, AuthenticationFailed):
            error.hint = f"{self._trouble.message}" + (f": {self._trouble.hint}" if self._trouble.hint else "")
        return error

    def _look(self, scopes: Scopes) -> None:
        """Find out who we are. Raises RegistryError where nothing can be done without."""
        if self._find is None:
            return
        try:
            self.credentials = self._find()
        except RegistryError as error:
            if not _is_reading(scopes):
                raise
            self._trouble = error
        self._find = None

    def _basic(self) -> str | None:
        if self.credentials is None or not self.credentials.username:
            return None
        pair = f"{self.credentials.username}:{self.credentials.password}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def _token(self, challenge: Challenge, scopes: Scopes, url: str) -> _Token:
        realm = challenge.parameter("realm") or ""
        parts = urlsplit(realm)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise AuthenticationFailed(f"{url}: the registry names no usable token server: {realm!r}", url=url)
        is_plain = parts.scheme == "http" and not is_local(parts.hostname) and not self._insecure
        if is_plain and not url.startswith("http://"):
            raise AuthenticationFailed(
                f"{url}: the token server {realm} is not encrypted", url=url, hint="use --insecure if that is meant to be so"
            )
        service = challenge.parameter("service")
        try:
            fields = Fields(load(self._ask(self._request(realm, service, scopes, self.credentials)), realm), realm)
        except AuthenticationFailed:
            if self.credentials is None or self._is_login or not _is_reading(scopes):
                raise
            # An old password must not keep from what is public; what is not, the registry refuses by its own word.
            fields = Fields(load(self._ask(self._request(realm, service, scopes, None)), realm), realm)
        text = fields.text("token") or fields.text("access_token")
        if not text or not text.isprintable() or not text.isascii():
            raise AuthenticationFailed(f"{realm}: the token server gave no token", url=realm)
        self.identity_token = fields.text("refresh_token") or self.identity_token
        keep_secret(text, self.identity_token)
        lifetime = _seconds(fields.get("expires_in", object, 0)) or _LIFETIME_SECONDS
        return _Token(f"Bearer {text}", challenge, scopes, self._clock() + max(lifetime - _MARGIN_SECONDS, lifetime / 2))

    def _request(self, realm: str, service: str | None, scopes: Scopes, mine: Credentials | None) -> TokenRequest:
        asked = [("service", service)] if service else []
        if mine is not None and mine.identity_token:
            form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", mine.identity_token),
                ("client_id", _CLIENT_NAME),
                ("scope", " ".join(scopes)),
            ]
            return TokenRequest(realm, form=urlencode([*form, *asked]).encode())
        account = [("account", mine.username), ("client_id", _CLIENT_NAME)] if mine is not None else []
        offline = [("offline_token", "true")] if self._is_login else []
        query = urlencode([*asked, *account, *offline, *(("scope", text) for text in scopes)])
        return TokenRequest(f"{realm}{'&' if '?' in realm else '?'}{query}", self._basic() if mine is not None else None)


def _is_reading(scopes: Scopes) -> bool:
    return all(text.endswith(":pull") for text in scopes)


def _is_covered(wanted: str, asked: Scopes) -> bool:
    """Whether a scope is in others: `repository:app:pull` is in `repository:app:pull,push`."""
    resource, _, actions = wanted.rpartition(":")
    pairs = [text.rpartition(":") for text in asked]
    return any(name == resource and set(actions.split(",")) <= set(allowed.split(",")) for name, _, allowed in pairs)


def _seconds(lifetime: object) -> float:
    """A token's lifetime, which some servers write as a text; 0 for what is none."""
    try:
        return max(0.0, float(lifetime)) if isinstance(lifetime, int | float | str) else 0.0
    except ValueError:
        return 0.0
