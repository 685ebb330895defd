"""Images as docker shows them: rows of `images` and `history`, the document of `inspect`. Pure but for the clock."""

from __future__ import annotations

import re
import time
from calendar import timegm
from collections.abc import Mapping, Sequence

from pybuild.builder.contexts.patterns import translate
from pybuild.hints import NamedTuple
from pybuild.progress.text import size
from pybuild.registry.config import run_config_document
from pybuild.registry.reference import Reference
from pybuild.registry.store import Image

_NONE = "<none>"
_COMMAND_WIDTH = 45
_UNITS = ((60, "minute"), (60, "hour"), (24, "day"), (7, "week"), (4.35, "month"), (12, "year"))

Row = dict[str, object]


class Filter(NamedTuple):
    """Which images are listed: those without or with a name, and those whose name fits one of the patterns."""

    is_dangling: bool | None = None
    references: tuple[re.Pattern[str], ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Filter:
        """Read `dangling=BOOL` and `reference=PATTERN`, as docker's --filter. Raises ValueError."""
        is_dangling, references = None, []
        for text in texts:
            name, equals, value = text.partition("=")
            if not equals:
                raise ValueError(f"{text!r} has no value; write NAME=VALUE")
            if name == "dangling":
                if value.lower() not in ("true", "1", "false", "0"):
                    raise ValueError(f"dangling={value} is neither true nor false")
                is_dangling = value.lower() in ("true", "1")
            elif name == "reference":
                try:
                    references.append(re.compile(translate(value)))
                except (ValueError, IndexError):
                    raise ValueError(f"{value!r} is not a pattern") from None
            else:
                raise ValueError(f"no filter {name!r}; there are dangling and reference")
        return cls(is_dangling, tuple(references))

    def takes(self, reference: Reference | None) -> bool:
        """Whether a row is shown; None is that of an image without a name."""
        if self.is_dangling is not None and self.is_dangling != (reference is None):
            return False
        if not self.references:
            return True
        spelled = (reference.familiar, reference.familiar_repository) if reference else ()
        return any(pattern.fullmatch(text) for pattern in self.references for text in spelled)


def image_rows(
    found: Sequence[tuple[Image, tuple[Reference, ...]]],
    *,
    name: str | None,
    no_trunc: bool,
    only: Filter = Filter(),  # noqa: B008 (a frozen value)
    now: float | None = None,
) -> list[Row]:
    """A row for each name of each image."""
    rows: list[Row] = []
    for image, names in found:
        for reference in names or (None,):
            if name is not None and (reference is None or not _is_asked_for(reference, name)):
                continue
            if not only.takes(reference):
                continue
            created = image.config.created or ""
            total = _size(image)
            rows.append(
                {
                    "ID": str(image.id) if no_trunc else image.id.short,
                    "Repository": reference.familiar_repository if reference else _NONE,
                    "Tag": (reference.tag if reference else None) or _NONE,
                    "Digest": str(image.descriptor.digest),
                    "CreatedSince": ago(created, now),
                    "CreatedAt": created,
                    "Size": size(total),
                }
            )
    return rows


def _is_asked_for(reference: Reference, name: str) -> bool:
    wanted = Reference.parse(name)
    has_tag = ":" in name.rpartition("/")[2] or wanted.digest is not None
    return reference == wanted if has_tag else reference.repository == wanted.repository


def _size(image: Image) -> int:
    return sum(layer.size for layer in image.manifest.layers) + image.manifest.config.size


def ago(moment: str, now: float | None = None) -> str:
    """How long ago an RFC 3339 time is: `3 minutes ago`."""
    try:
        then = timegm(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return "N/A"
    return since(then, now)


def since(then: float, now: float | None = None) -> str:
    """How long ago a moment is, in seconds since 1970."""
    count = max(0.0, (time.time() if now is None else now) - then)
    if count < 1:
        return "Less than a second ago"
    unit = "second"
    for step, name in _UNITS:
        if count < step * (2 if name in ("week", "month") else 1):
            break
        count, unit = count / step, name
    whole = int(count)
    return f"{whole} {unit}{'' if whole == 1 else 's'} ago"


def history_rows(image: Image) -> tuple[Row, ...]:
    """A row for each history entry, the newest first. Sizes are those of the compressed layers."""
    layers = iter(image.manifest.layers)
    rows: list[Row] = []
    for entry in image.config.history:
        layer = None if entry.empty_layer else next(layers, None)
        rows.append(
            {
                "ID": "<missing>",
                "CreatedAt": entry.created or "",
                "CreatedBy": entry.created_by or "",
                "Size": layer.size if layer else 0,
                "Comment": entry.comment or "",
            }
        )
    if rows:
        rows[-1]["ID"] = str(image.id)
    return tuple(reversed(rows))


def shown_history(rows: Sequence[Mapping[str, object]], *, no_trunc: bool, human: bool) -> list[Row]:
    """History rows for people."""
    shown = []
    for row in rows:
        identity, by = str(row["ID"]), " ".join(str(row["CreatedBy"]).split())
        if not no_trunc:
            identity = identity.removeprefix("sha256:")[:12]
            by = by if len(by) <= _COMMAND_WIDTH else by[: _COMMAND_WIDTH - 1] + "…"
        shown.append(
            {
                **row,
                "ID": identity if row["ID"] != "<missing>" else "<missing>",
                "CreatedBy": by,
                "CreatedSince": ago(str(row["CreatedAt"])) if human else row["CreatedAt"],
                "Size": size(int(str(row["Size"]))) if human else row["Size"],
            }
        )
    return shown


def inspected(image: Image, names: Sequence[Reference]) -> Row:
    """What docker's `image inspect` says."""
    config = image.config
    repositories = dict.fromkeys(name.familiar_repository for name in names)
    document: Row = {
        "Id": str(image.id),
        "RepoTags": [name.familiar for name in names if name.tag],
        "RepoDigests": [f"{repository}@{image.descriptor.digest}" for repository in repositories],
        "Comment": config.history[-1].comment or "" if config.history else "",
        "Created": config.created or "",
        "Author": config.author or "",
        "Architecture": config.platform.architecture,
        "Os": config.platform.os,
        "Size": _size(image),
        "Config": _completed(run_config_document(config.config)),
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in config.diff_ids]},
        "Descriptor": {
            "mediaType": image.manifest.media_type,
            "digest": str(image.manifest.descriptor.digest),
            "size": image.manifest.descriptor.size,
        },
    }
    if config.platform.variant:
        document["Variant"] = config.platform.variant
    return document


def _completed(config: dict[str, object]) -> dict[str, object]:
    """The config with the fields that docker shows even when they are empty."""
    empty: dict[str, object] = {
        "User": "",
        "Env": None,
        "Entrypoint": None,
        "Cmd": None,
        "Volumes": None,
        "WorkingDir": "",
        "Labels": None,
    }
    return empty | config
