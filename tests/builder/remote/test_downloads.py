"""Files at URLs: fetched once, asked for again only whether they have changed, and what goes wrong."""

from __future__ import annotations

import hashlib

import pytest
from real.faulty_registry import Fault, faulty_registry
from real.web import MODIFIED

from pybuild.builder.errors import RemoteError
from pybuild.builder.remote.downloads import Downloads
from pybuild.registry import Digest
from pybuild.registry.retries import Patience
from pybuild.values import replace

SHORT = Patience(attempts=3, pause=lambda seconds: None, connect_seconds=2, answer_seconds=2)


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def find(workspace, site, path="/f", checksum=None, **options):
    return Downloads(workspace, patience=SHORT, **options).find(site.url + path, checksum)


@pytest.fixture(autouse=True)
def _files(site):
    site.files["/f"] = b"hello"


def test_a_file_is_a_blob_with_the_servers_time(workspace, site):
    found = find(workspace, site)
    assert (found.digest, found.size, found.modified) == (digest(b"hello"), 5, MODIFIED)
    with open(workspace.store.path(found.digest), "rb") as file:
        assert file.read() == b"hello"


def test_without_a_time_it_is_of_1970(workspace, site):
    site.has_marks = False
    assert find(workspace, site).modified == 0


def test_an_unchanged_file_is_not_sent_again(workspace, site):
    first = find(workspace, site)
    assert find(workspace, site) == first
    assert site.asked == ["GET /f 200", "GET /f 304"]


def test_a_server_that_does_not_heed_if_none_match_is_not_read(workspace, site):
    first = find(workspace, site)
    site.heeds_marks = False
    assert find(workspace, site) == first


def test_a_changed_file_is_sent_again(workspace, site):
    find(workspace, site)
    site.files["/f"] = b"other"
    assert find(workspace, site).digest == digest(b"other")


def test_one_build_asks_once(workspace, site):
    downloads = Downloads(workspace)
    assert downloads.find(f"{site.url}/f", None) == downloads.find(f"{site.url}/f", None)
    assert len(site.asked) == 1


def test_with_a_checksum_nobody_is_asked_again(workspace, site):
    for _ in range(2):
        assert find(workspace, site, checksum=digest(b"hello")).size == 5
    assert len(site.asked) == 1


def test_a_file_that_is_gone_from_the_store_is_fetched_again(workspace, site):
    first = find(workspace, site)
    workspace.store.delete(first.digest)
    assert find(workspace, site) == first
    assert workspace.store.has(first.blob)


def test_another_content_than_the_checksum_says_is_an_error(workspace, site):
    with pytest.raises(RemoteError, match=f"{digest(b'hello')}, and not {digest(b'x')}") as caught:
        find(workspace, site, checksum=digest(b"x"))
    assert caught.value.hint


def test_redirects_are_followed_up_to_a_limit(workspace, site):
    site.redirects |= {"/a": "/b", "/b": f"{site.url}/f", "/ring": "/ring", "/ftp": "ftp://h/x"}
    assert find(workspace, site, "/a").digest == digest(b"hello")
    with pytest.raises(RemoteError, match="more than 10 redirects"):
        find(workspace, site, "/ring")
    with pytest.raises(RemoteError, match="redirects to ftp:"):
        find(workspace, site, "/ftp")


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_refusal_names_the_status(workspace, site, status):
    site.statuses["/f"] = status
    with pytest.raises(RemoteError, match=f"answered {status}") as caught:
        find(workspace, site)
    assert caught.value.hint
    assert len(site.asked) == (3 if status == 500 else 1)


def test_a_download_that_breaks_is_tried_again(workspace, site):
    site.cut["/f"] = 2
    assert find(workspace, site).size == 5
    site.cut["/f"] = 9
    workspace.store.delete(Digest.of(b"hello"))
    with pytest.raises(RemoteError, match=r"the connection to .* broke"):
        find(workspace, site)


def test_a_server_that_drips_is_given_up(workspace):
    """No read ever times out: a byte comes every now and then."""
    with faulty_registry() as server:
        server.blobs[digest(b"hello")] = bytes(1000)
        url = f"http://{server.host}/v2/a/blobs/{digest(b'hello')}"
        server.faults = [Fault("GET", drip_seconds=0.02, times=99)]
        patience = replace(SHORT, answer_seconds=0.2, attempts=1)
        with pytest.raises(RemoteError, match="timed out"):
            Downloads(workspace, patience=patience).find(url, None)
        server.faults = []
        server.drip_body = lambda request: 0.02
        with pytest.raises(RemoteError, match=r"sent \d+ bytes in 0 seconds, and was given up"):
            Downloads(workspace, patience=patience).find(url, None)


@pytest.mark.parametrize("without_length", [False, True])
def test_a_file_without_an_end_is_not_taken(workspace, site, without_length):
    site.without_length = without_length
    with pytest.raises(RemoteError, match="over 4 bytes"):
        find(workspace, site, most_bytes=4)


def test_nobody_there_and_no_such_host(workspace):
    for url, message in (("http://127.0.0.1:1/x", "refused"), ("http://no.such.host.invalid/x", "no such host")):
        with pytest.raises(RemoteError, match=message) as caught:
            Downloads(workspace, patience=SHORT).find(url, None)
        assert caught.value.hint


def test_a_user_in_the_url_is_sent_to_that_host_alone_and_never_shown(workspace, site, repository):
    from real.web import running_site

    with running_site(repository.folder) as other:
        other.files["/f"] = b"theirs"
        site.redirects["/away"] = f"{other.url}/f"
        url = site.url.replace("://", "://me:hidden-word@")
        Downloads(workspace, patience=SHORT).find(f"{url}/away", None)
        assert site.headers[-1]["Authorization"].startswith("Basic ")
        assert "Authorization" not in other.headers[-1]
    with pytest.raises(RemoteError) as caught:
        Downloads(workspace, patience=SHORT).find(f"{url}/none", None)
    assert "hidden-word" not in str(caught.value) + str(caught.value.hint)


def test_a_proxy_is_used_unless_no_proxy_says_otherwise(workspace, site, monkeypatch):
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert Downloads(workspace, patience=SHORT).find("http://elsewhere.example/f", None).size == 5
    monkeypatch.setenv("no_proxy", ".example")
    with pytest.raises(RemoteError, match=r"elsewhere\.example"):
        Downloads(workspace, patience=SHORT).find("http://elsewhere.example/g", None)
