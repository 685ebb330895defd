from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pybuild.registry import Digest, Healthcheck, History, ImageConfig, Platform, RunConfig
from pybuild.registry.errors import InvalidDocument

texts = some.text(max_size=8)
# Lists that are empty read back as missing, except for commands, where the two differ.
commands = some.none() | some.lists(texts, max_size=3).map(tuple)
filled = some.text(min_size=1, max_size=8)
configs = some.builds(
    RunConfig,
    user=texts,
    exposed_ports=some.lists(filled, max_size=3, unique=True).map(tuple),
    env=some.lists(filled, max_size=3).map(tuple),
    entrypoint=commands,
    cmd=commands,
    volumes=some.lists(filled, max_size=3, unique=True).map(tuple),
    working_dir=texts,
    labels=some.dictionaries(texts, texts, max_size=3).map(lambda found: tuple(sorted(found.items()))),
    stop_signal=some.none() | filled,
    healthcheck=some.none()
    | some.builds(Healthcheck, test=some.lists(filled, min_size=1, max_size=2).map(tuple), interval=some.integers(0, 9)),
    shell=some.none() | some.lists(filled, min_size=1, max_size=2).map(tuple),
    on_build=some.lists(filled, max_size=2).map(tuple),
    args_escaped=some.booleans(),
)


@given(configs, some.lists(some.binary(max_size=2), max_size=3))
def test_what_is_encoded_is_parsed_back(config, layers):
    whole = ImageConfig(
        Platform("linux", "arm", "v7"), config, tuple(Digest.of(layer) for layer in layers),
        (History("2020-01-01T00:00:00Z", "COPY a b", empty_layer=True),), "2020-01-01T00:00:00Z", "me",
    )  # fmt: skip
    assert ImageConfig.parse(whole.encode(), "") == whole
    assert whole.encode() == ImageConfig.parse(whole.encode(), "").encode()


def test_no_command_and_an_empty_command_differ():
    for command in (None, ()):
        config = ImageConfig(Platform("linux", "amd64"), RunConfig(cmd=command, entrypoint=command))
        assert ImageConfig.parse(config.encode(), "").config.cmd == command


def test_docker_s_fields_are_read():
    document = {
        "architecture": "amd64", "os": "linux", "container": "x", "docker_version": "20", "config": {
            "Hostname": "h", "Env": ["A=b", "C"], "Cmd": ["sh"], "Volumes": None, "Labels": None, "Entrypoint": None,
            "ExposedPorts": {"80/tcp": {}},
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 3_000_000_000, "Retries": 2},
            "StopSignal": "SIGQUIT", "OnBuild": ["RUN x"], "Shell": ["/bin/bash", "-c"],
        },
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(b""))]},
        "history": [{"created_by": "a"}, {"created_by": "b", "empty_layer": True}],
    }  # fmt: skip
    config = ImageConfig.parse(json.dumps(document).encode(), "")
    assert config.config.environment == {"A": "b", "C": ""}
    assert config.config.healthcheck == Healthcheck(("CMD-SHELL", "true"), interval=3_000_000_000, retries=2)
    assert (config.config.entrypoint, config.config.cmd) == (None, ("sh",))
    assert [entry.empty_layer for entry in config.history] == [False, True]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"rootfs": {"diff_ids": ["x"]}},
        {"rootfs": {"diff_ids": []}, "config": {"Env": [1]}},
        {"rootfs": {"diff_ids": []}, "config": {"User": 0}},
        {"rootfs": {"diff_ids": []}, "history": [{"created_by": "a"}]},
        {"rootfs": []},
    ],
)
def test_what_breaks_the_specification(document):
    with pytest.raises(InvalidDocument):
        ImageConfig.parse(json.dumps(document).encode(), "config")
