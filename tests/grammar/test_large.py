"""Large files, long lines and many of everything: they are read, or there is an end to them. How fast: benchmarks/grammar.py."""

from __future__ import annotations

import pytest

from pybuild.grammar import DockerfileError, Source, WordError, expand, parse

MANY = 100_000


def instructions(text: str):
    return parse(Source("Dockerfile", text)).stages[0].instructions


@pytest.mark.slow
def test_many_lines_and_stages():
    dockerfile = parse(Source("Dockerfile", "".join(f"FROM a AS s{number}\n" + "RUN b c\n" * 9 for number in range(1000))))
    assert len(dockerfile.stages) == 1000
    assert {len(stage.instructions) for stage in dockerfile.stages} == {9}
    assert dockerfile.stages[-1].instructions[-1].last_line == 10_000


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("RUN " + "x y " * MANY, 4 * MANY - 1),
        ("WORKDIR " + "x" * MANY, MANY),
        ('USER "' + '\\" ' * MANY + '"', 3 * MANY + 2),
        ("RUN x" + " \\\ny" * MANY, 2 * MANY + 1),
        ("RUN x \\\n" + "# c\n\n" * MANY + "y", 3),
    ],
)
def test_long_lines(line, size):
    (found,) = instructions("FROM a\n" + line)
    assert len(found.args[0]) == size


@pytest.mark.slow
def test_long_words_and_arrays():
    (env,) = instructions("FROM a\nENV A=" + "\\ " * MANY + ' B="' + "'x' " * MANY + '"')
    assert [len(pair.value.text) for pair in env.pairs] == [2 * MANY, 4 * MANY + 2]
    (cmd,) = instructions("FROM a\nCMD [" + ",".join(['"a"'] * MANY) + "]")
    assert len(cmd.args) == MANY
    assert len(expand("x" * 10**7, {})) == 10**7


def test_many_here_documents():
    (run,) = instructions("FROM a\nRUN " + "<<E " * 2000 + "\n" + "x\nE\n" * 2000)
    assert len(run.heredocs) == 2000 and run.last_line == 2 + 4000
    assert len(instructions("FROM a\n" + "RUN <<-'E'\n\tx\n\tE\n" * 500)) == 500
    (copy,) = instructions("FROM a\nCOPY <<E /x\n" + "line\n" * MANY + "E")
    assert copy.heredocs[0].content == "line\n" * MANY


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ENV " + "A=b " * MANY, "ENV with more than 33333 words"),
        ("COPY " + "a " * MANY, "COPY with more than 33333 words"),
        ("COPY " + "--exclude=a " * MANY + "b c", "COPY with more than 10000 flags"),
        ("ONBUILD " * MANY + "RUN a", "ONBUILD ONBUILD is not allowed"),
        ("FROM " * MANY, "FROM: unexpected FROM"),
    ],
)
def test_what_has_an_end(line, message):
    with pytest.raises(DockerfileError) as caught:
        parse(Source("Dockerfile", "FROM a\n" + line))
    assert caught.value.message == message


@pytest.mark.slow
def test_a_word_has_an_end():
    with pytest.raises(WordError, match="too many parts"):
        expand("$a" * 200_001, {})


def test_a_deep_array_is_no_json():
    (cmd,) = instructions("FROM a\nCMD " + "[" * MANY)
    assert not cmd.is_json
