"""Where an image can be had: its mirrors, then its own registry. What one cannot give, the next is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from pybuild.hints import Self, TypeVar
from pybuild.registry import settings
from pybuild.registry.client import Client
from pybuild.registry.errors import BrokenOff, DigestMismatch, InvalidDocument, RegistryError, TooSlow, TransferError, Unreachable
from pybuild.registry.reference import Reference
from pybuild.registry.repository import Repository
from pybuild.registry.retries import Patience
from pybuild.registry.settings import Place
from pybuild.values import replace

_T = TypeVar("_T")
# A mirror is only there to be faster: it is not waited for as long as the registry itself.
_MIRROR_ATTEMPTS = 2


class Sources:
    """The repositories of one image name. A context manager; safe for threads."""

    def __init__(
        self,
        reference: Reference,
        *,
        insecure: bool = False,
        patience: Patience | None = None,
        environ: Mapping[str, str] | None = None,
        connections: int = 8,
        actions: tuple[str, ...] = ("pull",),
    ) -> None:
        """Raises Blocked, and InvalidDocument for settings that make no sense."""
        environ = os.environ if environ is None else environ
        places = settings.places(reference, settings.load(environ), insecure=insecure)
        if "push" in actions or "delete" in actions:
            places = places[-1:]
        self._clients = ExitStack()
        # Mirrors that nobody answers at: each question would wait for them anew.
        self._away: dict[int, RegistryError] = {}
        self.repositories = tuple(self._open(place, patience or Patience(), environ, connections, actions) for place in places)

    def _open(
        self, place: Place, patience: Patience, environ: Mapping[str, str], connections: int, actions: tuple[str, ...]
    ) -> Repository:
        if place.is_mirror:
            patience = replace(patience, attempts=min(patience.attempts, _MIRROR_ATTEMPTS))
        client = Client(
            place.registry, path=place.path, insecure=place.insecure, patience=patience, environ=environ, connections=connections
        )
        return Repository(self._clients.enter_context(client), place.path, actions)

    @property
    def main(self) -> Repository:
        """The registry itself: what is pushed goes there."""
        return self.repositories[-1]

    def first(self, action: Callable[[Repository], _T]) -> _T:
        """What the first repository gives that can. Raises the registry's own error, which tells of the mirrors' too."""
        failures: list[RegistryError] = []
        for place, repository in enumerate(self.repositories):
            if away := self._away.get(place):
                failures.append(away)
                continue
            try:
                return action(repository)
            except (TransferError, InvalidDocument, DigestMismatch) as error:
                failures.append(error)
                is_away = isinstance(error, Unreachable) and not isinstance(error, BrokenOff | TooSlow)
                if is_away and repository is not self.main:
                    self._away[place] = error
        *mirrors, last = failures
        if mirrors:
            told = "; ".join(error.message for error in mirrors)
            last.hint = f"{last.hint + '; ' if last.hint else ''}its mirrors could not help: {told}"
        raise last

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clients.close()
