"""SOURCE_DATE_EPOCH names what has a time: the context, another one, or a stage that is one ADD from elsewhere."""

from __future__ import annotations

import pytest

from pybuild.builder.errors import PlanError
from pybuild.builder.graph import GitStep, HttpStep
from pybuild.builder.planning.arguments import file_scope
from pybuild.builder.planning.epochs import dated
from pybuild.builder.planning.plan import plan
from pybuild.builder.planning.problems import Problems
from pybuild.builder.planning.wanted import Options
from pybuild.grammar import Source, parse
from pybuild.registry import Platform

FILE = "FROM scratch AS source\nARG URL=http://a/f.tgz\nADD $URL /\nFROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL e=$SOURCE_DATE_EPOCH\n"


def asked(text: str, **options: object):
    dockerfile = parse(Source("Dockerfile", text))
    return dockerfile, Options(Platform("linux", "amd64"), **options)


def named(text: str, value: str | None = None, **options: object):
    dockerfile, found = asked(text, build_args=(("SOURCE_DATE_EPOCH", value),) if value is not None else (), **options)
    return dated(dockerfile, file_scope(dockerfile, found, "", Problems()))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ("", None), ("7", None), ("context", ""), ("other", "other"), ("pinned", "pinned")],
)
def test_contexts_and_numbers(value, expected):
    assert named(FILE, value, folders=("other",), images=("pinned",)) == expected
    if value:
        assert named(f"ARG SOURCE_DATE_EPOCH={value}\n{FILE}", folders=("other",), images=("pinned",)) == expected


def test_a_stage_is_what_it_adds():
    found = named(FILE, "Source")
    assert isinstance(found, HttpStep) and found.url == "http://a/f.tgz"
    found = named(FILE.replace("ADD $URL", "ADD https://a/r.git#main"), "source")
    assert isinstance(found, GitStep) and (found.remote, found.ref) == ("https://a/r.git", "main")
    digest = "sha256:" + "0" * 64
    assert named(FILE.replace("ADD", f"ADD --checksum={digest}"), "source").checksum == digest


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("FROM scratch AS source", "FROM alpine AS source", "which is not FROM scratch"),
        ("ADD $URL /", "ADD $URL /\nADD http://b/ /b", "which is more than one ADD"),
        ("ADD $URL /", "ADD $URL http://b/g /", "not one URL or repository"),
        ("ADD $URL /", "ADD local /", "not one URL or repository"),
        ("ADD $URL /", "COPY local /", "which is more than one ADD"),
        ("ADD $URL /", "", "which has no ADD"),
        ("ADD $URL /", "ADD $URL /\nENV a=b", "which is more than one ADD"),
    ],
)
def test_a_stage_that_is_something_else(old, new, said):
    with pytest.raises(PlanError, match=said) as caught:
        named(FILE.replace(old, new), "source")
    assert caught.value.span is not None and "ADD of a URL" in caught.value.hint


@pytest.mark.parametrize("text", ["nobody", "-1", "²", "253402300800", "1" * 5000])
def test_what_is_nothing_at_all(text):
    with pytest.raises(PlanError, match=f"SOURCE_DATE_EPOCH is not a time: '{text}'"):
        named(FILE, text)


@pytest.mark.parametrize("place", ["argument", "file"])
def test_what_it_comes_to_takes_the_place_of_the_name(place):
    text = f"ARG SOURCE_DATE_EPOCH=context\n{FILE}" if place == "file" else FILE
    given = {"build_args": (("SOURCE_DATE_EPOCH", "context"),)} if place == "argument" else {}
    for known, epoch, label in (("5", 5, "5"), ("", None, ""), (None, None, "context")):
        graph = plan(*asked(text, epoch=known, **given), {})
        assert graph.epoch == epoch
        assert dict(graph.target.config.config.labels) == {"e": label}
