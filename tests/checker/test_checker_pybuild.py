"""The checker on images that pybuild makes, with all that pybuild promises; and on the same images, damaged."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard
from real.command import COMMAND

from checker import BrokenRules, check_layout

UNPACK = {
    "gzip": gzip.decompress,
    "zstd": lambda content: zstandard.ZstdDecompressor().decompressobj().decompress(content),
    "none": bytes,
}
SUFFIX = {"gzip": "+gzip", "zstd": "+zstd", "none": ""}
LONG = "long" * 30
ODD = (None, 1, -1, 1.5, "x", [], {}, [1], {"a": 1}, [None], [{}], [[]])


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A context with what a layer can hold, and the Dockerfile of an image of four layers."""
    folder = tmp_path_factory.mktemp("checked") / "context"
    (folder / "tree" / LONG).mkdir(parents=True)
    (folder / "tree" / "file").write_text("content\n")
    (folder / "tree" / "umläut").write_text("utf-8\n")
    (folder / "tree" / LONG / LONG).write_bytes(bytes(5000))
    (folder / "tree" / "link").symlink_to("file")
    os.link(folder / "tree" / "file", folder / "tree" / "hard")
    os.utime(folder / "tree" / "file", ns=(1, 1_700_000_000_123_456_789))
    (folder / "Dockerfile").write_text(
        'FROM scratch\nENV A=b PATH=/bin\nCOPY tree /a/b/\nWORKDIR /srv\nCOPY --chown=3000000:5 --chmod=4755 tree/file ./\n'
        'LABEL who="a test"\nEXPOSE 80\nVOLUME /data\nUSER 5\nSTOPSIGNAL SIGINT\nENTRYPOINT ["/a/b/file"]\nCMD ["x"]\n'
        'COPY tree/link /a/b/\n'
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def layouts(contexts: Path, tmp_path_factory: pytest.TempPathFactory):
    """The image's layout for a compression; built once each."""
    folder = tmp_path_factory.mktemp("layouts")

    def layout(compression: str) -> Path:
        out = folder / compression
        if not out.exists():
            output = f"type=oci,dest={out},tar=false"
            arguments = ("--root", folder / "store", "build", "-q", "-t", "checked", "--compression", compression, "-o", output)
            done = subprocess.run([*COMMAND, *map(str, arguments), str(contexts)], capture_output=True, check=False)
            assert done.returncode == 0, done.stderr.decode()
        return out

    return layout


@pytest.mark.parametrize("compression", UNPACK)
def test_an_image_of_pybuild_keeps_all_rules(layouts, compression):
    layout = layouts(compression)
    check_layout(layout, ours=True)
    _, manifest, config = documents(layout)
    kinds = {layer["mediaType"] for layer in manifest["layers"]}
    assert kinds == {f"application/vnd.oci.image.layer.v1.tar{SUFFIX[compression]}"}
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        assert f"sha256:{hashlib.sha256(UNPACK[compression](path(layout, layer).read_bytes())).hexdigest()}" == diff_id


@pytest.mark.parametrize("compression", UNPACK)
def test_a_bit_that_fell_over_is_found_in_every_blob(layouts, compression, tmp_path):
    layout = copied(layouts(compression), tmp_path)
    chance = random.Random(compression)
    for blob in sorted((layout / "blobs/sha256").iterdir()):
        content = blob.read_bytes()
        at = chance.randrange(len(content))
        blob.write_bytes(content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :])
        assert f"sha256:{blob.name}: the content is" in broken(layout)
        blob.write_bytes(content[:-1])
        assert blob.name in broken(layout)
        blob.unlink()
        assert f"sha256:{blob.name}: the blob is missing" in broken(layout)
        blob.write_bytes(content)
    check_layout(layout, ours=True)


def test_a_layer_twice_or_left_out_or_elsewhere_is_found(layouts, tmp_path):
    layout = copied(layouts("gzip"), tmp_path)
    _, manifest, _ = documents(layout)
    layers = manifest["layers"]
    assert len(layers) > 2
    for changed, rule in (
        (layers[:-1], "diff_ids"),
        ([*layers, layers[0]], "diff_ids"),
        (layers[::-1], "the diffID is"),
        ([{**layer, "size": layer["size"] + 1} for layer in layers], "the descriptor says"),
        ([{**layer, "mediaType": layer["mediaType"].replace("gzip", "zstd")} for layer in layers], "not zstd"),
        ([{**layer, "mediaType": layer["mediaType"].removesuffix("+gzip")} for layer in layers], "not a tar header"),
    ):
        replace(layout, manifest=manifest | {"layers": changed})
        assert rule in broken(layout)


def test_headers_that_differ_between_equal_layers_are_found(layouts, tmp_path):
    layout = copied(layouts("none"), tmp_path)
    _, manifest, config = documents(layout)
    content = path(layout, manifest["layers"][0]).read_bytes()
    start = content.index(b"a/\0")
    fields = {
        265: "uname",
        297: "gname",
        157: "linkname",
        330: "devmajor",
        338: "devminor",
        50: "name",
        400: "prefix",
        505: "last bytes",
    }
    for at, field in fields.items():
        header = bytearray(content[start : start + 512])
        header[at] = ord("1")
        header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
        tar = content[:start] + bytes(header) + content[start + 512 :]
        diff_ids = [f"sha256:{hashlib.sha256(tar).hexdigest()}", *config["rootfs"]["diff_ids"][1:]]
        layer = add(layout, tar, manifest["layers"][0]["mediaType"])
        other = config | {"rootfs": {"type": "layers", "diff_ids": diff_ids}}
        replace(layout, manifest=manifest | {"layers": [layer, *manifest["layers"][1:]]}, config=other)
        assert field in broken(layout), field


@pytest.mark.slow
def test_nonsense_anywhere_in_a_document_is_a_broken_rule_and_no_crash(layouts, tmp_path):
    layout = copied(layouts("none"), tmp_path)
    index, manifest, config = documents(layout)
    found = 0
    for place in places(index):
        for value in ODD:
            (layout / "index.json").write_text(json.dumps(changed(index, place, value)))
            found += is_broken(layout)
    good = set((layout / "blobs/sha256").iterdir())
    for place in places(manifest):
        for value in ODD:
            replace(layout, manifest=changed(manifest, place, value))
            found += is_broken(layout)
            clear(layout, good)
    for place in places(config):
        if place[:1] not in (("history",), ("config",)):
            for value in ODD:
                replace(layout, manifest=manifest, config=changed(config, place, value))
                found += is_broken(layout)
                clear(layout, good)
    assert found > 500


def documents(layout: Path) -> tuple[dict, dict, dict]:
    index = json.loads((layout / "index.json").read_text())
    manifest = json.loads(path(layout, index["manifests"][0]).read_text())
    return index, manifest, json.loads(path(layout, manifest["config"]).read_text())


def path(layout: Path, blob: dict) -> Path:
    return layout / "blobs" / "sha256" / blob["digest"].removeprefix("sha256:")


def copied(layout: Path, folder: Path) -> Path:
    return Path(shutil.copytree(layout, folder / "layout"))


def add(layout: Path, content: bytes | object, media_type: str) -> dict:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    found = {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(raw).hexdigest()}", "size": len(raw)}
    path(layout, found).write_bytes(raw)
    return found


def replace(layout: Path, *, manifest: object, config: object = None) -> None:
    """Write another manifest, with another configuration if there is one, where the layout names its image."""
    if config is not None:
        manifest = {**manifest, "config": add(layout, config, manifest["config"]["mediaType"])}
    image = add(layout, manifest, "application/vnd.oci.image.manifest.v1+json")
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [image]}))


def clear(layout: Path, good: set[Path]) -> None:
    """Remove the blobs that were added: the checker reads them all."""
    for blob in set((layout / "blobs/sha256").iterdir()) - good:
        blob.unlink()


def places(document: object, place: tuple = ()):
    yield place
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in items:
        yield from places(value, (*place, key))


def changed(document: object, place: tuple, value: object) -> object:
    if not place:
        return value
    found = dict(document) if isinstance(document, dict) else list(document)
    found[place[0]] = changed(found[place[0]], place[1:], value)
    return found


def broken(layout: Path) -> str:
    with pytest.raises(BrokenRules) as caught:
        check_layout(layout, ours=True)
    return "\n".join(caught.value.rules)


def is_broken(layout: Path) -> bool:
    try:
        check_layout(layout, ours=True)
    except BrokenRules:
        return True
    return False
