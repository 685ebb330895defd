"""Push and pull: one suite for docker-registry (plain, with passwords, with tokens, with TLS), `pybuild serve`, and one in memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from checker import check_layout
from real.faulty_registry import faulty_registry
from real.served import served_store

from pybuild.registry import Digest, Index, Platform, Reference, Store, media
from pybuild.registry.errors import (
    AuthenticationFailed,
    BlobNotFound,
    InvalidReference,
    NotInRegistry,
    PlatformNotFound,
    Unreachable,
    UnsupportedMediaType,
)
from pybuild.registry.transfer import pull, push, resolve

pytestmark = pytest.mark.peers("docker-registry", "skopeo", "openssl")

ALL = ("plain", "htpasswd", "token", "tls", "serve", "memory")


@pytest.fixture(params=ALL)
def host(request, log_in, home, certificate, tmp_path_factory):
    """The address of each kind of registry; credentials are in place."""
    if request.param == "memory":
        with faulty_registry() as registry:
            yield registry.host
    elif request.param == "serve":
        root = tmp_path_factory.mktemp("served") / "store"
        Store.open(root)
        with served_store(root, writable=True) as served:
            yield served.host
        check_layout(root)
    elif request.param == "tls":
        found = request.getfixturevalue("tls_registry")
        place = home / ".config" / "pybuild" / "certs.d" / found
        place.mkdir(parents=True)
        shutil.copy(certificate / "cert.pem", place / "ca.crt")
        yield found
    elif request.param == "plain":
        yield request.getfixturevalue("registry").host
    elif request.param == "htpasswd":
        found = request.getfixturevalue("htpasswd_registry").host
        log_in(found, "alice", "secret")
        yield found
    else:
        found = request.getfixturevalue("token_registry")
        log_in(found, "user", "secret")
        yield found


@pytest.fixture
def path():
    """A repository that no other test uses."""
    return f"tests/{os.urandom(6).hex()}"


def actions(events, digest=None):
    return {event.action for event in events if digest is None or event.name == digest.short}


def test_the_end_of_a_transfer_is_told_once(host, path, store, other_store, make_image):
    image = make_image(store, {"a": os.urandom(3 << 20)})
    name = Reference.parse(f"{host}/{path}:v1")
    events = []
    push(store, image, name, listener=events.append)
    pull(other_store, name, listener=events.append)
    ends = [(event.action, event.name) for event in events if event.done == event.total and event.action in ("push", "pull")]
    assert len(ends) == len(set(ends)) and ("push", image.manifest.layers[0].digest.short) in ends


def test_what_was_pushed_is_pulled(host, path, store, other_store, make_image):
    image = make_image(store, {"a": os.urandom(3 << 20)}, {"b": b"two"}, config={"author": "me"})
    name = Reference.parse(f"{host}/{path}:v1")
    events = []
    assert push(store, image, name, listener=events.append) == image.manifest.descriptor
    assert actions(events) == {"push"}
    assert {(event.name, event.done) for event in events if event.done == event.total} == {
        (blob.digest.short, blob.size) for blob in image.manifest.blobs
    }
    pulled = pull(other_store, name)
    assert pulled.manifest == image.manifest
    assert pulled.config == image.config
    assert other_store.find(str(name)).id == image.id
    for blob in image.manifest.blobs:
        assert other_store.read(blob) == store.read(blob)


def test_what_is_there_is_not_sent_or_fetched_again(host, path, store, other_store, make_image):
    image = make_image(store, {"a": b"1"})
    name = Reference.parse(f"{host}/{path}")
    push(store, image, name)
    again, fetched, fetched_again = [], [], []
    push(store, image, name, listener=again.append)
    pull(other_store, name, listener=fetched.append)
    pull(other_store, name, listener=fetched_again.append)
    assert actions(again) == {"exists"}
    assert actions(fetched) == {"pull"}
    assert actions(fetched_again) == {"exists"}


def test_a_layer_of_another_repository_is_mounted(registry, path, store, make_image):
    image = make_image(store, {"a": os.urandom(1000)})
    push(store, image, Reference.parse(registry.name(f"{path}/first")))
    events = []
    push(store, image, Reference.parse(registry.name(f"{path}/second")), listener=events.append)
    assert actions(events) == {"mounted"}


def test_a_layer_that_was_pulled_is_mounted(registry, path, store, other_store, make_image):
    push(store, make_image(store, {"a": os.urandom(1000)}), Reference.parse(registry.name(f"{path}/first")))
    image = pull(other_store, Reference.parse(registry.name(f"{path}/first")))
    events = []
    push(other_store, image, Reference.parse(registry.name(f"{path}/second")), listener=events.append)
    assert actions(events, image.manifest.layers[0].digest) == {"mounted"}


def test_mounting_asks_for_a_token_of_both_repositories(token_registry, token_server, path, store, make_image, log_in):
    log_in(token_registry, "user", "secret")
    image = make_image(store, {"a": os.urandom(1000)})
    push(store, image, Reference.parse(f"{token_registry}/{path}/first"))
    del token_server.asked[:]
    events = []
    push(store, image, Reference.parse(f"{token_registry}/{path}/second"), listener=events.append)
    assert actions(events) == {"mounted"}
    scopes = [query["scope"] for query in token_server.asked]
    assert [f"repository:{path}/second:pull,push", f"repository:{path}/first:pull"] in scopes
    assert len(scopes) == 2, "one token for each set of scopes, however many blobs"


def test_a_registry_that_does_not_mount_gets_an_upload(faulty, store, make_image):
    image = make_image(store, {"a": os.urandom(1000)})
    push(store, image, Reference.parse(f"{faulty.host}/first"))
    faulty.blobs.clear()
    events = []
    push(store, image, Reference.parse(f"{faulty.host}/second"), listener=events.append)
    assert actions(events) == {"push"}
    assert faulty.count("DELETE /v2/second/blobs/uploads/") == len(image.manifest.blobs), "the upload begun instead is given back"


def test_public_images_need_no_credentials(token_registry, store, other_store, make_image, path, log_in, home):
    log_in(token_registry, "user", "secret")
    name = Reference.parse(f"{token_registry}/public/{path}")
    push(store, make_image(store, {"a": b"1"}), name)
    (home / ".docker" / "config.json").unlink()
    assert pull(other_store, name)


@pytest.mark.parametrize("kind", ["htpasswd", "token"])
def test_without_credentials_the_hint_says_how_to_log_in(kind, htpasswd_registry, token_registry, store):
    host = htpasswd_registry.host if kind == "htpasswd" else token_registry
    with pytest.raises(AuthenticationFailed) as failed:
        pull(store, Reference.parse(f"{host}/private/x"))
    assert "401" in str(failed.value)
    assert f"pybuild login {host}" in failed.value.hint


@pytest.mark.parametrize("kind", ["htpasswd", "token"])
def test_a_wrong_password_is_told_without_the_password(kind, htpasswd_registry, token_registry, store, log_in):
    host = htpasswd_registry.host if kind == "htpasswd" else token_registry
    log_in(host, "alice", "hunter2")
    with pytest.raises(AuthenticationFailed) as failed:
        pull(store, Reference.parse(f"{host}/private/x"))
    assert "'alice'" in failed.value.hint
    assert "hunter2" not in f"{failed.value}{failed.value.hint}"


def test_no_right_to_push(token_registry, store, make_image):
    with pytest.raises(AuthenticationFailed):
        push(store, make_image(store, {"a": b"1"}), Reference.parse(f"{token_registry}/public/x"))


def test_no_such_image(host, path, store):
    with pytest.raises(NotInRegistry, match=rf"{path}:nope.* 404"):
        pull(store, Reference.parse(f"{host}/{path}:nope"))
    assert store.index().manifests == ()


def test_a_registry_that_is_away(store):
    with pytest.raises(Unreachable, match=r"cannot reach 127\.0\.0\.1:1: connection refused") as failed:
        pull(store, Reference.parse("127.0.0.1:1/x"))
    assert "running" in failed.value.hint


def test_a_name_by_digest_is_pulled_and_found_again(host, path, store, other_store, make_image):
    image = make_image(store, {"a": b"1"})
    push(store, image, Reference.parse(f"{host}/{path}:v1"))
    pinned = Reference.parse(f"{host}/{path}@{image.manifest.descriptor.digest}")
    assert pull(other_store, pinned).id == image.id
    assert other_store.tagged(pinned).digest == image.manifest.descriptor.digest


def test_an_index_is_resolved_to_the_platform(host, path, store, other_store, make_image):
    images = {
        text: make_image(store, {"a": text.encode()}, platform=Platform(*text.split("/")))
        for text in ("linux/amd64", "linux/s390x")
    }
    for text, image in images.items():
        push(store, image, Reference.parse(f"{host}/{path}:{text.replace('/', '-')}"))
    index = Index.build(
        tuple(
            type(image.descriptor)(media.OCI_MANIFEST, image.descriptor.digest, image.descriptor.size, (), image.config.platform)
            for image in images.values()
        )
    )
    _put_raw(host, path, "all", index)
    name = Reference.parse(f"{host}/{path}:all")
    for text, image in images.items():
        platform = Platform(*text.split("/"))
        assert resolve(name, platform=platform).config == image.config
        assert pull(other_store, name, platform=platform).id == image.id
        assert other_store.find(str(name)).id == image.id
    pinned = Reference.parse(f"{host}/{path}@{Digest.of(index.raw)}")
    pull(other_store, pinned, platform=Platform("linux", "s390x"))
    assert other_store.image(other_store.tagged(pinned)).id == images["linux/s390x"].id
    with pytest.raises(PlatformNotFound) as failed:
        resolve(name, platform=Platform("linux", "riscv64"))
    assert failed.value.hint == "it has linux/amd64, linux/s390x"


def _put_raw(host, path, tag, index):
    """Put an index, with the client under `push`: the API has no multi-platform push yet."""
    from pybuild.registry.client import Client
    from pybuild.registry.repository import Repository

    with Client(host) as client:
        Repository(client, path, ("pull", "push")).put_manifest(_AsManifest(index), tag)


class _AsManifest:
    def __init__(self, index):
        self.raw, self.media_type = index.raw, index.media_type
        from pybuild.registry import Descriptor

        self.descriptor = Descriptor.of(index.raw, index.media_type)


def test_skopeo_reads_what_was_pushed(registry, path, store, make_image):
    image = make_image(store, {"etc/a": b"one"}, {"etc/b": b"two"}, config={"created": "2020-01-02T03:04:05Z"})
    push(store, image, Reference.parse(registry.name(f"{path}:v1")))
    told = json.loads(_skopeo("inspect", "--tls-verify=false", f"docker://{registry.name(path)}:v1"))
    assert told["Digest"] == image.manifest.descriptor.digest
    assert told["Layers"] == [str(layer.digest) for layer in image.manifest.layers]
    raw = _skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{registry.name(path)}:v1")
    assert raw == image.manifest.raw


def test_what_skopeo_pushed_is_pulled_as_docker_and_as_oci(registry, path, store, other_store, make_image):
    image = make_image(store, {"etc/a": b"one"})
    store.tag(image.descriptor, Reference.parse("x:1"))
    _skopeo(
        "copy",
        "--dest-tls-verify=false",
        "--format=v2s2",
        f"oci:{store.root}:docker.io/library/x:1",
        f"docker://{registry.name(path)}:d",
    )
    pulled = pull(other_store, Reference.parse(registry.name(f"{path}:d")))
    assert pulled.manifest.media_type == media.DOCKER_MANIFEST
    assert pulled.config.diff_ids == image.config.diff_ids
    # The manifest goes on as it came, to the byte.
    assert push(other_store, pulled, Reference.parse(registry.name(f"{path}:d2"))).digest == pulled.manifest.descriptor.digest


def _skopeo(*arguments):
    done = subprocess.run(["skopeo", *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_nothing_is_deleted_during_a_transfer(faulty, store, other_store, make_image):
    def is_held(where):
        with where.lock("build", exclusive=True, blocking=False) as is_alone:
            return not is_alone

    held = []
    name = Reference.parse(f"{faulty.host}/x")
    push(store, make_image(store, {"a": b"1"}), name, listener=lambda event: held.append(is_held(store)))
    pull(other_store, name, listener=lambda event: held.append(is_held(other_store)))
    assert held and all(held)
    assert not is_held(store) and not is_held(other_store)


def test_a_blob_that_the_store_lost_is_missed_before_anything_is_sent(faulty, store, make_image):
    image = make_image(store, {"a": b"1"})
    store.delete(image.manifest.layers[0].digest)
    with pytest.raises(BlobNotFound):
        push(store, image, Reference.parse(f"{faulty.host}/x"))
    assert not faulty.requests


def test_an_image_is_not_pushed_as_another_digest(faulty, store, make_image):
    with pytest.raises(InvalidReference):
        push(store, make_image(store, {"a": b"1"}), Reference.parse(f"{faulty.host}/x@{Digest.of(b'')}"))


def test_schema_1_and_artifacts_are_refused(faulty, store):
    faulty.add_manifest(
        "old", "latest", b'{"schemaVersion":1,"name":"old"}', "application/vnd.docker.distribution.manifest.v1+json"
    )
    with pytest.raises(UnsupportedMediaType, match=r"manifest\.v1") as failed:
        pull(store, Reference.parse(f"{faulty.host}/old"))
    assert "schema 1" in failed.value.hint


def test_tls_is_verified_unless_the_user_says_otherwise(tls_registry, certificate, path, store, make_image, monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    image, name = make_image(store, {"a": b"1"}), Reference.parse(f"{tls_registry}/{path}")
    with pytest.raises(Unreachable, match="certificate verify failed") as failed:
        push(store, image, name)
    assert "--insecure" in failed.value.hint
    push(store, image, name, insecure=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    assert resolve(name).manifest == image.manifest


def test_insecure_goes_over_to_plain_http(path, store, registry, make_image):
    host = registry.host.replace("127.0.0.1", "0.0.0.0")
    image, name = make_image(store, {"a": b"1"}), Reference.parse(f"{host}/{path}")
    with pytest.raises(Unreachable) as failed:
        push(store, image, name)
    assert "--insecure" in failed.value.hint
    assert push(store, image, name, insecure=True)


def test_a_tls_registry_on_this_machine(tls_registry, path, store, make_image):
    name = Reference.parse(f"127.0.0.1:{tls_registry.rpartition(':')[2]}/{path}")
    assert push(store, make_image(store, {"a": b"1"}), name, insecure=True)


def test_two_pushes_and_pulls_at_once(registry, path, store, tmp_path, make_image):
    from concurrent.futures import ThreadPoolExecutor

    images = [make_image(store, {"shared": b"x" * 100_000}, {"own": bytes([number])}) for number in range(4)]
    names = [Reference.parse(registry.name(f"{path}:{number}")) for number in range(4)]
    target = Store.open(tmp_path / "target")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda pair: push(store, *pair), zip(images, names, strict=True)))
        list(pool.map(lambda name: pull(target, name), names))
    assert {target.find(str(name)).id for name in names} == {image.id for image in images}
    assert os.listdir(f"{target.root}/tmp") == []
