"""What a plan asks for before it is made, what a graph tells about itself, and that no Dockerfile crashes the planner."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybuild.builder.contexts.paths import joined
from pybuild.builder.describe import describe, document
from pybuild.builder.errors import BuildError
from pybuild.builder.planning.handlers import HANDLERS
from pybuild.builder.planning.plan import Base, needed_images, plan
from pybuild.builder.planning.ports import exposed
from pybuild.builder.planning.wanted import Options, Wanted
from pybuild.grammar import DockerfileError, Source, parse
from pybuild.grammar.lexer import FORMS
from pybuild.registry import Digest, ImageConfig, Platform, RunConfig

PLATFORM = Platform("linux", "amd64")
BASE = Base(Digest.of(b"base"), ImageConfig(PLATFORM, RunConfig(env=("PATH=/bin",))))


def needed(text: str, **options):
    return tuple(wanted.name for wanted in needed_images(parse(Source("Dockerfile", text)), Options(PLATFORM, **options)))


def planned(text: str, base: Base = BASE, **options):
    dockerfile = parse(Source("Dockerfile", text))
    asked = Options(PLATFORM, **options)
    return plan(dockerfile, asked, dict.fromkeys(needed_images(dockerfile, asked), base))


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("FROM a", {}, ("a",)),
        ("FROM scratch", {}, ()),
        ("ARG V=1\nFROM a:$V", {"build_args": (("V", "2"),)}, ("a:2",)),
        ("FROM a AS b\nFROM b", {}, ("a",)),
        ("FROM a\nFROM c\nCOPY --from=d x y\nCOPY --from=c z w", {}, ("c", "d")),
        ("FROM a AS s\nFROM c\nCOPY --from=S x y", {}, ("a", "c")),
        ("FROM a AS s\nFROM c", {"target": "S"}, ("a",)),
        ("FROM a\nCOPY --from=tree x y", {"folders": ("tree",)}, ("a",)),
        ("FROM a\nCOPY --from=docker.io/library/tree:latest x y", {"folders": ("tree",)}, ("a",)),
        ("FROM a\nADD x y", {}, ("a",)),
    ],
)
def test_only_what_the_target_needs_is_asked_for(text, options, expected):
    assert needed(text, **options) == expected


def test_images_of_a_base_s_triggers_are_asked_for_once_the_base_is_known():
    dockerfile, asked = parse(Source("Dockerfile", "FROM scratch AS x\nFROM a")), Options(PLATFORM)
    base = Base(BASE.digest, ImageConfig(PLATFORM, RunConfig(on_build=("COPY --from=b x y", "COPY --from=x x y"))))
    first, second = Wanted("a", PLATFORM), Wanted("b", PLATFORM)
    assert needed_images(dockerfile, asked) == (first,)
    assert needed_images(dockerfile, asked, {first: base}) == (first, second)
    assert [stage.name for stage in plan(dockerfile, asked, {first: base, second: BASE}).stages] == ["x", "1"]


def test_every_instruction_is_planned():
    assert set(FORMS) == {*HANDLERS, "FROM", "RUN", "COPY", "ADD"}


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("FROM a", (), None),
        ("FROM a", (("SOURCE_DATE_EPOCH", "5"),), 5),
        ("ARG SOURCE_DATE_EPOCH=7\nFROM a", (), 7),
        ("ARG SOURCE_DATE_EPOCH=7\nFROM a", (("SOURCE_DATE_EPOCH", "5"),), 5),
        ("ARG SOURCE_DATE_EPOCH=7\nFROM a", (("SOURCE_DATE_EPOCH", ""),), None),
        ("FROM a\nARG SOURCE_DATE_EPOCH=7", (), None),
    ],
)
def test_the_epoch_is_an_argument_of_the_build_or_stands_before_from(text, arguments, expected):
    assert planned(text, build_args=arguments).epoch == expected


def test_labels_of_the_command_line_are_the_targets_alone():
    graph = planned("FROM a AS b\nLABEL x=1 y=1\nFROM b\nLABEL y=2", labels=(("y", "3"), ("z", "4")))
    first, second = (dict(stage.config.config.labels) for stage in graph.stages)
    assert first == {"x": "1", "y": "1"}
    assert second == {"x": "1", "y": "3", "z": "4"}


def test_a_document_is_json_and_has_all_that_the_text_has():
    graph = planned(
        "FROM a AS b\nRUN x\nFROM scratch\nCOPY --from=b --chmod=755 a /b/\nWORKDIR /w\nCMD c", build_args=(("N", "1"),)
    )
    found = json.loads(json.dumps(document(graph)))
    assert [step["kind"] for step in found["steps"]] == ["source", "run", "source", "copy", "workdir", "meta"]
    assert found["steps"][3] | {"sources": [{"origin": 1, "path": "a"}], "mode": "755", "destination": "/b/"} == found["steps"][3]
    assert [stage["name"] for stage in found["stages"]] == ["b", "1"]
    assert len(found["warnings"]) == 1
    text = describe(graph)
    assert all(f"step {number} {step['kind']}" in text for number, step in enumerate(found["steps"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", ["80/tcp"]),
        ("80/UDP", ["80/udp"]),
        ("1-3", ["1/tcp", "2/tcp", "3/tcp"]),
        ("8080:80", ["80/tcp"]),
        ("7-7/sctp", ["7/sctp"]),
    ],
)
def test_exposed(text, expected):
    assert exposed(text) == expected


@pytest.mark.parametrize("text", ["", "/tcp", "x", "65536", "3-1", "1-", "-1", "80/x", "80:", "²"])
def test_not_a_port(text):
    with pytest.raises(ValueError, match=r"port|protocol"):
        exposed(text)


@pytest.mark.parametrize(
    ("directory", "path", "expected"),
    [
        ("/a", "b", "/a/b"),
        ("", "b", "/b"),
        ("/a", "/b", "/b"),
        ("/a", "../..", "/"),
        ("/a", "", "/a"),
        ("a", "//b//c/", "/b/c"),
        ("/a", "./.", "/a"),
    ],
)
def test_joined(directory, path, expected):
    assert joined(directory, path) == expected


ARGUMENTS = st.text(st.sampled_from("ab1 $A{}:-/=\"'[],.\\\n"), max_size=16)
LINES = st.builds("{} {}".format, st.sampled_from([*FORMS, "FROM a\nRUN", "COPY --from=0"]), ARGUMENTS)


@given(st.lists(LINES, max_size=6), st.sampled_from([None, "a", "0", "7"]))
def test_any_dockerfile_is_a_graph_or_an_error_with_what_to_do(lines, target):
    try:
        graph = planned("\n".join(["FROM a AS a", *lines]), target=target, build_args=(("A", "a b"),))
    except (BuildError, DockerfileError) as error:
        assert error.message and error.exit_code == 2 and str(error)
    else:
        json.dumps(document(graph))
        for number, step in enumerate(graph.steps):
            # A step stands on earlier ones alone.
            assert getattr(step, "parent", -1) < number
