"""docs/language.md names tests: each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")


def test_every_case_is_there():
    named = set(re.findall(r"\b((?:parsed|dockerfiles|images)/[a-z0-9-]+)(?![/.*a-z0-9-])", PAGE)) - {
        "parsed/NAME",
        "dockerfiles/NAME",
    }
    assert len(named) > 40
    assert [name for name in sorted(named) if not (ROOT / "fixtures" / name).is_dir()] == []


def test_every_test_is_there():
    named = set(re.findall(r"\b(test_\w+\.py)(?:::(\w+))?", PAGE))
    assert len(named) > 15
    files = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    assert [name for name, _ in sorted(named) if name not in files] == []
    assert [test for name, test in sorted(named) if test and f"def {test}(" not in files[name]] == []


def test_every_case_of_the_grammar_is_named():
    cases = {path.parent.name for path in (ROOT / "fixtures" / "parsed").glob("*/Dockerfile")}
    assert [case for case in sorted(cases) if f"parsed/{case}" not in PAGE] == []
