"""What a program wrote: thousands of lines, findings and stages take time in proportion, and no more."""

from __future__ import annotations

import time

import pytest

from pybuild.builder.lint import Known, lint
from pybuild.builder.lint.mending import mend
from pybuild.grammar import Source, parse
from pybuild.registry import Platform

FILES = {
    "undefined": lambda count: "FROM scratch\n" + "".join(f"ENV A{n}=$A{n}\n" for n in range(count)),
    "mended": lambda count: "FROM scratch\n" + "".join(f"env A{n} x y\n" for n in range(count)) + "RUN x\n" * (count + 1),
    "stages": lambda count: "".join(
        f"FROM {f's{n - 1}' if n else 'scratch'} as s{n}\nCOPY --from=s{n} a b\n" for n in range(count)
    ),
    "blank": lambda count: "FROM scratch\n" + "RUN a \\\n\n b\n" * count,
}


def seconds(text: str) -> float:
    def find(changed: str):
        return lint(parse(Source("Dockerfile", changed)), Known(Platform("linux", "amd64"))).findings

    began = time.process_time()
    assert len(find(text)) > 100
    mend(text.encode(), find)
    return time.process_time() - began


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_time_grows_with_the_file_and_not_faster(name: str):
    small, large = seconds(FILES[name](400)), seconds(FILES[name](3200))
    # Eight times the lines; twice that is left for what a machine does beside.
    assert large < max(small, 0.05) * 16
