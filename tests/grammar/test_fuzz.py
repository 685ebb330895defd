"""A short run of the fuzzer; `python tests/grammar/fuzz.py --count 1000000` is the long one."""

from __future__ import annotations

import random
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("fuzz.py")
ROOT = str(FILE.parents[2])
FUZZ = runpy.run_path(str(FILE))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_bytes_the_outcome_is_a_dockerfile_or_an_error(seed):
    made = FUZZ["bodies"](random.Random(seed))
    fine = sum(FUZZ["check"](next(made)) for _ in range(500))
    assert fine > 30


def test_the_command_line_of_the_fuzzer():
    # A process of its own: it measures its memory.
    script = f"import sys, runpy; sys.path.insert(0, {ROOT!r}); import pybuild; pybuild.__path__.append({ROOT!r}); "
    script += f"sys.argv[1:] = ['--count', '50']; runpy.run_path({str(FILE)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("50 inputs in ")
