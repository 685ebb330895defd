"""`pybuild why`."""

from __future__ import annotations

import json
import sys
import time

import click

from pybuild import explained, past
from pybuild.builder.records.explaining import where
from pybuild.colours import has_colour

_MOST_PLACES = 12


@click.command("why", short_help="Say why the steps of a build ran, or did not")
@click.argument("step", required=False)
@click.option("-b", "--build", "number", type=int, metavar="N", help="Which build; else the last.")
@click.option("-l", "--list", "lists", is_flag=True, help="List the latest builds.")
@click.option("--json", "as_json", is_flag=True, help="The same for programs.")
def command(step: str | None, number: int | None, lists: bool, as_json: bool) -> None:
    """Say why each step of the last build ran, and whose result it took where it did not run.

    STEP shows one alone: its place (2, 2/5, 'build 2' or 'build 2/5'), all of a stage by its name, or a part of its line
    in the Dockerfile.
    """
    now = time.time()
    if lists:
        if step is not None or number is not None:
            raise click.UsageError("--list shows all builds: it goes with neither STEP nor --build")
        builds = past.builds()
        if as_json:
            _print(explained.builds_document(builds))
        else:
            click.echo("\n".join(explained.build_lines(builds, now=now)))
        return
    found = past.explanation(number)
    if step is not None and not explained.named(found, step):
        places = [where(item.trace) for item in found.steps]
        more = f" and {len(places) - _MOST_PLACES} more" if len(places) > _MOST_PLACES else ""
        raise click.BadParameter(
            f"{found.build.title} has no step {step!r}; there are {', '.join(places[:_MOST_PLACES])}{more}, of instructions that"
            " can change files",
            param_hint="STEP",
        )
    if as_json:
        _print(explained.explanation_document(found, only=step))
        return
    for line in explained.explanation_lines(found, now=now, colour=has_colour(sys.stdout), only=step):
        click.echo(line)


def _print(document: object) -> None:
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))
