"""What a build says of the linter's findings: shown each time, linted once, an error where the file wants that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pybuild
from pybuild.builder.errors import LintFailed, PlanError
from pybuild.builder.events import Notice


class Heard:
    def __init__(self) -> None:
        self.notices: list[str] = []

    def emit(self, event) -> None:
        if isinstance(event, Notice):
            self.notices.append(event.message)


@pytest.fixture
def notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Build a Dockerfile of this text; the notices."""
    monkeypatch.chdir(tmp_path)

    def build(text: str, **options) -> list[str]:
        Path("Dockerfile").write_text(text)
        heard = Heard()
        try:
            pybuild.build(".", progress=heard, root=tmp_path / "store", **options)
        finally:
            build.heard = heard.notices
        return heard.notices

    return build


def test_findings_are_one_line_each_and_counted_and_shown_again(notices):
    text = "FROM scratch as a\nENV password=x\n"
    first = notices(text)
    assert first == [
        "Dockerfile:1: FromAsCasing: as is not in the case that FROM is in",
        "Dockerfile:2: SecretsUsedInArgOrEnv: ENV password looks like a secret, and whoever has the image can read it",
        "2 warnings of Dockerfile: 'pybuild lint' shows more, and mends some",
    ]
    assert notices(text) == first


def test_an_unchanged_build_shows_them_without_linting(notices, tmp_path: Path):
    notices("FROM scratch as a\n")
    script = "import sys; from pybuild.cli import run; run(['build', '.']); print([n for n in sys.modules if 'lint' in n or n == 'lark'])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={"PYBUILD_ROOT": str(tmp_path / "store"), "PATH": "/usr/bin:/bin"},
        check=True,
    )
    assert done.stdout == "[]\n"
    assert "warning: Dockerfile:1: FromAsCasing: " in done.stderr and "warning: 1 warning of Dockerfile: " in done.stderr


def test_what_the_target_does_not_need_is_not_spoken_of(notices):
    text = "FROM scratch AS a\nCOPY <<E $b/x\nE\nFROM scratch AS c\nENV a b\n"
    assert [line.split(": ")[1] for line in notices(text)[:-1]] == ["LegacyKeyValueFormat"]
    assert notices("FROM scratch AS a\nENV a b\nFROM scratch\n") == []


def test_a_changed_ignore_file_is_seen(notices, tmp_path: Path):
    Path("x").write_text("x")
    text = "FROM scratch\nCOPY x* /\n"
    assert notices(text) == []
    Path(".dockerignore").write_text("x*\n")
    assert notices(text)[0].startswith("Dockerfile:2: CopyIgnoredFile: COPY x*: .dockerignore:1 (x*) hides it")


def test_error_true_fails_the_build_and_names_the_rules(notices):
    with pytest.raises(LintFailed, match="Dockerfile breaks rules that it wants to be kept: FromAsCasing") as failed:
        notices("# check=error=true\nFROM scratch as a\n")
    assert failed.value.exit_code == 1
    assert notices.heard[0].startswith("Dockerfile:2: FromAsCasing")
    assert notices("# check=error=true;skip=FromAsCasing\nFROM scratch as a\n") == []


def test_the_build_argument_takes_the_directives_place(notices):
    text = "# check=error=true\nFROM scratch as a\n"
    assert notices(text, build_args={"BUILDKIT_DOCKERFILE_CHECK": "skip=all"}) == []
    with pytest.raises(PlanError, match="BUILDKIT_DOCKERFILE_CHECK: 'what' is no option of check"):
        notices(text, build_args={"BUILDKIT_DOCKERFILE_CHECK": "what"})
