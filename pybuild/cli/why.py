"""`pybuild why`."""

from __future__ import annotations

import json
import sys
import time

import click

from pybuild import explained, past
from pybuild.builder.records.explaining import where


@click.command("why", short_help="Say why the steps of a build ran, or did not")
@click.argument("step", required=False)
@click.option("-b", "--build", "number", type=int, metavar="N", help="Which build; else the last.")
@click.option("-l", "--list", "lists", is_flag=True, help="List the latest builds.")
@click.option("--json", "as_json", is_flag=True, help="The same for programs.")
def command(step: str | None, number: int | None, lists: bool, as_json: bool) -> None:
    """Say why each step of the last build ran, and whose result it took where it did not run.

    STEP shows one alone: its place (2, 2/5 or 'build 2/5'), or a part of its line in the Dockerfile.
    """
    now = time.time()
    if lists:
        for line in explained.build_lines(past.recent(), now=now):
            click.echo(line)
        return
    found = past.explanation(number)
    if as_json:
        click.echo(json.dumps(explained.explanation_document(found), ensure_ascii=False, indent=2))
        return
    lines = explained.explanation_lines(found, now=now, colour=sys.stdout.isatty(), only=step)
    if not lines:
        names = ", ".join(where(item.trace) for item in found.steps)
        raise click.BadParameter(f"{found.build.title} has no step {step!r}; there are {names}", param_hint="STEP")
    for line in lines:
        click.echo(line)
