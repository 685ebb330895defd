"""Users and groups as an image names them: USER and --chown, looked up in its /etc/passwd and /etc/group. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pybuild.builder.errors import CopyError, PlanError
from pybuild.values import frozen, natural

_LARGEST_ID = 2**32 - 2


@frozen
class Account:
    """Who a process is: its ids, supplementary groups, home directory, and name when it has one."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"
    name: str = ""


def resolve_user(text: str, passwd: bytes | None, group: bytes | None) -> Account:
    """The account of `USER text`: a name or uid, with `:group` behind it or not; empty is root. Raises PlanError.

    A named group takes the place of all the user's groups, as docker has it.
    """
    user, colon, group_text = text.partition(":")
    user = user or "0"
    entry = next((fields for fields in _lines(passwd, 7) if fields[0] == user), None)
    if entry is None and user.isdigit():
        entry = next((fields for fields in _lines(passwd, 7) if fields[2] == user), None)
    if entry is None and not user.isdigit():
        raise PlanError(f"no user {user!r} in the image's /etc/passwd", hint="create it in a RUN before, or give a uid")
    uid = _id(entry[2] if entry else user)
    gid = _id(entry[3]) if entry else 0
    name = entry[0] if entry else ""
    groups: tuple[int, ...] = ()
    if colon and group_text:
        gid = _group(group_text, group)
    elif name:
        groups = tuple(_id(fields[2]) for fields in _lines(group, 4) if name in fields[3].split(","))
    # Without an entry it is /, for root too: so runc has it, and docker with it.
    home = entry[5] if entry and entry[5] else "/"
    return Account(uid, gid, groups, home, name)


def resolve_owner(text: str, passwd: bytes | None, group: bytes | None, *, what: str = "--chown") -> tuple[int, int]:
    """The uid and gid of a new file of `text`, as --chown and WORKDIR have it; the group of a uid alone is its own number.

    Raises CopyError, which names `what` the text is. Source: buildkit, solver/llbsolver/file/user_linux.go.
    """
    user, colon, group_text = text.partition(":")
    entry = None
    if user.isdigit() or (colon and not user):
        uid = _id(user or "0")
    else:
        entry = next((fields for fields in _lines(passwd, 7) if fields[0] == user), None)
        if entry is None:
            raise CopyError(
                f"{what}: no user {user!r} in the image's /etc/passwd", hint="create it in a RUN before, or give a uid"
            )
        uid = _id(entry[2])
    if not colon:
        return uid, _id(entry[3]) if entry else uid
    try:
        return uid, _group(group_text, group)
    except PlanError as error:
        raise CopyError(f"{what}: {error.message}", hint=error.hint) from None


def _group(text: str, group: bytes | None) -> int:
    if text.isdigit():
        return _id(text)
    entry = next((fields for fields in _lines(group, 4) if fields[0] == text), None)
    if entry is None:
        raise PlanError(f"no group {text!r} in the image's /etc/group", hint="create it in a RUN before, or give a gid")
    return _id(entry[2])


def _id(text: str) -> int:
    number = natural(text)
    if number is None or number > _LARGEST_ID:
        raise PlanError(f"not a user or group id: {text!r}", hint=f"ids are numbers up to {_LARGEST_ID}")
    return number


def _lines(content: bytes | None, fields: int) -> Iterator[list[str]]:
    for line in (content or b"").decode("utf-8", "surrogateescape").split("\n"):
        parts = line.strip().split(":")
        if len(parts) >= fields and not line.startswith("#"):
            yield parts
