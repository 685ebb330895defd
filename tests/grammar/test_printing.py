"""A Dockerfile printed and as a document: a golden folder for each case, and what is printed says what it was made of.

A case is a folder in fixtures/parsed: `Dockerfile`, and `parsed.json` and `printed.txt`, or `error.txt`.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybuild.grammar import DockerfileError, Source, parse
from pybuild.grammar.printing import document, print_dockerfile

CASES = sorted(path.parent for path in Path(__file__).parents[2].glob("fixtures/parsed/*/Dockerfile"))
FUZZ = runpy.run_path(str(Path(__file__).with_name("fuzz.py")))
KEYS = ["keyword", "flags", "args", "json", "heredocs", "original", "start_line", "end_line"]


def test_there_are_cases():
    assert len(CASES) >= 20


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_golden(case: Path, golden):
    source = Source.of("Dockerfile", (case / "Dockerfile").read_bytes())
    try:
        dockerfile = parse(source)
    except DockerfileError as error:
        told = [f"{each}\nhint: {getattr(each, 'hint', None)}\n" for each in (error, *error.others)]
        golden(case / "error.txt", "".join(told))
        assert not (case / "parsed.json").exists()
        return
    made = document(dockerfile)
    assert all(list(instruction) == KEYS for instruction in made["instructions"])
    golden(case / "parsed.json", json.dumps(made, indent=2, ensure_ascii=False) + "\n")
    printed = print_dockerfile(dockerfile) + "".join(f"warning: {notice.on(source)}\n" for notice in dockerfile.notices)
    golden(case / "printed.txt", printed)


PIECES = st.sampled_from((*FUZZ["WORDS"], *FUZZ["FLAGS"], *FUZZ["BLANKS"], *FUZZ["ENDS"], *FUZZ["FORMS"])).filter(
    lambda piece: "\ud83d" not in piece
)
LINES = st.builds(
    lambda keyword, pieces, end: keyword + " " + " ".join(pieces) + end,
    st.sampled_from(tuple(FUZZ["FORMS"])),
    st.lists(PIECES, max_size=5),
    st.sampled_from(FUZZ["ENDS"]),
)


@given(st.lists(LINES, max_size=3).map(lambda lines: "FROM a\n" + "\n".join(lines)))
def test_what_is_printed_says_what_it_was_made_of(text):
    FUZZ["check"](text.encode())


@pytest.mark.parametrize(
    "text",
    [
        'FROM a\nARG "\x0c\\\x0c\n',
        'FROM a\nVOLUME ["$D", "\t/x"]\n',
        "FROM a\nCOPY <<\x0cb c\n",
        "FROM a\nRUN a\\ \\\n",
        "FROM a\nENV -- --a b\n",
    ],
)
def test_what_the_fuzzer_found(text):
    assert FUZZ["check"](text.encode())
