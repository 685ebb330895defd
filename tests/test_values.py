"""Values are what frozen dataclasses with slots are."""

from __future__ import annotations

import pickle

import pytest

from pybuild.values import field_names, frozen, natural, replace


@frozen
class Point:
    """A value with a default."""

    x: int
    y: int = 0

    @property
    def total(self) -> int:
        return self.x + self.y


@frozen
class Named(Point):
    """A value on top of another."""

    name: str = ""


@frozen
class Other:
    x: int
    y: int = 0


def test_made_read_compared_and_hashed():
    point = Point(1)
    assert (point.x, point.y, point.total) == (1, 0, 1)
    assert point == Point(1, 0) == Point(x=1, y=0)
    assert point != Point(2) and point != Other(1) and point != (1, 0)
    assert len({Point(1), Point(1, 0), Point(2)}) == 2
    assert repr(point) == "Point(x=1, y=0)"


def test_nothing_can_be_changed_or_added():
    point = Point(1)
    for name in ("x", "z"):
        with pytest.raises(AttributeError, match="cannot be changed"):
            setattr(point, name, 2)
    with pytest.raises(AttributeError):
        del point.x
    assert not hasattr(point, "__dict__")


@pytest.mark.parametrize(
    ("args", "given"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"x": 2}), ((1,), {"z": 2})],
    ids=["missing", "many", "twice", "unknown"],
)
def test_wrong_fields_are_type_errors(args, given):
    with pytest.raises(TypeError):
        Point(*args, **given)


def test_inheritance_patterns_and_names():
    named = Named(1, name="n")
    assert field_names(named) == ("x", "y", "name")
    match named:
        case Named(x, name=name):
            assert (x, name) == (1, "n")
        case _:
            raise AssertionError


def test_replace_and_pickle():
    assert replace(Named(1, name="a"), name="b", y=5) == Named(1, 5, "b")
    assert pickle.loads(pickle.dumps(Named(1, 2, "c"))) == Named(1, 2, "c")
    with pytest.raises(TypeError):
        replace(Point(1), z=1)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("9" * 30, 10**30 - 1)])
def test_numbers(text, number):
    assert natural(text) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1_0", "²", "٣", "1.0", "9" * 5000])
def test_what_is_no_number(text):
    assert natural(text) is None
