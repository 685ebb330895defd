"""`pybuild plan`: three formats, without building, and a picture that graphviz can read."""

from __future__ import annotations

import json
import re

import pytest

import pybuild
from pybuild.builder.dot import dot
from pybuild.builder.planning.plan import needed_images, plan
from pybuild.builder.planning.wanted import Options
from pybuild.cli import run
from pybuild.grammar import Source, parse
from pybuild.registry import Platform

DOCKERFILE = """ARG V=1
FROM scratch AS one
COPY file /
FROM scratch
COPY --from=one /file "/a\\"b/"
RUN --mount=type=bind,target=/m x
LABEL v=2 w="\\\\n"
"""
STRING = r'"(?:[^"\\]|\\.)*"'
ATTRIBUTES = rf"\[\w+=(?:{STRING}|\w+)(?:, \w+=(?:{STRING}|\w+))*\]"
STATEMENTS = re.compile(
    rf"digraph plan {{|subgraph \w+ {{|}}|label={STRING};|rankdir=BT;|(\w+)(?: -> (\w+))?(?: ({ATTRIBUTES}))?;", re.ASCII
)


@pytest.fixture
def cli(capsys):
    """Run a command line; its exit code, output and errors."""

    def call(*arguments):
        code = run(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "file").write_text("x")
    return tmp_path


def test_text_is_the_default_and_nothing_is_built(cli, folder):
    code, out, err = cli("plan", str(folder))
    assert (code, err) == (0, "")
    assert out.startswith("step 0 source line 2: FROM scratch AS one\n")
    assert cli("images")[1].count("\n") == 1


def test_json_is_the_graph(cli, folder):
    code, out, err = cli("plan", "--format", "json", "--build-arg", "N=1", str(folder))
    found = json.loads(out)
    assert (code, found["version"], found["target"], found["epoch"]) == (0, 1, "1", None)
    assert [(step["number"], step["stage"], step["kind"]) for step in found["steps"]] == [
        *((0, "one", "source"), (1, "one", "copy"), (2, "1", "source")),
        *((3, "1", "copy"), (4, "1", "run"), (5, "1", "meta")),
    ]
    assert found["steps"][3]["sources"] == [{"origin": 1, "path": "/file"}]
    run = found["steps"][4]
    assert run["env"] == {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    assert run["mounts"][0] | {"type": "bind", "target": "/m", "origin": "", "source": "/"} == run["mounts"][0]
    assert "--build-arg N" in found["warnings"][0] and "--build-arg N" in err


def test_the_graph_from_python(folder, tmp_path):
    graph = pybuild.plan(folder, target="one", root=tmp_path / "root")
    assert [step.name for step in graph.steps] == ["FROM scratch AS one", "COPY file /"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--target", "on"), 2, 'did you mean "one"?'),
        (("--format", "x"), 2, "is not one of"),
        (("-f", "{folder}/none"), 1, "no Dockerfile"),
        (("--platform", "nothing"), 2, "not a platform"),
        (("--build-context", "x=ftp://y"), 1, "not a context: ftp://y"),
    ],
)
def test_errors_are_those_of_a_build(cli, folder, arguments, code, message):
    found, _, err = cli("plan", *(argument.format(folder=folder) for argument in arguments), str(folder))
    assert (found, message in err) == (code, True), err


def test_a_picture_has_each_step_once_and_all_that_it_stands_on(cli, folder):
    code, out, _ = cli("plan", "--format", "dot", str(folder))
    assert code == 0
    nodes, edges = read_dot(out)
    assert nodes == {*(f"step{number}" for number in range(6)), "context0"}
    assert edges == {
        *(("step1", "step0"), ("step1", "context0"), ("step3", "step2"), ("step3", "step1")),
        *(("step4", "step3"), ("step4", "context0"), ("step5", "step4")),
    }


def test_what_a_step_says_cannot_break_out_of_its_label():
    text = 'FROM scratch AS a\nLABEL a="\\"]; x -> y; [\\\\" \\\nb=\\N\nCMD ["\\"\\\\"]\nSHELL ["é\\u0000"]'
    dockerfile = parse(Source("Dockerfile", text))
    options = Options(Platform("linux", "amd64"))
    assert needed_images(dockerfile, options) == ()
    nodes, edges = read_dot(dot(plan(dockerfile, options, {})))
    assert len(nodes) == 4 and "x" not in nodes
    assert len(edges) == 3


def read_dot(text: str) -> tuple[set[str], set[tuple[str, str]]]:
    """The nodes with a label and the edges of a text in the part of graphviz's language that we write."""
    nodes, edges = set(), set()
    for line in text.splitlines():
        found = STATEMENTS.fullmatch(line.strip())
        assert found, line
        if found[2]:
            edges.add((found[1], found[2]))
        elif found[1] and found[1] != "node" and "label=" in (found[3] or ""):
            assert found[1] not in nodes
            nodes.add(found[1])
    return nodes, edges
