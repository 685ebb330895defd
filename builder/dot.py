"""The IR as a picture: a graph in graphviz's language, each stage a box of its own. Pure."""

from __future__ import annotations

from pybuild.builder.describe import kind
from pybuild.builder.graph import BuildGraph, CopyStep, Root, RunStep, Step

_SHAPES = {
    "source": "cylinder",
    "http": "oval",
    "git": "oval",
    "run": "box",
    "copy": "note",
    "workdir": "folder",
    "meta": "plaintext",
}
_WIDTH = 60


def dot(graph: BuildGraph) -> str:
    """The graph: steps on their parents, and with dashed lines what they read of other stages and of contexts."""
    lines = ["digraph plan {", "  rankdir=BT;", '  node [fontname="monospace", fontsize=10];']
    ends = [stage.first for stage in graph.stages[1:]] + [len(graph.steps)]
    for place, (stage, end) in enumerate(zip(graph.stages, ends, strict=True)):
        lines += [f"  subgraph cluster_{place} {{", f"    label={_text(stage.name)};"]
        lines += [f"    {_node(number, graph.steps[number])}" for number in range(stage.first, end)]
        lines.append("  }")
    contexts: dict[str, str] = {}
    for number, step in enumerate(graph.steps):
        if not isinstance(step, Root):
            lines.append(f"  step{number} -> step{step.parent};")
        for origin in _origins(step):
            name = f"step{origin}"
            if isinstance(origin, str):
                name = contexts.setdefault(origin, f"context{len(contexts)}")
            lines.append(f"  step{number} -> {name} [style=dashed];")
    lines += [f"  {name} [label={_text(origin or 'context')}, shape=tab];" for origin, name in contexts.items()]
    lines.append(f"  step{graph.target.last} [penwidth=2];")
    return "\n".join((*lines, "}")) + "\n"


def _origins(step: Step) -> tuple[int | str, ...]:
    return step.origins if isinstance(step, CopyStep | RunStep) else ()


def _node(number: int, step: Step) -> str:
    name = step.name if len(step.name) <= _WIDTH else step.name[: _WIDTH - 3] + "..."
    return f"step{number} [label={_text(name)}, shape={_SHAPES[kind(step)]}, tooltip={_text(step.name)}];"


def _text(text: str) -> str:
    """A quoted string. graphviz reads a backslash in a label as the begin of something, so it is doubled."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'
