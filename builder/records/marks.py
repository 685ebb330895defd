"""A check for each row that decides about an image: SQLite takes a value that is another than was written for a value.

A row whose check does not fit is as good as none: what it knew is found out again.
"""

from __future__ import annotations

import marshal
import zlib
from collections.abc import Sequence

# Its bytes are the same for equal values, whoever wrote them.
_VERSION = 2


def mark(values: Sequence[str | bytes | int | None]) -> int:
    """The check of a row's values. They are plain ones: marshal knows no classes derived from them."""
    return zlib.crc32(marshal.dumps(tuple(values), _VERSION))


def is_sound(row: Sequence[object]) -> bool:
    """Whether a row is as it was written; its last value is its check."""
    try:
        return mark(row[:-1]) == row[-1]  # type: ignore[arg-type]
    except ValueError:
        return False
