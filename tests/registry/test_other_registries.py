"""What registries of the world do that docker's own does not."""

from __future__ import annotations

import gzip
import json
import os
import socket
import urllib.parse

import pytest
from real.faulty_registry import faulty_registry

from pybuild.registries import copy, referrers, tags
from pybuild.registry import Reference
from pybuild.registry.errors import (
    AuthenticationFailed,
    DigestMismatch,
    InvalidDocument,
    NotInRegistry,
    SourceFailed,
    UnexpectedAnswer,
    Unreachable,
)
from pybuild.registry.origins import remember
from pybuild.registry.retries import Patience
from pybuild.registry.transfer import pull, push, resolve

BLOB = "GET /v2/app/blobs/"


@pytest.fixture
def image(faulty, store, make_image):
    made = make_image(store, {"a": os.urandom(300_000)})
    faulty.serve(made, store, "app")
    return made


@pytest.fixture
def new(faulty):
    return Reference.parse(f"{faulty.host}/new")


def layer(image):
    return str(image.manifest.layers[0].digest)


def is_complete(registry, image):
    return {str(blob.digest) for blob in image.manifest.blobs} <= set(registry.blobs)


def test_a_repository_that_has_to_be_made_first(faulty, fault, store, make_image, new, pauses):
    """Amazon's are; nothing is gained by asking for one again."""
    image = make_image(store, {"a": os.urandom(12_000_000)})
    said = b'{"errors":[{"code":"NAME_UNKNOWN","message":"The repository does not exist"}]}'
    faulty.faults = [fault("POST", status=404, content=said, times=99)]
    with pytest.raises(NotInRegistry, match="404: The repository does not exist") as failed:
        push(store, image, new, patience=pauses.patience)
    assert "create-repository" in failed.value.hint
    assert faulty.count("POST") <= 2 and not pauses.seconds


def test_an_upload_that_is_not_begun_is_asked_for_as_often_as_all_else(faulty, fault, store, make_image, new, pauses):
    faulty.faults = [fault("POST", status=503, times=99)]
    with pytest.raises(UnexpectedAnswer, match="503"):
        push(store, make_image(store, {"a": b"x"}), new, patience=pauses.patience, jobs=1)
    assert faulty.count("POST") == pauses.patience.attempts


@pytest.mark.parametrize("status", [307, 416, 429, 500, 503])
def test_a_mount_that_fails_is_no_reason_to_fail(status, faulty, fault, image, store, new, pauses):
    remember(store, f"{faulty.host}/app", [blob.digest for blob in image.manifest.blobs])
    faulty.blobs.clear()
    faulty.faults = [fault("POST.*mount=", status=status, times=99)]
    push(store, image, new, patience=pauses.patience)
    assert is_complete(faulty, image) and faulty.count("POST.*mount=") == 2 and not pauses.seconds


def test_a_mount_that_was_none_is_noticed(faulty, fault, image, store, new, pauses):
    remember(store, f"{faulty.host}/app", [blob.digest for blob in image.manifest.blobs])
    faulty.blobs.clear()
    faulty.faults = [fault("POST.*mount=", status=201, times=99)]
    push(store, image, new, patience=pauses.patience)
    assert is_complete(faulty, image)


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("what", ["POST", "PUT .*blobs", "PUT .*manifests"])
def test_a_push_goes_where_it_is_sent(what, status, faulty, fault, store, make_image, new, pauses, log_in):
    log_in(faulty.host, "user", "a-good-password")
    image = make_image(store, {"a": b"x"})
    with faulty_registry() as moved:
        moved.sessions, moved.blobs, moved.manifests = faulty.sessions, faulty.blobs, faulty.manifests

        def there(request):
            return {"Location": f"http://{moved.host}{request.partition(' ')[2]}"}

        faulty.faults = [fault("HEAD", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})]
        faulty.redirects = lambda request: (status, there(request)) if request.startswith(what.split()[0]) else None
        push(store, image, new, patience=pauses.patience)
        assert moved.requests and all("Authorization" not in headers for headers in moved.headers)
    assert is_complete(faulty, image) and ("new", "latest") in faulty.manifests


@pytest.mark.parametrize("place", ["http://[::bad/x", "http://host:99999/", "ftp://host/x"])
def test_a_place_that_is_none(place, faulty, fault, image, name, new, store, other_store, pauses):
    faulty.faults = [fault(BLOB, status=307, headers={"Location": place}, times=9)]
    with pytest.raises(UnexpectedAnswer, match="names a place that is none"):
        pull(other_store, name, patience=pauses.patience)
    faulty.blobs.clear()
    faulty.faults = [fault("POST", status=202, headers={"Location": place}, times=9)]
    with pytest.raises(UnexpectedAnswer, match="names a place that is none"):
        push(store, image, new, patience=pauses.patience)


def test_who_answered_is_who_is_named(faulty, fault, image, name, other_store, pauses):
    with faulty_registry() as storage:
        there = f"http://{storage.host}/expired?X-Amz-Signature=abcdef"
        storage.faults = [fault("expired", status=403, content=b"<Error>Request has expired</Error>", times=9)]
        faulty.faults = [fault(BLOB, status=307, headers={"Location": there}, times=99)]
        with pytest.raises(UnexpectedAnswer, match=f"{storage.host}, where {faulty.host} has this, answered 403") as failed:
            pull(other_store, name, patience=pauses.patience)
        assert "login" not in failed.value.hint and "abcdef" not in str(failed.value)
    with pytest.raises(Unreachable, match=f"cannot reach {storage.host}: connection refused"):
        pull(other_store, name, patience=pauses.patience)


def test_a_token_server_s_refusal_says_where_to_log_in(faulty, fault, image, name, other_store, pauses):
    """Docker Hub's tokens are from auth.docker.io, and nobody logs in there."""
    with faulty_registry() as tokens:
        tokens.faults = [fault("GET /token", status=401, content=b'{"details":"incorrect username or password"}', times=9)]
        demand = f'Bearer realm="http://{tokens.host}/token",service="r"'
        faulty.faults = [fault("manifests", status=401, headers={"WWW-Authenticate": demand})]
        with pytest.raises(
            AuthenticationFailed, match=f"token for {faulty.host}: {tokens.host} answered 401: incorrect"
        ) as failed:
            pull(other_store, name, patience=pauses.patience)
        assert f"pybuild login {faulty.host}" in failed.value.hint


def test_a_scope_that_only_the_registry_knows(faulty, fault, image, name, other_store, pauses):
    """As of a proxy before Docker Hub that gives its repositories other names."""
    demand = f'Bearer realm=http://{faulty.host}/token,service=r,scope="repository:library/app:pull"'
    tokens = [json.dumps({"token": token}).encode() for token in ("too-little", "enough")]
    faulty.faults = [
        *[fault("manifests", status=401, headers={"WWW-Authenticate": demand}) for _ in tokens],
        *[fault("GET /token", status=200, content=content) for content in tokens],
    ]
    pull(other_store, name, patience=pauses.patience)
    asked = [urllib.parse.unquote(request) for request in faulty.requests if "/token" in request]
    assert [request.count("repository:library/app:pull") for request in asked] == [0, 1]
    assert all("repository:app:pull" in request for request in asked)
    assert faulty.headers[-1]["Authorization"] == "Bearer enough"


def test_no_cookie_is_kept(faulty, fault, image, name, other_store, pauses):
    """Harbor takes who brings one for a browser, and wants a token against forged requests from it."""
    faulty.faults = [fault("", headers={"Set-Cookie": "sid=x; Path=/"}, times=99)]
    pull(other_store, name, patience=pauses.patience)
    assert all("Cookie" not in headers for headers in faulty.headers)


def test_a_manifest_that_was_packed_on_the_way(faulty, fault, image, name, other_store, pauses):
    faulty.faults = [fault("manifests", content=gzip.compress(image.manifest.raw), headers={"Content-Encoding": "gzip"})]
    assert pull(other_store, name, patience=pauses.patience).id == image.id


def test_an_answer_that_unpacks_without_end(faulty, fault, image, name, other_store, pauses):
    faulty.faults = [fault("manifests", content=gzip.compress(bytes(64 << 20)), headers={"Content-Encoding": "gzip"})]
    with pytest.raises(UnexpectedAnswer, match="over"):
        pull(other_store, name, patience=pauses.patience)


def test_a_web_page_is_called_one(faulty, fault, image, name, other_store, pauses):
    faulty.faults = [fault("manifests", content=b"<!DOCTYPE html>")]
    with pytest.raises(InvalidDocument) as failed:
        pull(other_store, name, patience=pauses.patience)
    assert "web page" in failed.value.hint


def test_what_came_before_it_broke_does_not_come_again(faulty, fault, image, name, other_store, pauses):
    """However little it is: behind a proxy that cuts every answer it is all that there is to go on from."""
    faulty.faults = [fault(BLOB + layer(image), cut_after=50_000, times=99)]
    assert pull(other_store, name, patience=pauses.patience).id == image.id
    assert faulty.count(BLOB + layer(image)) == 7


def test_an_end_that_was_lost_is_not_missed(faulty, fault, image, name, other_store, pauses):
    size = len(faulty.blobs[layer(image)])
    faulty.faults = [fault(BLOB + layer(image), cut_after=size, headers={"Content-Length": str(size + 7)})]
    assert pull(other_store, name, patience=pauses.patience).id == image.id
    assert faulty.count(BLOB + layer(image)) == 1


@pytest.mark.parametrize("wrong", [{"status": 416}, {"headers": {"Content-Range": "bytes 200000-300000/300001"}}])
def test_wrong_ranges_are_done_without(wrong, faulty, fault, image, name, other_store, pauses):
    faulty.faults = [fault(BLOB + layer(image), cut_after=50_000), fault(BLOB + layer(image), **wrong)]
    assert pull(other_store, name, patience=pauses.patience).id == image.id
    assert faulty.count(BLOB + layer(image)) == 3


def test_a_host_that_never_answers_is_asked_once():
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        pauses = []
        name = Reference.parse(f"127.0.0.1:{full.getsockname()[1]}/app")
        with pytest.raises(Unreachable, match="timed out"):
            resolve(name, patience=Patience(pause=pauses.append, connect_seconds=0.2))
        assert pauses == []


@pytest.mark.parametrize(
    "link",
    [
        '</v2/app/tags/list?last=a>; rel="next"',
        "<list?last=a>;rel=next",
        '<http://{host}/v2/app/tags/list?last=a>; title="x, y"; REL="Next"',
        '</v2/app/tags/list?n=1>; rel="first", <?last=a,b;c> ; x ; rel="last next"',
    ],
)
def test_tags_go_on_where_the_link_says(link, faulty, fault):
    pages = [b'{"tags":["a"]}', b'{"tags":null}']
    faulty.faults = [
        fault("tags/list[?]n=1000", content=pages[0], headers={"Link": link.format(host=faulty.host)}),
        fault("tags/list[?]last=a", content=pages[1], headers={"Link": '</v2/app/tags/list?last=b>; rel="next"'}),
        fault(
            "tags/list[?]last=b", content=b'{"tags":["c"]}', headers={"Link": '</v2/app/tags/list?last=z>; rel="prev"; x="next"'}
        ),
    ]
    assert tags(f"{faulty.host}/app") == ("a", "c")


def test_tags_without_end(faulty, fault):
    page = {"Link": '</v2/app/tags/list?last=again>; rel="next"'}
    faulty.faults = [fault("tags/list", content=b'{"tags":["a"]}', headers=page, times=999)]
    with pytest.raises(UnexpectedAnswer, match="in a circle"):
        tags(f"{faulty.host}/app")


@pytest.mark.parametrize("status", [202, 204])
def test_a_manifest_may_be_taken_in_other_words(status, faulty, fault, image, store, new, pauses):
    faulty.answers_manifest = status
    push(store, image, new, patience=pauses.patience)
    assert ("new", "latest") in faulty.manifests
    faulty.manifests.clear()
    faulty.faults = [fault("PUT .*manifests", status=status, times=9)]
    with pytest.raises(DigestMismatch, match="got nothing in the registry"):
        push(store, image, new, patience=pauses.patience)


def test_a_source_that_gives_up_ends_a_copy(faulty, fault, image, pauses, monkeypatch):
    """Once it has had its own attempts: it is not where the copy goes that has failed."""
    monkeypatch.setattr(Patience, "wait", lambda *arguments: pauses.seconds.append(arguments[1:]))
    with faulty_registry() as target:
        faulty.faults = [fault(BLOB, status=503, times=999)]
        with pytest.raises(SourceFailed, match=f"{faulty.host} answered 503"):
            copy(f"{faulty.host}/app", f"{target.host}/app")
        assert faulty.count(BLOB) <= 2 * Patience().attempts and ("app", "latest") not in target.manifests


def test_a_name_in_a_registry_may_be_written_as_skopeo_has_it(faulty, image):
    assert tags(f"docker://{faulty.host}/app") == ("latest",)
    assert referrers(f"docker://{faulty.host}/app") == ()
