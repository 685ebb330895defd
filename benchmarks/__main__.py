"""`python -m benchmarks`: see the package."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import benchmarks
from benchmarks.builders import Builder, Pybuild, available
from benchmarks.measuring import CommandFailed
from benchmarks.places import Places, enter_namespace, places
from benchmarks.table import Sample, document, table
from benchmarks.workloads import WORKLOADS, Workload
from tests.real.registries import running_registry

_SETTLED_SECONDS = 2.5
_NEEDED = {"docker-registry": "docker-registry", "busybox": "busybox-static"}


def main(arguments: list[str]) -> int:
    """Measure, print the tables, and return the exit code."""
    options = _options(arguments)
    missing = [package for program, package in _NEEDED.items() if shutil.which(program) is None]
    if missing:
        print(f"missing, install it from Debian: {' '.join(missing)}", file=sys.stderr)
        return 1
    enter_namespace(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    workloads = [WORKLOADS[name] for name in options.workload or WORKLOADS]
    facts: dict[str, object] = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "runs": options.runs,
        "machine": {"system": platform.release(), "architecture": platform.machine(), "processors": os.cpu_count()},
        "python": platform.python_version(),
        "load_before": os.getloadavg(),
    }
    samples: list[Sample] = []
    try:
        with _ready() as (found, base, builders, left_out):
            facts |= {"builders": {builder.name: builder.version for builder in builders}, "left_out": left_out}
            for line in (*(f"{name}: {version}" for name, version in facts["builders"].items()), *left_out):  # type: ignore[attr-defined]
                print(line)
            print(flush=True)
            for workload in workloads:
                new = _measured(workload, builders, found, base, options.runs)
                samples += new
                changed = f"; changed: {workload.changed}" if workload.changed else ""
                print(table(workload.title + changed, new), flush=True)
    except CommandFailed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    facts["load_after"] = os.getloadavg()
    if options.json:
        options.json.write_text(json.dumps(document(samples, facts), indent=1) + "\n")
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=benchmarks.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workload", nargs="*", metavar="WORKLOAD", help=f"{', '.join(WORKLOADS)}; all when none is named")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="how often each is measured; 3 otherwise")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured there")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs is at least 1")
    for name in options.workload:
        if name not in WORKLOADS:
            parser.error(f"no workload {name!r}; there are {', '.join(WORKLOADS)}")
    return options


@contextlib.contextmanager
def _ready() -> Iterator[tuple[Places, str, Sequence[Builder], Sequence[str]]]:
    """Places, the base image's name, the builders, and why others are left out; every builder has built something."""
    with places() as found, running_registry(found.root / "registry") as registry:
        base = registry.name("base/busybox:latest")
        context = found.root / "contexts" / "base"
        (context / "bin").mkdir(parents=True)
        shutil.copy(shutil.which("busybox") or "", context / "bin/busybox")
        for name in ("sh", "echo", "dd"):
            (context / "bin" / name).symlink_to("busybox")
        (context / "Dockerfile").write_text('FROM scratch\nCOPY bin /bin\nCMD ["/bin/sh"]\n')
        Pybuild(found, base).make_base(context)
        with available(found, base) as (builders, left_out):
            for builder in builders:
                # The first build of all pays for byte code, and for programs that are not in the page cache.
                builder.fresh()
                builder.push(context, f"{base.partition('/')[0]}/warm/{builder.name}:latest")
            yield found, base, builders, left_out


def _measured(workload: Workload, builders: Sequence[Builder], found: Places, base: str, runs: int) -> list[Sample]:
    context = found.root / "contexts" / workload.name
    context.mkdir()
    workload.make(context, base)
    registry, samples, changes = base.partition("/")[0], [], 0
    for number in range(runs):
        for builder in builders:
            print(f"{workload.name}: run {number + 1} of {runs}, {builder.name}", file=sys.stderr, flush=True)
            builder.fresh()
            # What was changed just now may change again: no builder should have to look twice at what nobody touches.
            time.sleep(_SETTLED_SECONDS)
            measures = [("cold", builder.build(context)), ("unchanged", builder.build(context))]
            if workload.change is not None:
                workload.change(context, changes := changes + 1)
                measures.append(("changed", builder.build(context)))
            builder.fresh()
            name = f"{registry}/{workload.name}/{builder.name}:{number}"
            measures.append(("push", builder.push(context, name)))
            samples += [Sample(workload.name, builder.name, phase, number, measure) for phase, measure in measures]
    shutil.rmtree(context)
    return samples


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
