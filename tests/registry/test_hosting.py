"""The distribution-spec's rules, each against a running `pybuild serve`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess

import pytest
import requests
from checker import check_layout
from real.served import served_store

from pybuild import api
from pybuild.builder.upkeep.pruning import Wish, prune
from pybuild.builder.upkeep.repair import repair
from pybuild.builder.upkeep.verification import verify
from pybuild.builder.workspace import Workspace
from pybuild.registry import Descriptor, Digest, Index, Reference, Store, media
from pybuild.registry.hosting.exchange import Refusal
from pybuild.registry.hosting.uploads import Uploads
from pybuild.registry.transfer import pull, push
from pybuild.values import replace

EMPTY = "application/vnd.oci.empty.v1+json"


@pytest.fixture
def served(tmp_path_factory):
    """An empty store that takes pushes; what is pushed here is no real image, so the store is checked only where it is asked for."""
    root = tmp_path_factory.mktemp("served") / "store"
    Store.open(root)
    with served_store(root, writable=True) as found:
        yield found


@pytest.fixture
def call(served):
    """Makes a request to a path below /v2/."""

    def action(method, path, **options):
        target = path if path.startswith("/") else f"/v2/{path}"
        return requests.request(method, f"http://{served.host}{target}", allow_redirects=False, timeout=20, **options)

    return action


@pytest.fixture
def put_blob(call):
    """Pushes a blob in the usual two requests; its digest."""

    def action(content, name="app"):
        digest = str(Digest.of(content))
        begun = call("POST", f"{name}/blobs/uploads/")
        assert begun.status_code == 202
        done = call("PUT", begun.headers["Location"], params={"digest": digest}, data=content)
        assert done.status_code == 201
        return digest

    return action


@pytest.fixture
def put_manifest(call, put_blob):
    """Pushes a manifest with its parts; its bytes and its answer."""

    def action(reference="v1", name="app", *, subject=None, artifact_type=None, layer=b"layer", annotations=None):
        config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}
        parts = [json.dumps(config).encode(), layer]
        kinds = [media.OCI_CONFIG if artifact_type is None else EMPTY, media.OCI_LAYER]
        for part in parts:
            put_blob(part, name)
        items = [
            {"mediaType": kind, "digest": str(Digest.of(part)), "size": len(part)}
            for kind, part in zip(kinds, parts, strict=True)
        ]
        document = {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": items[0], "layers": items[1:]}
        document |= {"subject": subject} if subject else {}
        document |= {"artifactType": artifact_type} if artifact_type else {}
        document |= {"annotations": annotations} if annotations else {}
        content = json.dumps(document).encode()
        place = reference or str(Digest.of(content))
        answer = call("PUT", f"{name}/manifests/{place}", data=content, headers={"Content-Type": media.OCI_MANIFEST})
        return content, answer

    return action


def code(answer):
    return answer.json()["errors"][0]["code"]


# Pull


def test_it_is_a_registry(call):
    answer = call("GET", "/v2/")
    assert answer.status_code == 200 and answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_not_there_is_404(method, call, put_manifest):
    put_manifest()
    unknown = Digest.of(b"unknown")
    for path in (
        f"app/blobs/{unknown}",
        "app/manifests/none",
        f"app/manifests/{unknown}",
        "other/manifests/v1",
        "none/tags/list",
    ):
        assert call(method, path).status_code == 404
    assert code(call("GET", f"app/blobs/{unknown}")) == "BLOB_UNKNOWN"
    assert code(call("GET", "app/manifests/none")) == "MANIFEST_UNKNOWN"
    assert code(call("GET", "none/tags/list")) == "NAME_UNKNOWN"


def test_a_manifest_by_tag_and_by_digest(call, put_manifest):
    content, _ = put_manifest()
    digest = str(Digest.of(content))
    for reference in ("v1", digest):
        answer = call("GET", f"app/manifests/{reference}")
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["Content-Type"] == media.OCI_MANIFEST
        assert answer.headers["Docker-Content-Digest"] == digest
        head = call("HEAD", f"app/manifests/{reference}")
        assert (head.status_code, head.content, int(head.headers["Content-Length"])) == (200, b"", len(content))


def test_a_blob_and_its_head(call, put_blob):
    digest = put_blob(b"content")
    answer = call("GET", f"app/blobs/{digest}")
    assert (answer.content, answer.headers["Docker-Content-Digest"]) == (b"content", digest)
    head = call("HEAD", f"app/blobs/{digest}")
    assert (head.status_code, head.headers["Content-Length"], head.headers["Accept-Ranges"]) == (200, "7", "bytes")


@pytest.mark.parametrize(
    ("asked", "status", "content", "place"),
    [
        ("bytes=0-2", 206, b"012", "bytes 0-2/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=5-2", 416, None, "bytes */10"),
    ],
)
def test_ranges(asked, status, content, place, call, put_blob):
    digest = put_blob(b"0123456789")
    answer = call("GET", f"app/blobs/{digest}", headers={"Range": asked})
    assert (answer.status_code, answer.headers.get("Content-Range")) == (status, place)
    assert content is None or answer.content == content


# Push


def test_a_blob_in_one_request(call):
    digest = str(Digest.of(b"one"))
    answer = call("POST", "app/blobs/uploads/", params={"digest": digest}, data=b"one")
    assert answer.status_code == 201 and answer.headers["Location"] == f"/v2/app/blobs/{digest}"
    assert call("GET", f"app/blobs/{digest}").content == b"one"


def test_a_blob_in_pieces(call):
    place = call("POST", "app/blobs/uploads/").headers["Location"]
    first = call("PATCH", place, data=b"0123", headers={"Content-Range": "0-3"})
    assert (first.status_code, first.headers["Range"]) == (202, "0-3")
    assert call("PATCH", place, data=b"xx", headers={"Content-Range": "9-10"}).status_code == 416
    status = call("GET", place)
    assert (status.status_code, status.headers["Range"], status.headers["Location"]) == (204, "0-3", place)
    assert call("PATCH", place, data=b"45", headers={"Content-Range": "4-5"}).headers["Range"] == "0-5"
    digest = str(Digest.of(b"01234567"))
    done = call("PUT", place, params={"digest": digest}, data=b"67", headers={"Content-Range": "6-7"})
    assert (done.status_code, done.headers["Docker-Content-Digest"]) == (201, digest)
    assert call("GET", f"app/blobs/{digest}").content == b"01234567"
    assert call("GET", place).status_code == 404


def test_a_body_whose_length_only_shows_at_its_end(call):
    place = call("POST", "app/blobs/uploads/").headers["Location"]
    assert call("PATCH", place, data=iter([b"ab", b"cd"])).headers["Range"] == "0-3"
    assert call("PUT", place, params={"digest": str(Digest.of(b"abcd"))}).status_code == 201


def test_a_piece_that_breaks_off_is_kept(call, served):
    place = call("POST", "app/blobs/uploads/").headers["Location"]
    with socket.create_connection(served.host.rsplit(":", 1)) as connection:
        connection.sendall(f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode() + b"a" * 300)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass
    assert call("GET", place).headers["Range"] == "0-299"


def test_another_digest_than_promised_is_refused(call):
    place = call("POST", "app/blobs/uploads/").headers["Location"]
    answer = call("PUT", place, params={"digest": str(Digest.of(b"promised"))}, data=b"sent")
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")
    assert call("GET", place).status_code == 404
    assert call("HEAD", f"app/blobs/{Digest.of(b'sent')}").status_code == 404


@pytest.mark.parametrize("digest", ["", "sha256:1", "md5:" + "0" * 32, "sha512:" + "0" * 128])
def test_a_digest_that_is_none(digest, call):
    place = call("POST", "app/blobs/uploads/").headers["Location"]
    assert code(call("PUT", place, params={"digest": digest}, data=b"x")) == "DIGEST_INVALID"


def test_an_upload_is_given_up(call):
    place = call("POST", "app/blobs/uploads/").headers["Location"]
    assert call("DELETE", place).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        assert call(method, place).status_code == 404
    assert call("GET", "app/blobs/uploads/../../../etc/passwd").status_code in (400, 404)
    assert call("GET", "/v2/app/blobs/uploads/..%2f..%2findex.json").status_code in (400, 404)


def test_a_blob_is_mounted_from_where_it_is(call, put_blob):
    digest = put_blob(b"shared", "first")
    assert call("HEAD", f"second/blobs/{digest}").status_code == 404, "one repository does not show another's"
    answer = call("POST", "second/blobs/uploads/", params={"mount": digest, "from": "first"})
    assert (answer.status_code, answer.headers["Location"]) == (201, f"/v2/second/blobs/{digest}")
    assert call("GET", f"second/blobs/{digest}").content == b"shared"
    for origin in ("nowhere", "third"):
        assert call("POST", "fourth/blobs/uploads/", params={"mount": digest, "from": origin}).status_code == 202
    assert call("POST", "fourth/blobs/uploads/", params={"mount": digest}).status_code == 202


def test_a_manifest_is_put_under_a_tag(call, put_manifest):
    content, answer = put_manifest()
    digest = str(Digest.of(content))
    assert answer.status_code == 201
    assert (answer.headers["Location"], answer.headers["Docker-Content-Digest"]) == (f"/v2/app/manifests/{digest}", digest)


def test_a_manifest_by_digest_has_to_be_it(call, put_manifest):
    content, answer = put_manifest(reference=None)
    assert answer.status_code == 201
    wrong = call("PUT", f"app/manifests/{Digest.of(b'x')}", data=content, headers={"Content-Type": media.OCI_MANIFEST})
    assert (wrong.status_code, code(wrong)) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "MANIFEST_INVALID"),
        (b"{", "MANIFEST_INVALID"),
        (b'{"schemaVersion":1}', "MANIFEST_INVALID"),
        (b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}', "MANIFEST_INVALID"),
        (
            json.dumps(
                {
                    "schemaVersion": 2,
                    "config": {"mediaType": media.OCI_CONFIG, "digest": "sha256:" + "0" * 64, "size": 1},
                    "layers": [],
                }
            ).encode(),
            "MANIFEST_BLOB_UNKNOWN",
        ),
    ],
)
def test_what_is_no_manifest_or_lacks_its_parts(content, expected, call):
    answer = call("PUT", "app/manifests/v1", data=content, headers={"Content-Type": media.OCI_MANIFEST})
    assert (answer.status_code, code(answer)) == (400, expected)
    assert call("GET", "app/tags/list").status_code == 404


def test_a_manifest_that_is_too_large(call):
    answer = call("PUT", "app/manifests/v1", data=bytes((4 << 20) + 1), headers={"Content-Type": media.OCI_MANIFEST})
    assert (answer.status_code, code(answer)) == (413, "SIZE_INVALID")


@pytest.mark.parametrize("path", ["App/manifests/v1", "app/manifests/.x", "a//b/manifests/v1", "-/tags/list", "app/blobs/x"])
def test_names_and_tags_that_are_none(path, call):
    assert call("GET", path).status_code in (400, 404)
    assert call("PUT", path, data=b"{}").status_code in (400, 404, 405)


# Discovery


def test_tags_come_in_order_and_in_pages(call, put_manifest):
    for tag in ("b", "a", "d", "c", "B"):
        put_manifest(tag)
    assert call("GET", "app/tags/list").json() == {"name": "app", "tags": ["B", "a", "b", "c", "d"]}
    page = call("GET", "app/tags/list", params={"n": 2})
    assert page.json()["tags"] == ["B", "a"] and page.headers["Link"] == '</v2/app/tags/list?n=2&last=a>; rel="next"'
    assert call("GET", "/v2/app/tags/list?n=2&last=a").json()["tags"] == ["b", "c"]
    last = call("GET", "app/tags/list", params={"n": 9, "last": "c"})
    assert last.json()["tags"] == ["d"] and "Link" not in last.headers
    assert call("GET", "app/tags/list", params={"n": 0}).json()["tags"] == []
    for wrong in ("x", "1" * 5000):
        assert call("GET", "app/tags/list", params={"n": wrong}).status_code == 400
    assert call("GET", "_catalog").json() == {"repositories": ["app"]}


def test_referrers(call, put_manifest):
    content, _ = put_manifest()
    subject = {"mediaType": media.OCI_MANIFEST, "digest": str(Digest.of(content)), "size": len(content)}
    assert call("GET", f"app/referrers/{subject['digest']}").json()["manifests"] == []
    found = {}
    for kind in ("application/x.sbom", "application/x.signature"):
        artifact, answer = put_manifest(None, subject=subject, artifact_type=kind, layer=kind.encode(), annotations={"of": kind})
        assert (answer.status_code, answer.headers["OCI-Subject"]) == (201, subject["digest"])
        found[kind] = str(Digest.of(artifact))
    answer = call("GET", f"app/referrers/{subject['digest']}")
    assert answer.headers["Content-Type"] == media.OCI_INDEX
    assert {item["artifactType"]: item["digest"] for item in answer.json()["manifests"]} == found
    assert [item["annotations"]["of"] for item in answer.json()["manifests"]] == list(found)
    one = call("GET", f"app/referrers/{subject['digest']}", params={"artifactType": "application/x.sbom"})
    assert [item["digest"] for item in one.json()["manifests"]] == [found["application/x.sbom"]]
    assert one.headers["OCI-Filters-Applied"] == "artifactType"
    assert call("DELETE", f"app/manifests/{found['application/x.sbom']}").status_code == 202
    assert len(call("GET", f"app/referrers/{subject['digest']}").json()["manifests"]) == 1


def test_an_artifact_is_kept_as_long_as_its_subject(call, put_manifest, served):
    from pybuild.builder.upkeep.holdings import holdings
    from pybuild.builder.workspace import Workspace

    content, _ = put_manifest()
    subject = {"mediaType": media.OCI_MANIFEST, "digest": str(Digest.of(content)), "size": len(content)}
    artifact, _ = put_manifest(None, subject=subject, artifact_type="application/x.sbom", layer=b"sbom")
    with Workspace.open(served.root) as workspace:
        pinned = holdings(workspace).pinned
    for blob in (artifact, b"sbom"):
        assert f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}" in pinned


# Management


def test_tags_and_manifests_are_deleted(call, put_manifest):
    content, _ = put_manifest("v1")
    put_manifest("v2")
    digest = str(Digest.of(content))
    assert call("DELETE", "app/manifests/v1").status_code == 202
    assert call("GET", "app/manifests/v1").status_code == 404
    assert call("GET", "app/manifests/v2").status_code == 200
    assert call("DELETE", f"app/manifests/{digest}").status_code == 202
    for reference in ("v2", digest):
        assert call("GET", f"app/manifests/{reference}").status_code == 404
    assert call("DELETE", "app/manifests/v2").status_code == 404


def test_a_blob_that_an_image_needs_stays(call, put_manifest, put_blob):
    put_manifest(layer=b"needed")
    answer = call("DELETE", f"app/blobs/{Digest.of(b'needed')}")
    assert (answer.status_code, code(answer)) == (405, "UNSUPPORTED")
    digest = put_blob(b"spare")
    assert call("DELETE", f"app/blobs/{digest}").status_code == 202
    assert call("GET", f"app/blobs/{digest}").status_code == 404
    assert call("DELETE", f"app/blobs/{digest}").status_code == 404


# What has no tag


def test_what_was_pushed_is_there_after_a_restart(call, put_blob, put_manifest, served):
    content, _ = put_manifest(None)
    digest = Digest.of(content)
    spare = put_blob(b"of a push that goes on")
    with served_store(served.root, writable=True) as again:
        for path in (f"manifests/{digest}", f"blobs/{Digest.of(b'layer')}", f"blobs/{spare}"):
            assert requests.get(f"http://{again.host}/v2/app/{path}", timeout=20).status_code == 200
            assert requests.get(f"http://{again.host}/v2/other/{path}", timeout=20).status_code == 404
        assert requests.get(f"http://{again.host}/v2/library/app/manifests/{digest}", timeout=20).status_code == 200
    check_layout(served.root)


def test_a_manifest_that_lost_its_tag_is_there_by_its_digest(call, put_manifest):
    content, _ = put_manifest("v1")
    assert call("DELETE", "app/manifests/v1").status_code == 202
    assert call("GET", f"app/manifests/{Digest.of(content)}").content == content
    assert call("GET", "app/tags/list").json() == {"name": "app", "tags": []}


def test_a_prune_takes_what_no_name_leads_to_and_nothing_else(call, put_manifest, served):
    kept, _ = put_manifest("v1", layer=b"kept")
    member, _ = put_manifest(None, layer=b"member")
    items = [Descriptor(media.OCI_MANIFEST, Digest.of(member), len(member))]
    index = Index.build(tuple(items)).raw
    assert call("PUT", "app/manifests/all", data=index, headers={"Content-Type": media.OCI_INDEX}).status_code == 201
    gone, _ = put_manifest(None, layer=b"gone")
    with Workspace.open(served.root) as workspace:
        names = {item.name for item in prune(workspace, Wish()).items if item.kind == "image"}
        assert names == {str(Digest.of(gone))}
    for content, status in ((kept, 200), (member, 200), (index, 200), (gone, 404)):
        assert call("GET", f"app/manifests/{Digest.of(content)}").status_code == status
    assert call("GET", f"app/blobs/{Digest.of(b'gone')}").status_code == 404


def test_a_manifest_without_a_tag_that_lost_a_part_is_found_and_forgotten(call, put_manifest, served):
    content, _ = put_manifest(None, artifact_type="application/x.sbom")
    store = Store.open(served.root)
    store.delete(Digest.of(b"layer"))
    with Workspace.open(served.root) as workspace:
        found = verify(workspace)
        (fault,) = found.faults
        assert (fault.kind, fault.name) == ("image", str(Digest.of(content))) and "is missing" in fault.problem
        repair(workspace, found)
        assert not verify(workspace).faults
    assert call("GET", f"app/manifests/{Digest.of(content)}").status_code == 404


def test_an_artifact_with_a_tag_does_no_harm_to_the_store(call, put_manifest, served):
    """As `helm push` leaves one."""
    put_manifest("1.0", "charts/x", artifact_type="application/vnd.cncf.helm.config.v1+json")
    assert api.images(root=served.root) == ()
    with Workspace.open(served.root) as workspace:
        assert not prune(workspace, Wish()).items and not verify(workspace).faults
    assert call("GET", "charts/x/manifests/1.0").status_code == 200
    assert len(api.remove("charts/x:1.0", root=served.root)) == 4
    assert Store.open(served.root).blobs() == ()


# Who may do what


def test_read_only_is_the_default(tmp_path, store, make_image):
    image = make_image(store, {"a": b"1"})
    store.tag(image.descriptor, Reference.parse("team/app:v1"))
    with served_store(store.root) as found:
        base = f"http://{found.host}/v2/team/app"
        assert requests.get(f"{base}/manifests/v1").status_code == 200
        for method, path in (("POST", "blobs/uploads/"), ("PUT", "manifests/v2"), ("DELETE", "manifests/v1")):
            answer = requests.request(method, f"{base}/{path}", data=b"")
            assert (answer.status_code, code(answer)) == (405, "UNSUPPORTED")
        assert found.lines[0].startswith("GET /v2/team/app/manifests/v1 200 ")


def test_a_password_is_asked_for(tmp_path):
    Store.open(tmp_path / "served")
    with served_store(tmp_path / "served", password="me:geheim!") as found:
        url = f"http://{found.host}/v2/"
        for auth in (None, ("me", "wrong"), ("you", "geheim!")):
            answer = requests.get(url, auth=auth)
            assert (answer.status_code, code(answer)) == (401, "UNAUTHORIZED")
            assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
        assert requests.get(url, auth=("me", "geheim!")).status_code == 200
        assert "geheim" not in "".join(found.lines)


@pytest.mark.parametrize("asked", ["app", "library/app", "team/app", "registry.example.com/deep/app", "deep/app"])
def test_images_are_found_by_the_names_that_the_store_has(asked, store, make_image):
    for name in ("app", "team/app", "registry.example.com/deep/app"):
        store.tag(make_image(store, {"a": name.encode()}).descriptor, Reference.parse(f"{name}:latest"))
    with served_store(store.root) as found:
        assert requests.get(f"http://{found.host}/v2/{asked}/manifests/latest").status_code == 200


def test_what_another_process_builds_is_there_at_once(store, make_image):
    with served_store(store.root) as found:
        url = f"http://{found.host}/v2/app/manifests/v1"
        assert requests.get(url).status_code == 404
        image = make_image(store, {"a": b"1"})
        store.tag(image.descriptor, Reference.parse("app:v1"))
        assert requests.get(url).status_code == 200
        assert requests.get(f"http://{found.host}/v2/app/blobs/{image.manifest.layers[0].digest}").status_code == 200
        hidden = store.add(b"nobody's", media.OCI_LAYER)
        assert requests.get(f"http://{found.host}/v2/app/blobs/{hidden.digest}").status_code == 404


# Others


def test_our_own_push_and_pull(served, store, other_store, make_image):
    image = make_image(store, {"a": os.urandom(10 << 20)}, {"b": b"2"})
    name = Reference.parse(f"{served.host}/team/app:v1")
    assert push(store, image, name) == image.manifest.descriptor
    assert pull(other_store, name).manifest == image.manifest
    assert Store.open(served.root).find("team/app:v1").id == image.id
    events = []
    push(store, image, Reference.parse(f"{served.host}/team/other:v1"), listener=events.append)
    assert {event.action for event in events} == {"mounted"}
    check_layout(served.root)


def test_an_index(served, store, other_store, make_image, call):
    image = make_image(store, {"a": b"1"})
    name = Reference.parse(f"{served.host}/team/app:v1")
    push(store, image, replace(name, tag="one"))
    member = Descriptor(media.OCI_MANIFEST, image.descriptor.digest, image.descriptor.size, (), image.config.platform)
    index = Index.build((member,))
    answer = call("PUT", "team/app/manifests/all", data=index.raw, headers={"Content-Type": media.OCI_INDEX})
    assert answer.status_code == 201
    assert pull(other_store, replace(name, tag="all")).id == image.id
    lost = Index.build((Descriptor(media.OCI_MANIFEST, Digest.of(b"?"), 1),))
    assert (
        code(call("PUT", "team/app/manifests/x", data=lost.raw, headers={"Content-Type": media.OCI_INDEX}))
        == "MANIFEST_BLOB_UNKNOWN"
    )


@pytest.mark.peers("skopeo", "buildah")
def test_skopeo_and_buildah_push_and_pull(served, store, make_image, tmp_path):
    image = make_image(store, {"etc/a": b"one"}, {"etc/b": os.urandom(100_000)})
    store.tag(image.descriptor, Reference.parse("app:v1"))
    there = f"docker://{served.host}/team/app:v1"

    def run(*arguments):
        done = subprocess.run([str(part) for part in arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{store.root}:docker.io/library/app:v1", there)
    assert json.loads(run("skopeo", "list-tags", "--tls-verify=false", there.rpartition(":")[0]))["Tags"] == ["v1"]
    run("skopeo", "copy", "--src-tls-verify=false", there, f"oci:{tmp_path}/copy:v1")
    assert json.loads(run("skopeo", "inspect", f"oci:{tmp_path}/copy:v1"))["Layers"] == [
        str(item.digest) for item in image.manifest.layers
    ]
    run("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", there, f"docker://{served.host}/team/mounted:v1")
    run(
        "skopeo",
        "copy",
        "--format=v2s2",
        "--dest-tls-verify=false",
        f"oci:{tmp_path}/copy:v1",
        f"docker://{served.host}/team/docker:v1",
    )
    run("skopeo", "delete", "--tls-verify=false", there)
    storage = ("--root", tmp_path / "storage", "--runroot", tmp_path / "run", "--storage-driver", "vfs")
    run("buildah", *storage, "pull", "--tls-verify=false", f"{served.host}/team/mounted:v1")
    run(
        "buildah",
        *storage,
        "push",
        "--tls-verify=false",
        f"{served.host}/team/mounted:v1",
        f"docker://{served.host}/team/buildah:v1",
    )
    assert Store.open(served.root).find("team/buildah:v1").config.diff_ids == image.config.diff_ids
    check_layout(served.root)


def test_nothing_of_an_upload_that_has_ended_stays_in_memory(store):
    uploads = Uploads(store)
    for end in (uploads.cancel, lambda name: uploads.finish(name, Digest.of(b"x"))):
        name = uploads.begin()
        assert uploads.append(name, None, [b"x"]) == 1
        end(name)
        with pytest.raises(Refusal):
            uploads.append(name, None, [b"x"])
    name = uploads.begin()
    for unknown in (lambda: uploads.finish(name, Digest.of(b"other")), lambda: uploads.append("0" * 32, None, [b"x"])):
        with pytest.raises(Refusal):
            unknown()
    assert not uploads._locks and not uploads._hashes and not os.listdir(f"{store.root}/uploads")


@pytest.mark.parametrize("name", ["..", ".", "", "A" * 32, "0" * 31, "0" * 33, "0" * 32 + "\n"])
def test_what_is_no_name_of_an_upload_is_no_file(name, store):
    uploads = Uploads(store)
    uploads.begin()
    for ask in (uploads.size, uploads.cancel, lambda name: uploads.append(name, None, [b"x"])):
        with pytest.raises(Refusal) as refused:
            ask(name)
        assert refused.value.response.status == 404


def test_slow_clients_keep_nobody_waiting(served, call, put_manifest):
    """Of ten machines with docker, each of which pulls three layers at a time and reads none of them."""
    content = os.urandom(8 << 20)
    put_manifest(layer=content)
    host, _, port = served.host.partition(":")
    with contextlib.ExitStack() as clients:
        for _ in range(30):
            client = clients.enter_context(socket.create_connection((host, int(port))))
            client.settimeout(10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(f"GET /v2/app/blobs/{Digest.of(content)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert client.recv(12) == b"HTTP/1.1 200"
        assert call("GET", "").status_code == 200
