"""A short run of the fuzzer; `python tests/grammar/fuzz.py --count 1000000` is the long one."""

from __future__ import annotations

import random
import runpy
import sys
from pathlib import Path

import pytest

FUZZ = runpy.run_path(str(Path(__file__).with_name("fuzz.py")))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_bytes_the_outcome_is_a_dockerfile_or_an_error(seed):
    made = FUZZ["bodies"](random.Random(seed))
    fine = sum(FUZZ["check"](next(made)) for _ in range(500))
    assert fine > 30


def test_the_command_line_of_the_fuzzer(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "--count", "50"])
    FUZZ["main"]()
    assert capsys.readouterr().out.startswith("50 inputs in 0 s")
