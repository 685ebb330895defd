"""JSON files of the store that several processes write: one object each, replaced whole, one edit after the other."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator

from pybuild.registry.document import load
from pybuild.registry.errors import InvalidDocument, StoreError
from pybuild.registry.store import Store, private


class Notes:
    """One such file, `NAME.json`. What is only advice reads as empty when it is damaged."""

    def __init__(self, store: Store, name: str, *, is_advice: bool = True) -> None:
        self.path = f"{store.root}/{name}.json"
        self._store = store
        self._name = name
        self._is_advice = is_advice

    def read(self) -> dict[str, object]:
        """What is in it now. Raises InvalidDocument for a damaged file that is no mere advice."""
        try:
            with open(self.path, "rb", buffering=0) as file:
                return dict(load(file.read(), self.path))
        except FileNotFoundError:
            return {}
        except InvalidDocument:
            if not self._is_advice:
                raise
            return {}

    @contextlib.contextmanager
    def editing(self) -> Iterator[dict[str, object]]:
        """What is in it, to be changed, and written when the block ends well; others wait. Raises StoreError, InvalidDocument."""
        with self._store.lock(self._name, exclusive=True):
            before = self.read()
            document = dict(before)
            yield document
            if document != before:
                self._write(document)

    def _write(self, document: dict[str, object]) -> None:
        temporary = f"{self._store.root}/tmp/{self._name}.{os.urandom(6).hex()}"
        try:
            # The URL of an upload may be all that it takes to write to a registry.
            with open(temporary, "x", encoding="utf-8", opener=private) as file:
                json.dump(document, file)
            os.replace(temporary, self.path)
        except OSError as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            hint = "free some space, or set PYBUILD_ROOT to another disk"
            raise StoreError(f"cannot write {self.path}: {error.strerror}", hint=hint) from error
