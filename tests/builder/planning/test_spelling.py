"""How Go writes what the history has: compared with what BuildKit's images say."""

from __future__ import annotations

import pytest

from pybuild.builder.planning.spelling import duration, healthcheck, quoted
from pybuild.registry.config import Healthcheck


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (1_000_000, "1ms"),
        (1_500_000, "1.5ms"),
        (999_999_999, "999.999999ms"),
        (1_000_000_000, "1s"),
        (1_000_002_000, "1.000002s"),
        (90_000_000_000, "1m30s"),
        (3_600_000_000_000, "1h0m0s"),
        (3_723_500_000_000, "1h2m3.5s"),
        (86_400_000_000_000, "24h0m0s"),
    ],
)
def test_durations(nanoseconds, text):
    assert duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "[]"),
        (("a", "b c"), '["a" "b c"]'),
        (('"\\',), r'["\"\\"]'),
        (("\t\n\a\x00\x7f\x85\u2028\U000e0001é\U0001f600",), r'["\t\n\a\x00\x7f\u0085\u2028\U000e0001é😀"]'),
    ],
)
def test_quoted_lists(words, text):
    assert quoted(words) == text


def test_health_checks():
    found = healthcheck(Healthcheck(("CMD-SHELL", 'x "y"'), 90 * 10**9, 1, retries=3))
    assert found == '{Test:[CMD-SHELL x "y"] Interval:1m30s Timeout:1ns StartPeriod:0s StartInterval:0s Retries:3}'
