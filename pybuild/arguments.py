"""What is looked at before a call of the Python API begins: mistakes that would mean something else than is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pybuild.builder.errors import PlanError
from pybuild.builder.sandbox.confinement import ISOLATIONS, NETWORKS


def texts(name: str, given: Sequence[str]) -> tuple[str, ...]:
    """Several texts. One alone would be taken for its letters: TypeError."""
    if isinstance(given, str | bytes):
        raise TypeError(f"{name} is a sequence of texts, not one text: write [{given!r}]")
    return tuple(given)


def pairs(name: str, given: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Names with their texts. A number would be in the image as one, which nobody reads then: TypeError."""
    for key, value in (given or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"{name} has texts: write {{{str(key)!r}: {str(value)!r}}}")
    return tuple((given or {}).items())


def check_choices(*, network: str, isolation: str = "auto", jobs: int = 1, timestamp: int | str | None = None) -> None:
    """Raise PlanError for what the command line does not let through either."""
    for name, given, known in (("network", network, NETWORKS), ("isolation", isolation, ISOLATIONS)):
        if given not in known:
            raise PlanError(f"no such {name}: {given!r}", hint=f"there are {', '.join(known)}")
    if jobs < 1:
        raise PlanError(f"jobs is {jobs}", hint="one step at a time is the least")
    if isinstance(timestamp, int) and timestamp < 0:
        raise PlanError(f"timestamp is {timestamp}", hint="give seconds since 1970")
