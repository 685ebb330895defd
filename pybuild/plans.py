"""The plan of a build: made without building, and written as text, JSON or a picture."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping

from pybuild.arguments import check_choices, pairs
from pybuild.builder.describe import describe, document
from pybuild.builder.dot import dot
from pybuild.builder.graph import BuildGraph
from pybuild.builder.lint.inquiry import at_hand, planned
from pybuild.builder.request import BuildRequest
from pybuild.builder.workspace import place_of
from pybuild.registry import Platform, Store


def plan(
    context: str | os.PathLike[str] = ".",
    *,
    dockerfile: str | os.PathLike[str] | None = None,
    build_args: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    target: str | None = None,
    build_contexts: Mapping[str, str] | None = None,
    platform: str | None = None,
    network: str = "default",
    pull: bool = False,
    insecure: bool = False,
    root: str | os.PathLike[str] | None = None,
) -> BuildGraph:
    """What a build with these arguments would do. Of the images that it stands on, no more than their configs is fetched.

    Raises BuildError, DockerfileError, RegistryError.
    """
    check_choices(network=network)
    request = BuildRequest(
        os.fspath(context),
        dockerfile=os.fspath(dockerfile) if dockerfile is not None else None,
        build_args=pairs("build_args", build_args),
        labels=pairs("labels", labels),
        target=target,
        contexts=pairs("build_contexts", build_contexts),
        platform=Platform.parse(platform) if platform else None,
        network=network,
        pull=pull,
        insecure=insecure,
    )
    place = place_of(root, os.environ)
    with at_hand(request, place) as here:
        return planned(here, Store.open(place))[0]


def as_json(graph: BuildGraph) -> str:
    """The document that docs/plan.md describes."""
    return json.dumps(document(graph), indent=2, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[BuildGraph], str]] = {"text": describe, "json": as_json, "dot": dot}
