"""`pybuild store verify`."""

from __future__ import annotations

import click

from pybuild import upkeep
from pybuild.cli.misuse import Group


@click.group("store", cls=Group, short_help="Check the store, and put it right")
def command() -> None:
    """The folder that holds images, and what builds left."""


@command.command("verify", short_help="Check every digest")
@click.option("--repair", is_flag=True, help="Remove what is damaged, and make again what can be made of what is sound.")
@click.option("-j", "--jobs", type=click.IntRange(1), default=2, show_default=True, metavar="N", help="Files at the same time.")
def verify(repair: bool, jobs: int) -> int:
    """Check every blob, layer, tree and record of the store against its digest; 1 when something is wrong and stays so."""
    found, done = upkeep.verify(repair=repair, jobs=jobs)
    told = iter(done)
    for fault in found.faults:
        what = fault.name if fault.name == fault.kind else f"{fault.kind} {fault.name}"
        click.echo(f"{what}: {fault.problem}")
        if fault.needed_by:
            click.echo(f"    needed by {', '.join(fault.needed_by)}")
        if repair:
            click.echo(f"    {next(told)}")
    for line in told:
        click.echo(line)
    looked = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for word, count in found.counts)
    faults = f"{len(found.faults)} fault{'' if len(found.faults) == 1 else 's'}" if found.faults else "no fault"
    click.echo(f"checked {looked}, and the database: {faults}")
    if found.faults and not repair:
        click.echo("hint: 'pybuild store verify --repair' puts right what can be", err=True)
    return int(bool(found.faults) and not repair)
