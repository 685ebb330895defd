"""Which frontend a file asks for, and what is said about it."""

from __future__ import annotations

import pytest

from pybuild.grammar import Source, Span
from pybuild.grammar.frontends import KNOWN, frontend_notice, other_form

NEWER = f"{KNOWN[0]}.{KNOWN[1] + 1}"


@pytest.mark.parametrize(
    "image",
    [
        "docker/dockerfile",
        "docker/dockerfile:1",
        "docker/dockerfile:1.4",
        "docker/dockerfile:1.4.3-labs",
        "docker/dockerfile:latest",
        "docker/dockerfile:labs",
        "docker.io/docker/dockerfile:1@sha256:00",
        "docker/dockerfile-upstream:1.2",
        "docker/dockerfile:{}.{}.9".format(*KNOWN),
    ],
)
def test_a_frontend_that_we_are(image):
    assert frontend_notice(Source("Dockerfile", ""), (("syntax", image),)) is None


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (f"docker/dockerfile:{NEWER}", f"this file asks for docker/dockerfile:{NEWER}, which is newer"),
        ("docker/dockerfile:2", "this file asks for docker/dockerfile:2, which is newer"),
        (
            "docker/dockerfile-upstream:master",
            "there is no telling which version of the language docker/dockerfile-upstream:master is",
        ),
        ("localhost:5000/x", "this file asks for the frontend localhost:5000/x"),
        ("evil/docker/dockerfile:1", "this file asks for the frontend evil/docker/dockerfile:1"),
    ],
)
def test_a_frontend_that_we_are_not(image, message):
    source = Source("Dockerfile", f"# escape=`\n#  Syntax = {image} x\r\nFROM a\n")
    notice = frontend_notice(source, (("escape", "`"), ("syntax", f"{image} x")))
    assert notice is not None and notice.message == message
    assert notice.span == Span(2, 1, 2, len(f"#  Syntax = {image} x") + 1)


def test_no_frontend_is_asked_for():
    assert frontend_notice(Source("Dockerfile", ""), (("escape", "`"),)) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("//syntax=a/b", "a/b"),
        ("\ufeff#!/x\n//  SYNTAX = a/b c\nrest", "a/b"),
        ('{"syntax": "a/b"}', "a/b"),
        ('{"syntax": 1}', None),
        ('{"other": "syntax"}', None),
        ('{"syntax": ' + "[" * 100_000, None),
        ("# syntax=a/b\nFROM a", None),
        ("", None),
    ],
)
def test_other_forms_of_the_directive(text, name):
    assert other_form(text) == name
