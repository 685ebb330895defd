"""How often, and after what pause, a request is made again. The clock and chance are arguments."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from pybuild.values import frozen

# Not what stays: never to be done (501), another HTTP (505), no room (507), a circle (508), a portal that wants a login (511).
# The rest is the proxies' own: Cloudflare, for one, has 520 to 530.
RETRIED_STATUSES = frozenset((408, 425, 429, *range(500, 600))) - {501, 505, 507, 508, 511}


@frozen
class Patience:
    """Attempts in all, and the pauses between them: doubling from the first to the longest, each a random part of it.

    The randomness keeps many clients from coming back at the same moment. Times in seconds; `until`, by the clock, is when all
    of it has to be done, None for no limit.
    """

    attempts: int = 5
    first_seconds: float = 0.5
    longest_seconds: float = 10.0
    connect_seconds: float = 15.0
    answer_seconds: float = 60.0
    until: float | None = None
    pause: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def within(cls, seconds: float | None) -> Patience:
        """The usual patience, for so long in all."""
        return cls() if seconds is None else cls(until=time.monotonic() + seconds)

    @property
    def left(self) -> float | None:
        """The seconds that are left, 0 when time is up; None for no limit."""
        return None if self.until is None else max(0.0, self.until - self.clock())

    def wait(self, attempt: int, at_least: float = 0.0) -> None:
        """Pause after the given attempt, counted from 1; a server's Retry-After is `at_least`, within reason."""
        ceiling = min(self.longest_seconds, self.first_seconds * 2 ** (attempt - 1))
        seconds = max(ceiling * (0.5 + self.chance() / 2), min(at_least, 6 * self.longest_seconds))
        self.pause(seconds if self.left is None else min(seconds, self.left))


def seconds_of(retry_after: str, *, now: float | None = None) -> float:
    """A Retry-After header in seconds, whether it is a number or a date; 0 for what is neither. Source: RFC 9110, 10.2.3."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - (time.time() if now is None else now))
    except ValueError:
        return 0.0
