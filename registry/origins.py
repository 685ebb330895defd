"""Which repositories are known to hold which layers: what a registry can mount instead of receiving it again.

Only advice: a registry that cannot mount takes an upload. A damaged file is an empty one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from pybuild.registry.digest import Digest
from pybuild.registry.store import Store

_MOST = 8


def origins(store: Store, digest: Digest, registry: str) -> tuple[str, ...]:
    """The paths of the repositories in a registry that hold a blob, the latest first."""
    prefix = f"{registry}/"
    known = _read(store).get(digest, [])
    return tuple(name.removeprefix(prefix) for name in reversed(known) if name.startswith(prefix))


def repositories(store: Store, digest: Digest) -> tuple[str, ...]:
    """The repositories in any registry that hold a blob, `registry/path`, the latest first."""
    return tuple(reversed(_read(store).get(digest, [])))


def remember(store: Store, repository: str, digests: Iterable[Digest]) -> None:
    """Write down that a repository, `registry/path`, holds these blobs."""
    with store.lock("origins", exclusive=True):
        known = _read(store)
        before = {digest: list(names) for digest, names in known.items()}
        for digest in digests:
            names = [name for name in known.get(digest, []) if name != repository]
            known[digest] = [*names, repository][-_MOST:]
        if known != before:
            path = store.root / "tmp" / f"origins.{os.getpid()}"
            path.write_text(json.dumps(known))
            os.replace(path, store.root / "origins.json")


def _read(store: Store) -> dict[str, list[str]]:
    try:
        document = json.loads((store.root / "origins.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {
        digest: [name for name in names if isinstance(name, str)] for digest, names in document.items() if isinstance(names, list)
    }
