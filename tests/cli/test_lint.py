"""`pybuild lint` from end to end: which files, which formats, what is written, and the exit codes."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from pybuild.cli import run
from pybuild.registry import media
from pybuild.registry.config import ImageConfig, RunConfig
from pybuild.registry.model import Manifest
from pybuild.registry.platform import Platform
from pybuild.registry.reference import Reference
from pybuild.registry.store import Store

BAD = "FROM scratch as Base\nENV a b\nCMD x\n"
GOOD = "FROM scratch AS base\nENV a=b\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Dockerfile").write_text(BAD)
    return tmp_path


def test_without_a_path_it_is_this_folder_and_findings_are_exit_code_1(folder: Path, capsys):
    assert run(["lint"]) == 1
    out = capsys.readouterr().out
    assert "Dockerfile:1:14: warning: as is not in the case that FROM is in [FromAsCasing]\n    FROM scratch as Base\n" in out
    assert out.endswith("4 findings, 3 of them can be mended with --fix\n")


def test_nothing_found_is_exit_code_0(folder: Path, capsys):
    (folder / "Dockerfile").write_text(GOOD)
    assert run(["lint", "Dockerfile", "."]) == 0
    assert capsys.readouterr().out == "no findings\n"


def test_a_file_that_does_not_parse_is_exit_code_2_and_the_others_are_linted(folder: Path, capsys):
    (folder / "wrong").write_text("FORM x\n")
    assert run(["lint", "wrong", "Dockerfile", "missing"]) == 2
    out, err = capsys.readouterr()
    assert "4 findings, 3 of them can be mended with --fix, 2 files could not be read" in out
    assert "wrong:1:1: unknown instruction: FORM" in err and "no Dockerfile: missing" in err


@pytest.mark.parametrize(
    "arguments",
    [["--skip", "FromAsCasin"], ["--format", "xml"], ["-f", "a", "b", "c"], ["--fix", "-"], ["--build-arg", "=x"]],
)
def test_wrong_usage_is_exit_code_2(folder: Path, capsys, arguments: list[str]):
    assert run(["lint", *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_misspelt_rule_is_told_what_was_meant(folder: Path, capsys):
    assert run(["lint", "--skip", "FromAsCasin"]) == 2
    assert "did you mean FromAsCasing?" in capsys.readouterr().err


def test_fix_writes_the_file_at_once_with_its_mode_and_finds_what_is_left(folder: Path, capsys):
    path = folder / "Dockerfile"
    path.write_bytes(b"\xef\xbb\xbf" + BAD.replace("\n", "\r\n").encode())
    path.chmod(0o640)
    inode = path.stat().st_ino
    assert run(["lint", "--fix"]) == 1
    assert path.read_bytes() == b"\xef\xbb\xbfFROM scratch AS base\r\nENV a=b\r\nCMD x\r\n"
    assert path.stat().st_mode & 0o7777 == 0o640
    assert path.stat().st_ino != inode
    assert os.listdir(folder) == ["Dockerfile"]
    assert capsys.readouterr().out.endswith("[JSONArgsRecommended]\n    CMD x\n    ~~~~~\n" + HINT + "\n\n1 finding\n")


HINT = 'hint: write CMD ["PROGRAM", "ARGUMENT"], or name the shell with SHELL'


def test_fix_follows_a_link_and_leaves_a_clean_file_alone(folder: Path):
    (folder / "link").symlink_to("Dockerfile")
    assert run(["lint", "--fix", "link", "--skip", "JSONArgsRecommended"]) == 0
    assert (folder / "link").is_symlink()
    assert (folder / "Dockerfile").read_text() == "FROM scratch AS base\nENV a=b\nCMD x\n"
    stamp = (folder / "Dockerfile").stat()
    assert run(["lint", "--fix", "--skip", "all"]) == 0
    assert (folder / "Dockerfile").stat() == stamp


def test_diff_shows_and_writes_nothing(folder: Path, capsys):
    assert run(["lint", "--diff", "--fix"]) == 1
    assert (folder / "Dockerfile").read_text() == BAD
    assert "\n-FROM scratch as Base\n-ENV a b\n+FROM scratch AS base\n+ENV a=b\n CMD x\n" in capsys.readouterr().out


def test_standard_input_is_a_file_too(folder: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"FROM scratch as a")))
    assert run(["lint", "-"]) == 1
    assert capsys.readouterr().out.startswith("-:1:14: warning: ")


def test_the_context_has_the_ignore_file_when_the_dockerfile_lies_elsewhere(folder: Path, capsys):
    (folder / "src").mkdir()
    (folder / "src" / ".dockerignore").write_text("notes\n")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY notes /\n")
    assert run(["lint"]) == 0
    assert run(["lint", "-f", "Dockerfile", "src"]) == 1
    assert "COPY notes: .dockerignore:1 (notes) hides it [CopyIgnoredFile]" in capsys.readouterr().out
    (folder / "Dockerfile.dockerignore").write_text("other\n")
    assert run(["lint", "-f", "Dockerfile", "src"]) == 0


def test_flags_say_which_rules_count(folder: Path, capsys):
    (folder / "Dockerfile").write_text("# nothing\nARG password\nFROM scratch as a\n")
    assert run(["lint", "--skip", "FromAsCasing,StageNameCasing", "--skip", "SecretsUsedInArgOrEnv"]) == 0
    assert run(["lint", "--skip", "all", "--experimental", "InvalidDefinitionDescription", "--error"]) == 1
    assert "Dockerfile:2:1: error: the comment above ARG password" in capsys.readouterr().out
    assert run(["lint", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all"]) == 0
    assert run(["lint", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=what"]) == 2


def test_the_store_is_asked_for_base_images_and_not_made(folder: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    (folder / "Dockerfile").write_text("FROM base\nCOPY $HOME_OF_BASE $nothing /\nWORKDIR x\n")
    monkeypatch.setenv("PYBUILD_ROOT", str(folder / "store"))
    assert run(["lint"]) == 1
    out, err = capsys.readouterr()
    assert "UndefinedVar" not in out and "stages on base, which the store does not have" in err
    assert not (folder / "store").exists()
    store = Store.open(folder / "store")
    config = ImageConfig(Platform.here(), RunConfig(env=("HOME_OF_BASE=/srv",), working_dir="/srv"))
    manifest = Manifest.build(store.add(config.encode(), media.OCI_CONFIG), ())
    store.tag(store.add(manifest.raw, manifest.media_type), Reference.parse("base"))
    assert run(["lint"]) == 1
    out, err = capsys.readouterr()
    assert "$nothing is not defined here" in out and "HOME_OF_BASE is" not in out and "hint: write /srv/x" in out and not err
    # What the name means for another platform is not known from this one.
    assert run(["lint", "--platform", "linux/s390x"]) == 1
    assert "UndefinedVar" not in capsys.readouterr().out


def test_json_has_places_pages_and_edits(folder: Path, capsys):
    (folder / "wrong").write_text("FROM\n")
    assert run(["lint", "--format", "json", ".", "wrong"]) == 2
    document = json.loads(capsys.readouterr().out)
    first = document["findings"][0]
    assert first["rule"] == "FromAsCasing" and first["file"] == "Dockerfile" and first["severity"] == "warning"
    assert (first["line"], first["column"], first["end_line"], first["end_column"]) == (1, 14, 1, 16)
    assert first["page"] == "docs/rules/FromAsCasing.md"
    assert first["fix"] == [{"line": 1, "column": 14, "end_line": 1, "end_column": 16, "text": "AS"}]
    assert document["errors"][0]["file"] == "wrong" and document["errors"][0]["line"] == 1
    assert document["unknown"] == []


def test_github_has_a_command_for_each_finding(folder: Path, capsys):
    (folder / "a,b%").write_text("FROM scratch as a\nENV a=$b:$c\n")
    (folder / "wrong").write_text("FROM\n")
    assert run(["lint", "--format", "github", "a,b%", "wrong"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("::warning file=a%2Cb%25,line=1,endLine=1,col=14,endColumn=16,title=FromAsCasing::as is not in")
    assert lines[-1].startswith("::error file=wrong,line=1,")


def test_the_rules_are_listed(capsys):
    assert run(["lint", "--rules"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 22
    assert lines[0].split("  ")[0] == "StageNameCasing" and lines[0].endswith("(--fix)")


# SARIF 2.1.0, as far as a log of ours goes: what the specification (OASIS, sarif-v2.1.0) wants of each object, by its section.


def check_region(region: dict) -> None:
    """§3.30: lines and columns from 1; an end is not before its beginning."""
    assert set(region) == {"startLine", "startColumn", "endLine", "endColumn"}
    assert all(isinstance(value, int) and value >= 1 for value in region.values())
    assert (region["startLine"], region["startColumn"]) <= (region["endLine"], region["endColumn"])


def check_location(location: dict) -> None:
    """§3.28, §3.29, §3.4: a physical location has an artifact; a URI has no blanks and no backslashes."""
    place = location["physicalLocation"]
    uri = place["artifactLocation"]["uri"]
    assert uri and not any(character in uri for character in ' \\"<>')
    if "region" in place:
        check_region(place["region"])


def check_sarif(text: str) -> dict:
    """§3.13: `version` and `runs` are wanted; returns the one run."""
    log = json.loads(text)
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-2.1.0.json")
    (found,) = log["runs"]
    driver = found["tool"]["driver"]
    assert driver["name"] == "pybuild"
    names = [rule["id"] for rule in driver["rules"]]
    assert len(names) == len(set(names))
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"] and rule["helpUri"].startswith("https://")
        assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
    assert found["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    for result in found["results"]:
        assert result["message"]["text"] and result["level"] in ("warning", "error")
        assert names[result["ruleIndex"]] == result["ruleId"]
        for location in result["locations"]:
            check_location(location)
        for fix in result.get("fixes", ()):
            for change in fix["artifactChanges"]:
                assert change["artifactLocation"]["uri"] and change["replacements"]
                for replacement in change["replacements"]:
                    check_region(replacement["deletedRegion"])
                    assert isinstance(replacement["insertedContent"]["text"], str)
    for invocation in found["invocations"]:
        assert isinstance(invocation["executionSuccessful"], bool)
        for notification in invocation["toolExecutionNotifications"]:
            assert notification["message"]["text"]
            for location in notification["locations"]:
                check_location(location)
    return found


def test_sarif_is_what_the_specification_wants(folder: Path, capsys):
    (folder / "a b").write_text(BAD)
    assert run(["lint", "--format", "sarif", ".", "a b", "--error"]) == 1
    found = check_sarif(capsys.readouterr().out)
    assert len(found["results"]) == 8 and found["invocations"][0]["executionSuccessful"]
    assert {result["level"] for result in found["results"]} == {"error"}
    assert sum("fixes" in result for result in found["results"]) == 6
    assert found["results"][-1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b"


def test_sarif_tells_of_files_that_could_not_be_linted(folder: Path, capsys):
    (folder / "wrong").write_text("FROM\n")
    assert run(["lint", "--format", "sarif", "wrong", "missing"]) == 2
    found = check_sarif(capsys.readouterr().out)
    assert not found["invocations"][0]["executionSuccessful"]
    assert len(found["invocations"][0]["toolExecutionNotifications"]) == 2
