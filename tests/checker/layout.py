"""A folder as an OCI image layout, and everything that its index leads to. Source: image-spec, image-layout.md."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

from checker import documents, tarballs
from checker.layers import Tree, check_layer
from checker.report import Report
from checker.tarballs import Member

_CHUNK = 1 << 20
_TYPES = {b"0": "-", b"1": "h", b"2": "l", b"3": "c", b"4": "b", b"5": "d", b"6": "p"}


def check_layout(folder: str | os.PathLike[str], *, ours: bool = False) -> None:
    """Check a whole layout: its files, every blob, and every image that index.json names. Raises BrokenRules."""
    root, report = Path(folder), Report()
    checker = _Checker(root, report, ours=ours)
    version = checker.document(root / "oci-layout", "oci-layout")
    if version is not None:
        report.hold(version.get("imageLayoutVersion") == "1.0.0", "oci-layout", "imageLayoutVersion is 1.0.0")
    index = checker.document(root / "index.json", "index.json")
    checker.blobs()
    if index is not None:
        for item in documents.check_index(index, "index.json", report, names=True):
            checker.item(item)
    report.finish()


def check_image(folder: str | os.PathLike[str], digest: str, *, ours: bool = False) -> None:
    """Check one manifest or index of a layout, and all that it leads to. Raises BrokenRules."""
    root, report = Path(folder), Report()
    checker = _Checker(root, report, ours=ours)
    if report.hold(documents.is_digest(digest), digest, "not a digest") and checker.has(digest):
        size = checker.path(digest).stat().st_size
        document = checker.document(checker.path(digest), digest) or {}
        guess = documents.INDEXES[0] if "manifests" in document else next(iter(documents.MANIFESTS))
        checker.item({"mediaType": document.get("mediaType", guess), "digest": digest, "size": size})
    report.finish()


def listing(folder: str | os.PathLike[str], digest: str) -> str:
    """Every layer of an image as text, one line a member, with all that its header says; the image is checked, too."""
    root, report = Path(folder), Report()
    checker = _Checker(root, report, ours=True)
    checker.item({"mediaType": next(iter(documents.MANIFESTS)), "digest": digest, "size": checker.path(digest).stat().st_size})
    report.finish()
    lines = []
    for number, (diff_id, members) in enumerate(checker.layers, 1):
        lines.append(f"layer {number} {diff_id}")
        lines.extend("  " + _line(member) for member in members)
    return "\n".join(lines) + "\n"


def _line(member: Member) -> str:
    mode = stat.filemode(member.mode)[1:]
    name = member.name.decode(errors="backslashreplace")
    what = f"{member.device[0]},{member.device[1]}" if member.type in b"34" else str(member.size)
    link = f" -> {member.link.decode(errors='backslashreplace')}" if member.link else ""
    records = "".join(
        f" [{key.decode()}={value!r}]" for key, value in sorted(member.records.items()) if key not in (b"path", b"linkpath")
    )
    return f"{_TYPES[member.type]}{mode} {member.uid}:{member.gid} {what} @{member.mtime} {name}{link}{records}"


def _authors(history: object) -> tuple[object, ...]:
    """Who made each layer, as history's comments tell: pybuild signs its own there."""
    entries = [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []
    return tuple(entry.get("comment") for entry in entries if not entry.get("empty_layer"))


class _Checker:
    def __init__(self, root: Path, report: Report, *, ours: bool) -> None:
        self._root, self._report, self._ours = root, report, ours
        self._seen: set[str] = set()
        origins = root / "origins.json"
        self._elsewhere = set(json.loads(origins.read_bytes())) if origins.exists() else set()
        self._hashed: set[str] = set()
        self.layers: list[tuple[str, tuple[Member, ...]]] = []

    def path(self, digest: str) -> Path:
        """Where a blob lies."""
        algorithm, _, encoded = digest.partition(":")
        return self._root / "blobs" / algorithm / encoded

    def has(self, digest: str) -> bool:
        """Note a blob that is missing, or is not what its digest says."""
        path = self.path(digest)
        if not self._report.hold(path.is_file(), digest, "the blob is missing"):
            return False
        algorithm, _, encoded = digest.partition(":")
        if digest in self._hashed or algorithm not in ("sha256", "sha512"):
            return True
        self._hashed.add(digest)
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        return self._report.hold(found == encoded, digest, f"the content is {algorithm}:{found}")

    def document(self, path: Path, where: str) -> dict | None:
        """A JSON document."""
        if not self._report.hold(path.is_file(), where, "missing"):
            return None
        return documents.read(path.read_bytes(), where, self._report)

    def blobs(self) -> None:
        """The folder blobs/, and that every name in it is its content's digest."""
        folder = self._root / "blobs"
        if not self._report.hold(folder.is_dir(), "blobs", "missing"):
            return
        for algorithm in sorted(folder.iterdir()):
            for blob in sorted(algorithm.iterdir()):
                digest = f"{algorithm.name}:{blob.name}"
                if self._report.hold(documents.is_digest(digest), f"blobs/{algorithm.name}/{blob.name}", "not named by a digest"):
                    self.has(digest)

    def item(self, item: dict) -> None:
        """An index or a manifest, by its descriptor."""
        digest, media_type = item["digest"], item["mediaType"]
        if digest in self._seen or not self._content(item, digest):
            return
        self._seen.add(digest)
        document = self.document(self.path(digest), digest)
        if document is None:
            return
        if media_type in documents.INDEXES:
            for inner in documents.check_index(document, digest, self._report, media_type=media_type):
                if self.path(inner["digest"]).exists():
                    # A layout may hold a part of an index: the images of the platforms that somebody asked for.
                    self.item(inner)
        elif media_type in documents.MANIFESTS:
            self._image(document, digest, media_type, item.get("platform"))

    def _image(self, manifest: dict, digest: str, media_type: str, platform: dict | None) -> None:
        parts = documents.check_manifest(manifest, digest, self._report, media_type=media_type)
        if parts is None:
            return
        config_blob, layers = parts
        if not self._content(config_blob, f"{digest}.config"):
            return
        config = self.document(self.path(config_blob["digest"]), config_blob["digest"])
        if config is None:
            return
        diff_ids = documents.check_config(config, config_blob["digest"], self._report)
        for name in ("architecture", "os", "variant"):
            if isinstance(platform, dict) and platform.get(name):
                said = f"{name} is {config.get(name)!r}, the descriptor says {platform[name]!r}"
                self._report.hold(platform[name] == config.get(name), config_blob["digest"], said)
        count = f"{len(layers)} layers, but {len(diff_ids)} diff_ids"
        if not self._report.hold(len(layers) == len(diff_ids), digest, count):
            return
        tree: Tree = {b"": tarballs.DIRECTORY}
        authors = _authors(config.get("history"))
        for number, (layer, diff_id) in enumerate(zip(layers, diff_ids, strict=True)):
            where = f"{digest}.layers[{number}]"
            if layer["digest"] in self._elsewhere and not self.path(layer["digest"]).exists():
                # A layout may lack blobs that lie elsewhere; what stands on this one cannot be looked at.
                return
            if not self._content(layer, where):
                return
            compression = documents.LAYERS[layer["mediaType"]]
            path = self.path(layer["digest"])
            ours = self._ours or authors[number : number + 1] == ("pybuild",)
            tree, members = check_layer(path, compression, diff_id, tree, where, self._report, ours=ours)
            self.layers.append((diff_id, members))

    def _content(self, blob: dict, where: str) -> bool:
        if not self.has(blob["digest"]):
            return False
        size = self.path(blob["digest"]).stat().st_size
        return self._report.hold(size == blob["size"], where, f"the size is {size}, the descriptor says {blob['size']}")
