"""What a build leaves for scripts: `--iidfile` and `--metadata-file`."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pybuild.builder.publishing.export import check_folder
from pybuild.builder.request import BuildResult


def begin(paths: Mapping[str, str | None]) -> None:
    """Look, before the build, whether the files of these options can be; those of an earlier build go.

    Who finds one after a build that failed would take it for this one's. Raises ExportError and OSError.
    """
    for option, path in paths.items():
        if path is not None:
            check_folder(path, option)
            # A terminal, a pipe and /dev/null stay, and so does a link: /dev/stdout is one, and may lead to a file.
            if os.path.isfile(path) and not os.path.islink(path):
                os.unlink(path)


def write(result: BuildResult, *, iidfile: str | None, metadata_file: str | None) -> None:
    """Write those that are asked for."""
    if iidfile is not None:
        with open(iidfile, "w", encoding="ascii") as file:
            file.write(result.image_id)
    if metadata_file is not None:
        import json

        with open(metadata_file, "w", encoding="utf-8") as file:
            file.write(json.dumps(_document(result), indent=2, sort_keys=True) + "\n")


def _document(result: BuildResult) -> dict[str, object]:
    """What buildx writes, by the keys of BuildKit's exporter of images."""
    from pybuild.api import open_store

    document: dict[str, object] = {"containerimage.config.digest": result.image_id, "containerimage.digest": result.digest}
    for item in open_store(None).index().manifests:
        if item.digest == result.digest:
            descriptor = {"mediaType": item.media_type, "digest": item.digest, "size": item.size}
            document["containerimage.descriptor"] = descriptor
    if result.names:
        document["image.name"] = ",".join(map(str, result.names))
    return document
