"""Copies between all ends, with what other tools write and read at the other side."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile

import pytest
from real.faulty_registry import faulty_registry

from pybuild import registries
from pybuild.registry import Descriptor, Digest, Index, Platform, Reference, Store, media
from pybuild.registry.copying import copy
from pybuild.registry.errors import (
    BlobNotFound,
    DigestMismatch,
    ImageNotFound,
    InvalidDocument,
    InvalidReference,
    PlatformNotFound,
    StoreError,
    UnsupportedMediaType,
)
from pybuild.registry.parts import Parts, reachable
from pybuild.registry.referrers import fallback_tag, referrers
from pybuild.registry.sources import Sources
from pybuild.registry.transfer import pull, push, push_index
from pybuild.registry.transports import Place, Settings, parse, source, target


@pytest.fixture
def path():
    """A repository that no other test uses."""
    return f"copies/{os.urandom(6).hex()}"


@pytest.fixture
def do_copy(other_store):
    """Copies from place to place; `store:` is the other store."""

    def action(come_from, go_to, *, platform=None, **options):
        settings = Settings(lambda: other_store, insecure=False, platform=platform)
        with source(parse(come_from), settings) as giver, target(parse(go_to), settings) as taker:
            return copy(giver, taker, platform=platform, **options)

    return action


@pytest.fixture
def image(store, make_image):
    return make_image(store, {"a": os.urandom(300_000)}, {"b": b"two"}, config={"author": "me"})


@pytest.fixture
def index(store, make_image):
    """An index of two platforms, tagged in the store."""
    members = []
    for text in ("linux/amd64", "linux/s390x"):
        platform = Platform(*text.split("/"))
        made = make_image(store, {"a": text.encode()}, {"same": b"same"}, platform=platform)
        store.forget(made.descriptor.digest)
        members.append(Descriptor(media.OCI_MANIFEST, made.descriptor.digest, made.descriptor.size, (), platform))
    found = Index.build(tuple(members))
    return store.add(found.raw, found.media_type)


def skopeo(*arguments):
    done = subprocess.run(["skopeo", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ubuntu", Place("docker", "docker.io/library/ubuntu:latest")),
        ("docker://r.io:5000/a:1", Place("docker", "r.io:5000/a:1")),
        ("docker:1", Place("docker", "docker.io/library/docker:1")),
        ("store:a:1", Place("store", "a:1")),
        ("oci:folder", Place("oci", "folder")),
        ("oci:folder:tag", Place("oci", "folder", "tag")),
        ("oci:a:b/c", Place("oci", "a:b/c")),
        ("oci-archive:x.tar:v1", Place("oci-archive", "x.tar", "v1")),
        ("docker-archive:x.tar:r.io:5000/a:1", Place("docker-archive", "x.tar", "r.io:5000/a:1")),
        ("dir:x:y", Place("dir", "x:y")),
    ],
)
def test_places_as_users_write_them(text, place):
    assert parse(text) == place


@pytest.mark.parametrize("text", ["oci:", "A", "docker://", "store:"])
def test_what_is_no_place(text):
    with pytest.raises(InvalidReference):
        parse(text)


@pytest.mark.peers("docker-registry")
@pytest.mark.parametrize("kind", ["oci:{}/layout:v1", "oci-archive:{}/a.tar:v1", "dir:{}/dir", "docker://{}:v2", "store:kept:v1"])
def test_there_and_back_is_the_same_to_the_byte(kind, registry, path, store, image, tmp_path, do_copy):
    first = push(store, image, Reference.parse(registry.name(f"{path}:v1")))
    there = kind.format(registry.name(f"{path}/second") if kind.startswith("docker") else tmp_path)
    assert do_copy(registry.name(f"{path}:v1"), there).digest == first.digest
    assert do_copy(there, registry.name(f"{path}/back:v1")).digest == first.digest
    events = []
    do_copy(there, registry.name(f"{path}/back:v1"), listener=events.append)
    assert {event.action for event in events} == {"exists"}


@pytest.mark.peers("docker-registry", "skopeo")
@pytest.mark.parametrize("kind", ["oci:{}/x:v1", "oci-archive:{}/x:v1", "dir:{}/x", "docker-archive:{}/x:a.io/b:v1"])
def test_skopeo_reads_what_was_copied(kind, registry, path, store, image, tmp_path, do_copy):
    push(store, image, Reference.parse(registry.name(f"{path}:v1")))
    place = kind.format(tmp_path)
    do_copy(registry.name(f"{path}:v1"), place)
    told = json.loads(skopeo("inspect", "--config", place))
    assert told["rootfs"]["diff_ids"] == list(image.config.diff_ids)
    skopeo("copy", "--dest-tls-verify=false", place, f"docker://{registry.name(path)}/skopeo:v1")


@pytest.mark.peers("docker-registry", "skopeo")
@pytest.mark.parametrize("kind", ["oci:{}/x:v1", "oci-archive:{}/x:v1", "dir:{}/x", "docker-archive:{}/x:a.io/b:v1"])
def test_what_skopeo_wrote_is_copied(kind, registry, path, store, image, tmp_path, do_copy, other_store):
    push(store, image, Reference.parse(registry.name(f"{path}:v1")))
    place = kind.format(tmp_path)
    skopeo("copy", "--src-tls-verify=false", f"docker://{registry.name(path)}:v1", place)
    do_copy(place, registry.name(f"{path}/ours:v1"))
    do_copy(place, "store:ours:v1")
    assert other_store.find("ours:v1").config.diff_ids == image.config.diff_ids


@pytest.mark.peers("docker-registry")
@pytest.mark.parametrize("kind", ["oci:{}/layout:v1", "oci-archive:{}/a.tar:v1", "dir:{}/dir", "store:kept:v1"])
def test_an_index_is_copied_with_all_platforms(kind, registry, path, store, index, tmp_path, do_copy):
    name = Reference.parse(registry.name(f"{path}:v1"))
    assert push_index(store, index, name).digest == index.digest
    there = kind.format(tmp_path)
    assert do_copy(str(name), there).digest == index.digest
    assert do_copy(there, registry.name(f"{path}/back:v1")).digest == index.digest


@pytest.mark.peers("docker-registry")
def test_one_platform_of_an_index(registry, path, store, index, do_copy, other_store):
    name = Reference.parse(registry.name(f"{path}:v1"))
    push_index(store, index, name)
    do_copy(str(name), "store:one:v1", platform=Platform("linux", "s390x"))
    assert str(other_store.find("one:v1").config.platform) == "linux/s390x"
    with pytest.raises(PlatformNotFound):
        do_copy(str(name), "store:none:v1", platform=Platform("linux", "riscv64"))


def test_an_index_in_the_store_counts_with_all_its_platforms(store, index):
    from pybuild.builder.upkeep.holdings import holdings
    from pybuild.builder.workspace import Workspace
    from pybuild.removal import remove

    store.tag(index, Reference.parse("many:1"))
    blobs = {blob.digest for blob in reachable(store, index)}
    assert len(blobs) == 1 + 2 + 2 + 3
    with Workspace.open(store.root) as workspace:
        pinned = holdings(workspace).pinned
        assert {f"blobs/sha256/{digest.hex}" for digest in blobs} <= pinned
        assert str(store.find("many:1").config.platform) in ("linux/amd64", "linux/s390x")
        remove(workspace, "many:1", force=False)
    assert store.blobs() == ()


def test_between_registries_nothing_touches_the_disk(faulty, store, image, do_copy, monkeypatch):
    import builtins

    with faulty_registry() as second:
        push(store, image, Reference.parse(f"{faulty.host}/a:1"))
        written = []
        original = builtins.open

        def watching(file, mode="r", *rest, **options):
            if set(mode) & set("wax+"):
                written.append(file)
            return original(file, mode, *rest, **options)

        monkeypatch.setattr(builtins, "open", watching)
        do_copy(f"{faulty.host}/a:1", f"{second.host}/b:1")
        monkeypatch.undo()
        assert written == []
        assert second.blobs == faulty.blobs and ("b", "1") in second.manifests


def test_within_a_registry_layers_are_mounted(registry, path, store, image, do_copy):
    push(store, image, Reference.parse(registry.name(f"{path}/a:1")))
    events = []
    do_copy(registry.name(f"{path}/a:1"), registry.name(f"{path}/b:1"), listener=events.append)
    assert {event.action for event in events} == {"mounted"}


def test_a_source_that_breaks_off_is_asked_for_the_rest(faulty, fault, store, make_image, do_copy):
    image = make_image(store, {"a": os.urandom(3_000_000)})
    layer = str(image.manifest.layers[0].digest)
    with faulty_registry() as second:
        push(store, image, Reference.parse(f"{faulty.host}/a:1"))
        faulty.faults = [fault(f"GET .*{layer}", cut_after=1_000_000), fault(f"GET .*{layer}", cut_after=1_000_000)]
        do_copy(f"{faulty.host}/a:1", f"{second.host}/b:1")
        assert second.blobs[layer] == faulty.blobs[layer]
    assert len([headers for headers in faulty.headers if headers.get("Range", "bytes=0-") != "bytes=0-"]) == 2


def test_a_source_that_lies_leaves_no_name(faulty, fault, store, image, do_copy, tmp_path, pauses):
    layer = str(image.manifest.layers[0].digest)
    push(store, image, Reference.parse(f"{faulty.host}/a:1"))
    faulty.faults = [fault(f"GET .*{layer}", damage=True, times=9)]
    with pytest.raises(DigestMismatch):
        do_copy(f"{faulty.host}/a:1", f"oci:{tmp_path}/layout:v1")
    assert json.loads((tmp_path / "layout" / "index.json").read_text())["manifests"] == []
    assert not (tmp_path / "layout" / "blobs" / "sha256" / layer.removeprefix("sha256:")).exists()


def test_a_layout_that_lacks_a_blob(store, image, do_copy, tmp_path):
    from pybuild.registry.layout import write_layout

    write_layout(store, image, [Reference.parse("x:v1")], tmp_path / "layout")
    (tmp_path / "layout" / "blobs" / "sha256" / image.manifest.layers[0].digest.hex).unlink()
    with pytest.raises(BlobNotFound):
        do_copy(f"oci:{tmp_path}/layout:v1", f"dir:{tmp_path}/dir")
    with pytest.raises(ImageNotFound):
        do_copy(f"oci:{tmp_path}/layout:v9", f"dir:{tmp_path}/dir")
    with pytest.raises(InvalidDocument):
        do_copy(f"oci:{tmp_path}/nothing", f"dir:{tmp_path}/dir")


@pytest.mark.parametrize("kind", ["oci", "dir"])
def test_a_folder_of_the_user_s_is_not_written_to(kind, faulty, store, image, do_copy, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    push(store, image, Reference.parse(f"{faulty.host}/a:1"))
    with pytest.raises(StoreError, match="not empty"):
        do_copy(f"{faulty.host}/a:1", f"{kind}:{tmp_path}/mine")
    assert os.listdir(tmp_path / "mine") == ["letter"]


def test_an_archive_is_equal_when_the_image_is(faulty, store, image, do_copy, tmp_path):
    push(store, image, Reference.parse(f"{faulty.host}/a:1"))
    for name in ("one", "two"):
        do_copy(f"{faulty.host}/a:1", f"oci-archive:{tmp_path}/{name}.tar:v1")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert sorted(os.listdir(tmp_path)) == sorted({"one.tar", "two.tar", "store", "other", "home"} & set(os.listdir(tmp_path)))
    with tarfile.open(tmp_path / "one.tar") as archive:
        assert {"oci-layout", "index.json"} <= set(archive.getnames())


def test_an_archive_with_names_that_lead_out_writes_nothing_outside(do_copy, tmp_path, other_store):
    import io

    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        for name in ("../evil", "/evil", "blobs/sha256/../../../evil", "index.json"):
            entry = tarfile.TarInfo(name)
            entry.size = 2
            archive.addfile(entry, io.BytesIO(b"{}"))
    with pytest.raises(InvalidDocument):
        do_copy(f"oci-archive:{tmp_path}/evil.tar", "store:x")
    assert not list(tmp_path.glob("**/evil"))


ARTIFACT = "application/vnd.example.sbom.v1+json"


def _artifact(store, subject, annotations):
    """A manifest that refers to another one, as cosign and oras make them."""
    blob = store.add(b'{"packages":[]}', ARTIFACT)
    empty = store.add(b"{}", "application/vnd.oci.empty.v1+json")
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "artifactType": ARTIFACT,
        "config": empty.document(),
        "layers": [blob.document()],
        "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": subject.size},
        "annotations": annotations,
    }
    return Parts.parse(json.dumps(document).encode(), media.OCI_MANIFEST, "artifact")


def _attach(registry, path, store, image, *, annotations=None):
    from pybuild.registry.ends import StoreEnd
    from pybuild.registry.remote import RegistryEnd

    artifact = _artifact(store, image.manifest.descriptor, annotations or {"a": "b"})
    store.add(artifact.raw, artifact.media_type)
    name = Reference(registry, path, None, artifact.descriptor.digest)
    with Sources(name, actions=("pull", "push")) as sources:
        end = RegistryEnd(name, sources)
        given = StoreEnd(store, "unused")
        for blob in artifact.blobs:
            end.take(blob, given, lambda done: None)
        end.name(artifact)
    return artifact


def _referrers(registry, path, digest):
    with Sources(Reference(registry, path, None, digest)) as sources:
        return referrers(sources.main, digest)


@pytest.mark.peers("docker-registry")
def test_an_artifact_is_found_by_its_subject_and_copied_along(registry, path, store, image, do_copy):
    """registry:2 has no list of referrers: a tag stands in for it."""
    push(store, image, Reference.parse(registry.name(f"{path}:v1")))
    artifact = _attach(registry.host, path, store, image)
    (found,) = _referrers(registry.host, path, image.manifest.descriptor.digest)
    assert (found.digest, found.artifact_type, found.annotations) == (artifact.descriptor.digest, ARTIFACT, (("a", "b"),))
    do_copy(registry.name(f"{path}:v1"), registry.name(f"{path}/plain:v1"))
    assert _referrers(registry.host, f"{path}/plain", image.manifest.descriptor.digest) == ()
    do_copy(registry.name(f"{path}:v1"), registry.name(f"{path}/whole:v1"), with_referrers=True)
    assert _referrers(registry.host, f"{path}/whole", image.manifest.descriptor.digest) == (found,)
    tags = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{registry.name(path)}"))["Tags"]
    assert sorted(tags) == sorted(["v1", fallback_tag(image.manifest.descriptor.digest)])


@pytest.mark.peers("docker-registry")
def test_an_artifact_that_is_deleted_leaves_the_list_of_referrers(registry, path, store, image):
    push(store, image, Reference.parse(registry.name(f"{path}:v1")))
    first = _attach(registry.host, path, store, image)
    second = _attach(registry.host, path, store, image, annotations={"c": "d"})
    digest = image.manifest.descriptor.digest
    assert len(_referrers(registry.host, path, digest)) == 2
    registries.delete(registry.name(f"{path}@{first.descriptor.digest}"))
    assert [item.digest for item in _referrers(registry.host, path, digest)] == [second.descriptor.digest]
    registries.delete(registry.name(f"{path}@{second.descriptor.digest}"))
    assert _referrers(registry.host, path, digest) == ()


def test_where_the_registry_lists_referrers_no_tag_is_edited_on_deletion(faulty, fault, store, image):
    push(store, image, Reference.parse(f"{faulty.host}/a:1"))
    artifact = _attach(faulty.host, "a", store, image)
    faulty.faults = [
        fault("DELETE .*manifests", status=202),
        fault("GET .*referrers", status=200, content=Index.build(()).raw, times=9),
    ]
    before = faulty.count("PUT .*manifests")
    registries.delete(f"{faulty.host}/a@{artifact.descriptor.digest}")
    assert faulty.count("DELETE") == 1 and faulty.count("PUT .*manifests") == before


def test_a_registry_that_lists_referrers_itself_gets_no_tag(faulty, fault, store, image):
    push(store, image, Reference.parse(f"{faulty.host}/a:1"))
    digest = image.manifest.descriptor.digest
    faulty.faults = [fault("PUT .*manifests", headers={"OCI-Subject": str(digest)})]
    artifact = _attach(faulty.host, "a", store, image)
    assert ("a", fallback_tag(digest)) not in faulty.manifests
    listed = [Index.build((artifact.referrer,)).raw, Index.build(()).raw]
    faulty.faults = [
        fault("GET .*referrers", status=200, content=listed[0], headers={"Link": '</v2/a/referrers/more?p=2>; rel="next"'}),
        fault("GET .*referrers/more", status=200, content=listed[1]),
    ]
    assert [item.digest for item in _referrers(faulty.host, "a", digest)] == [artifact.descriptor.digest]


def test_schema_1_is_refused_with_a_word_why(faulty, do_copy):
    faulty.add_manifest("old", "1", b'{"schemaVersion":1,"name":"old"}', "application/vnd.docker.distribution.manifest.v1+json")
    with pytest.raises(UnsupportedMediaType) as failed:
        do_copy(f"{faulty.host}/old:1", "store:x")
    assert "2019" in failed.value.hint


def test_foreign_layers_are_not_fetched(faulty, store, make_image, do_copy, other_store):
    image = make_image(store, {"a": b"1"})
    foreign = Descriptor(media.FOREIGN_LAYERS[0], Digest.of(b"windows"), 7)
    from pybuild.registry import Manifest

    manifest = Manifest.build(image.manifest.config, (foreign, *image.manifest.layers))
    faulty.serve(image, store, "app")
    faulty.add_manifest("app", "win", manifest.raw, manifest.media_type)
    with faulty_registry() as second:
        do_copy(f"{faulty.host}/app:win", f"{second.host}/app:win")
        assert ("app", "win") in second.manifests and str(foreign.digest) not in second.blobs
    assert faulty.count(str(foreign.digest)) == 0


@pytest.mark.damaged  # the checker of layouts takes no foreign layers
def test_a_pull_and_a_push_leave_foreign_layers_where_they_are(faulty, store, make_image, other_store):
    from pybuild.registry import ImageConfig, Manifest

    image = make_image(store, {"a": b"1"})
    foreign = Descriptor(media.FOREIGN_LAYERS[0], store.add(b"windows", "").digest, 7)
    config = ImageConfig(image.config.platform, diff_ids=(foreign.digest, *image.config.diff_ids)).encode()
    manifest = Manifest.build(store.add(config, media.OCI_CONFIG), (foreign, *image.manifest.layers))
    made = store.image(store.add(manifest.raw, manifest.media_type))
    push(store, made, Reference.parse(f"{faulty.host}/app:win"))
    assert foreign.digest not in faulty.blobs
    pulled = pull(other_store, Reference.parse(f"{faulty.host}/app:win"))
    assert pulled.manifest == manifest and not other_store.has(foreign) and other_store.has(image.manifest.layers[0])
    assert faulty.count(str(foreign.digest)) == 0


@pytest.mark.parametrize("count", [2, 2500])
def test_all_tags_of_all_pages(count, faulty):
    faulty.page = 1000
    for number in range(count):
        faulty.add_manifest("app", f"v{number:04}", b"{}", media.OCI_MANIFEST)
    with Sources(Reference.parse(f"{faulty.host}/app")) as sources:
        assert len(sources.main.tags()) == count
    assert faulty.count("tags/list") == -(-count // 1000)


def test_a_new_store_takes_a_copy(tmp_path, faulty, store, image):
    push(store, image, Reference.parse(f"{faulty.host}/a:1"))
    fresh = Store.open(tmp_path / "fresh")
    settings = Settings(lambda: fresh)
    with source(parse(f"{faulty.host}/a:1"), settings) as giver, target(parse("store:b:2"), settings) as taker:
        copy(giver, taker)
    assert fresh.find("b:2").id == image.id
