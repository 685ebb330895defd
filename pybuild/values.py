"""Frozen values with slots, as `dataclass(frozen=True, slots=True)` makes them, at a twentieth of its price.

The standard decorator writes and compiles source for every class, and brings `inspect` with it: with forty classes that was
half of the start-up of a build that changes nothing. Here all classes share their methods. What a build needs is made by this;
a command of its own may have a plain dataclass.

And `natural`: numbers as files, variables and headers write them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pybuild.hints import Any, TypeVar, dataclass_transform

_T = TypeVar("_T")
_set = object.__setattr__
_MOST_DIGITS = 30


@dataclass_transform(frozen_default=True)
def frozen(cls: type[_T]) -> type[_T]:
    """Make a class of annotated fields a frozen value: equal by its fields, hashable, with slots. Defaults are immutable.

    Fields that `_hidden` names, which is no field itself, are secret: their contents are not in the repr. `__post_init__` is
    called last.
    """
    own = tuple(cls.__dict__.get("__annotations__", ()))  # noqa: RUF063 (inspect is what this does without)
    defaults = {name: cls.__dict__[name] for name in own if name in cls.__dict__}
    body = {name: item for name, item in cls.__dict__.items() if name not in own and name not in ("__dict__", "__weakref__")}
    inherited: tuple[str, ...] = ()
    for base in cls.__bases__:
        inherited += getattr(base, "_fields", ())
        defaults = {**getattr(base, "_defaults", {}), **defaults}
    names = (*inherited, *own)
    body |= {"__slots__": own, "__match_args__": names, "_fields": names, "_defaults": defaults, **_METHODS}
    if "__post_init__" in body:
        body["__init__"] = _init_and_more
    made: type[_T] = type(cls.__name__, cls.__bases__, body)
    made.__qualname__ = cls.__qualname__
    return made


def _init(self: Any, *args: object, **given: object) -> None:
    names = self._fields
    if len(args) > len(names):
        raise TypeError(f"{type(self).__name__} has {len(names)} fields, {len(args)} were given")
    for name, item in zip(names, args, strict=False):
        _set(self, name, item)
    defaults = self._defaults
    for name in names[len(args) :]:
        if name in given:
            _set(self, name, given.pop(name))
        elif name in defaults:
            _set(self, name, defaults[name])
        else:
            raise TypeError(f"{type(self).__name__} needs {name}")
    if given:
        raise TypeError(f"{type(self).__name__} has no {next(iter(given))}, or was given it twice")


def _init_and_more(self: Any, *args: object, **given: object) -> None:
    _init(self, *args, **given)
    self.__post_init__()


def _values(self: Any) -> tuple[object, ...]:
    return tuple([getattr(self, name) for name in self._fields])


def _eq(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _repr(self: Any) -> str:
    hidden = getattr(self, "_hidden", ())
    shown = (f"{name}={'…' if name in hidden else repr(getattr(self, name))}" for name in self._fields)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse(self: object, name: str, item: object = None) -> None:
    raise AttributeError(f"{type(self).__name__}.{name} cannot be changed: it is a value")


def _reduce(self: Any) -> tuple[object, ...]:
    return type(self), _values(self)


_METHODS: dict[str, Callable[..., object]] = {
    "__init__": _init,
    "__eq__": _eq,
    "__hash__": _hash,
    "__repr__": _repr,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__reduce__": _reduce,
}


def replace(item: _T, /, **changes: object) -> _T:
    """The value with other contents in some fields; of a dataclass too."""
    names = getattr(item, "_fields", None)
    if names is None:
        import dataclasses

        return dataclasses.replace(item, **changes)  # type: ignore[type-var]
    return type(item)(**{name: getattr(item, name) for name in names} | changes)


def natural(text: str) -> int | None:
    """The number that ASCII digits say; None for any other text, and for a number that is larger than anything here.

    `int` takes the digits of all scripts, and blanks, and raises for more than 4300 digits.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def field_names(item: object) -> tuple[str, ...]:
    """The fields of a value, in their order."""
    names: tuple[str, ...] = item._fields  # type: ignore[attr-defined]
    return names


def field_defaults(item: object) -> Mapping[str, object]:
    """What the fields of a value are when nothing is said, for those that have such a thing."""
    defaults: Mapping[str, object] = item._defaults  # type: ignore[attr-defined]
    return defaults
