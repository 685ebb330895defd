"""The IR as text for people and golden files, and as a document for programs. Pure."""

from __future__ import annotations

from pybuild.builder.graph import (
    BuildGraph,
    CopySource,
    CopyStep,
    Device,
    File,
    GitStep,
    HttpStep,
    MetaStep,
    Mount,
    RunStep,
    SourceStep,
    Step,
    WorkdirStep,
)
from pybuild.registry import ImageConfig
from pybuild.registry.config import run_config_document
from pybuild.values import field_defaults, field_names

_KINDS: dict[type, str] = {
    SourceStep: "source",
    HttpStep: "http",
    GitStep: "git",
    RunStep: "run",
    CopyStep: "copy",
    WorkdirStep: "workdir",
    MetaStep: "meta",
}
_LEFT_OUT = ("name", "span")
_PAIRS = ("env", "proxies")
# Of the JSON document: docs/plan.md. Keys are added under the same number; it grows when one goes or means something else.
VERSION = 1


def describe(graph: BuildGraph) -> str:
    """The graph as text: a block for each step, then one for each stage."""
    lines: list[str] = []
    for number, step in enumerate(graph.steps):
        lines.append(f"step {number} {_KINDS[type(step)]} line {step.span.line}: {step.name}")
        lines += [f"    {name}: {_shown(value)}" for name, value in _values(step) if _is_told(step, name, value)]
    for stage in graph.stages:
        lines.append(f"stage {stage.name}: ends with step {stage.last}")
        lines += [f"    {name}: {_shown(value)}" for name, value in _config(stage.config).items()]
    lines += [f"warning: {warning}" for warning in graph.warnings]
    return "\n".join(lines) + "\n"


def document(graph: BuildGraph) -> dict[str, object]:
    """The graph as JSON has it."""
    return {
        "version": VERSION,
        "target": graph.target.name,
        "steps": [_step(graph, number, step) for number, step in enumerate(graph.steps)],
        "stages": [
            {"name": stage.name, "first": stage.first, "last": stage.last, "config": _config(stage.config)}
            for stage in graph.stages
        ],
        "warnings": list(graph.warnings),
        "epoch": graph.epoch,
    }


def _step(graph: BuildGraph, number: int, step: Step) -> dict[str, object]:
    head = {"number": number, "stage": graph.stage_of(number), "kind": kind(step), "name": step.name, "line": step.span.line}
    return head | {name: _plain_pairs(value) if name in _PAIRS else _plain(value) for name, value in _values(step)}


def kind(step: Step) -> str:
    """The word for what a step is."""
    return _KINDS[type(step)]


def _is_told(step: Step, name: str, value: object) -> bool:
    """Whether text says this: not what is absent, and not what a field is unless somebody says otherwise."""
    return value not in (None, (), "") and value != field_defaults(step).get(name)


def _values(step: Step) -> list[tuple[str, object]]:
    return [(name, getattr(step, name)) for name in field_names(step) if name not in _LEFT_OUT]


def _config(config: ImageConfig) -> dict[str, object]:
    document: dict[str, object] = {"Platform": str(config.platform)}
    if config.author:
        document["Author"] = config.author
    return document | run_config_document(config.config)


def _shown(value: object) -> str:
    if isinstance(value, CopySource):
        place = f"step-{value.origin}" if isinstance(value.origin, int) else value.origin or "context"
        return f"{place}:{value.path!r}"
    if isinstance(value, Mount | File | Device):
        told = ((name, getattr(value, name)) for name in field_names(value))
        kept = (f"{name}={item!r}" for name, item in told if item != field_defaults(value).get(name))
        return f"{type(value).__name__.lower()}({', '.join(kept)})"
    if isinstance(value, tuple):
        return " ".join(f"{item[0]}={item[1]}" if isinstance(item, tuple) else _shown(item) for item in value)
    return str(value) if not isinstance(value, str) else repr(value)


def _plain_pairs(value: object) -> object:
    assert isinstance(value, tuple)
    return dict(value)


def _plain(value: object) -> object:
    if isinstance(value, Mount | File | CopySource | Device):
        return {name: _plain(getattr(value, name)) for name in field_names(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
