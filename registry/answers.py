"""What a registry's refusal means, as an error that says what to do. Pure. Source: distribution-spec, "Error Codes"."""

from __future__ import annotations

from collections.abc import Mapping

from pybuild.registry.credentials import Credentials
from pybuild.registry.document import Fields, load
from pybuild.registry.errors import AuthenticationFailed, InvalidDocument, NotInRegistry, TransferError, UnexpectedAnswer
from pybuild.registry.retries import seconds_of
from pybuild.registry.urls import host
from pybuild.values import frozen


@frozen
class Answer:
    """A whole answer. Header names are in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes


def refusal(
    answer: Answer, subject: str, registry: str, *, credentials: Credentials | None, is_elsewhere: bool = False
) -> TransferError:
    """The error for an answer that is not what was asked for; `subject` is what it was about.

    With `is_elsewhere` it is that of another host, to which the registry has sent us, without any credentials.
    """
    code, said = reason(answer.content)
    if is_elsewhere and answer.status in _HINTS_ELSEWHERE:
        message = _message(answer, f"{subject}: {host(answer.url)}, where {registry} has this,", said)
        return UnexpectedAnswer(message, url=answer.url, status=answer.status, code=code, hint=_HINTS_ELSEWHERE[answer.status])
    who = host(answer.url) if is_elsewhere else registry
    return _refusal(answer, _message(answer, f"{subject}: {who}", said), code, registry, credentials)


def no_token(answer: Answer, registry: str, *, credentials: Credentials | None) -> TransferError:
    """The error for a token server's answer: whose token it is tells where to log in."""
    code, said = reason(answer.content)
    message = _message(answer, f"token for {registry}: {host(answer.url)}", said)
    if answer.status == 404:
        hint = f"{registry} names a token server that knows of none: is it set up well?"
        return UnexpectedAnswer(message, url=answer.url, status=404, code=code, hint=hint)
    return _refusal(answer, message, code, registry, credentials)


def _message(answer: Answer, who: str, said: str) -> str:
    return f"{who} answered {answer.status}" + (f": {said}" if said else "")


def _refusal(answer: Answer, message: str, code: str, registry: str, credentials: Credentials | None) -> TransferError:
    who = f"user {credentials.username!r} of {credentials.source}" if credentials else ""
    login = f"log in with 'pybuild login {registry}'"
    if answer.status == 401:
        hint = f"the registry does not accept {who}: log in again" if who else f"if it exists, it is not public: {login}"
        return AuthenticationFailed(message, url=answer.url, hint=hint)
    if answer.status == 403:
        return AuthenticationFailed(message, url=answer.url, hint=f"{who} has no right to this" if who else login)
    if answer.status == 404:
        return NotInRegistry(message, url=answer.url, hint="is the name right, and the image pushed?")
    return UnexpectedAnswer(
        message,
        url=answer.url,
        status=answer.status,
        code=code,
        hint=_HINTS.get(answer.status),
        retry_after=seconds_of(answer.headers.get("retry-after", "")),
    )


_MOVED = "the registry sends pushes elsewhere: is it called by another name, or to be asked by https?"
_HINTS_ELSEWHERE = {
    401: "it wants a login of its own: use its name in place of the registry's",
    403: "what the registry has signed for it may have expired: try again; is this machine's clock right?",
}
_HINTS = {
    301: _MOVED,
    302: _MOVED,
    307: _MOVED,
    308: _MOVED,
    405: "the registry does not allow this: is it a read-only mirror?",
    407: "the proxy wants to know who you are: write USER:PASSWORD@ before its name in HTTPS_PROXY or HTTP_PROXY",
    413: "a proxy before the registry limits the size of uploads",
    429: "the registry allows no more requests for now: wait, or log in for a higher limit",
    500: "the registry is in trouble: its log says more",
    502: "the registry is behind a proxy that cannot reach it: try again later",
    503: "the registry is overloaded or being started: try again later",
    504: "the registry is behind a proxy that waited too long for it: try again later",
}


def reason(content: bytes) -> tuple[str, str]:
    """The code and the text, one line of it, of the first error that a registry's JSON tells; else the content's first line."""
    try:
        fields = Fields(load(content, "answer"), "answer")
        for error in fields.objects("errors"):
            code, message = error.text("code") or "", error.text("message") or ""
            return _line(code), _line(message or code.lower().replace("_", " "))
        return "", _line(fields.text("details") or fields.text("message") or fields.text("error") or "")
    except InvalidDocument:
        text = content[:200].decode("utf-8", "replace").lstrip()
        return "", "" if text.startswith("<") else _line(text.partition("\n")[0])


def _line(text: str) -> str:
    """At most 200 characters, none of which moves a terminal's cursor."""
    return "".join(character if character.isprintable() else " " for character in text).strip()[:200]
