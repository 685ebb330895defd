"""--chmod: a mode in octal, or changes to one in letters, `u=rwX,go=rX`, worked out for each file. Pure.

The rules are those of chmod(1) as BSD has it, which is what BuildKit goes by: letters that name nobody mean everybody whatever
the umask, `X` looks at the mode from before.
"""

from __future__ import annotations

from collections.abc import Callable

_SET_UID, _SET_GID, _STICKY = 0o4000, 0o2000, 0o1000
_WHO = {"u": _SET_UID | 0o700, "g": _SET_GID | 0o070, "o": 0o007, "a": _SET_UID | _SET_GID | 0o777}
_ALL = _SET_UID | _SET_GID | 0o777
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_EXECUTE = 0o111

# From the mode before all changes, the mode so far, and whether it is a directory, to the mode.
_Change = Callable[[int, int, bool], int]


def octal(text: str) -> int | None:
    """The bits that an octal mode means, None for one in letters. Raises ValueError for other numbers."""
    if not text or not (text[0].isascii() and text[0].isdigit()):
        return None
    if any(digit not in "01234567" for digit in text) or int(text, 8) > 0o7777:
        raise ValueError(text)
    return int(text, 8)


class Mode:
    """What --chmod makes of a mode. Raises ValueError for a text that means nothing."""

    def __init__(self, text: str) -> None:
        self.bits = octal(text)
        self._changes = _changes(text) if self.bits is None else ()

    def of(self, mode: int, *, is_directory: bool) -> int:
        """The mode of a file that had `mode`."""
        if self.bits is not None:
            return self.bits
        before = mode
        for change in self._changes:
            mode = change(before, mode, is_directory)
        return mode & 0o7777

    @property
    def of_parents(self) -> int:
        """The mode of directories made on the way: an octal one holds for them too, but for its special bits."""
        return 0o755 if self.bits is None else self.bits & 0o777


def _changes(text: str) -> tuple[_Change, ...]:
    found: list[_Change] = []
    for clause in text.split(","):
        rest = clause.lstrip("ugoa")
        who = 0
        for letter in clause[: len(clause) - len(rest)]:
            who |= _WHO[letter]
        if not rest:
            raise ValueError(text)
        is_set = False
        while rest:
            operator = rest[0]
            if operator not in "+-=":
                raise ValueError(text)
            letters = rest[1:]
            rest = letters.lstrip("rwxXstugo")
            # `=` takes away what was there once, however many parts follow.
            is_set = is_set and operator != "="
            is_set = _operation(found, operator, letters[: len(letters) - len(rest)], who, is_set=is_set)
    return tuple(found)


def _operation(found: list[_Change], operator: str, letters: str, who: int, *, is_set: bool) -> bool:
    bits = conditional = 0
    for letter in letters:
        if letter in "ugo":
            if bits:
                found.append(_change(operator, who, bits))
                bits = 0
            if conditional:
                found.append(_conditional(who, conditional))
                conditional = 0
            is_set = is_set or operator == "="
            found.append(_copied(operator, who, letter))
        elif letter == "X" and operator != "-":
            conditional = _EXECUTE
        elif letter in "st":
            if not who or who & ~0o007:
                bits |= _STICKY if letter == "t" else _SET_UID | _SET_GID
                who |= _STICKY if letter == "t" else 0
        else:
            bits |= {"r": 0o444, "w": 0o222, "x": _EXECUTE, "X": _EXECUTE}[letter]
    if bits or (operator == "=" and not is_set):
        is_set = is_set or operator == "="
        found.append(_change(operator, who, bits))
    if conditional:
        found.append(_conditional(who, conditional))
    return is_set


def _change(operator: str, who: int, bits: int) -> _Change:
    meant = bits & who if who else bits
    if operator == "-":
        return lambda _, mode, __: mode & ~meant
    if operator == "+":
        return lambda _, mode, __: mode | meant
    return lambda _, mode, __: (mode & ~(who or _ALL)) | meant


def _conditional(who: int, bits: int) -> _Change:
    meant = bits & who if who else bits
    return lambda before, mode, is_directory: mode | meant if is_directory or before & _EXECUTE else mode


def _copied(operator: str, who: int, source: str) -> _Change:
    """What `u`, `g` and `o` behind the operator do: the permissions of the one become those of the others."""
    targets = [shift for letter, shift in _SHIFTS.items() if not who or who & _WHO[letter] & 0o777]

    def change(_: int, mode: int, __: bool) -> int:
        value = mode >> _SHIFTS[source] & 0o7
        for shift in targets:
            if operator in "-=":
                mode &= ~((0o7 if operator == "=" else value) << shift)
            if operator in "+=":
                mode |= value << shift
        return mode

    return change
