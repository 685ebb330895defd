"""The checker itself: it passes what other tools make, and finds each rule that is broken in an image that was good."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest
from real.foreign import TAG, run

from checker import BrokenRules, check_image, check_layout, listing

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEX = "application/vnd.oci.image.index.v1+json"


class Layout:
    """A layout written by hand, so that every rule can be broken in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def add(self, content: bytes | dict, media_type: str) -> dict:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        encoded = hashlib.sha256(raw).hexdigest()
        (self.folder / "blobs" / "sha256" / encoded).write_bytes(raw)
        return {"mediaType": media_type, "digest": f"sha256:{encoded}", "size": len(raw)}

    def index(self, *items: dict, **changes: object) -> None:
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(items)} | changes
        (self.folder / "index.json").write_text(json.dumps(document))

    def image(self, *tars: bytes, config: dict | None = None, manifest: dict | None = None, item: dict | None = None) -> dict:
        layers = [self.add(gzip.compress(tar, 1), LAYER) for tar in tars]
        diff_ids = [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]
        document = {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-02-03T04:05:06.7Z",
            "config": {"Env": ["PATH=/bin"], "ExposedPorts": {"80/tcp": {}}, "Cmd": ["/bin/sh"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": "x"} for _ in tars] + [{"empty_layer": True}],
        }
        described = self.add(document | (config or {}), CONFIG)
        body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": layers}
        found = self.add(body | (manifest or {}), MANIFEST) | (item or {})
        self.index(found)
        return found


def tar(*members: tuple[str, bytes, dict], tail: bytes = b"", **options: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=options.get("format", tarfile.PAX_FORMAT)) as archive:
        for name, kind, fields in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            content = fields.get("content", b"")
            member.size = len(content)
            for field, value in fields.items():
                if field != "content":
                    setattr(member, field, value)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue() + tail


def file(name: str, content: bytes = b"x", **fields: object) -> tuple[str, bytes, dict]:
    return name, tarfile.REGTYPE, {"content": content} | fields


def directory(name: str, **fields: object) -> tuple[str, bytes, dict]:
    return name, tarfile.DIRTYPE, fields


GOOD = tar(
    directory("a"), file("a/b"), ("a/c", tarfile.SYMTYPE, {"linkname": "b"}), ("a/d", tarfile.LNKTYPE, {"linkname": "a/b"})
)
UPPER = tar(directory("a"), file("a/.wh.b", b""), file("e"))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def broken(folder: Path, *, ours: bool = False) -> str:
    with pytest.raises(BrokenRules) as caught:
        check_layout(folder, ours=ours)
    return "\n".join(caught.value.rules)


def test_a_good_image_passes(layout):
    found = layout.image(GOOD, UPPER)
    check_layout(layout.folder, ours=True)
    check_image(layout.folder, found["digest"], ours=True)
    assert "a/d -> a/b" in listing(layout.folder, found["digest"])


def test_an_image_without_layers_passes(layout):
    layout.image()
    check_layout(layout.folder, ours=True)


@pytest.mark.peers("umoci", "skopeo")
def test_images_of_umoci_and_skopeo_pass(foreign_layout, tmp_path):
    check_layout(foreign_layout)
    for kind, extra in (("oci", ()), ("oci", ("--dest-compress-format", "zstd")), ("oci", ("--dest-decompress",))):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        run("skopeo", "copy", *extra, f"oci:{foreign_layout}:{TAG}", f"{kind}:{out}:copy")
        check_layout(out)


@pytest.mark.root
@pytest.mark.peers("umoci")
def test_whiteouts_of_umoci_pass(foreign_layout, tmp_path):
    copied, bundle = tmp_path / "layout", tmp_path / "bundle"
    shutil.copytree(foreign_layout, copied)
    run("umoci", "unpack", "--image", f"{copied}:{TAG}", bundle)
    shutil.rmtree(bundle / "rootfs/usr/share/old")
    (bundle / "rootfs/bin/ls").unlink()
    (bundle / "rootfs/etc/new").write_text("new")
    run("umoci", "repack", "--image", f"{copied}:changed", bundle)
    check_layout(copied)


CONFIGS = {
    "env": ({"config": {"Env": ["PATH"]}}, "Env is a list"),
    "env twice": ({"config": {"Env": ["A=1", "A=2"]}}, "each name once"),
    "ports": ({"config": {"ExposedPorts": {"http": {}}}}, "ExposedPorts"),
    "cmd": ({"config": {"Cmd": "sh"}}, "Cmd is a list"),
    "workdir": ({"config": {"WorkingDir": "a"}}, "absolute"),
    "labels": ({"config": {"Labels": {"a": 1}}}, "Labels"),
    "signal": ({"config": {"StopSignal": "TERM"}}, "StopSignal"),
    "volumes": ({"config": {"Volumes": ["/a"]}}, "Volumes"),
    "os": ({"os": None}, "os None"),
    "architecture": ({"architecture": "x86_64"}, "architecture 'x86_64'"),
    "created": ({"created": "yesterday"}, "RFC 3339"),
    "rootfs": ({"rootfs": {"type": "tree", "diff_ids": []}}, "rootfs.type"),
    "diff ids": ({"rootfs": {"type": "layers", "diff_ids": ["sha256:1"]}}, "diff_ids are digests"),
    "another diff id": ({"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}, "the diffID is"),
    "too few diff ids": ({"rootfs": {"type": "layers", "diff_ids": []}}, "1 layers, but 0 diff_ids"),
    "history": ({"history": [{"created_by": "x"}, {"created_by": "y"}]}, "history tells of 2 layers, rootfs of 1"),
    "empty_layer": ({"history": [{"empty_layer": "no"}]}, "empty_layer is a boolean"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_rule_of_the_config_is_held(layout, name):
    change, rule = CONFIGS[name]
    layout.image(GOOD, config=change)
    assert rule in broken(layout.folder)


MANIFESTS = {
    "version": ({"schemaVersion": 1}, "schemaVersion is 2"),
    "media type": ({"mediaType": INDEX}, "but called"),
    "no config": ({"config": None}, "a descriptor is an object"),
    "no layers": ({"layers": None}, "layers is an array"),
    "also an index": ({"manifests": []}, "a manifest has no manifests"),
    "annotations": ({"annotations": {"a": 1}}, "annotations"),
    "layer type": ({"layers": [{"mediaType": CONFIG, "digest": "sha256:" + "0" * 64, "size": 1}]}, "is no layer's"),
    "layer missing": ({"layers": [{"mediaType": LAYER, "digest": "sha256:" + "0" * 64, "size": 1}]}, "the blob is missing"),
    "layer digest": ({"layers": [{"mediaType": LAYER, "digest": "sha256:0", "size": 1}]}, "digest 'sha256:0' is none"),
    "layer size": ({"layers": [{"mediaType": LAYER, "digest": "sha256:" + "0" * 64, "size": 1.5}]}, "size 1.5"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_rule_of_the_manifest_is_held(layout, name):
    change, rule = MANIFESTS[name]
    layout.image(GOOD, manifest=change)
    assert rule in broken(layout.folder)


ITEMS = {
    "size": ({"size": 3}, "the descriptor says 3"),
    "platform": ({"platform": {"os": "linux", "architecture": "arm64"}}, "architecture is 'amd64'"),
    "no platform": ({"platform": {"os": "linux"}}, "architecture is required"),
    "name": ({"annotations": {"org.opencontainers.image.ref.name": "a//b"}}, "does not fit its grammar"),
    "data": ({"data": "eA=="}, "data is not the content"),
    "media type": ({"mediaType": "manifest"}, "none of RFC 6838"),
}


@pytest.mark.parametrize("name", ITEMS)
def test_a_rule_of_the_index_is_held(layout, name):
    change, rule = ITEMS[name]
    layout.image(GOOD, item=change)
    assert rule in broken(layout.folder)


LAYOUTS = {
    "version": (lambda folder: (folder / "oci-layout").write_text('{"imageLayoutVersion": "2"}'), "imageLayoutVersion"),
    "no version": (lambda folder: (folder / "oci-layout").unlink(), "oci-layout: missing"),
    "no index": (lambda folder: (folder / "index.json").unlink(), "index.json: missing"),
    "not JSON": (lambda folder: (folder / "index.json").write_text("{"), "not JSON"),
    "a key twice": (lambda folder: (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0","imageLayoutVersion":"1.0.0"}'),
                    "a key stands there twice"),
    "blob name": (lambda folder: (folder / "blobs/sha256/x").write_text("x"), "not named by a digest"),
    "blob content": (lambda folder: (folder / "blobs/sha256" / ("0" * 64)).write_text("x"), "the content is"),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_rule_of_the_layout_is_held(layout, name):
    change, rule = LAYOUTS[name]
    layout.image(GOOD)
    change(layout.folder)
    assert rule in broken(layout.folder)


TARS = {
    "absolute": (tar(file("/etc/x")), "names in a layer are relative"),
    "out of the root": (tar(file("../x")), "leaves the root"),
    "twice": (tar(file("a"), file("a")), "twice in one layer"),
    "hard link before its file": (tar(("a", tarfile.LNKTYPE, {"linkname": "b"}), file("b")), "not there before it"),
    "hard link out": (tar(("a", tarfile.LNKTYPE, {"linkname": "../b"})), "a hard link out of the root"),
    "hard link to a directory": (tar(directory("d"), ("a", tarfile.LNKTYPE, {"linkname": "d"})), "to a directory"),
    "empty link": (tar(("a", tarfile.SYMTYPE, {"linkname": ""})), "to nothing"),
    "whiteout with content": (tar(file(".wh.a", b"x")), "a whiteout is an empty file"),
    "whiteout of nothing": (tar(file(".wh.", b"")), "a whiteout of nothing"),
    "whiteout of the parent": (tar(directory("a"), file("a/.wh...", b"")), "a whiteout of nothing"),
    "reserved": (tar(file(".wh..wh.a", b"")), "reserved"),
    "opaque twice": (tar(directory("a"), file("a/.wh..wh..opq", b""), file("a/.wh..wh..opq", b"")), "twice in one layer"),
    "overlay's whiteout": (tar(("a", tarfile.CHRTYPE, {})), "overlay's own whiteout"),
    "overlay's attribute": (
        tar(directory("a", pax_headers={"SCHILY.xattr.trusted.overlay.opaque": "y"})),
        "overlay's own attribute",
    ),
    "a long part": (tar(file("a" * 256)), "more than 255 bytes"),
    "a wrong sum": (GOOD[:100] + b"1" + GOOD[101:], "whose sum is wrong"),
    "cut": (GOOD[:1000], "ends in the middle"),
    "no end": (GOOD[:2560] + b"x" * 512, "not a tar header"),
    "something behind": (GOOD + b"x" * 512, "something behind"),
    "not tar": (b"hello" * 200, "not a tar header"),
}


@pytest.mark.parametrize("name", TARS)
def test_a_rule_of_the_layer_is_held(layout, name):
    content, rule = TARS[name]
    layout.image(content)
    assert rule in broken(layout.folder)


def test_a_layer_of_another_compression_is_found(layout):
    plain = layout.add(GOOD, LAYER)
    layout.image(GOOD, manifest={"layers": [plain]})
    assert "not gzip" in broken(layout.folder)
    cut = layout.add(gzip.compress(GOOD)[:-9], LAYER)
    layout.image(GOOD, manifest={"layers": [cut]})
    assert "gzip ends in the middle" in broken(layout.folder)
    zstd = layout.add(gzip.compress(GOOD), LAYER.replace("gzip", "zstd"))
    layout.image(GOOD, manifest={"layers": [zstd]})
    assert "not zstd" in broken(layout.folder)


OURS = {
    "GNU header": ((tar(file("a"), format=tarfile.GNU_FORMAT),), "not a POSIX header"),
    "dot": ((tar(file("./a")),), "shortest form"),
    "no parent": ((tar(file("a/b")),), "its directory is neither before it nor below"),
    "parent behind": ((tar(file("a/b"), directory("a")),), "a directory behind what is in it"),
    "parent is a file": ((tar(file("a")), tar(file("a/b"))), "lies in what is no directory"),
    "nothing to hide": ((GOOD, tar(directory("a"), file("a/.wh.z", b""))), "nothing below to hide"),
    "opaque without a directory": ((tar(directory("a"), file("a/.wh..wh..opq", b"")),), "there is no directory below"),
    "opaque behind": ((GOOD, tar(directory("a"), file("a/n"), file("a/.wh..wh..opq", b""))), "stands before"),
    "needless record": ((tar(file("a", pax_headers={"uid": "0"})),), "without need"),
    "hard link to below": ((GOOD, tar(directory("a"), ("a/z", tarfile.LNKTYPE, {"linkname": "a/b"}))), "not there before it"),
}


@pytest.mark.parametrize("name", OURS)
def test_a_promise_of_pybuild_is_held(layout, name):
    tars, rule = OURS[name]
    layout.image(*tars)
    check_layout(layout.folder)
    assert rule in broken(layout.folder, ours=True)
