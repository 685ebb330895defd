"""What a shell completes: files, and the names of images. What is given is not looked at here."""

from __future__ import annotations

import os

import click
from click.shell_completion import CompletionItem

FILE = click.Path(readable=False)
"""A file or a folder, there or not."""


class _ImageName(click.types.StringParamType):
    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from pybuild.builder.workspace import place_of

        # Looking makes no store where there is none.
        if not os.path.exists(os.path.join(place_of(None, os.environ), "index.json")):
            return []
        from pybuild.api import images

        names = sorted(name.familiar for _, names in images() for name in names)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


IMAGE = _ImageName()
"""The name of an image in the store, as a rule."""
