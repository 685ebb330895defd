"""Whatever the text, the outcome is a Dockerfile or a DockerfileError with its place; and what is printed parses as what it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pybuild.grammar import DockerfileError, Source, parse
from pybuild.grammar.instructions import Dockerfile
from pybuild.grammar.lexer import FORMS

KEYWORDS = (
    *FORMS,
    "FROM a\n",
    "AS",
    "NONE",
    "CMD",
    "--from=x",
    "--",
    "--link",
    "[",
    "]",
    '["a"]',
    "<<A",
    "<<-'B'",
    "\nA\n",
    "\nB\n",
)
MARKS = (
    "\\",
    "\\\n",
    "`",
    "#",
    "# escape=`\n",
    "=",
    "A=1",
    "$x",
    "${",
    "}",
    "'",
    '"',
    " ",
    "\t",
    "\n",
    "\r",
    "é",
    "\x00",
    "a",
    "/",
)
PIECES = st.sampled_from(KEYWORDS + MARKS)
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join), st.lists(PIECES, max_size=25).map(" ".join))


@given(TEXTS)
def test_any_text_is_a_dockerfile_or_an_error_with_a_place(text):
    source = Source("Dockerfile", text)
    try:
        dockerfile = parse(source)
    except DockerfileError as error:
        assert error.message and error.source is source
        assert 1 <= error.span.line <= text.count("\n") + 1
        assert str(error).startswith(f"Dockerfile:{error.span.line}:{error.span.column}: ")
    else:
        assert isinstance(dockerfile, Dockerfile) and dockerfile.stages


WORD = st.text(st.sampled_from("abcXYZ019._/-"), min_size=1, max_size=8).filter(lambda text: not text.startswith("-"))
NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True)
GAP = st.sampled_from([" ", "  ", "\t", " \\\n", " \\ \n# comment\n\n  "])


def line(keyword, words, gaps):
    return keyword + "".join(gap + word for gap, word in zip(gaps, words, strict=False))


def lines(keyword, words, most=4, least=1):
    return st.lists(words, min_size=least, max_size=most).flatmap(
        lambda chosen: st.lists(GAP, min_size=len(chosen), max_size=len(chosen)).map(
            lambda gaps: (keyword, chosen, line(keyword, chosen, gaps))
        )
    )


@given(st.lists(st.one_of(lines("COPY", WORD, least=2), lines("EXPOSE", WORD), lines("VOLUME", WORD)), max_size=6))
def test_words_come_back_wherever_the_line_is_broken(made):
    dockerfile = parse(Source("Dockerfile", "\n".join(["FROM a", *(text for _, _, text in made)])))
    found = []
    for instruction in dockerfile.stages[0].instructions:
        words = (*instruction.sources, instruction.destination) if instruction.keyword == "COPY" else instruction.words
        found.append((instruction.keyword, [word.text for word in words]))
        for word in words:
            # Each word stands where its span says.
            assert dockerfile.source.text.split("\n")[word.span.line - 1][word.span.column - 1 :].startswith(word.text)
    assert found == [(keyword, words) for keyword, words, _ in made]


@given(st.lists(st.tuples(NAME, st.text(st.sampled_from("ab 'c=$#\t"), max_size=8)), min_size=1, max_size=5))
def test_pairs_in_double_quotes_come_back(pairs):
    text = "ENV " + " ".join(f'{name}="{value}"' for name, value in pairs)
    (instruction,) = parse(Source("Dockerfile", "FROM a\n" + text)).stages[0].instructions
    assert [(pair.name.text, pair.value.text) for pair in instruction.pairs] == [(name, f'"{value}"') for name, value in pairs]


@given(st.lists(st.text(max_size=8), max_size=4))
def test_a_json_command_is_its_words(words):
    import json

    (instruction,) = parse(Source("Dockerfile", "FROM a\nCMD " + json.dumps(words))).stages[0].instructions
    assert list(instruction.command.words) == words


BODY = st.lists(st.text(st.sampled_from("ab \t#\\$<"), max_size=8), max_size=5)


@given(BODY, BODY)
def test_here_documents_are_taken_as_they_stand(first, second):
    text = "\n".join(["FROM a", "RUN <<X <<Y", *first, "X", *second, "Y", "CMD c"])
    run, command = parse(Source("Dockerfile", text)).stages[0].instructions
    assert [doc.content for doc in run.heredocs] == ["".join(f"{line}\n" for line in body) for body in (first, second)]
    assert command.keyword == "CMD"
