"""From results of steps to an image: the config with its history, and the manifest. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pybuild.builder.graph import BuildGraph, MetaStep, Root
from pybuild.builder.records.cache import Result
from pybuild.registry import Descriptor, History, Image, ImageConfig, media
from pybuild.values import replace

_COMMENT = "pybuild"


def image_config(graph: BuildGraph, results: Mapping[int, Result], moment: Callable[[int], str]) -> ImageConfig:
    """The config of the target. `moment` says when a step that changes no file was first done."""
    target = graph.target
    history = list(target.config.history)
    diff_ids = list(target.config.diff_ids)
    created = target.config.created
    for number in graph.chain(target.last):
        step = graph.steps[number]
        if isinstance(step, Root):
            continue
        if isinstance(step, MetaStep) and not step.created_by:
            continue
        result = None if isinstance(step, MetaStep) else results[number]
        layer = result.layer if result else None
        created = result.created if result else moment(number)
        author = target.config.author
        history.append(History(created, step.created_by, author, _COMMENT, empty_layer=layer is None))
        if layer is not None:
            diff_ids.append(layer.diff_id)
    return replace(target.config, history=tuple(history), diff_ids=tuple(diff_ids), created=created)


def image_layers(graph: BuildGraph, results: Mapping[int, Result], base: Image | None) -> tuple[Descriptor, ...]:
    """The layers of the target, lowest first, all under OCI's media types."""
    below = tuple(as_oci(layer) for layer in base.manifest.layers) if base else ()
    own = (results[n].layer for n in graph.chain(graph.target.last) if n in results)
    return below + tuple(layer.descriptor for layer in own if layer is not None)


def as_oci(layer: Descriptor) -> Descriptor:
    """A layer under OCI's media type; one that may not be redistributed keeps its own."""
    if layer.media_type in media.FOREIGN_LAYERS:
        return layer
    return Descriptor(media.layer_type(media.LAYERS[layer.media_type]), layer.digest, layer.size)
