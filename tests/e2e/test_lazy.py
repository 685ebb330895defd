"""A build moves nothing of its base that it does not read, and whoever needs the bytes later gets them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from real.faulty_registry import faulty_registry

import pybuild
from pybuild import registries
from pybuild.registry import Reference, Store
from pybuild.registry.transfer import push


@pytest.fixture
def base(tmp_path, make_base):
    """A registry in memory with the image `base`, whose layer is 3 MB; its address."""
    with faulty_registry() as registry:
        image = make_base(Store.open(tmp_path / "theirs"))
        push(Store.open(tmp_path / "theirs"), image, Reference.parse(f"{registry.host}/base"))
        registry.layer = str(image.manifest.layers[0].digest)
        registry.requests.clear()
        yield registry


@pytest.fixture
def make_base():
    """Builds the base in a store."""

    def make(store):
        folder = Path(store.root).parent / "base"
        folder.mkdir()
        (folder / "etc").mkdir()
        (folder / "etc" / "passwd").write_text("app:x:7:8::/:/bin/sh\n")
        (folder / "large").write_bytes(os.urandom(3_000_000))
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
        pybuild.build(folder, tags=["base"], root=store.root)
        return store.find("base")

    return make


@pytest.fixture
def build(tmp_path, base):
    """Builds a Dockerfile on the base."""

    def action(text, **options):
        folder = tmp_path / "context"
        folder.mkdir(exist_ok=True)
        (folder / "file").write_text("content")
        (folder / "Dockerfile").write_text(text.replace("BASE", f"{base.host}/base"))
        return pybuild.build(folder, root=tmp_path / "store", **options)

    return action


def fetched(base):
    return base.count(f"GET .*{base.layer}")


@pytest.mark.parametrize(
    "text",
    ["FROM BASE\nENV A=b\nCMD [\"x\"]\n", "FROM BASE\nCOPY --link file /file\n", "FROM BASE AS unused\nFROM scratch\nCOPY file /\n",
     "FROM BASE\nCOPY --link --chown=7:8 file /file\n"],
)  # fmt: skip
def test_what_no_step_reads_stays_where_it_is(text, build, base):
    result = build(text, tags=["app"])
    assert result.image_id and fetched(base) == 0


@pytest.mark.parametrize(
    "text",
    ["FROM BASE\nCOPY file /file\n", "FROM BASE\nWORKDIR /work\n", "FROM scratch\nCOPY --from=BASE /etc/passwd /\n",
     "FROM BASE\nCOPY --link --chown=app file /file\n"],
)  # fmt: skip
def test_what_a_step_reads_is_fetched_once(text, build, base):
    build(text, tags=["app"])
    assert fetched(base) == 1
    build(text, tags=["app"])
    assert fetched(base) == 1


def test_a_push_back_mounts_the_layers(build, base, tmp_path):
    build("FROM BASE\nENV A=b\n", tags=[f"{base.host}/other/app"])
    base.mounts = True
    before = len(base.blobs)
    pybuild.push(f"{base.host}/other/app", root=tmp_path / "store")
    assert fetched(base) == 0 and ("other/app", "latest") in base.manifests
    assert len(base.blobs) == before + 1, "the config"


def test_a_push_to_another_registry_takes_the_layers_along(build, base, tmp_path):
    with faulty_registry() as second:
        build("FROM BASE\nENV A=b\n", tags=[f"{second.host}/app"], push=True)
        assert second.blobs[base.layer] == base.blobs[base.layer] and fetched(base) == 1


@pytest.mark.parametrize("way", ["save", "copy", "output", "again"])
def test_who_needs_the_bytes_gets_them(way, build, base, tmp_path):
    build("FROM BASE\nENV A=b\n", tags=["app"])
    root = tmp_path / "store"
    if way == "save":
        with open(tmp_path / "app.tar", "wb") as file:
            pybuild.save(["app"], file, root=root)
        assert pybuild.load(open(tmp_path / "app.tar", "rb"), root=tmp_path / "other")
    elif way == "copy":
        pybuild.copy("store:app", f"oci:{tmp_path}/layout:app", root=root)
        assert (tmp_path / "layout" / "blobs" / "sha256" / base.layer.removeprefix("sha256:")).exists()
    elif way == "output":
        build("FROM BASE\nENV A=b\n", outputs=[pybuild.Output("tar", str(tmp_path / "fs.tar"))])
        assert (tmp_path / "fs.tar").stat().st_size > 3_000_000
    else:
        build("FROM BASE\nENV A=b\nCOPY file /\n")
    assert fetched(base) == 1


def test_a_store_with_layers_elsewhere_is_not_damaged(build, base, tmp_path):
    build("FROM BASE\nENV A=b\n", tags=["app"])
    found, _ = pybuild.verify(root=tmp_path / "store")
    assert found.faults == ()
    assert [str(names[0].familiar) for _, names in pybuild.images(root=tmp_path / "store")]


def test_a_registry_that_has_lost_the_layer_meanwhile_is_told(build, base, tmp_path):
    build("FROM BASE\nENV A=b\n", tags=["app"])
    del base.blobs[base.layer]
    with pytest.raises(pybuild.RegistryError, match="404") as failed:
        build("FROM BASE\nCOPY file /\n")
    assert "was left in the registry" in failed.value.hint


def test_a_layer_is_indexed_while_it_comes_in(build, base, tmp_path, monkeypatch):
    from pybuild.builder.layers import extraction

    passes = []
    original = extraction.opened
    monkeypatch.setattr(extraction, "opened", lambda *arguments: passes.append(arguments) or original(*arguments))
    build("FROM BASE\nCOPY file /file\n")
    assert fetched(base) == 1 and passes == []


@pytest.fixture
def lie(base):
    """Makes the registry's image one whose config says another diffID; its manifest."""
    from pybuild.registry import Descriptor, Digest, ImageConfig, Manifest, media

    (content, kind) = base.manifests["base", "latest"]
    manifest = Manifest.parse(content, kind, "base")
    config = ImageConfig.parse(base.blobs[str(manifest.config.digest)], "config")
    # Another layer, which is what it says, comes first.
    good = b"\0" * 10240
    base.blobs[str(Digest.of(good))] = good
    layers = (Descriptor(media.layer_type("none"), Digest.of(good), len(good)), *manifest.layers)
    wrong = ImageConfig(config.platform, config.config, (Digest.of(good), Digest.of(b"another"))).encode()
    base.blobs[str(Digest.of(wrong))] = wrong
    lying = Manifest.build(Descriptor(media.OCI_CONFIG, Digest.of(wrong), len(wrong)), layers)
    base.add_manifest("base", "latest", lying.raw, lying.media_type)
    return lying


def test_a_layer_with_another_diff_id_than_the_config_says_is_not_kept(base, build, tmp_path, lie):
    """Nor is the image: once the registry has another one of this name, that is taken."""
    with pytest.raises(pybuild.RegistryError, match="unpacked"):
        build("FROM BASE\nCOPY file /\n")
    store = Store.open(tmp_path / "store")
    assert not store.has(lie.layers[1]) and not store.index().manifests


@pytest.mark.parametrize("all_platforms", [False, True])
def test_of_an_image_that_lies_about_its_layers_a_pull_leaves_nothing(all_platforms, base, tmp_path, lie):
    with pytest.raises(pybuild.RegistryError, match="unpacked: expected sha256") as failed:
        registries.pull(f"{base.host}/base", all_platforms=all_platforms, root=tmp_path / "store")
    assert "do not trust" in failed.value.hint
    store = Store.open(tmp_path / "store")
    assert not store.index().manifests and not store.has(lie.layers[1]) and not os.listdir(f"{store.root}/tmp")
    assert not store.blobs()


def test_what_a_pull_has_brought_is_indexed(base, build, tmp_path, monkeypatch):
    from pybuild.builder.layers import extraction

    registries.pull(f"{base.host}/base", root=tmp_path / "store")
    monkeypatch.setattr(extraction, "opened", lambda *arguments: pytest.fail("the layer is read again"))
    build("FROM BASE\nCOPY file /file\n")


def test_a_layer_that_does_not_unpack_is_refused_by_a_pull(base, tmp_path):
    from pybuild.builder.errors import LayerError
    from pybuild.registry import Descriptor, Digest, ImageConfig, Manifest, Platform, media

    content = os.urandom(100_000)
    config = ImageConfig(Platform.here(), diff_ids=(Digest.of(content),)).encode()
    for blob in (content, config):
        base.blobs[str(Digest.of(blob))] = blob
    layer = Descriptor(media.layer_type("gzip"), Digest.of(content), len(content))
    made = Manifest.build(Descriptor(media.OCI_CONFIG, Digest.of(config), len(config)), (layer,))
    base.add_manifest("base", "broken", made.raw, made.media_type)
    with pytest.raises(LayerError, match=f"layer {layer.digest}: the gzip stream"):
        registries.pull(f"{base.host}/base:broken", root=tmp_path / "store")
    assert not Store.open(tmp_path / "store").blobs()
