"""What is wrong with a command line, and what to write instead: click's own errors in our words."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.core import ParameterSource

from pybuild.cli.habits import command_hint, option_hint

# click's words for an argument too many.
_EXTRA = "got unexpected extra argument"
_IN_OUR_WORDS = {
    "is not a valid integer range": "is not a whole number",
    "is not a valid integer": "is not a whole number",
    "is not a valid float range": "is not a number",
}


class NoSuchCommand(click.UsageError):
    """A command that is not there; `hint` says which one may be meant."""

    def __init__(self, name: str, group: click.Group, ctx: click.Context) -> None:
        super().__init__(f"no such command: {name!r}", ctx)
        known = command_hint(" ".join((*_path(ctx)[1:], name)))
        self.hint = known or _meant(name, group.list_commands(ctx)) or _asks(ctx)


class Group(click.Group):
    """A group of commands that says which one may be meant."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            raise NoSuchCommand(args[0], self, ctx)
        return super().resolve_command(ctx, args)


def told(error: click.ClickException) -> tuple[str, str | None]:
    """The message and the hint for an error of click's."""
    message = error.format_message().rstrip(".")
    for words, ours in _IN_OUR_WORDS.items():
        message = message.replace(words, ours)
    # Ours begin small, too.
    message = message[:1].lower() + message[1:]
    if isinstance(error, NoSuchCommand):
        return message, error.hint
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return message, None
    path, command = " ".join(_path(error.ctx)), error.ctx.command
    if isinstance(error, click.NoSuchOption):
        name = error.option_name
        known = [spelling for parameter in command.get_params(error.ctx) for spelling in parameter.opts]
        hint = option_hint(" ".join(_path(error.ctx)[1:]), name) or _meant(name, known, 0.7) or _asks(error.ctx)
        return f"{path} has no option {name}", hint
    if isinstance(error, click.MissingParameter) or message.startswith(_EXTRA):
        return message, f"write {path} {' '.join(command.collect_usage_pieces(error.ctx))}"
    if isinstance(error, click.BadOptionUsage):
        return message, _asks(error.ctx)
    parameter = getattr(error, "param", None)
    if isinstance(parameter, click.Option) and error.ctx.get_parameter_source(str(parameter.name)) is ParameterSource.ENVIRONMENT:
        return message, f"it comes from the variable {parameter.envvar}"
    return message, None


def _path(ctx: click.Context) -> list[str]:
    return ctx.command_path.split()


def _asks(ctx: click.Context) -> str:
    return f"'{ctx.command_path} --help' lists what there is"


def _meant(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    from difflib import get_close_matches

    # All options are alike at their beginning.
    close = get_close_matches(word, list(known), 1, likeness)
    return f"did you mean {close[0]}?" if close else None
