"""What a RUN may only do when whoever builds says so, with --allow. Pure.

Asked before anything is run, and also when all is cached; a Dockerfile, an ONBUILD or a base image cannot grant it to itself.
"""

from __future__ import annotations

from pybuild.builder.errors import PlanError
from pybuild.builder.graph import BuildGraph, RunStep
from pybuild.grammar import Source

INSECURE, HOST_NETWORK = "security.insecure", "network.host"
ENTITLEMENTS = (INSECURE, HOST_NETWORK)


def check_entitlements(graph: BuildGraph, allowed: tuple[str, ...], source: Source) -> None:
    """Raise PlanError for the first RUN that asks for what is not allowed."""
    for step in graph.steps:
        if not isinstance(step, RunStep):
            continue
        wanted = {INSECURE: step.security == "insecure", HOST_NETWORK: step.network == "host"}
        for name, is_wanted in wanted.items():
            if is_wanted and name not in allowed:
                flag = "--security=insecure" if name == INSECURE else "--network=host"
                raise PlanError(
                    f"{flag} is not allowed in this build",
                    hint=f"if you trust this Dockerfile: build with --allow {name}",
                    span=step.span,
                    source=source,
                )
