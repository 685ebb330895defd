from __future__ import annotations

import pytest

from pybuild.registry.retries import seconds_of


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7), ("0", 0), ("", 0), ("soon", 0), ("-1", 0), ("1.5", 0), ("Thu, 01 Jan 1970 00:01:40 GMT", 90),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(header, seconds):
    assert seconds_of(header, now=10.0) == seconds
