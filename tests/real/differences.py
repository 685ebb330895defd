"""What comes out of the same Dockerfiles and contexts with pybuild and with buildah: trees and configs, and why they differ.

    python tests/real/differences.py [NAME...]

builds each `fixtures/images/NAME/context`, or those that are named, and lists every path and every field of the config that is
not the same, with the reason. It ends with 1 when a difference has no reason in `REASONS`. buildah is Debian's; it needs root.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT / "fixtures" / "images"
_FIELDS = ("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "ExposedPorts", "Volumes", "Labels", "StopSignal")
_PYBUILD = (sys.executable, "-m", "pybuild")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why what fits `what`, a pattern of `CASE path` or `CASE config.FIELD`, is another thing with buildah."""

    what: str
    why: str


REASONS = (
    Reason("copy-exclude error", "buildah 1.28 has no --exclude"),
    Reason("copy-parents error", "buildah 1.28 has no --parents"),
    Reason("copy-link error", "buildah 1.28 has no --link"),
    Reason("copy-heredoc error", "buildah 1.28 has no here-documents"),
    Reason("copy-chmod error", "buildah 1.28 has no --chmod in letters"),
    Reason("copy-into error", "buildah fails where a pattern has no match; in BuildKit nothing is copied"),
    Reason("copy-modes owned*", "buildah makes parents 0755 whatever --chmod says"),
    Reason("copy-stages all/b", "buildah on vfs sees no change where size and time are the same"),
    Reason("config* a*", "buildah makes no directory for WORKDIR until something runs in it"),
    Reason("config srv*", "buildah makes no directory for WORKDIR until something runs in it"),
    Reason("* config.WorkingDir", "buildah leaves / out; BuildKit writes it"),
    Reason("* config.ExposedPorts", "buildah writes what was written; BuildKit writes each port with its protocol"),
)


@dataclass(frozen=True, slots=True)
class Built:
    """A file system and a config; `error` says why there are none."""

    tree: dict[str, tuple[object, ...]]
    config: dict[str, object]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """One path or field, as each builder has it; the reason is empty where nobody knows one."""

    what: str
    ours: object
    theirs: object
    why: str


def differences(name: str, context: Path, folder: Path) -> list[Difference]:
    """All that differs for one context; `folder` is empty, and for the builders' own use."""
    ours, theirs = _pybuild(context, folder / "ours"), _buildah(context, folder / "theirs")
    if ours.error or theirs.error:
        pairs = [("error", ours.error, theirs.error)] if bool(ours.error) != bool(theirs.error) else []
    else:
        pairs = [(path, ours.tree.get(path), theirs.tree.get(path)) for path in sorted({*ours.tree, *theirs.tree})]
        pairs += [(f"config.{field}", ours.config.get(field), theirs.config.get(field)) for field in _FIELDS]
    return [Difference(f"{name} {what}", a, b, _reason(f"{name} {what}")) for what, a, b in pairs if (a or None) != (b or None)]


def _reason(what: str) -> str:
    return next((reason.why for reason in REASONS if fnmatch(what, reason.what)), "")


def _pybuild(context: Path, folder: Path) -> Built:
    out = folder / "layout"
    environ = {**os.environ, "PYBUILD_ROOT": str(folder / "store"), "PYTHONPATH": str(ROOT)}
    folder.mkdir()
    return _built([*_PYBUILD, "build", "-q", "-o", f"type=oci,dest={out},tar=false", str(context)], out, environ)


def _buildah(context: Path, folder: Path) -> Built:
    out = folder / "layout"
    folder.mkdir()
    buildah = ["buildah", "--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
    built = [
        *buildah,
        "bud",
        "--isolation",
        "chroot",
        "--layers",
        "-q",
        "-f",
        str(context / "Dockerfile"),
        "-t",
        "x",
        str(context),
    ]
    # It fails where this names a folder that is not there.
    environ = {name: value for name, value in os.environ.items() if name != "DOCKER_CONFIG"}
    done = subprocess.run(built, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        return Built({}, {}, done.stderr.strip().splitlines()[-1])
    return _built([*buildah, "push", "-q", "x", f"oci:{out}"], out, environ)


def _built(command: list[str], layout: Path, environ: dict[str, str]) -> Built:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        return Built({}, {}, done.stderr.strip().splitlines()[-1])
    manifest = _document(layout, json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])
    tree: dict[str, tuple[object, ...]] = {}
    for layer in manifest["layers"]:
        with tarfile.open(_blob(layout, layer["digest"])) as tar:
            _apply(tar, tree)
    config = _document(layout, manifest["config"]["digest"]).get("config", {})
    fields = {field: config.get(field) for field in _FIELDS}
    # Who built is not a difference.
    fields["Labels"] = {name: value for name, value in (fields["Labels"] or {}).items() if name != "io.buildah.version"}
    return Built(tree, fields)


def _apply(tar: tarfile.TarFile, tree: dict[str, tuple[object, ...]]) -> None:
    """One layer more. Times of directories are left out: who made them when is not the Dockerfile's."""
    for item in tar:
        path = item.name.strip("/").removeprefix("./")
        if path in ("", "."):
            continue
        parent, _, name = path.rpartition("/")
        if name.startswith(".wh."):
            _remove(tree, f"{parent}/{name[4:]}".strip("/"))
        elif item.islnk():
            tree[path] = tree[item.linkname.strip("/")]
        else:
            if not item.isdir():
                _remove(tree, path)
            file = tar.extractfile(item) if item.isreg() else None
            content = hashlib.sha256(file.read()).hexdigest() if file else item.linkname
            # buildah writes whole seconds, rounded.
            time = None if item.isdir() or item.issym() else math.floor(item.mtime + 0.5)
            tree[path] = (
                item.type.decode(),
                oct(item.mode & 0o7777) if not item.issym() else "",
                item.uid,
                item.gid,
                content,
                time,
            )


def _remove(tree: dict[str, tuple[object, ...]], path: str) -> None:
    for name in [name for name in tree if name == path or name.startswith(f"{path}/")]:
        del tree[name]


def _document(layout: Path, digest: str) -> dict[str, object] | dict[str, list[dict[str, str]]] | dict[str, dict[str, object]]:
    return json.loads(_blob(layout, digest).read_text())


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def main(names: list[str]) -> int:
    """Compare, tell, and say whether all differences have their reason."""
    if shutil.which("buildah") is None or os.geteuid():
        print("this needs root, and buildah: apt-get install buildah", file=sys.stderr)
        return 2
    unknown = 0
    for name in names or sorted(path.name for path in CASES.iterdir()):
        with tempfile.TemporaryDirectory() as folder:
            found = differences(name, CASES / name / "context", Path(folder))
        print(f"{name}: {'the same' if not found else f'{len(found)} differences'}")
        for item in found:
            unknown += not item.why
            print(f"  {item.what.partition(' ')[2]}: {item.why or 'NO REASON KNOWN'}")
            print(f"    pybuild {item.ours}\n    buildah {item.theirs}")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
