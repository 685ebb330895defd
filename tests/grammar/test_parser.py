"""Instructions: what each line becomes, for every instruction of the language."""

from __future__ import annotations

import pytest

from pybuild.grammar import DockerfileError, Source, parse
from pybuild.grammar import instructions as ast


def only(line: str):
    """The one instruction of a stage."""
    (instruction,) = parse(Source("Dockerfile", "FROM a\n" + line)).stages[0].instructions
    return instruction


def error(line: str) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        parse(Source("Dockerfile", "FROM a\n" + line))
    assert caught.value.source is not None
    return caught.value


def texts(words):
    return [word.text for word in words]


def test_from():
    dockerfile = parse(Source("Dockerfile", "ARG V=1\nFROM --platform=linux/amd64 a:$V as Name\nFROM Name"))
    first, second = dockerfile.stages
    assert (first.start.image.text, first.start.name.text, first.name, first.index) == ("a:$V", "Name", "name", 0)
    assert first.start.flag("platform").value.text == "linux/amd64"
    assert (second.start.name, second.name) == (None, "1")
    assert dockerfile.arguments[0].definitions[0].value.text == "1"


@pytest.mark.parametrize("name", ["1a", "a/b", "_a", "é", "a$b"])
def test_names_that_no_stage_can_have(name):
    with pytest.raises(DockerfileError, match="not a name for a stage"):
        parse(Source("Dockerfile", f"FROM a AS {name}"))


def test_keywords_are_in_any_case_and_flags_come_first():
    instruction = only("cOpY --from=x --chown=1 -- --a b")
    assert instruction.keyword == "COPY"
    assert [flag.name for flag in instruction.flags] == ["from", "chown"]
    assert texts(instruction.sources) == ["--a"]


@pytest.mark.parametrize(
    ("line", "words", "is_json"),
    [
        ("RUN a  b", ("a  b",), False),
        ('RUN ["a", "b c"]', ("a", "b c"), True),
        ("RUN ['a']", ("['a']",), False),
        ('RUN ["a"', ('["a"',), False),
        ('RUN ["a"] x', ('["a"] x',), False),
        ("RUN [NaN]", ("[NaN]",), False),
        ("RUN [ -f x ] && y", ("[ -f x ] && y",), False),
        ('RUN ["\\ud800"]', ("\ufffd",), True),
        ("CMD a", ("a",), False),
        ("CMD []", (), True),
        ('ENTRYPOINT ["a"]', ("a",), True),
        ('SHELL ["a", "-c"]', ("a", "-c"), True),
    ],
)
def test_commands(line, words, is_json):
    command = only(line).command
    assert (command.words, command.is_json) == (words, is_json)


def test_copy_and_add():
    assert texts(only("COPY a b c/").sources) == ["a", "b"]
    assert only("COPY a b c/").destination.text == "c/"
    assert texts(only('ADD ["a b", "c"]').sources) == ["a b"]
    copied = only("COPY <<a x <<'b' /d/\nA\na\nB\nb")
    assert texts(copied.sources) == ["x"]
    assert [(doc.name, doc.content) for doc in copied.heredocs] == [("a", "A\n"), ("b", "B\n")]
    assert [flag.name for flag in only("COPY --exclude=a --exclude=b --link --parents=false x y").flags] == [
        "exclude",
        "exclude",
        "link",
        "parents",
    ]


@pytest.mark.parametrize(
    ("line", "pairs", "is_legacy"),
    [
        ("ENV A=1 B=2", [("A", "1"), ("B", "2")], False),
        ("ENV A='1 2' B=a\\ b C=", [("A", "'1 2'"), ("B", "a\\ b"), ("C", "")], False),
        ("ENV A=b=c", [("A", "b=c")], False),
        ("ENV A 1  2=3", [("A", "1  2=3")], True),
        ('LABEL "a b"=c', [('"a b"', "c")], False),
        ("LABEL a=1 \\\n  b=2", [("a", "1"), ("b", "2")], False),
    ],
)
def test_pairs(line, pairs, is_legacy):
    found = only(line)
    assert [(pair.name.text, pair.value.text) for pair in found.pairs] == pairs
    assert found.is_legacy is is_legacy


def test_arg():
    found = only("ARG A B=1 C=").definitions
    assert [(item.name, item.value and item.value.text) for item in found] == [("A", None), ("B", "1"), ("C", "")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("EXPOSE 80 $P/udp", ["80", "$P/udp"]),
        ("VOLUME /a /b", ["/a", "/b"]),
        ('VOLUME ["/a b"]', ["/a b"]),
        ("WORKDIR /a b", ["/a b"]),
        ("USER a:b", ["a:b"]),
        ("STOPSIGNAL 9", ["9"]),
        ("MAINTAINER A <b@c>", ["A <b@c>"]),
    ],
)
def test_words(line, words):
    assert texts(only(line).words) == words


def test_healthcheck():
    found = only('HEALTHCHECK --interval=3s --retries=2 cmd ["a"]')
    assert found.command.words == ("a",)
    assert [(flag.name, flag.value.text) for flag in found.flags] == [("interval", "3s"), ("retries", "2")]
    assert only("HEALTHCHECK CMD a b").command.words == ("a b",)
    assert only("HEALTHCHECK none").command is None


def test_onbuild_keeps_its_instruction_as_it_was_written():
    found = only("ONBUILD   RUN cat <<A\nb\nA")
    assert isinstance(found.inner, ast.Run)
    assert found.text == "RUN cat <<A\nb\nA"
    assert found.inner.heredocs[0].content == "b\n"


def test_run_flags_and_here_documents():
    found = only("RUN --mount=type=cache,target=/x --mount=type=tmpfs,target=/y --network=none cat <<A\nb\nA")
    assert [flag.name for flag in found.flags] == ["mount", "mount", "network"]
    assert found.command.words == ("cat <<A",)
    assert found.heredocs[0].content == "b\n"


def test_spans_are_those_of_the_text():
    found = only("COPY a \\\n   bc d")
    source, destination = found.sources[1], found.destination
    assert (source.span.line, source.span.column, source.span.end_column) == (3, 4, 6)
    assert (destination.span.line, destination.span.column) == (3, 7)
    assert (found.span.line, found.span.end_line) == (2, 3)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("RUM x", "unknown instruction: RUM", "did you mean RUN?"),
        ("?!", "unknown instruction: ?!", "a line starts with an instruction, such as RUN or COPY"),
        ("COPY --form=a b c", "COPY has no flag --form", "did you mean --from?"),
        ("ENV --x A=1", "ENV has no flag --x", "ENV has no flags"),
        ("COPY --from a b", "--from without a value", "write --from=VALUE"),
        ("COPY --from=a --from=b c d", "--from twice", "remove one of them"),
        ("COPY --link=maybe a b", "--link is true or false, not 'maybe'", "write --link"),
        ("COPY a", "COPY needs a source and a destination", "write COPY SOURCE... DESTINATION"),
        ("COPY []", "COPY needs a source and a destination", "write COPY SOURCE... DESTINATION"),
        ("COPY", "COPY with nothing behind it", "write COPY SOURCE... DESTINATION"),
        ("COPY a <<B\nB", "COPY with a here-document for its destination", "name a path"),
        ("RUN [1]", "the JSON form takes texts and nothing else", 'put each word in double quotes, such as ["a", "1"]'),
        ("SHELL bash", "SHELL takes the JSON form", 'write SHELL ["/bin/bash", "-c"]'),
        ("SHELL []", "SHELL takes the JSON form", 'write SHELL ["/bin/bash", "-c"]'),
        ("ENV", "ENV with nothing behind it", "write ENV NAME=VALUE ..."),
        ("ENV A", "A without a value", "write A=VALUE"),
        ("LABEL a=1 b", "b without a value", "write b=VALUE"),
        ("ENV =1", "ENV with an empty name", "write ENV NAME=VALUE"),
        ("ARG =1", "ARG without a name", "write ARG NAME=VALUE"),
        ("EXPOSE", "EXPOSE with nothing behind it", "write EXPOSE PORT[/PROTOCOL] ..."),
        ("VOLUME []", "VOLUME with nothing behind it", "write VOLUME PATH ..."),
        ("HEALTHCHECK", "HEALTHCHECK with nothing behind it", "write HEALTHCHECK CMD COMMAND, or HEALTHCHECK NONE"),
        ("HEALTHCHECK x", "unknown kind of HEALTHCHECK: x", "write CMD COMMAND, or NONE"),
        ("HEALTHCHECK CMD", "HEALTHCHECK CMD without a command", "write HEALTHCHECK CMD COMMAND, or HEALTHCHECK NONE"),
        ("ONBUILD", "ONBUILD without an instruction", "write ONBUILD RUN ..."),
        ("ONBUILD ONBUILD RUN x", "ONBUILD ONBUILD is not allowed", "put it into the Dockerfile that uses this image"),
        ("ONBUILD from x", "ONBUILD FROM is not allowed", "put it into the Dockerfile that uses this image"),
        ("ONBUILD ENV A", "A without a value", "write A=VALUE"),
        ("FROM", "FROM with nothing behind it", "write FROM IMAGE [AS NAME]"),
        ("FROM a AS", "FROM: an unfinished instruction", "write FROM IMAGE [AS NAME]"),
        ("FROM a b", "FROM: unexpected b", "write FROM IMAGE [AS NAME]"),
        ("FROM a AS b c", "FROM: unexpected c", "write FROM IMAGE [AS NAME]"),
    ],
)
def test_errors_say_what_to_write(line, message, hint):
    found = error(line)
    assert (found.message, found.hint) == (message, hint)
    assert found.span.line >= 2


def test_a_thousand_triggers_are_an_error_like_two():
    assert error("ONBUILD " * 5000 + "RUN x").message == "ONBUILD ONBUILD is not allowed"


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "ARG A=1\n"])
def test_a_file_without_from(text):
    with pytest.raises(DockerfileError, match="there is no FROM") as caught:
        parse(Source("Dockerfile", text))
    assert str(caught.value)


def test_a_source_ends_at_a_blank_whatever_the_shell_says():
    copied = only('COPY <<"a b" c /d/\nA\na b')
    assert copied.heredocs == () and copied.args == ('<<"a', 'b"', "c", "/d/")


def test_one_error_does_not_hide_the_others():
    text = "FROM a\nRUM x\nCOPY --form=b c d\nRUN fine\nENV A\nRUN cat <<EOF\nUSER"
    with pytest.raises(DockerfileError) as caught:
        parse(Source("Dockerfile", text))
    first = caught.value
    assert (first.message, first.hint) == ("unknown instruction: RUM", "did you mean RUN?")
    assert [(other.span.line, other.message) for other in first.others] == [
        (3, "COPY has no flag --form"),
        (5, "A without a value"),
        (6, "the here-document EOF has no end"),
    ]


def test_a_misspelt_from_is_one_error():
    with pytest.raises(DockerfileError) as caught:
        parse(Source("Dockerfile", "FORM a\nRUN b\nCOPY c d\n"))
    assert caught.value.message == "unknown instruction: FORM" and caught.value.others == ()


def test_a_file_that_is_no_dockerfile_has_an_end():
    with pytest.raises(DockerfileError) as caught:
        parse(Source("Dockerfile", "some text\n" * 1000))
    assert len(caught.value.others) == 19
