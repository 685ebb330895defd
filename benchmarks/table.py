"""What was measured, as tables for people and as a document for programs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.measuring import Measure

PHASES = ("cold", "unchanged", "changed", "push")
_OURS = "pybuild"
_HEAD = ("", *PHASES, "memory")


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one builder."""

    workload: str
    builder: str
    phase: str
    run: int
    measure: Measure


def median(samples: Sequence[Sample], field: Callable[[Measure], float]) -> float:
    """The median of one number of measurements."""
    return statistics.median(field(sample.measure) for sample in samples)


def table(title: str, samples: Sequence[Sample]) -> str:
    """One workload's medians, a row a builder, and below them the ratios: pybuild's by each of the others'."""
    builders = tuple(dict.fromkeys(sample.builder for sample in samples))
    numbers = {builder: _numbers([sample for sample in samples if sample.builder == builder]) for builder in builders}
    rows: list[tuple[str, ...]] = [_HEAD]
    for builder, found in numbers.items():
        seconds = (f"{found[phase]:.3f} s" if phase in found else "-" for phase in PHASES)
        rows.append((builder, *seconds, f"{found['memory'] / 1e6:.0f} MB"))
    for builder, found in numbers.items():
        if builder != _OURS and _OURS in numbers:
            ours = numbers[_OURS]
            ratios = (f"{ours[column] / found[column]:.3f}" if column in found else "-" for column in _HEAD[1:])
            rows.append((f"{_OURS} / {builder}", *ratios))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ("  ".join((row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:]))).rstrip() for row in rows)
    return "\n".join((title, *lines)) + "\n"


def document(samples: Sequence[Sample], facts: Mapping[str, object]) -> dict[str, object]:
    """All measurements, the medians, and the facts about machine and versions, for json.dump."""
    groups = dict.fromkeys((sample.workload, sample.builder) for sample in samples)
    medians = [
        {"workload": workload, "builder": builder}
        | _numbers([sample for sample in samples if (sample.workload, sample.builder) == (workload, builder)])
        for workload, builder in groups
    ]
    return {**facts, "medians": medians, "samples": [asdict(sample) for sample in samples]}


def _numbers(samples: Sequence[Sample]) -> dict[str, float]:
    """Median seconds by phase, and `memory`: the median of each run's largest resident set, in bytes, of the largest phase."""
    every = {phase: [sample for sample in samples if sample.phase == phase] for phase in PHASES}
    # Not every workload has something to change.
    phases = {phase: found for phase, found in every.items() if found}
    seconds = {phase: median(found, lambda measure: measure.seconds) for phase, found in phases.items()}
    return seconds | {"memory": max(median(found, lambda measure: measure.memory) for found in phases.values())}
