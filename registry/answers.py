"""What a registry's refusal means, as an error that says what to do. Pure. Source: distribution-spec, "Error Codes"."""

from __future__ import annotations

from collections.abc import Mapping

from pybuild.registry.credentials import Credentials
from pybuild.registry.document import Fields, load
from pybuild.registry.errors import AuthenticationFailed, InvalidDocument, NotInRegistry, TransferError, UnexpectedAnswer
from pybuild.registry.retries import seconds_of
from pybuild.values import frozen


@frozen
class Answer:
    """A whole answer. Header names are in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes


def refusal(answer: Answer, subject: str, *, registry: str, credentials: Credentials | None) -> TransferError:
    """The error for an answer that is not what was asked for; `subject` is what it was about."""
    code, said = reason(answer.content)
    message = f"{subject}: {registry} answered {answer.status}" + (f": {said}" if said else "")
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
_HINTS = {
    301: _MOVED,
    302: _MOVED,
    307: _MOVED,
    308: _MOVED,
    405: "the registry does not allow this: is it a read-only mirror?",
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
