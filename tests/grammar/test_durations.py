"""Durations as Go reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybuild.grammar.durations import nanoseconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("+0", 0),
        ("1s", 10**9),
        ("1h1m1.5s", 3661_500_000_000),
        ("-1.5ms", -1_500_000),
        (".5us", 500),
        ("1.µs", 1000),
        ("2μs", 2000),
        ("1ns1ns", 2),
        ("0.3333333333333333333h", 1_200_000_000_000),
        ("9223372036854775807ns", (1 << 63) - 1),
        ("-9223372036854775808ns", -(1 << 63)),
    ],
)
def test_durations(text, expected):
    assert nanoseconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "1", "s", ".s", "1.5", "1 s", "1S", "1d", "--1s", "9223372036854775808ns", "9" * 5000 + "h", "٣s", "1s "]
)
def test_what_is_no_duration(text):
    with pytest.raises(ValueError):
        nanoseconds(text)


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from(["ns", "us", "ms", "s", "m", "h"])), min_size=1, max_size=5))
def test_parts_add_up(parts):
    assert nanoseconds("".join(f"{count}{unit}" for count, unit in parts)) == sum(nanoseconds(f"{c}{u}") for c, u in parts)
