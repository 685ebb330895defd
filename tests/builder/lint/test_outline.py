"""What a target can be given, and which targets there are: a golden folder for each case, text and JSON.

A case is a folder in fixtures/calls: `Dockerfile`, `outline.txt`, `outline.json`, `targets.txt`, `targets.json`, and, if it has to,
`options.json` (build_args, target).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from pybuild import calls
from pybuild.builder.errors import PlanError
from pybuild.builder.lint.inquiry import outlined, targeted
from pybuild.builder.request import BuildRequest
from pybuild.registry import ImageConfig, Platform, RunConfig

CASES = sorted(path.parent for path in Path(__file__).parents[3].glob("fixtures/calls/*/Dockerfile"))
HERE = Platform("linux", "amd64")


def test_there_are_cases():
    assert len(CASES) >= 5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Path, golden):
    options = json.loads((case / "options.json").read_text()) if (case / "options.json").exists() else {}
    request = BuildRequest(
        str(case),
        build_args=tuple(options.get("build_args", {}).items()),
        target=options.get("target"),
        platform=HERE,
    )
    outline, source = outlined(request, {})
    golden(case / "outline.txt", calls.outline_text(outline))
    golden(case / "outline.json", calls.outline_json(outline, source))
    targets, _ = targeted(request)
    golden(case / "targets.txt", calls.targets_text(targets))
    golden(case / "targets.json", calls.targets_json(targets, source))
    assert base64.b64decode(json.loads(calls.outline_json(outline, source))["sources"][0]) == (case / "Dockerfile").read_bytes()


def test_what_a_base_image_brings_with_onbuild_is_there_too(tmp_path: Path):
    (tmp_path / "Dockerfile").write_text("FROM base\n")
    config = ImageConfig(HERE, RunConfig(on_build=("ARG brought=1", "RUN --mount=type=secret,id=key x")))
    outline, _ = outlined(BuildRequest(str(tmp_path), platform=HERE), {"base": config})
    assert [(item.name, item.value) for item in outline.arguments] == [("brought", "1")]
    assert [item.id for item in outline.secrets] == ["key"]


def test_a_target_that_is_not_there_is_an_error(tmp_path: Path):
    (tmp_path / "Dockerfile").write_text("FROM scratch AS one\n")
    with pytest.raises(PlanError, match='no stage named "two"'):
        outlined(BuildRequest(str(tmp_path), target="two"), {})
