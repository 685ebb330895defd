"""Which repositories are known to hold which layers: what a registry can mount instead of receiving it again.

Only advice, in `origins.json`: a registry that cannot mount takes an upload.
"""

from __future__ import annotations

from collections.abc import Iterable

from pybuild.registry.digest import Digest
from pybuild.registry.notes import Notes
from pybuild.registry.store import Store

_MOST = 8


def origins(store: Store, digest: Digest, registry: str) -> tuple[str, ...]:
    """The paths of the repositories in a registry that hold a blob, the latest first."""
    prefix = f"{registry}/"
    return tuple(name.removeprefix(prefix) for name in repositories(store, digest) if name.startswith(prefix))


def repositories(store: Store, digest: Digest) -> tuple[str, ...]:
    """The repositories in any registry that hold a blob, `registry/path`, the latest first."""
    return tuple(reversed(_names(_notes(store).read(), digest)))


def remember(store: Store, repository: str, digests: Iterable[Digest]) -> None:
    """Write down that a repository, `registry/path`, holds these blobs."""
    with _notes(store).editing() as known:
        for digest in digests:
            names = [name for name in _names(known, digest) if name != repository]
            known[digest] = [*names, repository][-_MOST:]


def _names(known: dict[str, object], digest: Digest) -> list[str]:
    names = known.get(digest)
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _notes(store: Store) -> Notes:
    return Notes(store, "origins")
