"""`pybuild build`, as click has it: the flags of docker's, by the table of `options`."""

from __future__ import annotations

import click

from pybuild.cli.completion import FILE
from pybuild.cli.options import BUILD, Option, build_image, truth


def click_option(option: Option) -> click.Option:
    """One row of the table as click's own value."""
    names = (*option.spellings, option.parameter)
    if option.convert is None:
        return click.Option(names, is_flag=True, help=option.help)
    convert = option.convert

    def read(ctx: click.Context, parameter: click.Parameter, value: str | tuple[str, ...] | None) -> object:
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        try:
            return convert(values)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from None

    return click.Option(
        names,
        multiple=option.is_multiple,
        metavar=option.metavar or None,
        default=option.default,
        show_default=option.default is not None,
        type=click.Choice(option.choices) if option.choices else FILE if option.metavar.startswith("FILE") else str,
        envvar=option.environment,
        callback=read,
        help=option.help,
    )


class Build(click.Command):
    """`build`, where a flag may have a value, and a short option an equals sign: --no-cache=false, -t=NAME, as docker has it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spelled = [spelling for option in BUILD for spelling in option.spellings]
        flags = [spelling for option in BUILD if option.convert is None for spelling in option.spellings]
        given = []
        for place, argument in enumerate(args):
            name, equals, value = argument.partition("=")
            if argument == "--":
                given += args[place:]
                break
            if not equals or name not in spelled or (name.startswith("--") and name not in flags):
                given.append(argument)
            elif name not in flags:
                given += [name, value]
            elif _read(ctx, name, value):
                given.append(name)
        return super().parse_args(ctx, given)


def _read(ctx: click.Context, name: str, value: str) -> bool:
    try:
        return truth((value,))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param_hint=f"'{name}'") from None


command = Build(
    "build",
    params=[click.Argument(["context"], type=FILE), *map(click_option, BUILD)],
    callback=build_image,
    help="Build an image from the Dockerfile in CONTEXT: a folder, an archive or a git repository at a URL, or - for an archive"
    " or a Dockerfile on standard input.",
    short_help="Build an image from a Dockerfile",
)
