"""What goes wrong on the way to a registry, in a user's words: what, where, and what to do about it. Pure."""

from __future__ import annotations

import ssl

import urllib3

from pybuild.registry.endpoint import is_local
from pybuild.registry.errors import Unreachable
from pybuild.registry.urls import host

_AUTHORITY = "put its certificate authority into ~/.config/pybuild/certs.d/{host}/ca.crt, or use --insecure"
_OURS = "it wants to see a certificate that it knows: put it into ~/.config/pybuild/certs.d/{host} as me.cert, with me.key"
_OLD = "its TLS is older than 1.2, which protects nothing any more: it has to be updated"
# What OpenSSL says, of a certificate or of a connection, in capitals or not.
_TLS = (
    ("has expired", "it has to be renewed where the registry is run; or is this machine's clock wrong?"),
    ("not yet valid", "is this machine's clock wrong?"),
    ("mismatch", "it was made for another name: ask for the registry by that, or use --insecure"),
    ("too weak", "it has to be replaced where the registry is run, by a stronger one; or use --insecure"),
    ("protocol_version", _OLD),
    ("unsupported_protocol", _OLD),
    ("certificate_required", _OURS),
    ("handshake_failure", _OURS),
    ("alert_unknown_ca", _OURS),
    ("alert_bad_certificate", _OURS),
)


def cause_of(error: BaseException) -> BaseException:
    """The innermost thing that went wrong: requests wraps urllib3's retry error, which wraps the real one."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((part for part in reversed(error.args) if isinstance(part, BaseException)), None)
        if inner is None:
            return error
        error = inner


def reason_of(error: BaseException) -> str:
    """What went wrong in a few words."""
    cause = cause_of(error)
    if isinstance(cause, urllib3.exceptions.NameResolutionError):
        return "no such host"
    if isinstance(cause, urllib3.exceptions.IncompleteRead) and cause.expected:
        return f"{cause.expected} bytes are missing"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {cause.verify_message.rstrip('.')}"
    if isinstance(cause, ssl.SSLError) and cause.reason:
        return cause.reason.lower().replace("_", " ")
    for system in (cause, cause.__cause__, cause.__context__):
        if isinstance(system, OSError) and system.strerror:
            return system.strerror.lower()
    # A refused connection is a TimeoutError to urllib3, so this comes behind what the system says.
    if isinstance(cause, urllib3.exceptions.TimeoutError):
        return "timed out"
    text = str(cause).rpartition(">: ")[2] or str(cause)
    return " ".join(text.partition(" (")[0].split()).strip(" :") or type(cause).__name__


def is_tls(error: BaseException) -> bool:
    """Whether TLS could not be agreed upon: another attempt fails like this one. A connection that broke is none."""
    cause = cause_of(error)
    return isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def is_plain(error: BaseException) -> bool:
    """Whether TLS failed because the other side speaks none."""
    return "WRONG_VERSION_NUMBER" in str(error) or "record layer" in str(error)


def unreachable(error: BaseException, subject: str, *, url: str, is_first: bool = False) -> Unreachable:
    """The error for a request that got no answer; with `is_first` nobody has ever given one."""
    place, hint = host(url), "is it running, is the name right, and does the network reach it?"
    if is_plain(error):
        hint = "it speaks plain http: use --insecure"
    elif is_tls(error):
        said = str(cause_of(error)).lower()
        hint = next((advice for words, advice in _TLS if words in said), _AUTHORITY).format(host=host(url))
    elif _is_about_proxy(error):
        place = f"{place} through the proxy"
        hint = "see HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY in the environment"
    elif is_first and url.startswith("http://") and is_local(host(url)) and isinstance(cause_of(error), ConnectionResetError):
        # This is what a server does that waits for TLS, if it does not say so.
        hint = "this machine is spoken to by plain http: if it speaks TLS, use --insecure"
    return Unreachable(f"{subject}: cannot reach {place}: {reason_of(error)}", url=url, hint=hint)


def _is_about_proxy(error: BaseException) -> bool:
    while True:
        if isinstance(error, urllib3.exceptions.ProxyError) or any(word in str(error) for word in ("SOCKS", "Proxy URL")):
            return True
        inner = getattr(error, "reason", None) or next((part for part in error.args if isinstance(part, BaseException)), None)
        if not isinstance(inner, BaseException):
            return False
        error = inner
