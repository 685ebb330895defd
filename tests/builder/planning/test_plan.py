"""From a Dockerfile to the IR, and to the errors of the ones that mean nothing: a golden folder for each case.

A case is a folder in fixtures/dockerfiles: `Dockerfile`, and `graph.txt` or `error.txt`. A comment `# with: {...}` in its first line
has options as JSON: build_args, target, folders, images, platform; `bases` has parts of the configs of images, by their names.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pybuild.builder.describe import describe, document
from pybuild.builder.errors import BuildError
from pybuild.builder.planning.plan import Base, needed_images, plan
from pybuild.builder.planning.wanted import Options, Wanted
from pybuild.grammar import DockerfileError, Source, parse
from pybuild.registry import Digest, ImageConfig, Platform, RunConfig
from pybuild.values import replace

CASES = sorted(path.parent for path in Path(__file__).parents[3].glob("fixtures/dockerfiles/*/Dockerfile"))
BASE = Base(
    Digest.of(b"base"),
    ImageConfig(
        Platform("linux", "amd64"),
        RunConfig(env=("PATH=/bin", "BASE=yes"), cmd=("base-cmd",), labels=(("from", "base"),), working_dir="/srv"),
    ),
)


def planned(source: Source):
    first = source.text.split("\n", 1)[0]
    asked = json.loads(first.removeprefix("# with: ")) if first.startswith("# with: ") else {}
    here = Platform("linux", "amd64")
    options = Options(
        Platform.parse(asked["platform"]) if "platform" in asked else here,
        build_args=tuple(asked.get("build_args", {}).items()),
        target=asked.get("target"),
        folders=tuple(asked.get("folders", ())),
        images=tuple(asked.get("images", ())),
        empty=tuple(asked.get("empty", ())),
        is_platform_asked="platform" in asked,
        build_platform=here,
    )
    dockerfile = parse(source)
    known: dict[Wanted, Base] = {}
    while missing := [wanted for wanted in needed_images(dockerfile, options, known) if wanted not in known]:
        known |= {wanted: base(wanted, asked.get("bases", {})) for wanted in missing}
    return plan(dockerfile, options, known)


def base(wanted: Wanted, given: dict[str, dict[str, list[str]]]) -> Base:
    changes = {name: tuple(value) for name, value in given.get(wanted.name, {}).items()}
    return Base(BASE.digest, replace(BASE.config, platform=wanted.platform, config=replace(BASE.config.config, **changes)))


def test_there_are_cases():
    assert len(CASES) >= 30


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Path, golden):
    source = Source.of("Dockerfile", (case / "Dockerfile").read_bytes())
    try:
        graph = planned(source)
    except (BuildError, DockerfileError) as error:
        told = [f"{each}\nhint: {getattr(each, 'hint', None)}\n" for each in (error, *error.others)]
        golden(case / "error.txt", "".join((*told, f"exit code: {error.exit_code}\n")))
        assert not (case / "graph.txt").exists()
    else:
        golden(case / "graph.txt", describe(graph))
        json.dumps(document(graph))
        assert not (case / "error.txt").exists()
