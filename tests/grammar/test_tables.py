"""The tables beside the grammars: made of the text that is there, the same parser as the text gives, and never needed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pybuild.grammar import DockerfileError, Source, lalr, parse
from pybuild.grammar import parser as parsing
from pybuild.grammar.lalr import GRAMMARS, Grammar
from pybuild.grammar.wordlexer import Mode, tokens

FOLDER = Path(lalr.__file__).parent
CASES = sorted(Path(__file__).parents[2].glob("fixtures/dockerfiles/*/Dockerfile"))


def outcome(text: str) -> object:
    try:
        return parse(Source("Dockerfile", text))
    except DockerfileError as error:
        return error.message, error.span, error.hint


@pytest.fixture
def from_text(monkeypatch):
    """Parsing with the grammars as text; the parsers that were made before come back afterwards."""
    dockerfile = Grammar("dockerfile.lark", lambda tokens: tokens, from_text=True)
    monkeypatch.setattr(parsing, "_grammar", lambda: dockerfile)


@pytest.mark.parametrize("name", GRAMMARS)
def test_tables_are_those_of_the_grammar_that_is_there(name):
    made_of = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()
    stamp = (FOLDER / name).with_suffix(".tables").read_text().split("\n", 1)[0]
    assert stamp.endswith(f" sha256:{made_of}"), "run python -m pybuild.grammar.lalr"


def test_text_and_tables_parse_alike(from_text, request):
    texts = [Source.of("Dockerfile", case.read_bytes()).text for case in CASES]
    by_text = [outcome(text) for text in texts]
    request.getfixturevalue("monkeypatch").undo()
    assert [outcome(text) for text in texts] == by_text
    assert len(texts) > 30


@pytest.mark.parametrize("stamp", ["lark 0.0 sha256:0", "", None])
def test_tables_of_another_version_are_not_read(stamp, tmp_path, monkeypatch):
    for name in GRAMMARS:
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
        if stamp is not None:
            (tmp_path / name).with_suffix(".tables").write_text(f"{stamp}\nno JSON")
    monkeypatch.setattr(lalr, "_path", lambda name: tmp_path / name)
    grammar = Grammar("words.lark", lambda pair: tokens(*pair))
    assert grammar.parse(("a$b", Mode())).data == "start"


@pytest.mark.parametrize("name", GRAMMARS)
def test_written_tables_are_read(name, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    monkeypatch.setattr(lalr, "_path", lambda name: tmp_path / name)
    assert lalr._read_tables(name) is None
    lalr.write_tables(name)
    assert lalr._read_tables(name) is not None
