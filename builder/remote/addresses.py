"""What a text means that may be a URL or a git repository: the rules are BuildKit's, down to what they guess. Pure.

Source: buildkit, frontend/dockerfile/dfgitutil/git_ref.go, util/gitutil/git_url.go, util/sshutil/scpurl.go.
"""

from __future__ import annotations

import posixpath
import re
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from pybuild.values import frozen, replace

_PROTOCOL = re.compile(r"([a-zA-Z0-9]+)://")
_SCP = re.compile(r"([a-zA-Z0-9_-]+)@([a-zA-Z0-9.-]+):(.*?)(?:\?(.*?))?(?:#(.*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SWITCHES = ("submodules", "keep-git-dir", "fetch-by-commit")
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
UNNAMED = "__unnamed__"


class AddressError(ValueError):
    """A git address that contradicts itself, or a query that git addresses do not have."""


@frozen
class GitAddress:
    """A git repository and what of it. None, and "", where nothing is said.

    `ref` is a branch, a tag or a commit; `checksum` the start of a commit that it has to be. `times` is checkout or commit.
    `is_guess`: as well the path of a local file, as `github.com/x/y` is.
    """

    remote: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keeps_git_dir: bool | None = None
    has_submodules: bool | None = None
    times: str = ""
    fetches_commit: bool = False
    is_guess: bool = False


def is_commit(text: str) -> bool:
    """Whether this is a whole commit's name."""
    return _COMMIT.fullmatch(text) is not None


def is_url(text: str) -> bool:
    """Whether this is something to fetch by HTTP; it may be a git repository all the same."""
    return text.startswith(("http://", "https://"))


def git_address(text: str) -> GitAddress | None:
    """The git repository that a text means, None when it means none. Raises AddressError."""
    if text.startswith(("./", "../")):
        return None
    if text.startswith("github.com/"):
        address, query = _from_url(f"https://{text}")
        return _asked(replace(address, is_guess=True), query)
    if match := _PROTOCOL.match(text):
        protocol = match[1].lower()
        if protocol not in ("http", "https", "ssh", "git"):
            return None
        if protocol in ("http", "https") and not urlsplit(text).path.endswith(".git"):
            return None
        return _asked(*_from_url(text))
    if (match := _SCP.fullmatch(text)) is None:
        return None
    user, host, path, query, fragment = match.groups()
    return _asked(_at(GitAddress(f"{user}@{host}:{path}"), fragment or ""), query or "")


def file_name(url: str) -> str:
    """The name of the file at a URL: the last part of its path."""
    name = posixpath.basename(unquote(urlsplit(url).path).rstrip("/"))
    return name if name not in ("", ".", "..") and "\0" not in name else UNNAMED


def shown(url: str) -> str:
    """A URL as messages have it: without a password, and without what may be a signature behind a `?`."""
    parts = urlsplit(url)
    if not parts.scheme or not parts.netloc:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", parts.fragment)) + ("?..." if parts.query else "")


def _from_url(text: str) -> tuple[GitAddress, str]:
    parts = urlsplit(text)
    remote = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    return _at(GitAddress(remote), unquote(parts.fragment)), parts.query


def _at(address: GitAddress, fragment: str) -> GitAddress:
    if not fragment:
        return address
    ref, _, subdir = fragment.partition(":")
    return replace(address, ref=ref, subdir=posixpath.normpath(f"/{subdir}").strip("/"))


def _asked(address: GitAddress, query: str) -> GitAddress:
    """The address with what its query says. Raises AddressError."""
    tag = branch = ""
    for name, values in parse_qs(query, keep_blank_values=True).items():
        if len(values) > 1:
            raise AddressError(f"{name} is there more than once")
        value = values[0]
        if not value and name not in _SWITCHES:
            raise AddressError(f"{name} has no value")
        match name:
            case "ref":
                address = replace(address, ref=_same("ref", address.ref, value))
            case "tag":
                tag = value if value.startswith("refs/tags/") else f"refs/tags/{value}"
            case "branch":
                branch = value if value.startswith("refs/heads/") else f"refs/heads/{value}"
            case "subdir":
                address = replace(address, subdir=_same("subdir", address.subdir, posixpath.normpath(f"/{value}").strip("/")))
            case "checksum" | "commit":
                address = replace(address, checksum=value)
            case "keep-git-dir":
                address = replace(address, keeps_git_dir=_switch(name, value))
            case "submodules":
                address = replace(address, has_submodules=_switch(name, value))
            case "fetch-by-commit":
                address = replace(address, fetches_commit=_switch(name, value))
            case "mtime":
                if value not in ("checkout", "commit"):
                    raise AddressError(f"mtime is checkout or commit, not {value}")
                address = replace(address, times=value)
            case _:
                raise AddressError(f"there is no {name} in the query of a git address")
    if tag and branch:
        raise AddressError("there is a branch and a tag")
    if tag or branch:
        address = replace(address, ref=_same("ref", address.ref, tag or branch))
    return address


def _same(what: str, before: str, value: str) -> str:
    if before and before != value:
        raise AddressError(f"{what} is {before} and {value}")
    return value


def _switch(name: str, value: str) -> bool:
    if value not in (*_TRUE, *_FALSE, ""):
        raise AddressError(f"{name} is true or false, not {value}")
    return value not in _FALSE
