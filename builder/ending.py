"""Whether this process ends with its work, by os._exit: what others finish, or find as good as done, is then not waited for."""

from __future__ import annotations

_is_near = False


def announce() -> None:
    """Say that it does: nothing more is asked of this process behind the work that it begins now."""
    global _is_near
    _is_near = True


def is_near() -> bool:
    """Whether it was said, here or before a fork."""
    return _is_near
