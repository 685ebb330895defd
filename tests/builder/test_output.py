"""A line of a command's output, as it may be shown."""

from __future__ import annotations

import pytest

from pybuild.builder.output import harmless


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain\ttext, d\N{LATIN SMALL LETTER E WITH ACUTE}j\N{LATIN SMALL LETTER A WITH GRAVE}\N{NO-BREAK SPACE}vu",) * 2,
        ("\x1b[1;31mred\x1b[0m and \x1b[38;5;4mblue", "\x1b[1;31mred\x1b[0m and \x1b[38;5;4mblue\x1b[0m"),
        ("\x1b[2J\x1b[H\x1b[?25lgone", "gone"),
        ("\x1b]0;title\x07\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1$r\x1b\\\x1b(B\x1bc\x1b", ""),
        ("\x9b31mC1 \a\x00", "\N{REPLACEMENT CHARACTER}31mC1 \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"),
        ("10 %\r50 %\rdone\r", "done"),
        ("#9 DONE\r\x1b[Kspoof", "spoof"),
    ],
)
def test_colours_stay_and_what_drives_a_terminal_goes(line, shown):
    assert harmless(line) == shown
