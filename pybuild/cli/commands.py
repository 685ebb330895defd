"""All commands, each imported when it is called."""

from __future__ import annotations

import os

import click

from pybuild.cli.completion import FILE
from pybuild.cli.misuse import Group

# Each command's module and what it is for: shown by --help without importing any of them.
COMMANDS = {
    "build": "Build an image from a Dockerfile",
    "copy": "Copy images between registries, folders and archives",
    "delete": "Delete a tag or an image from a registry",
    "doctor": "Say what works here, and what mends the rest",
    "history": "Show how an image came to be",
    "images": "List images",
    "inspect": "Show everything about images, as JSON",
    "lint": "Find what is legal in a Dockerfile and better avoided",
    "load": "Read images from an archive",
    "login": "Log in to a registry",
    "logout": "Log out of a registry",
    "manifest": "Look at manifests, and make images for several platforms",
    "parse": "Show what a Dockerfile says",
    "plan": "Show what a build would do",
    "prune": "Remove what no tag needs",
    "pull": "Fetch an image from a registry",
    "push": "Put an image into a registry",
    "rmi": "Remove images",
    "run": "Run an image in the foreground",
    "save": "Write images to an archive",
    "serve": "Serve the store as a registry",
    "store": "Check the store, and put it right",
    "system": "Show what the store takes",
    "tag": "Give an image another name",
    "tags": "List the tags of a repository in its registry",
    "why": "Say why the steps of a build ran, or did not",
}


class Commands(Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        import importlib

        command: click.Command = importlib.import_module(f"pybuild.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from pybuild import __version__

        click.echo(f"pybuild {__version__}, the container image builder")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--root", type=FILE, metavar="DIR", help="The store; else $PYBUILD_ROOT, or the default place.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main(root: str | None) -> None:
    """Build container images from Dockerfiles, with no daemon, and no root where none is needed."""
    if root is not None:
        os.environ["PYBUILD_ROOT"] = root
