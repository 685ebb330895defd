"""Where a built image goes beside the store: `-o type=...` and `--push`. One function for each type, in EXPORTERS."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pybuild.builder.errors import ExportError, NoSuchExport
from pybuild.builder.events import OneAtATime, Progress
from pybuild.builder.request import BuildRequest, Output
from pybuild.builder.workspace import Workspace
from pybuild.hints import BinaryIO
from pybuild.registry import Image, Reference

Exporter = Callable[[Image, Output, BuildRequest, Workspace, Progress], None]


def check_outputs(request: BuildRequest) -> None:
    """Raise ExportError, before any work, for an output that cannot be written."""
    for output in request.outputs:
        if output.type not in EXPORTERS:
            raise NoSuchExport(f"no such output type: {output.type}", hint=f"there are {', '.join(sorted(EXPORTERS))}")
        for name in _names(output, request):
            if name.digest is not None:
                raise NoSuchExport(f"{name.familiar}: its digest is known when it is built", hint="write name=NAME:TAG")
        if not output.dest and output.type in ("oci", "docker", "tar", "local"):
            raise NoSuchExport(f"-o type={output.type} needs a destination", hint=f"write -o type={output.type},dest=PATH")
        if output.dest == "-" and output.type == "local":
            raise NoSuchExport("-o type=local makes a folder, and standard output is none", hint="write dest=DIR, or type=tar")
        if output.dest == "-" and sys.stdout.isatty():
            raise NoSuchExport("an archive does not go to a terminal", hint="write dest=FILE, or into a pipe")
        if output.dest not in (None, "-"):
            check_folder(str(output.dest), "dest")
            if output.type in ("oci", "docker", "tar") and not _is_folder(output) and os.path.isdir(str(output.dest)):
                raise ExportError(f"{output.dest} is a folder", hint="name a file in it, or write tar=false for an OCI layout")
    pushes = request.push or any(output.type == "registry" for output in request.outputs)
    named = any(dict(output.attributes).get("name") for output in request.outputs)
    if pushes and not request.tags and not named:
        raise NoSuchExport("nothing to push: the image has no name", hint="give it one with -t NAME")


def check_folder(path: str, what: str) -> None:
    """Raise ExportError when the folder that a file goes to is not there."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise ExportError(f"no such folder: {folder}", hint=f"make it, or choose another {what}")


def export(image: Image, request: BuildRequest, workspace: Workspace, progress: Progress) -> None:
    """Write all outputs. Raises ExportError and RegistryError."""
    for output in request.outputs:
        try:
            EXPORTERS[output.type](image, output, request, workspace, progress)
        except OSError as error:
            raise ExportError(f"cannot write {output.dest}: {error.strerror}") from error
    if request.push and not any(output.type == "registry" for output in request.outputs):
        _registry(image, Output("registry"), request, workspace, progress)


def _names(output: Output, request: BuildRequest) -> tuple[Reference, ...]:
    named = dict(output.attributes).get("name")
    return tuple(Reference.parse(name) for name in named.split(",")) if named else request.tags


@contextlib.contextmanager
def opened(dest: str | None) -> Iterator[BinaryIO]:
    """The file, complete or as it was; `-` is standard output."""
    if dest in (None, "-"):
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    from pybuild.registry.layout import writing

    with writing(Path(str(dest))) as file:
        yield file


def _is_folder(output: Output) -> bool:
    return dict(output.attributes).get("tar") == "false" and output.dest not in (None, "-")


def _archive(image: Image, output: Output, request: BuildRequest, workspace: Workspace, progress: Progress) -> None:
    names = _names(output, request)
    if _is_folder(output):
        from pybuild.registry.layout import write_layout

        write_layout(workspace.store, image, names, Path(str(output.dest)))
        return
    from pybuild.registry.archives import save

    with opened(output.dest) as file:
        save(workspace.store, [(image, names)], file, docker=output.type == "docker")


def _tar(image: Image, output: Output, request: BuildRequest, workspace: Workspace, progress: Progress) -> None:
    from pybuild.builder.publishing.filesystem import write_tar

    with opened(output.dest) as file:
        write_tar(image, workspace, file)


def _local(image: Image, output: Output, request: BuildRequest, workspace: Workspace, progress: Progress) -> None:
    from pybuild.builder.publishing.filesystem import write_folder

    write_folder(image, workspace, str(output.dest))


def _registry(image: Image, output: Output, request: BuildRequest, workspace: Workspace, progress: Progress) -> None:
    from pybuild.registry.transfer import push

    listener = OneAtATime(progress).emit
    for name in _names(output, request):
        push(workspace.store, image, name, insecure=request.insecure, listener=listener)


def _image(image: Image, output: Output, request: BuildRequest, workspace: Workspace, progress: Progress) -> None:
    if dict(output.attributes).get("push") == "true":
        _registry(image, output, request, workspace, progress)


EXPORTERS: dict[str, Exporter] = {
    "docker": _archive,
    "image": _image,
    "local": _local,
    "oci": _archive,
    "registry": _registry,
    "tar": _tar,
}
