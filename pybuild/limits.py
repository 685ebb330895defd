"""How much of the disk a store may take. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pybuild.measures import read_size
from pybuild.registry.errors import StoreError

LIMIT = "PYBUILD_KEEP_STORAGE"
_LEAST_LIMIT = 10 * 10**9
_PART_OF_DISK = 10


def limit_of(environ: Mapping[str, str], disk_bytes: int) -> int | None:
    """How many bytes all that no tag keeps may take: $PYBUILD_KEEP_STORAGE, else a tenth of the disk, 10 GB at least.

    None for `off`. Raises StoreError for what is no size.
    """
    text = environ.get(LIMIT)
    if not text:
        return max(_LEAST_LIMIT, disk_bytes // _PART_OF_DISK)
    if text == "off":
        return None
    try:
        return read_size(text)
    except ValueError as error:
        raise StoreError(f"{LIMIT}: {error}", hint=f"unset it, or write {LIMIT}=off for no limit") from None
