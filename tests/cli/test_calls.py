"""`pybuild build --check` and `--call`: what is printed, what is fetched, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pybuild.cli import run
from pybuild.registry import Reference, Store


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a Dockerfile; the folder is the current one, and the store lies in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYBUILD_ROOT", str(tmp_path / "store"))

    def write(text: str) -> Path:
        (tmp_path / "Dockerfile").write_text(text)
        return tmp_path

    return write


def test_check_finds_in_all_stages_and_builds_nothing(context, capsys):
    folder = context("FROM scratch as a\nCOPY missing /\nFROM scratch\nENV x y\n")
    assert run(["build", "--check", "-t", "never", "."]) == 1
    out, err = capsys.readouterr()
    assert "Dockerfile:1:14: warning: as is not in the case that FROM is in [FromAsCasing]" in out
    assert out.endswith("2 findings, 2 of them can be mended with --fix\n") and err == ""
    assert Store.open(folder / "store").images() == ()
    assert run(["build", "--check", "--target", "a", "."]) == 1
    assert "LegacyKeyValueFormat" not in capsys.readouterr().out


def test_check_is_content_with_a_clean_file(context, capsys):
    context("FROM scratch\n")
    assert run(["build", "--call", "check", "."]) == 0
    assert capsys.readouterr().out == "no findings\n"


def test_check_tells_of_what_the_build_would_end_with(context, capsys):
    context("FROM scratch as a\nSTOPSIGNAL nothing\n")
    assert run(["build", "--check", "."]) == 2
    out, err = capsys.readouterr()
    assert "[FromAsCasing]" in out and "Dockerfile:2:12: no such signal: 'nothing'" in err
    assert run(["build", "--call=check,format=json", "."]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["buildError"]["location"] == {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]}


def test_check_as_json_is_what_buildkit_answers(context, capsys):
    context("FROM scratch as a\n")
    assert run(["build", "--check", "--call=check,format=json", "."]) == 1
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"warnings", "sources"}
    (warning,) = document["warnings"]
    assert warning["ruleName"] == "FromAsCasing" and warning["url"].startswith("https://docs.docker.com/")
    assert warning["location"] == {"ranges": [{"start": {"line": 1}, "end": {"line": 1}}]}
    assert document["sources"][0]["filename"] == "Dockerfile"


@pytest.mark.parametrize("call", ["nothing", "check,format=xml", "outline,json", "check,format", ""])
def test_a_call_that_is_none_is_wrong_usage(context, capsys, call: str):
    context("FROM scratch\n")
    assert run(["build", "--call", call, "."]) == 2
    assert "is none of build, check, outline, targets" in capsys.readouterr().err


def test_a_file_that_does_not_parse_is_exit_code_2(context, capsys):
    context("FORM scratch\n")
    for call in ("check", "outline", "targets"):
        assert run(["build", f"--call={call}", "."]) == 2
        assert "unknown instruction: FORM" in capsys.readouterr().err


def test_outline_and_targets_ask_for_no_store_and_no_registry(context, capsys):
    folder = context("# key is for the lock\nARG key=1\n# one is the first\nFROM 127.0.0.1:1/x:$key AS one\nFROM one\n")
    assert run(["build", "--call", "outline", "--target", "one", "--build-arg", "key=2", "."]) == 0
    assert capsys.readouterr().out == (
        "TARGET:      one\nDESCRIPTION: is the first\n\nBUILD ARG   VALUE   DESCRIPTION\nkey         2       is for the lock\n\n"
    )
    assert run(["build", "--call", "targets", "."]) == 0
    assert capsys.readouterr().out == "TARGET    DESCRIPTION\none       is the first\n(default) \n"
    assert run(["build", "--call", "targets,format=json", "."]) == 0
    assert json.loads(capsys.readouterr().out)["targets"][0]["base"] == "127.0.0.1:1/x:$key"
    assert not (folder / "store").exists()


@pytest.mark.peers("docker-registry", "skopeo", "umoci")
def test_check_asks_the_registry_for_a_base_images_environment_and_fetches_no_layer(context, capsys, foreign_base: str):
    folder = context(f"FROM {foreign_base}\nENV PATH=$PATH:/x\nCOPY $surely_not /\n")
    assert run(["build", "--check", "."]) == 1
    out, err = capsys.readouterr()
    assert "$surely_not is not defined here" in out and err == ""
    store = Store.open(folder / "store")
    assert store.tagged(Reference.parse(foreign_base)) is None
    assert not list((folder / "store" / "blobs" / "sha256").iterdir())
    assert run(["build", "--check", "--platform", "linux/s390x", "."]) == 1
    assert "[InvalidBaseImagePlatform]" in capsys.readouterr().out


def test_check_says_what_is_wrong_with_a_registry_and_what_it_found_without_it(context, capsys):
    context("FROM 127.0.0.1:1/nothing as a\n")
    assert run(["build", "--check", "."]) == 1
    out, err = capsys.readouterr()
    assert "[FromAsCasing]" in out and "127.0.0.1:1" in err
    assert run(["build", "--call=check,format=json", "."]) == 1
    document = json.loads(capsys.readouterr().out)
    assert len(document["warnings"]) == 1 and "127.0.0.1:1" in document["buildError"]["message"]
