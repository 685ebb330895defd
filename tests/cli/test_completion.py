"""What a shell completes."""

from __future__ import annotations

import pytest
from click.shell_completion import ShellComplete

import pybuild
from pybuild.cli.commands import main


@pytest.mark.parametrize(
    ("words", "incomplete", "kinds"),
    [
        (["build"], "d", {"file"}),
        (["build", "-f"], "", {"file"}),
        (["plan"], "", {"file"}),
        (["lint"], "", {"file"}),
        (["save", "-o"], "", {"file"}),
        (["build", "--progress"], "", {"plain"}),
    ],
)
def test_files_are_completed_by_the_shell(words, incomplete, kinds):
    found = ShellComplete(main, {}, "pybuild", "_PYBUILD_COMPLETE").get_completions(words, incomplete)
    assert {item.type for item in found} == kinds


def test_images_are_completed_and_no_store_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("PYBUILD_ROOT", str(tmp_path / "store"))
    completion = ShellComplete(main, {}, "pybuild", "_PYBUILD_COMPLETE")
    assert completion.get_completions(["push"], "") == [] and not (tmp_path / "store").exists()
    (tmp_path / "Dockerfile").write_text("FROM scratch\nLABEL a=b\n")
    pybuild.build(tmp_path, tags=["app:1", "other:2"])
    assert [item.value for item in completion.get_completions(["push"], "a")] == ["app:1"]
    assert [item.value for item in completion.get_completions(["rmi", "app:1"], "")] == ["app:1", "other:2"]
