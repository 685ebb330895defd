"""What of an image's config starts, and what takes its place."""

import pytest

from pybuild.builder.errors import SandboxError
from pybuild.containers.run import Container, command_line
from pybuild.registry import RunConfig

BOTH = RunConfig(entrypoint=("entry",), cmd=("default",))


@pytest.mark.parametrize(
    ("config", "values", "expected"),
    [
        (BOTH, {}, ("entry", "default")),
        (BOTH, {"command": ("own", "arg")}, ("entry", "own", "arg")),
        (BOTH, {"entrypoint": "other"}, ("other",)),
        (BOTH, {"entrypoint": "other", "command": ("own",)}, ("other", "own")),
        (BOTH, {"entrypoint": "", "command": ("own",)}, ("own",)),
        (RunConfig(cmd=("default",)), {}, ("default",)),
        (RunConfig(entrypoint=("entry",)), {}, ("entry",)),
    ],
)
def test_what_is_executed(config, values, expected):
    assert command_line(Container("image", **values), config) == expected


def test_an_image_that_says_nothing():
    with pytest.raises(SandboxError) as caught:
        command_line(Container("image"), RunConfig())
    assert caught.value.hint == "name a command behind the image"
