"""Paths inside of an image. Pure."""

from __future__ import annotations

import posixpath


def joined(directory: str, path: str) -> str:
    """An absolute, cleaned path; a relative one is meant from `directory`."""
    return "/" + posixpath.normpath(posixpath.join("/", directory or "/", path)).strip("/")
