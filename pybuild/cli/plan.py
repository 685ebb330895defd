"""`pybuild plan`."""

from __future__ import annotations

import sys

import click

from pybuild.cli.build import click_option
from pybuild.cli.completion import FILE
from pybuild.cli.options import BUILD
from pybuild.plans import FORMATS, plan
from pybuild.progress.text import printable_lines

_TAKEN = ("dockerfile", "build_args", "labels", "target", "build_contexts", "platform", "network", "pull", "insecure")


def _print(*, context: str, form: str, **options: object) -> None:
    graph = plan(context, **options)  # type: ignore[arg-type]
    if form != "text":
        for warning in graph.warnings:
            click.echo(f"warning: {warning}", err=True)
    # A byte of the Dockerfile that is no UTF-8 comes out as it went in; JSON is Unicode and cannot say it.
    plain = FORMATS[form](graph)
    text = (printable_lines(plain) if sys.stdout.isatty() else plain).encode("utf-8", "surrogateescape")
    sys.stdout.flush()
    click.echo(text.decode("utf-8", "replace").encode() if form == "json" else text, nl=False)


command = click.Command(
    "plan",
    params=[
        click.Argument(["context"], type=FILE, default="."),
        *(click_option(option) for option in BUILD if option.parameter in _TAKEN),
        click.Option(
            ["--format", "form"], type=click.Choice(tuple(FORMATS)), default="text", show_default=True, help="How to show it."
        ),
    ],
    callback=_print,
    help="Show what a build of the Dockerfile in CONTEXT would do: each step, with nothing left to expand. Nothing is built.",
    short_help="Show what a build would do",
)
