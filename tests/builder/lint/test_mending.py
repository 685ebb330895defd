"""Mending: the edits change no meaning, nothing is left to mend afterwards, and every other byte stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pybuild.builder.describe import document
from pybuild.builder.lint import Edit, Finding, Known, lint
from pybuild.builder.lint.mending import apply, mend, text_of
from pybuild.builder.planning.plan import plan
from pybuild.builder.planning.wanted import Options
from pybuild.grammar import Source, Span, parse
from pybuild.registry import Platform

HERE = Platform("linux", "amd64")

cases = st.sampled_from([str.upper, str.lower, str.title, str])
values = st.sampled_from(
    ["x", "a b", "  two  words ", "'q'", '"q r"', "$PATH", "${PATH:-d}", "\\$x", "a\\ b", "é", "'", "a=b", "\\"]
)
places = st.sampled_from(["/abs", "rel/", "rel", ".", "..", "$HOME/x", "'q q'", "/"])
ports = st.sampled_from(["80", "80/TCP", "1.2.3.4:80:81/Udp", "90:91", "8000-8002/SCTP", "[::1]:80:80"])
blank = st.sampled_from(["", "\n", "   \n\n", "# comment\n", "\n# comment\n\n"])


@st.composite
def instructions(draw) -> str:
    case = draw(cases)
    kind = draw(st.integers(0, 6))
    match kind:
        case 0:
            return f"{case('ENV')} {draw(st.sampled_from(['a', 'b.c', 'PATH']))} {draw(values)}"
        case 1:
            return f"{case('LABEL')} key {draw(values)} {draw(values)}"
        case 2:
            return f"{case('WORKDIR')} {draw(places)}"
        case 3:
            return f"{case('EXPOSE')} {' '.join(draw(st.lists(ports, min_size=1, max_size=3)))}"
        case 4:
            return f"{case('RUN')} one \\\n{draw(blank)}  two \\\n{draw(blank)}  three"
        case 5:
            return f"{case('CMD')} {draw(values)}"
        case _:
            return f"{case('ENV')} a=b \\\n{draw(blank)} c={draw(st.sampled_from(['d', '$a']))}"


@st.composite
def files(draw) -> str:
    lines: list[str] = []
    for number in range(draw(st.integers(1, 3))):
        base = "scratch" if number == 0 else draw(st.sampled_from(["scratch", "Stage0"]))
        flag = draw(st.sampled_from(["", "--platform=$TARGETPLATFORM ", "--platform=${TARGETPLATFORM}  "]))
        named = f" {draw(st.sampled_from(['as', 'AS', 'As']))} {draw(st.sampled_from(['Stage', 'stage']))}{number}"
        lines.append(f"{draw(cases)('FROM')} {flag}{base}{named if number == 0 or draw(st.booleans()) else ''}")
        lines += draw(st.lists(instructions(), max_size=5))
    text = "\n".join(lines) + draw(st.sampled_from(["", "\n"]))
    return draw(st.sampled_from(["", "\ufeff"])) + (text.replace("\n", "\r\n") if draw(st.booleans()) else text)


def find(text: str) -> tuple[Finding, ...]:
    return lint(parse(Source("Dockerfile", text)), Known(HERE)).findings


def meaning(text: str) -> object:
    """All of the plan, but how its lines are written and where."""
    made = document(plan(parse(Source("Dockerfile", text)), Options(HERE), {}))
    for step in made["steps"]:  # type: ignore[attr-defined]
        for name in ("name", "line", "text", "span"):
            step.pop(name, None)
        if step.get("created_by", "").startswith("EXPOSE"):
            # Ports stand in the order in which they are written, and mean a set.
            step["created_by"] = sorted(step["created_by"].strip("EXPOS []").split())
    return made


def parses(text: str) -> bool:
    try:
        meaning(text)
    except Exception as error:
        assert hasattr(error, "exit_code"), error
        return False
    return True


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(files())
def test_mending_keeps_the_meaning_and_leaves_nothing_to_mend(text: str):
    content = text.encode()
    if not parses(text_of(content)):
        return
    mended = mend(content, find)
    assert meaning(text_of(mended.content)) == meaning(text_of(content))
    again = mend(mended.content, find)
    assert again.content == mended.content and again.count == 0
    assert mended.content.startswith(b"\xef\xbb\xbf") is content.startswith(b"\xef\xbb\xbf")
    if b"\r\n" in content:
        assert b"\n" not in mended.content.replace(b"\r\n", b"")


def test_bytes_that_are_no_text_stay():
    content = b"FROM scratch as a\nLABEL x=\xff\xfe\n"
    assert mend(content, find).content == b"FROM scratch AS a\nLABEL x=\xff\xfe\n"


def test_edits_are_made_from_the_end_and_may_insert_and_remove_lines():
    edits = [Edit(Span(1, 1, 1, 2), "AB"), Edit(Span(2, 1, 3, 1), ""), Edit.insertion(3, 2, "!")]
    assert apply("\ufeffa\r\nb\r\nc".encode(), edits) == "\ufeffAB\r\nc!".encode()


def test_a_mending_that_would_not_parse_is_not_made():
    def wrong(text: str) -> tuple[Finding, ...]:
        parse(Source("Dockerfile", text))
        return (Finding("R", Span(1, 1, 1, 5), "", None, (Edit(Span(1, 1, 1, 5), "FORM"),)),)

    assert mend(b"FROM scratch\n", wrong).content == b"FROM scratch\n"


def test_two_findings_about_one_word_are_mended_one_after_the_other():
    assert mend(b"FROM scratch\nEXPOSE 1.2.3.4:80:81/TCP\n", find).content == b"FROM scratch\nEXPOSE 81/tcp\n"
