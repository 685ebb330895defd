"""What a Dockerfile may say and no step can carry out yet: refused before anything is built, by its line. Pure."""

from __future__ import annotations

from pybuild.builder.errors import NotSupported
from pybuild.builder.graph import RunStep
from pybuild.builder.planning.memory import Plan

_HINT = "leave it out, or build this file with buildah or docker for now"


def refuse(plan: Plan) -> None:
    """Raise NotSupported for the first step that cannot be carried out."""
    for step in plan.graph.steps:
        if isinstance(step, RunStep) and (what := _missing(step)) is not None:
            raise NotSupported(f"{what} is not supported yet", span=step.span, source=plan.source, hint=_HINT)


def _missing(step: RunStep) -> str | None:
    return "RUN --device" if step.devices else None
