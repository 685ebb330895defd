"""Comments above instructions, and blank lines inside of them."""

from __future__ import annotations

from pybuild.grammar import Source
from pybuild.grammar.comments import surroundings


def comments(text: str) -> dict[int, tuple[str, ...]]:
    return {line: found for line, found in surroundings(Source("Dockerfile", text)).comments.items() if found}


def blanks(text: str) -> list[int]:
    return [span.line for spans in surroundings(Source("Dockerfile", text)).blanks.values() for span in spans]


def test_comments_belong_to_the_next_instruction_whatever_blank_lines_are_between():
    assert comments("# one\n\n#two\nFROM a\n# three\nRUN x\nRUN y\n") == {4: ("one", "two"), 6: ("three",)}


def test_an_empty_comment_cuts_off_those_before_it():
    assert comments("# one\n#\n# two\n# \nFROM a\n# three\n#\n# four\nRUN x\n") == {9: ("four",)}


def test_directives_are_no_comments_and_what_comes_behind_them_is():
    assert comments("# syntax=x\n# escape=`\n# other=y\nFROM a\n") == {4: ("other=y",)}


def test_comments_inside_of_instructions_and_here_documents_belong_to_nothing():
    text = "FROM a\nRUN x \\\n# inside\n  y\nCOPY <<EOF <<-END /\n# text\nEOF\n# text\n\tEND\n# above\nRUN z\n"
    assert comments(text) == {11: ("above",)}


def test_blank_lines_count_inside_of_instructions_alone():
    assert blanks("\nFROM a\n\nRUN x \\\n\n  y \\\n \t\n# c\n\n  z\n\nCOPY <<E /\n\nE\nRUN x\\\n\n") == [5, 7, 9, 16]
    assert blanks("FROM a\nRUN x \\\n") == []


def test_an_instruction_begins_where_its_keyword_is():
    found = surroundings(Source("Dockerfile", "# above\n\\\n\nFROM a\n"))
    assert found.comments == {4: ("above",)} and found.ends == {4: 4}
    assert [span.line for span in found.blanks[4]] == [3]


def test_behind_a_shebang_directives_are_comments_too():
    assert comments("#!/bin/x\n# check=skip=all\nFROM a\n") == {3: ("!/bin/x", "check=skip=all")}
