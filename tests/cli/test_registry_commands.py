"""copy, tags, delete, manifest and pull --all, as a user calls them."""

from __future__ import annotations

import json
import os

import pytest

pytestmark = pytest.mark.peers("docker-registry")


@pytest.fixture
def place(registry):
    """A repository that no other test uses."""
    return registry.name(f"cli/{os.urandom(6).hex()}")


@pytest.fixture
def built(cli, tmp_path):
    """Builds an image for a platform and pushes it under a name."""

    def build(name, *, platform="linux/amd64", content="x"):
        folder = tmp_path / "context"
        folder.mkdir(exist_ok=True)
        (folder / "file").write_text(content + platform)
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY file /\n")
        assert cli("build", "-q", "--platform", platform, "-t", name, "--push", folder)[0] == 0
        return json.loads(cli("manifest", "inspect", f"docker://{name}")[1])

    return build


def test_copy_tags_and_delete(cli, place, built, tmp_path):
    built(f"{place}:v1")
    code, out, err = cli("copy", f"{place}:v1", f"{place}:v2")
    assert code == 0 and out.startswith("Digest: sha256:") and "already there" in err
    assert cli("tags", place)[1] == "v1\nv2\n"
    assert json.loads(cli("tags", "--json", place)[1]) == ["v1", "v2"]
    assert cli("copy", "-q", f"{place}:v1", f"docker-archive:{tmp_path}/x.tar:a:1")[0] == 0
    assert cli("load", "-i", tmp_path / "x.tar")[0] == 0
    code, _, err = cli("delete", f"{place}:v1")
    assert code == 1 and "--all-tags deletes" in err, "registry:2 deletes no single tags"
    assert cli("delete", "--all-tags", f"{place}:v1")[1] == f"Deleted: {place}:v1\n"
    assert cli("copy", f"{place}:v2", f"oci:{tmp_path}/x")[0] == 1


def test_what_is_not_there_is_told(cli, place, tmp_path):
    assert cli("tags", place)[0] == 1 and cli("delete", f"{place}:v1")[0] == 1
    assert cli("copy", "store:nothing", f"oci:{tmp_path}/x")[0] == 1
    assert cli("copy", "oci:", "x")[0] == 2
    code, _, err = cli("manifest", "push", "no-such-list")
    assert code == 1 and "manifest create" in err


def test_a_list_is_made_annotated_pushed_and_pulled_whole(cli, place, built):
    for platform in ("linux/amd64", "linux/arm64"):
        built(f"{place}:{platform.partition('/')[2]}", platform=platform)
    code, out, _ = cli("manifest", "create", f"{place}:all", f"{place}:amd64", f"{place}:arm64", "--annotation", "team=a")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == ["linux/amd64", "linux/arm64"]
    assert cli("manifest", "create", f"{place}:all", f"{place}:amd64")[0] == 1, "there is one"
    assert (
        cli("manifest", "annotate", f"{place}:all", "linux/arm64", "--platform", "linux/arm64/v9", "--annotation", "x=y")[0] == 0
    )
    assert cli("manifest", "annotate", f"{place}:all", "linux/s390x")[0] == 1
    shown = json.loads(cli("manifest", "inspect", f"{place}:all")[1])
    assert shown["manifests"][1]["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v9"}
    assert shown["manifests"][1]["annotations"] == {"x": "y"} and shown["annotations"] == {"team": "a"}
    assert cli("manifest", "push", "--purge", f"{place}:all")[1].startswith("Digest: sha256:")
    assert cli("manifest", "rm", f"{place}:all")[0] == 1, "purged"
    assert json.loads(cli("manifest", "inspect", f"docker://{place}:all")[1]) == shown
    assert cli("--root", os.environ["PYBUILD_ROOT"] + "-2", "pull", "--all", f"{place}:all")[0] == 0
    listed = cli("images", "--format", "{{.Repository}}:{{.Tag}}")[1].split()
    assert f"{place}:all" in listed
    assert cli("push", f"{place}:all")[0] == 0
    assert cli("pull", "--all", "--platform", "linux/arm64", f"{place}:all")[0] == 2
    assert "warning" not in cli("pull", "--platform", "linux/arm64", f"{place}:arm64")[2]
    assert (
        "arm64 is for linux/arm64 alone, not for linux/amd64\n" in cli("pull", "--platform", "linux/amd64", f"{place}:arm64")[2]
    )


def test_a_list_of_images_of_the_store_goes_to_another_repository(cli, place, built):
    built(f"{place}/a:1")
    assert cli("manifest", "create", "mine", f"store:{place}/a:1")[0] == 0
    assert cli("manifest", "push", "mine", f"{place}/list:1")[0] == 0
    assert len(json.loads(cli("manifest", "inspect", f"docker://{place}/list:1")[1])["manifests"]) == 1
    assert cli("manifest", "create", "--amend", "mine", f"docker://{place}/list:1")[0] == 0
    assert len(json.loads(cli("manifest", "inspect", "mine")[1])["manifests"]) == 1, "the same image once"
    assert cli("manifest", "inspect", "--referrers", f"{place}/list:1")[1] == "[]\n"


@pytest.mark.parametrize("option", ["--insecure", "--tls-verify=false", "--tls-verify=0"])
def test_both_spellings_of_insecure(option, cli, place, built):
    built(f"{place}:v1")
    elsewhere = place.replace("127.0.0.1", "0.0.0.0")
    assert cli("tags", elsewhere)[0] == 1
    assert cli("tags", option, elsewhere)[1] == "v1\n"
    assert cli("tags", "--tls-verify=maybe", elsewhere)[0] == 2
