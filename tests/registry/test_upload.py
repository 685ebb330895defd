"""The machine that sends one blob: pieces, resumption, what proxies and registries do to it."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from real.faulty_registry import Fault, faulty_registry

from pybuild.registry import Descriptor, Digest, media, pieces
from pybuild.registry.client import Client
from pybuild.registry.errors import DigestMismatch, TransferError, UnexpectedAnswer, Unreachable
from pybuild.registry.repository import Repository
from pybuild.registry.retries import Patience
from pybuild.registry.sessions import Unremembered, session
from pybuild.registry.upload import Upload
from pybuild.values import replace

MB = 1 << 20


class Bytes:
    def __init__(self, content):
        self.content = content

    def read_at(self, offset, size):
        return self.content[offset : offset + size]


@pytest.fixture
def send(faulty, pauses):
    """Sends bytes in pieces, and checks what the registry has."""

    def action(content, *, chunk=MB, patience=None, **options):
        blob = Descriptor(media.OCI_LAYER, Digest.of(content), len(content))
        with Client(faulty.host, patience=patience or pauses.patience) as client:
            repository = Repository(client, "app", ("pull", "push"))
            Upload(repository, blob, Bytes(content), chunk=chunk, **options).send()
        assert faulty.blobs[str(blob.digest)] == content

    return action


def ranges(faulty):
    return [headers["Content-Range"] for headers in faulty.headers if "Content-Range" in headers]


def test_a_small_blob_is_two_requests(send, faulty):
    send(os.urandom(MB))
    assert [text.split()[0] for text in faulty.requests] == ["POST", "PUT"]


def test_an_empty_blob(send, faulty):
    send(b"")
    assert faulty.count("PATCH") == 0


def test_a_large_blob_goes_in_pieces(send, faulty):
    send(os.urandom(2 * MB + 5))
    assert ranges(faulty) == [f"0-{MB - 1}", f"{MB}-{2 * MB - 1}", f"{2 * MB}-{2 * MB + 4}"]


def test_a_piece_that_breaks_off_goes_on_at_the_registry_s_offset(send, faulty, fault):
    faulty.faults = [fault("PATCH", take=0), fault("PATCH", take=300_000)]
    send(os.urandom(2 * MB), chunk=2 * MB - 1)
    assert f"300000-{2 * MB - 1}" in ranges(faulty) or any(text.startswith("300000-") for text in ranges(faulty))
    assert faulty.count("POST") == 1


def test_a_whole_that_breaks_off_goes_on_in_pieces(send, faulty, fault):
    faulty.faults = [fault("PUT", take=600_000)]
    send(os.urandom(MB))
    assert ranges(faulty) == [f"600000-{MB - 1}"] and faulty.count("POST") == 1


def test_a_registry_that_cannot_say_how_far_it_is_gets_all_anew(send, faulty, fault):
    faulty.answers_status = False
    faulty.faults = [fault("PATCH", take=300_000)]
    send(os.urandom(2 * MB))
    assert faulty.count("POST") == 2


def test_a_registry_that_takes_no_pieces_gets_the_whole(send, faulty):
    faulty.takes_pieces = False
    send(os.urandom(3 * MB))
    assert faulty.count("PATCH") == 1 and faulty.count("PUT") == 1


@pytest.mark.parametrize("limit", [MB, 300_000, 64 << 10])
def test_pieces_become_smaller_until_the_proxy_takes_them(limit, send, faulty):
    faulty.most_body = limit
    send(os.urandom(2 * MB + 1), chunk=2 * MB)
    sizes = [int(end) - int(start) + 1 for start, end in (text.split("-") for text in ranges(faulty))]
    assert sum(size for size in sizes if size <= limit) >= 2 * MB + 1


def test_a_small_blob_that_is_too_large_for_the_proxy_goes_in_pieces(send, faulty):
    faulty.most_body = 100_000
    send(os.urandom(MB), chunk=64 * MB)
    assert faulty.count("PATCH") > 10


def test_a_limit_below_everything_is_told(send, faulty):
    faulty.most_body = 10
    with pytest.raises(UnexpectedAnswer, match="413") as failed:
        send(os.urandom(MB))
    assert "proxy" in failed.value.hint


def test_pieces_are_as_long_as_the_registry_wants(send, faulty):
    faulty.least_piece = 2 * MB
    send(os.urandom(5 * MB), chunk=MB)
    assert ranges(faulty) == [f"0-{2 * MB - 1}", f"{2 * MB}-{4 * MB - 1}", f"{4 * MB}-{5 * MB - 1}"]


def test_a_registry_that_claims_to_have_more_than_was_sent_is_not_believed(send, faulty, fault):
    """It gets the whole; one that claims the same of an upload which an earlier push began is told of."""
    faulty.faults = [fault("PATCH", headers={"Range": f"0-{9 * MB}"}, times=9)]
    send(os.urandom(2 * MB))
    assert faulty.count("PATCH") == 1 and faulty.count("PUT") == 1


def test_a_registry_that_kept_a_part_of_a_piece_gets_the_rest(send, faulty, fault):
    content = os.urandom(2 * MB + 10)
    faulty.faults = [fault("PATCH", status=202, headers={"Range": "0-0", "Location": "/v2/app/blobs/uploads/1"})]
    send(content)
    assert ranges(faulty)[:3] == [f"0-{MB - 1}", f"{MB}-{2 * MB - 1}", f"0-{MB - 1}"], "the next piece was refused"


def test_a_registry_whose_count_stands_still_is_not_sent_a_piece_twice(send, faulty, fault):
    """Amazon's: it takes every piece, and tells of the first alone."""
    stuck = fault("PATCH", headers={"Range": f"0-{MB - 1}"}, times=9)
    faulty.faults = [stuck]
    send(os.urandom(5 * MB))
    assert ranges(faulty) == [f"{number * MB}-{(number + 1) * MB - 1}" for number in range(5)]


def test_a_registry_that_takes_pieces_of_4_mib_at_most_gets_the_whole(send, faulty, fault):
    """GitHub's: without a Content-Range there is no limit."""
    answer = b'{"errors":[{"code":"REQUESTED_RANGE_NOT_SATISFIABLE","message":"the request body is too large"}]}'
    faulty.faults = [fault("PATCH", status=416, content=answer, times=9)]
    send(os.urandom(10 * MB), chunk=8 * MB)
    assert faulty.count("PATCH") == 1 and faulty.count("PUT") == 1


@pytest.mark.parametrize("status", [400, 500])
def test_a_registry_that_does_not_make_a_blob_of_its_pieces_gets_the_whole(status, send, faulty, pauses):
    """Only a PUT that has a body is answered well."""
    original = faulty.fault_for

    def refuse(request):
        if request.startswith("PUT") and faulty.headers[-1]["Content-Length"] == "0":
            return Fault("", status=status)
        return original(request)

    faulty.fault_for = refuse
    send(os.urandom(3 * MB))
    assert faulty.count("PATCH") == 3


def test_an_answer_to_a_piece_may_lack_all_headers(send, faulty):
    faulty.bare_pieces = True
    send(os.urandom(3 * MB))
    assert faulty.count("PATCH") == 3 and faulty.count("POST") == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_good_answer_ends_an_upload_if_the_blob_is_there(status, send, faulty):
    faulty.ended = status
    send(os.urandom(100))
    assert faulty.count("HEAD") == 1, "without a digest it was looked for"


def test_a_long_piece_makes_the_next_ones_smaller(send, faulty, pauses, monkeypatch):
    """A clock that says twenty seconds for each of the first two pieces. All sizes are a sixteenth of the real ones."""
    monkeypatch.setattr(pieces, "_SHORTER", pieces._SHORTER // 16)
    moments = iter([0, 20, 20, 40, *[50] * 99])
    send(
        os.urandom(5 * MB),
        chunk=2 * MB,
        patience=replace(pauses.patience, clock=lambda: next(moments)),
    )
    sizes = [int(end) - int(start) + 1 for start, end in (text.split("-") for text in ranges(faulty))]
    assert sizes == [2 * MB, MB, *[MB // 2] * 4]


def test_the_registry_s_pause_is_kept(send, faulty, fault, pauses):
    faulty.faults = [fault("PATCH", status=429, headers={"Retry-After": "11"}), fault("PUT", status=503)]
    send(os.urandom(2 * MB))
    assert pauses.seconds == [11, 0.5]


def test_progress_gives_all_attempts_back(send, faulty, fault, pauses):
    faulty.faults = [fault("PATCH", take=100_000, times=12)]
    send(os.urandom(4 * MB), chunk=2 * MB)
    assert len(pauses.seconds) == 12 > pauses.patience.attempts


def test_a_registry_that_never_takes_a_piece_is_given_up(send, faulty, fault, pauses):
    faulty.faults = [fault("PATCH", take=0, times=99)]
    with pytest.raises(Unreachable):
        send(os.urandom(2 * MB))
    assert len(pauses.seconds) == pauses.patience.attempts - 1


def test_another_digest_in_the_answer_is_caught(send, faulty, fault):
    faulty.faults = [fault("PUT", headers={"Docker-Content-Digest": "sha256:" + "1" * 64})]
    with pytest.raises(DigestMismatch, match="in the registry"):
        send(os.urandom(100))


def test_a_registry_may_take_its_time_to_finish_while_it_answers(send, faulty, fault, pauses):
    """The PUT is answered only after the registry was asked twice whether it is still there."""
    asked = threading.Event()
    seen = []

    original = faulty.fault_for

    def note(request):
        if request.startswith("HEAD"):
            seen.append(request)
            if len(seen) == 2:
                asked.set()
        return original(request)

    faulty.fault_for = note
    faulty.hold_before = lambda request: asked.wait(20) if request.startswith("PUT") else None
    send(os.urandom(100), patience=replace(pauses.patience, answer_seconds=0.1))
    assert len(seen) == 2 and faulty.count("PUT") == 1


def test_a_blob_that_is_there_before_the_answer_is_enough(send, faulty, pauses):
    ended = threading.Event()
    faulty.hold_after = lambda request: ended.wait(20) if request.startswith("PUT") else None
    try:
        send(os.urandom(100), patience=replace(pauses.patience, answer_seconds=0.1))
    finally:
        ended.set()
    assert faulty.count("PUT") == 1


def test_a_registry_that_is_silent_altogether_is_given_up(send, faulty, pauses):
    ended = threading.Event()
    faulty.hold_before = lambda request: ended.wait(20) if request.startswith(("PUT", "HEAD")) else None
    try:
        with pytest.raises(Unreachable, match="timed out"):
            send(os.urandom(100), patience=replace(pauses.patience, answer_seconds=0.1, attempts=2))
    finally:
        ended.set()


def test_a_second_push_goes_on_where_the_first_was_killed(send, faulty, fault, store, pauses):
    content = os.urandom(4 * MB)
    digest = Digest.of(content)
    faulty.faults = [fault("PATCH", take=1_500_000), fault("HEAD|GET", status=418, times=99)]
    with session(store, "r/app", digest) as kept, pytest.raises(TransferError):
        send(content, session=kept, chunk=3 * MB)
    faulty.faults = []
    del faulty.headers[:], faulty.requests[:]
    with session(store, "r/app", digest) as kept:
        assert kept.url
        send(content, session=kept, chunk=3 * MB)
    assert faulty.count("POST") == 0 and ranges(faulty)[0].startswith("1500000-")
    with session(store, "r/app", digest) as kept:
        assert kept.url is None, "what has ended is forgotten"
    assert os.stat(f"{store.root}/uploads.json").st_mode & 0o777 == 0o600


def test_an_upload_that_the_registry_has_lost_begins_anew(send, faulty, store):
    content = os.urandom(2 * MB)
    with session(store, "r/app", Digest.of(content)) as kept:
        kept.keep(f"http://{faulty.host}/v2/app/blobs/uploads/99")
    with session(store, "r/app", Digest.of(content)) as kept:
        send(content, session=kept)
    assert faulty.count("POST") == 1


def test_rubbish_that_an_earlier_push_left_is_replaced(send, faulty, store):
    content = os.urandom(2 * MB)
    faulty.sessions["7"] = bytearray(os.urandom(MB))
    faulty.uploads = 7
    with session(store, "r/app", Digest.of(content)) as kept:
        kept.keep(f"http://{faulty.host}/v2/app/blobs/uploads/7")
    with session(store, "r/app", Digest.of(content)) as kept:
        send(content, session=kept)
    assert faulty.count("POST") == 1
    assert faulty.count("PATCH") == 3, "the rest of that, and then all of it, in pieces"


def test_two_pushes_of_one_blob_do_not_share_an_upload(store):
    digest = Digest.of(b"x")
    with session(store, "r/app", digest) as first:
        first.keep("http://r/1")
        with session(store, "r/app", digest) as second:
            assert isinstance(second, Unremembered)
    with session(store, "r/app", digest) as third:
        assert third.url == "http://r/1"


def test_an_upload_of_weeks_ago_is_not_gone_on_with(store):
    digest = Digest.of(b"x")
    for since, url in ((time.time(), "http://r/1"), (time.time() - 8 * 24 * 3600, None)):
        Path(store.root, "uploads.json").write_text(json.dumps({f"r/app@{digest}": ["http://r/1", int(since)]}))
        with session(store, "r/app", digest) as kept:
            assert kept.url == url


@pytest.mark.parametrize("content", ["", "{", "[]", '{"r/app@x": 3}', '{"r/app@x": ["u"]}'])
def test_a_damaged_record_of_uploads_is_an_empty_one(content, store):
    Path(store.root, "uploads.json").write_text(content)
    with session(store, "r/app", Digest.of(b"x")) as kept:
        assert kept.url is None


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    some.integers(0, 40_000),
    some.integers(1, 9_000),
    some.lists(some.tuples(some.sampled_from(["POST", "PATCH", "PUT", "GET", "HEAD"]), some.integers(0, 12_000)), max_size=6),
    some.booleans(),
    some.booleans(),
)
def test_whatever_breaks_off_the_blob_is_right_or_an_error_is_told(size, chunk, breaks, takes_pieces, answers_status):
    content = bytes(number * 7 % 251 for number in range(size))
    with faulty_registry() as registry:
        registry.takes_pieces, registry.answers_status = takes_pieces, answers_status
        registry.faults = [Fault(method, take=count) for method, count in breaks]
        blob = Descriptor(media.OCI_LAYER, Digest.of(content), size)
        with Client(registry.host, patience=Patience(pause=lambda seconds: None, answer_seconds=5)) as client:
            try:
                Upload(Repository(client, "app", ("push",)), blob, Bytes(content), chunk=chunk).send()
            except TransferError as error:
                assert re.search(r"app: blob [0-9a-f]{12}", str(error))
            else:
                assert registry.blobs[str(blob.digest)] == content


def test_a_token_that_expires_in_the_middle_is_replaced_and_no_byte_is_lost(send, faulty, fault):
    """The second piece is refused, by one who wants a new token; the upload goes on with it."""
    challenge = {"WWW-Authenticate": f'Bearer realm="http://{faulty.host}/token",service="r"'}
    faulty.faults = [
        fault("POST", status=401, headers=challenge),
        fault("GET /token", status=200, content=b'{"token":"first-token"}'),
        fault("GET /token", status=200, content=b'{"token":"second-token"}'),
    ]
    seen = []
    original = faulty.fault_for

    def expire(request):
        if request.startswith("PATCH"):
            seen.append(faulty.headers[-1].get("Authorization"))
            if len(seen) == 2:
                return fault("", status=401, headers=challenge)
        return original(request)

    faulty.fault_for = expire
    send(os.urandom(3 * MB))
    assert seen == ["Bearer first-token", "Bearer first-token", "Bearer second-token", "Bearer second-token"]
    assert faulty.count("POST") == 2, "the first was the one without a token"
