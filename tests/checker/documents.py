"""The rules of descriptors, indexes, manifests and configurations.

Source: image-spec 1.0 and 1.1, descriptor.md, image-index.md, manifest.md, config.md; distribution's schema 2 for Docker's types.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable

from checker.report import Report

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
MANIFESTS = {
    OCI + "manifest.v1+json": OCI + "config.v1+json",
    DOCKER + "distribution.manifest.v2+json": DOCKER + "container.image.v1+json",
}
INDEXES = (OCI + "index.v1+json", DOCKER + "distribution.manifest.list.v2+json")
LAYERS = {
    OCI + "layer.v1.tar": "none",
    OCI + "layer.v1.tar+gzip": "gzip",
    OCI + "layer.v1.tar+zstd": "zstd",
    DOCKER + "image.rootfs.diff.tar": "none",
    DOCKER + "image.rootfs.diff.tar.gzip": "gzip",
    DOCKER + "image.rootfs.diff.tar.zstd": "zstd",
}
REF_NAME = "org.opencontainers.image.ref.name"

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\Z")
_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+\Z")
_LENGTHS = {"sha256": 64, "sha512": 128}
_TIME = re.compile(r"\d{4}-(?:0\d|1[0-2])-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)\Z")
_NAME = re.compile(r"[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*(?:/[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*)*\Z")
_PORT = re.compile(r"\d{1,5}(?:/(?:tcp|udp|sctp))?\Z")
_ARCHITECTURES = frozenset("386 amd64 arm arm64 loong64 mips mipsle mips64 mips64le ppc64 ppc64le riscv64 s390x wasm".split())  # noqa: SIM905
_SYSTEMS = frozenset("aix android darwin dragonfly freebsd illumos ios js linux netbsd openbsd plan9 solaris windows".split())  # noqa: SIM905


def read(content: bytes, where: str, report: Report) -> dict | None:
    """A JSON object in UTF-8, without a key twice; None when it is something else."""

    def unique(pairs):
        names = [name for name, _ in pairs]
        report.hold(len(names) == len(set(names)), where, "a key stands there twice")
        return dict(pairs)

    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=unique)
    except ValueError as error:
        report.hold(False, where, f"not JSON in UTF-8: {error}")
        return None
    return found if report.hold(isinstance(found, dict), where, "not a JSON object") else None


def is_digest(value: object) -> bool:
    """Whether a value is a digest, of the right length when its algorithm is registered."""
    if not isinstance(value, str) or not _DIGEST.match(value):
        return False
    algorithm, _, encoded = value.partition(":")
    wanted = _LENGTHS.get(algorithm)
    return wanted is None or (len(encoded) == wanted and re.fullmatch("[0-9a-f]+", encoded) is not None)


def check_descriptor(item: object, where: str, report: Report) -> bool:
    """The rules of descriptor.md; whether digest and size can be relied on."""
    if not report.hold(isinstance(item, dict), where, "a descriptor is an object"):
        return False
    media_type = item.get("mediaType")
    is_type = isinstance(media_type, str) and _MEDIA_TYPE.match(media_type)
    good = report.hold(is_type, where, f"mediaType {media_type!r} is none of RFC 6838")
    good &= report.hold(is_digest(item.get("digest")), where, f"digest {item.get('digest')!r} is none")
    size = item.get("size")
    good &= report.hold(type(size) is int and 0 <= size < 1 << 63, where, f"size {size!r} is no int64 of bytes")
    urls = item.get("urls", [])
    report.hold(_strings(urls) and all(re.match(r"[a-z][a-z0-9+.-]*:", url) for url in urls), where, "urls are URIs")
    _annotations(item, where, report)
    if "data" in item:
        try:
            data = base64.b64decode(item["data"], validate=True)
            report.hold(good and len(data) == size and _sha256(data) == item["digest"], where, "data is not the content")
        except (TypeError, ValueError):
            report.hold(False, where, "data is not base64")
    if "platform" in item:
        _platform(item["platform"], f"{where}.platform", report)
    return bool(good)


def check_index(
    index: dict, where: str, report: Report, *, media_type: str | None = None, names: bool = False
) -> tuple[dict, ...]:
    """The rules of image-index.md; its usable descriptors. `names` when it is a layout's index.json."""
    _version(index, where, report, media_type=media_type, known=INDEXES)
    report.hold("layers" not in index and "config" not in index, where, "an index has neither config nor layers")
    items = index.get("manifests")
    if not report.hold(isinstance(items, list), where, "manifests is an array"):
        return ()
    good = []
    for number, item in enumerate(items):
        place = f"{where}.manifests[{number}]"
        if not check_descriptor(item, place, report):
            continue
        good.append(item)
        report.hold(names or item.get("mediaType") in (*MANIFESTS, *INDEXES), place, "neither a manifest nor an index")
        if not _texts(item.get("annotations", {})):
            continue
        name = item.get("annotations", {}).get(REF_NAME)
        report.hold(name is None or _NAME.match(name), place, f"{REF_NAME} {name!r} does not fit its grammar")
    return tuple(good)


def check_manifest(manifest: dict, where: str, report: Report, *, media_type: str) -> tuple[dict, tuple[dict, ...]] | None:
    """The rules of manifest.md for an image: its config and layers, or None when they are not usable."""
    _version(manifest, where, report, media_type=media_type, known=tuple(MANIFESTS))
    report.hold("manifests" not in manifest, where, "a manifest has no manifests")
    config, layers = manifest.get("config"), manifest.get("layers")
    good = check_descriptor(config, f"{where}.config", report)
    if good:
        wanted = MANIFESTS.get(media_type)
        report.hold(config["mediaType"] == wanted, f"{where}.config", f"mediaType is {config['mediaType']!r}, not {wanted!r}")
    if not report.hold(isinstance(layers, list), where, "layers is an array"):
        return None
    for number, layer in enumerate(layers):
        place = f"{where}.layers[{number}]"
        good &= check_descriptor(layer, place, report)
        kind = layer.get("mediaType") if isinstance(layer, dict) else None
        good &= report.hold(isinstance(kind, str) and kind in LAYERS, place, f"mediaType {kind!r} is no layer's")
    return (config, tuple(layers)) if good else None


def check_config(config: dict, where: str, report: Report) -> tuple[str, ...]:
    """The rules of config.md; the diff_ids."""
    for name, known in (("architecture", _ARCHITECTURES), ("os", _SYSTEMS)):
        value = config.get(name)
        report.hold(isinstance(value, str) and value in known, where, f"{name} {value!r} is none of Go's")
    report.hold("created" not in config or _time(config["created"]), where, "created is not of RFC 3339")
    for name in ("author", "os.version", "variant"):
        report.hold(isinstance(config.get(name, ""), str), where, f"{name} is text")
    report.hold(_strings(config.get("os.features", [])), where, "os.features are texts")
    _execution(config.get("config"), f"{where}.config", report)
    rootfs = config.get("rootfs")
    if not report.hold(isinstance(rootfs, dict) and rootfs.get("type") == "layers", where, "rootfs.type is 'layers'"):
        return ()
    diff_ids = rootfs.get("diff_ids")
    if not report.hold(isinstance(diff_ids, list) and all(map(is_digest, diff_ids)), where, "rootfs.diff_ids are digests"):
        return ()
    _history(config.get("history"), len(diff_ids), where, report)
    return tuple(diff_ids)


def _history(history: object, layers: int, where: str, report: Report) -> None:
    if history is None or history == []:
        # Go leaves an empty list out: no history and an empty one are the same.
        return
    if not report.hold(isinstance(history, list), where, "history is an array"):
        return
    filled = 0
    for number, entry in enumerate(history):
        place = f"{where}.history[{number}]"
        if not report.hold(isinstance(entry, dict), place, "an entry is an object"):
            continue
        report.hold("created" not in entry or _time(entry["created"]), place, "created is not of RFC 3339")
        for name in ("author", "created_by", "comment"):
            report.hold(isinstance(entry.get(name, ""), str), place, f"{name} is text")
        report.hold(type(entry.get("empty_layer", False)) is bool, place, "empty_layer is a boolean")
        filled += not entry.get("empty_layer", False)
    report.hold(filled == layers, where, f"history tells of {filled} layers, rootfs of {layers}")


def _execution(config: object, where: str, report: Report) -> None:
    if config is None:
        return
    if not report.hold(isinstance(config, dict), where, "an object"):
        return
    for name, claim, rule in _EXECUTION:
        value = config.get(name)
        report.hold(value is None or claim(value), where, f"{name} {rule}, not {value!r}")


def _environment(value: object) -> bool:
    if not _strings(value) or not all(item.partition("=")[1] and item.partition("=")[0] for item in value):
        return False
    names = [item.partition("=")[0] for item in value]
    return len(names) == len(set(names))


def _set(value: object) -> bool:
    return isinstance(value, dict) and all(item == {} for item in value.values())


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) and key for key, item in value.items())


_EXECUTION: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("User", lambda value: isinstance(value, str), "is text"),
    ("ExposedPorts", lambda value: _set(value) and all(map(_PORT.match, value)), "is a set of PORT/PROTOCOL"),
    ("Env", _environment, "is a list of NAME=VALUE, each name once"),
    ("Entrypoint", _strings, "is a list of texts"),
    ("Cmd", _strings, "is a list of texts"),
    ("Volumes", lambda value: _set(value) and all(value), "is a set of paths"),
    ("WorkingDir", lambda value: isinstance(value, str) and value[:1] in ("", "/"), "is an absolute path"),
    ("Labels", _texts, "maps texts to texts"),
    ("StopSignal", lambda value: isinstance(value, str) and re.match(r"(SIG[A-Z0-9+-]+|\d+)?\Z", value), "is a signal"),
    ("ArgsEscaped", lambda value: isinstance(value, bool), "is a boolean"),
    ("OnBuild", _strings, "is a list of texts"),
    ("Shell", _strings, "is a list of texts"),
)


def _version(document: dict, where: str, report: Report, *, media_type: str | None, known: tuple[str, ...]) -> None:
    report.hold(document.get("schemaVersion") == 2, where, "schemaVersion is 2")
    said = document.get("mediaType")
    report.hold(media_type is None or media_type in known, where, f"{media_type!r} is another kind of document")
    report.hold(said is None or said in known, where, f"mediaType {said!r} is another kind of document")
    report.hold(said is None or media_type is None or said == media_type, where, f"mediaType {said!r}, but called {media_type!r}")
    report.hold(said is not None or not (media_type or "").startswith(DOCKER), where, "Docker's documents say their mediaType")
    _annotations(document, where, report)


def _annotations(document: dict, where: str, report: Report) -> None:
    report.hold(_texts(document.get("annotations", {})), where, "annotations map texts to texts")


def _platform(platform: object, where: str, report: Report) -> None:
    if report.hold(isinstance(platform, dict), where, "an object"):
        for name in ("architecture", "os"):
            report.hold(isinstance(platform.get(name), str) and platform[name], where, f"{name} is required")
        report.hold(isinstance(platform.get("variant", ""), str), where, "variant is text")


def _time(value: object) -> bool:
    return isinstance(value, str) and _TIME.match(value) is not None


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
