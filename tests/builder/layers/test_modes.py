"""--chmod as chmod(1) of BSD has it; the values are what BuildKit's own parser gave."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybuild.builder.layers.modes import Mode


@pytest.mark.parametrize(
    ("text", "before", "expected"),
    [
        ("755", 0o600, 0o755),
        ("0644", 0o777, 0o644),
        ("4711", 0, 0o4711),
        ("+x", 0o644, 0o755),
        ("a+x", 0o644, 0o755),
        ("u=rwX,go=rX", 0o600, 0o644),
        ("u=rwX,go=rX", 0o700, 0o755),
        ("g-w,o=u,a-x", 0o764, 0o646),
        ("u+s,g+s,+t", 0o644, 0o7644),
        ("o+s", 0o644, 0o644),
        ("=", 0o7777, 0o1000),
        ("u=g", 0o4750, 0o0550 | 0o4000),
        ("go=u-w", 0o640, 0o644),
        ("u=rx+w", 0, 0o700),
        ("-x+X", 0o755, 0o755),
        ("=t", 0o1533, 0o1533),
        ("u+", 0o640, 0o640),
    ],
)
def test_a_mode(text, before, expected):
    assert oct(Mode(text).of(before, is_directory=False)) == oct(expected)


def test_a_capital_x_is_for_directories_too():
    assert Mode("a+X").of(0o600, is_directory=True) == 0o711
    assert Mode("a+X").of(0o600, is_directory=False) == 0o600


def test_an_octal_mode_holds_for_parents_without_its_special_bits():
    assert Mode("4711").of_parents == 0o711
    assert Mode("go=").of_parents == 0o755


@pytest.mark.parametrize(
    "text", ["", "u", "u+x,", "888", "17777", "0o755", "u=7", "z+x", "+q", "x", "u,g+x", " 755", "-1", "٧٥٥"]
)
def test_what_is_no_mode(text):
    with pytest.raises(ValueError, match=r".*"):
        Mode(text)


CLAUSES = st.from_regex(r"[ugoa]{0,2}([+=-][rwxXstugo]{0,3}){1,2}", fullmatch=True)


@given(st.lists(CLAUSES, min_size=1, max_size=3).map(",".join), st.integers(0, 0o7777), st.booleans())
def test_clauses_are_applied_in_order(text, before, is_directory):
    found = Mode(text).of(before, is_directory=is_directory)
    assert 0 <= found <= 0o7777
    if "X" not in text:
        for clause in text.split(","):
            before = Mode(clause).of(before, is_directory=is_directory)
        assert found == before
