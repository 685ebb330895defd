"""The words of annotations, without `typing`: importing that is a twelfth of a build that changes nothing.

Type checkers see typing's own. At run time annotations are not evaluated here, so that most names need only be there.
"""

from __future__ import annotations

# A type checker takes a name that is spelled like this for true.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import IO as IO
    from typing import Any as Any
    from typing import BinaryIO as BinaryIO
    from typing import Generic as Generic
    from typing import Literal as Literal
    from typing import NamedTuple as NamedTuple
    from typing import NoReturn as NoReturn
    from typing import Protocol as Protocol
    from typing import Self as Self
    from typing import TextIO as TextIO
    from typing import TypeAlias as TypeAlias
    from typing import TypeVar as TypeVar
    from typing import assert_never as assert_never
    from typing import cast as cast
    from typing import dataclass_transform as dataclass_transform
else:
    from collections import namedtuple

    class Generic:
        """A base class that may have an index."""

        __slots__ = ()

        def __class_getitem__(cls, item):
            return cls

    IO = Any = BinaryIO = Literal = NoReturn = Protocol = Self = TextIO = TypeAlias = Generic

    class _Named(type):
        def __new__(cls, name, bases, body):
            if name == "NamedTuple":
                return super().__new__(cls, name, bases, body)
            fields = body.pop("__annotations__")
            made = namedtuple(name, fields, defaults=[body.pop(field) for field in fields if field in body])
            for word, item in body.items():
                if word not in ("__slots__", "__qualname__"):
                    setattr(made, word, item)
            return made

    class NamedTuple(metaclass=_Named):
        """What makes a class of annotated fields a tuple with names."""

    def TypeVar(name, **_):
        """A name."""
        return name

    def cast(_, item):
        """The item, as it is."""
        return item

    def assert_never(item):
        """Never called."""
        raise AssertionError(item)

    def dataclass_transform(**_):
        """A decorator that changes nothing."""
        return lambda decorator: decorator
