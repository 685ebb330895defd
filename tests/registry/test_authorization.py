from __future__ import annotations

import base64
import threading
from urllib.parse import parse_qs, urlsplit

import pytest

from pybuild.registry.authorization import Authorization, scope
from pybuild.registry.credentials import Credentials
from pybuild.registry.errors import AuthenticationFailed, InvalidDocument, RegistryError

URL = "https://r.example/v2/a/manifests/x"
BEARER = 'Bearer realm="https://auth.example/token?a=b",service="r.example",scope="what the registry thinks"'
SCOPES = (scope("a", "pull", "push"), scope("b", "pull"))


class Tokens:
    def __init__(self, answer=b'{"token":"t1"}'):
        self.requests = []
        self.answer = answer

    def __call__(self, request):
        self.requests.append(request)
        return self.answer


def test_nothing_is_sent_before_it_is_demanded():
    assert Authorization(Credentials("u", "p"), insecure=False, ask=Tokens()).header(SCOPES) is None


def test_basic_is_remembered_for_all_scopes():
    authorization = Authorization(Credentials("u", "p:é"), insecure=False, ask=Tokens())
    header = authorization.answer('Basic realm="x"', SCOPES, url=URL, used=None)
    assert header == "Basic " + base64.b64encode("u:p:é".encode()).decode()
    assert authorization.header(("other",)) == header
    assert authorization.answer('Basic realm="x"', SCOPES, url=URL, used=header) is None


def test_basic_without_credentials_has_no_answer():
    for credentials in (None, Credentials("", "", "token")):
        authorization = Authorization(credentials, insecure=False, ask=Tokens())
        assert authorization.answer('Basic realm="x"', SCOPES, url=URL, used=None) is None


@pytest.mark.parametrize("credentials", [None, Credentials("u", "p")])
def test_a_token_is_asked_for_by_scopes(credentials):
    tokens = Tokens()
    authorization = Authorization(credentials, insecure=False, ask=tokens)
    assert authorization.answer(BEARER, SCOPES, url=URL, used=None) == "Bearer t1" == authorization.header(SCOPES)
    assert authorization.header(("other",)) is None
    (request,) = tokens.requests
    query = parse_qs(urlsplit(request.url).query)
    assert query["scope"] == list(SCOPES)
    assert (query["service"], query["a"]) == (["r.example"], ["b"])
    assert request.authorization == (None if credentials is None else "Basic dTpw")
    assert ("account" in query) == (credentials is not None)


def test_an_identity_token_is_exchanged():
    tokens = Tokens(b'{"access_token":"t2","expires_in":60}')
    authorization = Authorization(Credentials("", "", "refresh"), insecure=False, ask=tokens)
    assert authorization.answer(BEARER, SCOPES, url=URL, used=None) == "Bearer t2"
    form = parse_qs(tokens.requests[0].form.decode())
    assert form["grant_type"] == ["refresh_token"] and form["refresh_token"] == ["refresh"]
    assert form["scope"] == [" ".join(SCOPES)]
    assert "refresh" not in tokens.requests[0].url and "refresh" not in repr(tokens.requests[0])


def test_an_expired_token_is_replaced_once_for_all_threads():
    tokens = Tokens()
    authorization = Authorization(None, insecure=False, ask=tokens)
    old = authorization.answer(BEARER, SCOPES, url=URL, used=None)
    tokens.answer = b'{"token":"t2"}'
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(authorization.answer(BEARER, SCOPES, url=URL, used=old))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["Bearer t2"] * 4
    assert len(tokens.requests) == 2


@pytest.mark.parametrize("realm", ["", "/token", "ftp://auth/token", "file:///etc/passwd", "https://"])
def test_a_realm_that_is_none(realm):
    with pytest.raises(AuthenticationFailed, match="no usable token server"):
        Authorization(None, insecure=False, ask=Tokens()).answer(f'Bearer realm="{realm}"', SCOPES, url=URL, used=None)


def test_a_realm_without_tls_only_where_the_registry_has_none_either():
    header = 'Bearer realm="http://auth.example/token"'
    tokens = Tokens()
    with pytest.raises(AuthenticationFailed, match="not encrypted"):
        Authorization(Credentials("u", "p"), insecure=False, ask=tokens).answer(header, SCOPES, url=URL, used=None)
    assert tokens.requests == []
    assert Authorization(None, insecure=True, ask=tokens).answer(header, SCOPES, url=URL, used=None)
    assert Authorization(None, insecure=False, ask=tokens).answer(header, SCOPES, url="http://localhost/v2/", used=None)


@pytest.mark.parametrize(
    ("content", "error"), [(b"x", InvalidDocument), (b"{}", AuthenticationFailed), (b'{"token":"a\\nb"}', AuthenticationFailed)]
)
def test_an_answer_without_a_token(content, error):
    with pytest.raises(error):
        Authorization(None, insecure=False, ask=Tokens(content)).answer(BEARER, SCOPES, url=URL, used=None)


def test_an_unknown_demand_has_no_answer():
    assert (
        Authorization(Credentials("u", "p"), insecure=False, ask=Tokens()).answer("Negotiate", SCOPES, url=URL, used=None) is None
    )


def test_a_token_is_replaced_before_it_expires():
    now = [0.0]
    tokens = Tokens(b'{"token":"t1","expires_in":100}')
    authorization = Authorization(None, insecure=False, ask=tokens, clock=lambda: now[0])
    assert authorization.answer(BEARER, SCOPES, url=URL, used=None) == "Bearer t1"
    tokens.answer = b'{"token":"t2"}'
    now[0] = 94.0
    assert authorization.header(SCOPES) == "Bearer t1"
    now[0] = 95.5
    assert authorization.header(SCOPES) == "Bearer t2"
    now[0] = 95.5 + 54
    assert authorization.header(SCOPES) == "Bearer t2", "a minute is what a token lives for that doesn't say"
    assert len(tokens.requests) == 2


@pytest.mark.parametrize(("actions", "requests"), [(("pull",), 2), (("pull", "push"), 1), (("delete",), 1)])
def test_only_what_everybody_may_pull_is_asked_for_without_refused_credentials(actions, requests):
    asked = []

    def ask(request):
        asked.append(request.authorization)
        if request.authorization:
            raise AuthenticationFailed("no", url=request.url)
        return b'{"token":"t1"}'

    authorization = Authorization(Credentials("u", "old"), insecure=False, ask=ask)
    scopes = (scope("a", *actions),)
    if requests == 2:
        assert authorization.answer(BEARER, scopes, url=URL, used=None) == "Bearer t1"
    else:
        with pytest.raises(AuthenticationFailed):
            authorization.answer(BEARER, scopes, url=URL, used=None)
    assert len(asked) == requests


class Lookup:
    """A file or a helper that says who we are, or fails."""

    def __init__(self, found):
        self.found = found
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def test_nobody_is_asked_who_we_are_before_a_registry_asks():
    lookup = Lookup(Credentials("u", "p"))
    authorization = Authorization(None, insecure=False, ask=Tokens(), find=lookup)
    assert authorization.header(SCOPES) is None and lookup.calls == 0
    for _ in range(2):
        assert authorization.answer('Basic realm="x"', SCOPES, url=URL, used=None).startswith("Basic ")
    assert lookup.calls == 1


def test_a_helper_that_fails_does_not_keep_from_what_is_public():
    lookup, scopes = Lookup(RegistryError("docker-credential-x failed", hint="log in again")), (scope("a", "pull"),)
    authorization = Authorization(None, insecure=False, ask=Tokens(), find=lookup)
    assert authorization.answer(BEARER, scopes, url=URL, used=None) == "Bearer t1"
    refused = authorization.explained(AuthenticationFailed("answered 401", url=URL, hint="log in"))
    assert refused.hint == "docker-credential-x failed: log in again"
    authorization = Authorization(None, insecure=False, ask=Tokens(), find=lookup)
    for _ in range(2):
        with pytest.raises(RegistryError, match="docker-credential-x failed"):
            authorization.answer(BEARER, SCOPES, url=URL, used=None)
