"""Reading a well-formed `build` without click. Whatever is in the least unusual is not read here: None says so."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from pybuild.cli.options import BUILD, Option, build_image


def quick_build(arguments: list[str]) -> Callable[[], int] | None:
    """What a command line asks for, when it is a plain `[--root DIR] build [OPTION]... CONTEXT`."""
    rest = list(arguments)
    root = rest[1] if len(rest) > 2 and rest[0] == "--root" else None
    if root is not None:
        del rest[:2]
    if not rest or rest[0] != "build":
        return None
    try:
        values = _read(rest[1:])
    except ValueError:
        # click says what is wrong with it.
        return None
    if values is None:
        return None
    if root is not None:
        os.environ["PYBUILD_ROOT"] = root
    return partial(build_image, **values)  # type: ignore[arg-type]


def _read(arguments: list[str]) -> dict[str, object] | None:
    spelled = {spelling: option for option in BUILD for spelling in option.spellings}
    given: dict[str, list[str]] = {}
    context = None
    place = 0
    while place < len(arguments):
        argument = arguments[place]
        place += 1
        if not argument.startswith("-"):
            if context is not None:
                return None
            context = argument
            continue
        name, equals, value = argument.partition("=")
        option = spelled.get(name)
        if option is None or (equals and (option.convert is None or not name.startswith("--"))):
            return None
        if option.convert is not None and not equals:
            if place == len(arguments):
                return None
            value = arguments[place]
            place += 1
        given.setdefault(option.parameter, []).append(value)
    if context is None:
        return None
    return {"context": context, **{option.parameter: _value(option, given) for option in BUILD}}


def _value(option: Option, given: dict[str, list[str]]) -> object:
    values = tuple(given.get(option.parameter, ()))
    if option.convert is None:
        return bool(values)
    if not values and option.environment and (text := os.environ.get(option.environment)):
        values = (text,)
    if not values and option.default is not None:
        values = (option.default,)
    if option.choices and values[-1] not in option.choices:
        raise ValueError(values[-1])
    return option.convert(values)
