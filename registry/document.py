"""JSON at the border: bytes to typed fields, with an error that says which field is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from pybuild.hints import TypeVar, cast
from pybuild.registry.digest import Digest
from pybuild.registry.errors import InvalidDigest, InvalidDocument

_T = TypeVar("_T")
_NO_BYTES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
Json = Mapping[str, object]


def load(content: bytes, where: str) -> Json:
    """The JSON object in `content`. Raises InvalidDocument when it is anything else."""
    document = _parsed(content, where)
    if not isinstance(document, dict):
        raise InvalidDocument(f"{where}: not a JSON object")
    return cast(Json, document)


def load_list(content: bytes, where: str) -> list[object]:
    """The JSON array in `content`. Raises InvalidDocument when it is anything else."""
    document = _parsed(content, where)
    if not isinstance(document, list):
        raise InvalidDocument(f"{where}: not a JSON array")
    return document


def _parsed(content: bytes, where: str) -> object:
    try:
        return cast(object, json.loads(content))
    except (ValueError, RecursionError) as error:
        is_page = content.lstrip()[:1] == b"<"
        hint = "it is a web page, such as a proxy or a portal on the way has" if is_page else None
        raise InvalidDocument(f"{where}: not JSON: {error}", hint=hint) from error


def dump(document: Mapping[str, object] | Sequence[object]) -> bytes:
    """The one spelling that pybuild writes: no blanks, keys in the order given.

    A byte of a Dockerfile that is no UTF-8 is U+FFFD, as Go's encoder has it: JSON is Unicode, and nobody reads anything else.
    """
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.translate(_NO_BYTES).encode()


class Fields:
    """Typed access to one JSON object; `where` names it in errors.

    A field that is null reads as missing, as Go's encoder and decoder treat it.
    """

    def __init__(self, document: object, where: str) -> None:
        if not isinstance(document, dict):
            raise InvalidDocument(f"{where}: not a JSON object")
        self._document = cast(Json, document)
        self._where = where

    def get(self, name: str, kind: type[_T], default: _T) -> _T:
        """The field, or `default` when it is missing."""
        value = self._document.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InvalidDocument(f"{self._where}: {name} is not of the right type")
        return value

    def need(self, name: str, kind: type[_T]) -> _T:
        """The field; missing is an error."""
        if self._document.get(name) is None:
            raise InvalidDocument(f"{self._where}: {name} is missing")
        return self.get(name, kind, cast(_T, None))

    def text(self, name: str) -> str | None:
        """A text field that may be missing."""
        return self.get(name, str, "") or None

    def size(self, name: str) -> int:
        """A number of bytes; missing is an error."""
        value = self.need(name, int)
        if value < 0:
            raise InvalidDocument(f"{self._where}: {name} is negative: {value}")
        return value

    def digest(self, name: str) -> Digest:
        """A digest; missing is an error."""
        return self._digest(name, self.need(name, str))

    def digests(self, name: str) -> tuple[Digest, ...]:
        """A list of digests; missing is empty."""
        return tuple(self._digest(name, text) for text in self.texts(name))

    def _digest(self, name: str, text: str) -> Digest:
        try:
            return Digest(text)
        except InvalidDigest as error:
            raise InvalidDocument(f"{self._where}: {name}: {error}", hint="only sha256 is supported") from error

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; missing is empty."""
        values = self.get(name, list, [])
        if not all(isinstance(value, str) for value in values):
            raise InvalidDocument(f"{self._where}: {name} holds something that is no text")
        return tuple(values)

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        """An object of texts, in its order; missing is empty."""
        values = self.get(name, dict, {})
        if not all(isinstance(value, str) for value in values.values()):
            raise InvalidDocument(f"{self._where}: {name} holds something that is no text")
        return tuple(values.items())

    def objects(self, name: str) -> list[Fields]:
        """A list of objects; missing is empty."""
        return [Fields(value, f"{self._where}: {name}") for value in self.get(name, list, [])]
