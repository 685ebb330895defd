"""What goes wrong on a connection, in words that a user understands."""

from __future__ import annotations

import urllib3


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
    if isinstance(cause, urllib3.exceptions.IncompleteRead):
        return f"{cause.expected} bytes are missing"
    for system in (cause, cause.__cause__, cause.__context__):
        if isinstance(system, OSError) and system.strerror:
            return system.strerror.lower()
    # A refused connection is a TimeoutError to urllib3, so this comes behind what the system says.
    if isinstance(cause, urllib3.exceptions.TimeoutError):
        return "timed out"
    text = str(cause).rpartition(">: ")[2] or str(cause)
    return text.partition(" (")[0].strip(" :") or type(cause).__name__
