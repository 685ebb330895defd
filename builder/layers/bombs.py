"""What is taken for an attack on the disk or on time: archives that are small and unpack to what nobody can mean.

Three limits, each far beyond what real images have: bytes once they are hundreds of times those that are compressed, the zeros of
sparse files, and entries. PYBUILD_UNPACK_LIMIT is another size, such as 100g, or `off`.
"""

from __future__ import annotations

import os

from pybuild.builder.errors import LayerError
from pybuild.hints import TYPE_CHECKING
from pybuild.values import frozen, natural

if TYPE_CHECKING:
    from pybuild.builder.layers.compression import Source

_VARIABLE = "PYBUILD_UNPACK_LIMIT"
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_HINT = f"if it is what it should be, set {_VARIABLE}=off"


@frozen
class Limits:
    """`size`, in bytes, is free whatever the ratio; `zeros` are bytes of sparse files that lie nowhere."""

    size: int = 4 << 30
    ratio: int = 400
    zeros: int = 1 << 40
    entries: int = 10_000_000


def limits() -> Limits | None:
    """The limits that are in force; None for none. Raises LayerError for a setting that makes no sense."""
    text = os.environ.get(_VARIABLE, "").lower()
    if not text:
        return Limits()
    if text == "off":
        return None
    digits, unit = (text[:-1], text[-1]) if text[-1] in _UNITS else (text, "")
    number = natural(digits)
    if number is None:
        raise LayerError(f"{_VARIABLE}={text} is no size", hint="write 100g, or off")
    size = number * _UNITS.get(unit, 1)
    return Limits(size=size, zeros=max(size, 1))


class Measured:
    """A stream that counts what is read from it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.count = 0

    def read(self, size: int = -1, /) -> bytes:
        content = self._source.read(size)
        self.count += len(content)
        return content


class Guarded:
    """What a stream decompresses to. Raises LayerError when it becomes far more than it came from."""

    def __init__(self, source: Source, compressed: Measured, allowed: Limits) -> None:
        self._source = source
        self._compressed = compressed
        self._limits = allowed
        self._count = 0

    def read(self, size: int = -1, /) -> bytes:
        content = self._source.read(size)
        self._count += len(content)
        if self._count > self._limits.size and self._count > self._limits.ratio * self._compressed.count:
            raise LayerError(
                f"{self._compressed.count} bytes decompress to more than {self._count >> 20} MiB: that is taken for an attack",
                hint=_HINT,
            )
        return content


class Tally:
    """What the headers of one archive have promised so far."""

    def __init__(self) -> None:
        self._limits = limits()
        self._entries = 0
        self._zeros = 0

    def add(self, size: int, stored: int) -> None:
        """One more entry, of `size` bytes of which so many are in the archive. Raises LayerError."""
        if self._limits is None:
            return
        self._entries += 1
        self._zeros += max(size - stored, 0)
        if self._entries > self._limits.entries:
            raise LayerError(f"the archive has more than {self._limits.entries} entries: that is taken for an attack", hint=_HINT)
        if self._zeros > self._limits.zeros:
            raise LayerError("the archive has sparse files without an end: that is taken for an attack", hint=_HINT)
