"""The quick reader understands a command line as click does, or leaves it to click."""

from __future__ import annotations

import sys

import pytest

from pybuild.cli import build as build_command
from pybuild.cli import options
from pybuild.cli.quick import quick_build

LINES = [
    ["."],
    ["-t", "a:1", "--tag", "b", "."],
    [".", "--tag=a", "--no-cache", "--pull", "-q"],
    ["-f", "x/Dockerfile", "--build-arg", "A=b=c", "--build-arg=D=", "--label", "x=y", "ctx"],
    ["--build-arg", "HOME", "--build-arg", "SURELY_NOT_SET", "."],
    ["-o", "out", "-o", "type=oci,dest=x,tar=false", "-o", "-", "--push", "--insecure", "."],
    ["--timestamp", "5", "-j", "2", "--progress", "plain", "--network=none", "--platform", "linux/arm64", "--target", "t", "."],
    ["--build-context", "a=b", "--build-context", "c=oci-layout://d:e", "--compression", "zstd:3", "--iidfile", "f", "."],
    ["--check", "--call", "outline,format=json", "."],
    ["--compression=gzip", "--compression=none", "."],
]
LEFT_TO_CLICK = [
    [],
    [".", "other"],
    ["--help"],
    ["--tagg", "x", "."],
    ["-t"],
    ["--progress", "loud", "."],
    ["-j", "0", "."],
    ["--call", "nothing", "."],
    ["-j", "x", "."],
    ["--build-arg", "=x", "."],
    ["--no-cache=yes", "."],
    ["-ta", "."],
    ["--", "."],
    ["-o", "dest=x", "."],
    ["-qt", "a", "."],
    ["--timestamp", "-1", "."],
    ["-"],
]


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_both_read_the_same(line, monkeypatch):
    seen = []
    monkeypatch.setattr(options, "build_image", lambda **values: seen.append(values))
    monkeypatch.setattr(build_command.command, "callback", lambda **values: seen.append(values))
    quick = quick_build(["build", *line])
    assert quick is not None
    build_command.command.main(args=line, standalone_mode=False)
    assert quick.keywords == seen[0]


def test_both_heed_the_variables_that_users_of_docker_have_set(monkeypatch):
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/arm64")
    monkeypatch.setenv("BUILDKIT_PROGRESS", "plain")
    test_both_read_the_same(["."], monkeypatch)
    given = quick_build(["build", "."]).keywords
    assert (given["platform"], given["progress"]) == ("linux/arm64", "plain")
    given = quick_build(["build", "--platform", "linux/amd64", "--progress", "json", "."]).keywords
    assert (given["platform"], given["progress"]) == ("linux/amd64", "json")
    monkeypatch.setenv("BUILDKIT_PROGRESS", "loud")
    assert quick_build(["build", "."]) is None


@pytest.mark.parametrize("line", LEFT_TO_CLICK, ids=" ".join)
def test_the_unusual_is_left_to_click(line):
    assert quick_build(["build", *line]) is None


def test_the_environment_counts(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "7")
    assert quick_build(["build", "."]).keywords["timestamp"] == 7
    assert quick_build(["build", "--timestamp", "9", "."]).keywords["timestamp"] == 9
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "context")
    assert quick_build(["build", "."]).keywords["timestamp"] == "context"


@pytest.mark.parametrize("line", [["images"], ["--version"], ["--root", "x", "images"], ["--root"], []])
def test_other_commands_are_click_s(line):
    assert quick_build(line) is None


def test_a_root_in_front(monkeypatch):
    monkeypatch.setenv("PYBUILD_ROOT", "before")
    assert quick_build(["--root", "there", "build", "."]) is not None
    import os

    assert os.environ["PYBUILD_ROOT"] == "there"
    assert "click" in sys.modules
