"""How long Dockerfiles take to read: a usual one, and ones that nobody writes.

    python -m benchmarks.grammar

The first line is the budget: tables loaded and 200 lines parsed in 10 ms, with lark imported. Each other input has its own
process, so that its memory is its own.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable

import lark  # noqa: F401  (what is measured begins behind it)

from pybuild.grammar import DockerfileError, Source, expand, parse, parser

USUAL = "FROM golang:1.22 AS build\n" + "".join(
    f'ENV A{number}=1 B="two words"\nCOPY --from=x --chown=1:2 a{number} b /c/\n'
    f"RUN --mount=type=cache,target=/x go build ./... && \\\n    echo {number}\nLABEL a=b\n"
    for number in range(40)
)
STAGE = (
    "FROM a AS s{}\n"
    + "RUN a command of about a hundred characters, which is what a line of a real Dockerfile may well have\n" * 99
)
LARGE: dict[str, Callable[[], str]] = {
    "100,000 lines, 1,000 stages": lambda: "".join(STAGE.format(number) for number in range(1000)),
    "one line": lambda: "FROM a\nRUN " + "x y " * 2_500_000,
    "one word": lambda: "FROM a\nENV A=" + "x" * 10**7,
    "one quoted word": lambda: 'FROM a\nENV A="' + '\\" x' * 2_500_000 + '"',
    "one array": lambda: "FROM a\nCMD [" + ",".join(['"abcdef"'] * 1_000_000) + "]",
    "a million continuations": lambda: "FROM a\nRUN " + "x \\\n" * 10**6 + "y\n",
    "a million comments in a line": lambda: "FROM a\nRUN x \\\n" + "# c\n" * 10**6 + "y\n",
    "50,000 here-documents": lambda: "FROM a\n" + "RUN <<EOF\nbody\nEOF\n" * 50_000,
    "20,000 here-documents in a line": lambda: "FROM a\nRUN " + "<<E " * 20_000 + "\n" + "E\n" * 20_000,
    "one here-document": lambda: "FROM a\nRUN <<E\n" + "a line of it\n" * 800_000 + "E\n",
    "no Dockerfile": lambda: "some words here\n" * 600_000,
    "nothing": lambda: "\n" * 10**7,
}


def _usual() -> None:
    begun = time.perf_counter()
    parser._grammar()
    loaded = time.perf_counter()
    parse(Source("Dockerfile", USUAL))
    first = time.perf_counter()
    times = []
    for _ in range(20):
        started = time.perf_counter()
        parse(Source("Dockerfile", USUAL))
        times.append(time.perf_counter() - started)
    shown = f"load {1e3 * (loaded - begun):.1f}, first {1e3 * (first - loaded):.1f}, then {1e3 * sorted(times)[10]:.1f} ms"
    print(f"{'200 lines':32} {shown}")
    started = time.perf_counter()
    expand("${x:-" * 10_000 + "}" * 10_000, {})
    print(f"{'a word 10,000 deep':32} {time.perf_counter() - started:.2f} s")


def _large(name: str) -> None:
    text = LARGE[name]()
    started = time.perf_counter()
    try:
        parse(Source("Dockerfile", text))
        outcome = ""
    except DockerfileError as error:
        outcome = error.message
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{name:32} {len(text) / 1e6:.0f} MB in {seconds:.2f} s, {memory} MB  {outcome}", flush=True)


def main() -> None:
    """Measure, and print a line for each."""
    _usual()
    context = multiprocessing.get_context("spawn")
    for name in LARGE:
        process = context.Process(target=_large, args=(name,))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
