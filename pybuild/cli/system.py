"""`pybuild system df`."""

from __future__ import annotations

import click

from pybuild import upkeep
from pybuild.cli.misuse import Group
from pybuild.cli.templates import print_rows
from pybuild.listings import since
from pybuild.progress.text import size

_HEADS = {"Type": "TYPE", "Total": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"}
_ITEM_HEADS = {"Kind": "KIND", "Name": "NAME", "Used": "LAST USED", "Size": "SIZE", "State": "STATE"}


@click.group("system", cls=Group, short_help="Show what the store takes")
def command() -> None:
    """What the store takes on disk."""


@command.command("df", short_help="Show what the store takes on disk")
@click.option("-v", "--verbose", is_flag=True, help="Every image, step, tree and cache mount.")
@click.option("--format", "template", metavar="TEMPLATE", help="A Go template for each row, `table TEMPLATE`, or json.")
def df(verbose: bool, template: str | None) -> None:
    """Show what the store takes on disk, and how much of it `pybuild prune --all` would give back."""
    found = upkeep.disk_usage()
    if verbose:
        rows = upkeep.item_rows(found)
        print_rows(rows if template == "json" else [_item(row) for row in rows], template, tuple(_ITEM_HEADS), _ITEM_HEADS)
        return
    rows = upkeep.usage_rows(found)
    print_rows(rows if template == "json" else [_shown(row) for row in rows], template, tuple(_HEADS), _HEADS)


def _item(row: upkeep.Row) -> upkeep.Row:
    return {**row, "Used": since(float(str(row["Used"]))), "Size": size(int(str(row["Size"])))}


def _shown(row: upkeep.Row) -> upkeep.Row:
    total, free = int(str(row["Size"])), int(str(row["Reclaimable"]))
    percent = f" ({100 * free // total}%)" if total else ""
    return {**row, "Size": size(total), "Reclaimable": size(free) + percent}
