"""The checks of FROM lines, and of a file as a whole. Each yields what it finds in a View. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pybuild.builder.lint.findings import Edit, Hit
from pybuild.builder.lint.looking import close_to
from pybuild.builder.lint.parts import read_platform
from pybuild.builder.lint.seen import View
from pybuild.grammar import Span
from pybuild.grammar.instructions import From, Instruction, Word
from pybuild.registry import Reference
from pybuild.registry.errors import InvalidReference

_RESERVED = ("context", "scratch")


def stage_name_casing(view: View) -> Iterator[Hit]:
    """A stage's name is in lower case."""
    for stage in view.dockerfile.stages:
        name = stage.start.name
        if name is not None and name.text != name.text.lower():
            message = f"the stage's name {name.text} is not in lower case"
            yield Hit(name.span, message, f"write {name.text.lower()}", (Edit(name.span, name.text.lower()),), stage.start)


def from_as_casing(view: View) -> Iterator[Hit]:
    """AS is written as FROM is."""
    for stage in view.dockerfile.stages:
        written, word = keyword(stage.start), _as_word(view, stage.start)
        if word is None or written not in (written.lower(), written.upper()):
            continue
        wanted = word.text.lower() if written == written.lower() else word.text.upper()
        if word.text != wanted:
            message = f"{word.text} is not in the case that {written} is in"
            yield Hit(word.span, message, f"write {wanted}", (Edit(word.span, wanted),), stage.start)


def no_empty_continuation(view: View) -> Iterator[Hit]:
    """No blank line inside of an instruction."""
    for blanks in view.around.blanks.values():
        if blanks:
            first = blanks[0]
            span = Span(first.line, 1, first.line, 2)
            edits = tuple(Edit(blank, "") for blank in blanks)
            yield Hit(span, "an empty line inside of an instruction", "remove it: it will be an error one day", edits)


def consistent_instruction_casing(view: View) -> Iterator[Hit]:
    """All keywords are in the case that most of them are in."""
    instructions: list[Instruction] = []
    for stage in view.dockerfile.stages:
        instructions += [stage.start, *stage.instructions]
    words = [keyword(instruction) for instruction in instructions]
    lower, upper = sum(word == word.lower() for word in words), sum(word == word.upper() for word in words)
    is_lower = lower > upper
    for instruction, word in zip(instructions, words, strict=True):
        wanted = word.lower() if is_lower else word.upper()
        if word != wanted:
            span = instruction.span
            place = Span(span.line, span.column, span.line, span.column + len(word))
            message = f"{word} is not in {'lower' if is_lower else 'upper'} case, as most keywords here are"
            # A keyword may go on in the next line.
            is_whole = view.text[span.line - 1].startswith(word, span.column - 1)
            edits = (Edit(place, wanted),) if is_whole else ()
            yield Hit(place if is_whole else span, message, f"write {wanted}", edits)


def duplicate_stage_name(view: View) -> Iterator[Hit]:
    """No two stages have one name."""
    lines: dict[str, int] = {}
    for stage in view.dockerfile.stages:
        name = stage.start.name
        if name is None:
            continue
        if stage.name in lines:
            yield Hit(name.span, f'line {lines[stage.name]} has a stage "{stage.name}" already', "give this one another name")
        lines[stage.name] = stage.start.span.line


def reserved_stage_name(view: View) -> Iterator[Hit]:
    """No stage is called as something else is."""
    for stage in view.dockerfile.stages:
        name = stage.start.name
        if name is not None and stage.name in _RESERVED:
            what = "the empty image" if stage.name == "scratch" else "the build context"
            yield Hit(name.span, f'a stage named "{stage.name}", which means {what}', "give it another name")


def undefined_arg_in_from(view: View) -> Iterator[Hit]:
    """FROM uses arguments that are declared before the first stage."""
    known = (*view.declared, *view.arguments)
    for head in view.heads:
        for looked in (head.image, head.platform):
            for name in looked.missed if looked is not None else ():
                if looked is None or name in known:
                    continue
                close = close_to(name, dict.fromkeys(known))
                hint = f"did you mean ${close}?" if close else f"write ARG {name}=... above the first FROM"
                yield Hit(looked.place(name), f"no ARG above the first FROM declares {name}", hint, at=head.stage.start)


def invalid_default_arg_in_from(view: View) -> Iterator[Hit]:
    """FROM names an image even when no build argument is given."""
    for head in view.heads:
        name = head.plain.value
        if name is None:
            return
        if not _is_image(name):
            message = f"without --build-arg, FROM {head.plain.word.text} is {name!r}, which names no image"
            yield Hit(head.plain.word.span, message, "give its ARG a default that makes a name")


def _is_image(name: str) -> bool:
    # 64 hexadecimal digits are an image's ID.
    if re.fullmatch("[a-f0-9]{64}", name):
        return False
    try:
        Reference.parse(name)
    except InvalidReference:
        return False
    return True


def redundant_target_platform(view: View) -> Iterator[Hit]:
    """--platform says more than what holds anyway."""
    for head in view.heads:
        looked = head.platform
        if looked is None or looked.missed or looked.found != ("TARGETPLATFORM",):
            continue
        flag = head.stage.start.flag("platform")
        if flag is not None and looked.value == view.arguments["TARGETPLATFORM"]:
            behind = _blanks_behind(view, flag.span)
            hint = "leave it out: a stage is for the target's platform"
            yield Hit(flag.span, f"--platform={looked.word.text} changes nothing", hint, (Edit(behind, ""),), head.stage.start)


def from_platform_flag_const_disallowed(view: View) -> Iterator[Hit]:
    """--platform is not fixed, unless the stage's name says so."""
    for head in view.heads:
        looked = head.platform
        if looked is None or looked.found or looked.missed or looked.value is None:
            continue
        platform = read_platform(looked.value)
        if platform is None:
            continue
        name = head.stage.start.name.text.lower() if head.stage.start.name else ""
        if platform.os in name or platform.architecture in name:
            continue
        message = f"--platform={looked.value} makes this stage for one platform, whatever the build is for"
        hint = f"leave it out, use $BUILDPLATFORM, or name the stage after it, such as {platform.architecture}"
        yield Hit(looked.word.span, message, hint, at=head.stage.start)


def invalid_base_image_platform(view: View) -> Iterator[Hit]:
    """An image is for the platform that it is used on."""
    for used in view.images:
        wanted, found = used.wanted, used.config.platform
        if (wanted.os, wanted.architecture) != (found.os, found.architecture):
            message = f"{used.name} is for {found}, and {wanted} is what it is to be"
            yield Hit(used.span, message, "name an image that has this platform, or fetch it anew with --pull")


def invalid_definition_description(view: View) -> Iterator[Hit]:
    """The comment right above ARG and FROM describes what they define."""
    defined: list[tuple[Instruction, tuple[str, ...]]] = [
        (arg, tuple(item.name for item in arg.definitions)) for arg in view.dockerfile.arguments
    ]
    for stage in view.dockerfile.stages:
        if stage.start.name is not None:
            defined.append((stage.start, (stage.name,)))
        for item in stage.instructions:
            names = tuple(getattr(definition, "name", "") for definition in getattr(item, "definitions", ()))
            if names:
                defined.append((item, names))
    for instruction, names in defined:
        comments = view.around.comments.get(instruction.span.line, ())
        if comments and comments[-1].split(" ")[0] not in names:
            name = names[0] if len(names) == 1 else "NAME"
            message = f"the comment above {instruction.keyword} {' '.join(names)} does not describe it"
            yield Hit(instruction.span, message, f"write '# {name} ...', or '#' alone between them", at=instruction)


def keyword(instruction: Instruction) -> str:
    """An instruction's keyword as it was written."""
    return instruction.original.split(None, 1)[0]


def _as_word(view: View, start: From) -> Word | None:
    """The AS of a FROM line, which the instruction does not keep."""
    if start.name is None:
        return None
    for number in range(start.name.span.line, start.image.span.end_line - 1, -1):
        text = view.text[number - 1]
        if text.lstrip().startswith("#"):
            continue
        begin = start.image.span.end_column - 1 if number == start.image.span.end_line else 0
        end = start.name.span.column - 1 if number == start.name.span.line else len(text)
        if match := re.search(r"(?i)(?<!\S)as(?!\S)", text[begin:end]):
            column = begin + match.start() + 1
            return Word(match[0], Span(number, column, number, column + 2))
    return None


def _blanks_behind(view: View, span: Span) -> Span:
    """A span with the blanks behind it on its line."""
    text = view.text[span.end_line - 1]
    end = span.end_column
    while text[end - 1 : end] in (" ", "\t"):
        end += 1
    return Span(span.line, span.column, span.end_line, end)
