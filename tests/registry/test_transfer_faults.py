"""What a transfer does when the registry, or the way to it, misbehaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from pybuild.registry import Reference, Store
from pybuild.registry.errors import (
    AuthenticationFailed,
    BrokenOff,
    DiffIdMismatch,
    DigestMismatch,
    InvalidDocument,
    NotInRegistry,
    UnexpectedAnswer,
    Unreachable,
)
from pybuild.registry.incoming import diff_ids_of, taking_back
from pybuild.registry.transfer import pull, push, resolve
from pybuild.values import replace

BLOB = "GET /v2/app/blobs/"


@pytest.fixture
def image(faulty, store, make_image):
    """An image in the faulty registry, with a layer of 3 MB."""
    made = make_image(store, {"a": os.urandom(3_000_000)})
    faulty.serve(made, store, "app")
    return made


def layer(image):
    return str(image.manifest.layers[0].digest)


def is_empty(store):
    return store.index().manifests == () and os.listdir(f"{store.root}/tmp") == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520, 524])
def test_a_passing_trouble_passes(status, faulty, fault, image, name, other_store, pauses):
    faulty.faults = [fault("manifests", status=status), fault("HEAD|blobs", status=status)]
    assert pull(other_store, name, patience=pauses.patience).id == image.id
    assert len(pauses.seconds) == 2


def test_pauses_double_and_have_an_end(faulty, fault, image, name, other_store, pauses):
    faulty.faults = [fault("manifests", status=503, content=b"<html>busy</html>", times=99)]
    with pytest.raises(UnexpectedAnswer, match=r"app:latest: 127.* answered 503$") as failed:
        pull(other_store, name, patience=pauses.patience)
    assert pauses.seconds == [0.5, 1, 2, 4]
    assert failed.value.status == 503
    assert "overloaded" in failed.value.hint
    assert is_empty(other_store)


def test_retry_after_is_heeded(faulty, fault, image, name, pauses):
    faulty.faults = [fault("manifests", status=429, headers={"Retry-After": "7"})]
    resolve(name, patience=pauses.patience)
    assert pauses.seconds == [7]


def test_what_is_wrong_for_good_is_not_tried_again(faulty, fault, image, name, other_store, pauses):
    for status, error in (
        (401, AuthenticationFailed),
        (403, AuthenticationFailed),
        (404, NotInRegistry),
        (400, UnexpectedAnswer),
    ):
        faulty.faults = [
            fault("manifests", status=status, content=b'{"errors":[{"code":"DENIED","message":"no \\u001b[31mway"}]}')
        ]
        with pytest.raises(error, match=rf"{status}: no  \[31mway"):
            pull(other_store, name, patience=pauses.patience)
    assert pauses.seconds == []


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_download_goes_on_where_it_broke_off(knows_ranges, faulty, fault, image, name, other_store, pauses):
    faulty.knows_ranges = knows_ranges
    faulty.faults = [fault(layer(image), cut_after=2_000_000), fault(layer(image), cut_after=2_500_000)]
    events = []
    assert pull(other_store, name, patience=pauses.patience, listener=events.append).id == image.id
    assert other_store.read(image.manifest.layers[0])
    ranges = [headers["Range"] for headers in faulty.headers if "Range" in headers]
    assert ranges[0].startswith("bytes=") and ranges[0] != "bytes=0-"
    done = [event.done for event in events if event.name == image.manifest.layers[0].digest.short]
    assert done == sorted(done), "progress does not run backwards"


def test_a_download_that_never_gets_on_ends(faulty, fault, image, name, other_store, pauses):
    faulty.faults = [fault(layer(image), cut_after=0, times=99)]
    with pytest.raises(BrokenOff, match="bytes are missing"):
        pull(other_store, name, patience=pauses.patience)
    assert len(pauses.seconds) == pauses.patience.attempts - 1
    assert is_empty(other_store)


def test_a_short_answer_that_says_it_is_whole_is_noticed(faulty, fault, image, name, other_store, pauses):
    content = faulty.blobs[layer(image)]
    faulty.knows_ranges = False
    faulty.faults = [fault(BLOB + layer(image), content=content[:-1], times=99)]
    with pytest.raises(BrokenOff, match=f"sent {len(content) - 1} of {len(content)} bytes"):
        pull(other_store, name, patience=pauses.patience)
    assert is_empty(other_store)


def test_damaged_bytes_are_not_kept(faulty, fault, image, name, other_store, pauses):
    faulty.faults = [fault(BLOB + layer(image), damage=True)]
    with pytest.raises(DigestMismatch) as failed:
        pull(other_store, name, patience=pauses.patience)
    assert failed.value.expected == layer(image)
    assert "nothing of it was kept" in failed.value.hint
    assert is_empty(other_store) and not other_store.has(image.manifest.layers[0])


def test_more_bytes_than_promised_are_not_read(faulty, fault, image, name, other_store, pauses):
    faulty.faults = [fault(BLOB + layer(image), content=faulty.blobs[layer(image)] + bytes(1 << 22))]
    with pytest.raises(DigestMismatch, match="got more"):
        pull(other_store, name, patience=pauses.patience)
    assert is_empty(other_store)


def test_a_manifest_must_be_that_of_its_digest(faulty, fault, image, other_store, pauses):
    faulty.faults = [fault("manifests", damage=True)]
    with pytest.raises(DigestMismatch):
        pull(other_store, Reference.parse(f"{faulty.host}/app@{image.descriptor.digest}"), patience=pauses.patience)
    faulty.faults = [fault("manifests", headers={"Docker-Content-Digest": "sha256:" + "0" * 64})]
    with pytest.raises(DigestMismatch):
        pull(other_store, Reference.parse(f"{faulty.host}/app"), patience=pauses.patience)


@pytest.mark.parametrize("content", [b"", b"<html>log in to the hotel's network</html>", b"[]", b'{"schemaVersion":2}'])
def test_what_is_no_manifest(content, faulty, fault, image, name, other_store, pauses):
    faulty.faults = [fault("manifests", content=content)]
    with pytest.raises(InvalidDocument):
        pull(other_store, name, patience=pauses.patience)


def test_an_endless_manifest_is_not_read_to_its_end(faulty, fault, image, name, other_store, pauses):
    faulty.faults = [fault("manifests", content=b" " * (20 << 20))]
    with pytest.raises(UnexpectedAnswer, match="over"):
        pull(other_store, name, patience=pauses.patience)


def test_a_config_that_denies_a_layer(faulty, store, other_store, make_image, pauses):
    from pybuild.registry import Manifest

    image = make_image(store, {"a": b"1"}, {"b": b"2"})
    faulty.serve(image, store, "app")
    short = Manifest.build(image.manifest.config, image.manifest.layers[:1])
    faulty.add_manifest("app", "latest", short.raw, short.media_type)
    with pytest.raises(InvalidDocument, match="1 layers, but the config has 2 diff_ids"):
        pull(other_store, Reference.parse(f"{faulty.host}/app"), patience=pauses.patience)


def test_an_upload_that_fails_at_its_end_is_ended_again(faulty, fault, store, make_image, pauses):
    image = make_image(store, {"a": os.urandom(3_000_000)})
    faulty.faults = [fault("PUT .*uploads", status=500), fault("PUT .*uploads", status=404)]
    push(store, image, Reference.parse(f"{faulty.host}/new"), patience=pauses.patience, jobs=1)
    assert faulty.blobs[layer(image)] == store.read(image.manifest.layers[0])
    assert faulty.count("POST") == len(image.manifest.blobs), "the registry has it still"
    assert len(pauses.seconds) == 2


def test_an_upload_whose_answer_was_lost_is_not_sent_again(faulty, fault, store, make_image, pauses):
    image = make_image(store, {"a": b"1"})
    faulty.faults = [fault("PUT .*uploads", content=b"lost", cut_after=1)]
    push(store, image, Reference.parse(f"{faulty.host}/new"), patience=pauses.patience, jobs=1)
    assert faulty.count("PUT .*uploads") == len(image.manifest.blobs)


@pytest.mark.damaged
def test_an_upload_that_the_registry_finds_damaged(faulty, store, make_image, pauses):
    image = make_image(store, {"a": b"1"})
    with open(store.path(image.manifest.layers[0].digest), "r+b") as file:
        file.write(b"damage")
    with pytest.raises(UnexpectedAnswer, match="400: digest invalid"):
        push(store, image, Reference.parse(f"{faulty.host}/new"), patience=pauses.patience)
    assert faulty.manifests == {}, "no name for an image that is not whole"


def test_a_manifest_is_put_again_when_the_registry_was_busy_with_its_layers(faulty, fault, store, make_image, pauses):
    busy = b'{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content"}]}'
    image, name = make_image(store, {"a": b"1"}), Reference.parse(f"{faulty.host}/new")
    faulty.faults = [fault("PUT .*manifests", status=400, content=busy, times=2)]
    push(store, image, name, patience=pauses.patience)
    faulty.faults = [fault("PUT .*manifests", status=400, content=busy, times=3)]
    with pytest.raises(UnexpectedAnswer, match="did not match"):
        push(store, image, name, patience=pauses.patience)


def test_a_registry_that_stores_another_digest(faulty, fault, store, make_image, pauses):
    image = make_image(store, {"a": b"1"})
    wrong = fault("PUT .*manifests", headers={"Docker-Content-Digest": "sha256:" + "1" * 64})
    faulty.faults = [wrong]
    push(store, image, Reference.parse(f"{faulty.host}/new"), patience=pauses.patience)
    assert faulty.count("PUT .*manifests") == 2, "what was damaged on the way is put again"
    faulty.faults = [replace(wrong, times=9)]
    with pytest.raises(DigestMismatch, match="in the registry"):
        push(store, image, Reference.parse(f"{faulty.host}/new"), patience=pauses.patience)


def test_a_blob_of_another_size_there(faulty, store, make_image, pauses):
    image = make_image(store, {"a": b"1"})
    faulty.blobs[layer(image)] = b"short"
    with pytest.raises(DigestMismatch, match="5 there"):
        push(store, image, Reference.parse(f"{faulty.host}/new"), patience=pauses.patience)


def test_the_first_error_ends_the_other_transfers(faulty, fault, store, other_store, make_image, pauses):
    image = make_image(store, *({str(number): os.urandom(100)} for number in range(30)))
    faulty.serve(image, store, "app")
    faulty.faults = [fault(BLOB + str(image.manifest.layers[0].digest), status=403)]
    with pytest.raises(AuthenticationFailed):
        pull(other_store, Reference.parse(f"{faulty.host}/app"), patience=pauses.patience, jobs=2)
    assert faulty.count(BLOB) < 30
    assert is_empty(other_store)


def test_a_redirect_is_followed_without_the_credentials(faulty, fault, image, name, other_store, pauses, store, log_in):
    from real.faulty_registry import faulty_registry

    log_in(faulty.host, "user", "secret")
    with faulty_registry() as storage:
        storage.serve(image, store, "elsewhere")
        target = f"http://{storage.host}/v2/elsewhere/blobs/{layer(image)}"
        faulty.faults = [
            fault("manifests", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}),
            fault(BLOB + layer(image), status=307, headers={"Location": target}),
        ]
        pull(other_store, name, patience=pauses.patience)
        assert other_store.read(image.manifest.layers[0])
        assert any("Authorization" in headers for headers in faulty.headers)
        assert all("Authorization" not in headers for headers in storage.headers)


def test_redirects_without_end(faulty, fault, image, name, other_store, pauses):
    faulty.faults = [fault(BLOB, status=302, headers={"Location": f"/v2/app/blobs/{layer(image)}"}, times=99)]
    with pytest.raises(UnexpectedAnswer, match="too many redirects"):
        pull(other_store, name, patience=pauses.patience)


def test_a_password_is_not_sent_to_a_token_server_without_tls(faulty, fault, image, name, other_store, pauses, log_in, store):
    from pybuild.registry.authorization import Authorization
    from pybuild.registry.credentials import Credentials

    asked = []
    authorization = Authorization(Credentials("me", "secret"), insecure=False, ask=asked.append)
    with pytest.raises(AuthenticationFailed, match="not encrypted"):
        authorization.answer('Bearer realm="http://evil.example/token"', ("s",), url="https://registry.example/v2/", used=None)
    assert asked == []


@pytest.mark.parametrize("what", ["manifests", "blobs"])
def test_a_server_that_answers_drop_by_drop_is_given_up(what, faulty, fault, image, name, other_store, pauses):
    """No read ever times out: a byte comes every now and then."""
    import time

    faulty.faults = [fault(f"GET .*{what}", drip_seconds=0.02, times=99)]
    patience = replace(pauses.patience, answer_seconds=0.2, attempts=2)
    since = time.monotonic()
    with pytest.raises(Unreachable, match=r"timed out|was given up"):
        pull(other_store, name, patience=patience)
    assert time.monotonic() - since < 10
    assert is_empty(other_store)


def test_a_body_that_drips_is_given_up(faulty, image, name, other_store, pauses):

    from pybuild.registry.errors import TooSlow

    content = faulty.blobs[layer(image)]
    faulty.drip_body = lambda request: 0.02 if layer(image) in request else 0
    patience = replace(pauses.patience, answer_seconds=0.2)
    with pytest.raises(TooSlow, match=r"sent \d+ bytes in 0 seconds, and was given up"):
        pull(other_store, name, patience=patience)
    assert content and is_empty(other_store)


def test_documents_have_a_largest_size_and_images_a_largest_number_of_layers(faulty, other_store, store, make_image, pauses):
    from pybuild.registry import Descriptor, Digest, Manifest, media

    image = make_image(store, {"a": b"1"})
    config = Descriptor(media.OCI_CONFIG, Digest.of(b""), (8 << 20) + 1)
    for manifest, message in (
        (Manifest.build(config, ()), "a config of 8388609 bytes"),
        (Manifest.build(image.manifest.config, image.manifest.layers * 1001), "1001 layers"),
    ):
        faulty.add_manifest("app", "latest", manifest.raw, manifest.media_type)
        with pytest.raises(InvalidDocument, match=message):
            pull(other_store, Reference.parse(f"{faulty.host}/app"), patience=pauses.patience)


def test_a_server_that_falls_silent(faulty, image, name, other_store, store, pauses):
    """The connection is accepted, and nothing comes."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = Reference.parse(f"127.0.0.1:{server.getsockname()[1]}/x")
        patience = replace(pauses.patience, answer_seconds=0.05, attempts=3)
        with pytest.raises(Unreachable, match="timed out"):
            pull(other_store, silent, patience=patience)
    assert len(pauses.seconds) == 2


def test_an_interrupt_ends_a_pull_soon(faulty, fault, image, name, other_store, pauses):
    """Ctrl-C arrives in the main thread while others transfer: here the listener raises it."""
    main = threading.current_thread()

    def interrupt(event):
        assert threading.current_thread() is not main
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(other_store, name, patience=pauses.patience, listener=interrupt)
    assert is_empty(other_store)


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_a_registry_that_fell_silent(faulty, fault, image, name, tmp_path):
    """A program is sent SIGINT when the first of a layer has come, and the rest does not."""
    released = threading.Event()
    faulty.faults = [fault(BLOB + layer(image), cut_after=(1 << 20) + 1000, hold=released)]
    script = (
        "import sys; from pathlib import Path; from pybuild.registry import Reference, Store; from pybuild.registry.transfer import pull\n"
        "try: pull(Store.open(Path(sys.argv[1])), Reference.parse(sys.argv[2]), listener=lambda event: print(event, flush=True))\n"
        "except KeyboardInterrupt: sys.exit(130)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path / "s", str(name)], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        process.kill()
        process.stdout.close()
        released.set()
    assert is_empty(Store.open(tmp_path / "s"))


def test_a_full_disk_is_told_and_leaves_nothing(faulty, image, name, other_store, pauses):
    import errno
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limits[1]))
    try:
        with pytest.raises(OSError) as failed:
            pull(other_store, name, patience=pauses.patience)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert failed.value.errno == errno.EFBIG
    assert is_empty(other_store) and not other_store.has(image.manifest.layers[0])


@pytest.mark.parametrize("direction", ["pull", "push"])
def test_a_whole_time_that_is_up(direction, faulty, fault, image, name, store, other_store):
    """The registry is there and answers, but not in time."""
    from pybuild.registry.errors import OutOfTime
    from pybuild.registry.retries import Patience

    ended = threading.Event()
    wanted = "PUT /v2/new/manifests" if direction == "push" else BLOB + layer(image)
    faulty.hold_before = lambda request: ended.wait(20) if request.startswith(wanted) else None
    try:
        with pytest.raises(OutOfTime, match="time is up"):
            if direction == "pull":
                pull(other_store, name, patience=Patience.within(0.5))
            else:
                push(store, image, Reference.parse(f"{faulty.host}/new"), patience=Patience.within(0.5))
    finally:
        ended.set()
    assert direction == "push" or is_empty(other_store)
    with pytest.raises(OutOfTime):
        resolve(name, patience=Patience.within(0.0))


@pytest.mark.parametrize("status", [200, 201])
def test_an_answer_that_does_not_say_what_was_stored_is_not_believed(status, faulty, fault, store, make_image, pauses):
    """As of a captive portal, or of a proxy that thinks well of itself: nothing has reached the registry."""
    image, name = make_image(store, {"a": b"1"}), Reference.parse(f"{faulty.host}/new")
    faulty.faults = [fault("PUT .*manifests", status=status)]
    push(store, image, name, patience=pauses.patience)
    assert faulty.manifests["new", "latest"][0] == image.manifest.raw
    faulty.manifests.clear()
    faulty.faults = [fault("PUT .*manifests", status=status, times=9)]
    with pytest.raises(DigestMismatch, match="got nothing in the registry"):
        push(store, image, name, patience=pauses.patience)
    faulty.blobs.clear()
    faulty.faults = [fault("PUT .*blobs", status=201)]
    push(store, image, name, patience=pauses.patience)
    assert set(faulty.blobs) == {str(blob.digest) for blob in image.manifest.blobs}


def test_an_upload_to_another_host_goes_there_without_the_credentials(faulty, fault, store, make_image, pauses, log_in):
    """Registries let clients upload to a storage service, whose URL is signed."""
    from real.faulty_registry import faulty_registry

    log_in(faulty.host, "user", "a-good-password")
    image = make_image(store, {"a": os.urandom(100)})
    faulty.blobs[str(image.manifest.config.digest)] = store.read(image.manifest.config)
    with faulty_registry() as storage:
        storage.sessions["1"] = bytearray()
        elsewhere = f"http://{storage.host}/v2/x/blobs/uploads/1?signature=abcdef"
        faulty.faults = [
            fault("HEAD", status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}),
            fault("POST", status=202, headers={"Location": elsewhere}),
        ]
        push(store, image, Reference.parse(f"{faulty.host}/new"), patience=pauses.patience, jobs=1)
        assert storage.blobs[layer(image)] == store.read(image.manifest.layers[0])
        assert any("Authorization" in headers for headers in faulty.headers)
        assert storage.headers and all("Authorization" not in headers for headers in storage.headers)


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_a_registry_that_answers_no_head_is_asked_otherwise(status, faulty, store, make_image, pauses):
    """And one whose blob is there gets none of it again."""
    image = make_image(store, {"a": os.urandom(5_000_000)})
    faulty.no_head = status
    for _ in range(2):
        push(store, image, Reference.parse(f"{faulty.host}/new"), patience=pauses.patience)
    assert faulty.blobs[layer(image)] == store.read(image.manifest.layers[0])
    assert faulty.count("POST") == 2 and not pauses.seconds


@pytest.mark.parametrize("length", ["0", "9" * 5000])
def test_a_length_of_nothing_in_the_answer_to_head_is_no_size(length, faulty, fault, store, make_image, pauses):
    image = make_image(store, {"a": os.urandom(100)})
    push(store, image, Reference.parse(f"{faulty.host}/new"), patience=pauses.patience)
    faulty.faults = [fault("HEAD", headers={"Content-Length": length}, times=9)]
    push(store, image, Reference.parse(f"{faulty.host}/new"), patience=pauses.patience)
    assert faulty.count("POST") == 2


def test_a_mount_that_becomes_an_upload_is_given_back(faulty, store, make_image, pauses):
    image = make_image(store, {"a": os.urandom(100)})
    for path in ("one", "two"):
        push(store, image, Reference.parse(f"{faulty.host}/{path}"), patience=pauses.patience)
        faulty.blobs.clear()
    assert faulty.count("POST.*mount=") == 2 and faulty.count("DELETE") == 2 and not faulty.sessions


@pytest.mark.parametrize(
    "answer", [{"access_token": "a-token"}, {"token": "a-token", "expires_in": "3600"}, {"token": "a-token", "expires_in": None}]
)
def test_the_answers_of_many_token_servers(answer, faulty, fault, image, name, other_store, pauses):
    demand = f'Bearer realm="http://{faulty.host}/token",service="r"'
    faulty.faults = [
        fault("manifests", status=401, headers={"WWW-Authenticate": f'Negotiate, Basic realm="x", {demand}'}),
        fault("GET /token", status=429, headers={"Retry-After": "3"}),
        fault("GET /token", status=200, content=json.dumps(answer).encode()),
    ]
    pull(other_store, name, patience=pauses.patience)
    assert "Bearer a-token" in [headers.get("Authorization") for headers in faulty.headers] and pauses.seconds == [3]


def test_a_push_that_is_sent_elsewhere_is_told_what_to_do(faulty, fault, store, make_image, pauses):
    image = make_image(store, {"a": b"x"})
    faulty.faults = [fault("POST", status=301, headers={"Location": "https://registry.example.com/"}, times=9)]
    with pytest.raises(UnexpectedAnswer, match="301") as failed:
        push(store, image, Reference.parse(f"{faulty.host}/new"), patience=pauses.patience)
    assert "another name" in failed.value.hint


def test_of_an_image_that_lies_goes_what_nobody_else_needs(store, make_image):
    kept = make_image(store, {"a": b"1"})
    store.tag(kept.descriptor, Reference.parse("kept"))
    needed, lie = kept.manifest.layers[0], store.add(b"lie", "")

    def fail():
        with pytest.raises(DiffIdMismatch), taking_back(store) as fetched:
            fetched += [needed.digest, lie.digest]
            raise DiffIdMismatch(expected="one", actual="another", layer=lie.digest)

    with store.in_use():
        fail()
    assert store.has(lie), "somebody at work may have found it"
    fail()
    assert not store.has(lie) and store.has(needed)


def test_one_layer_cannot_unpack_to_two_things(store, make_image):
    image, other = make_image(store, {"a": b"1"}), make_image(store, {"b": b"2"})
    config = replace(image.config, diff_ids=other.config.diff_ids)
    assert diff_ids_of([(image.manifest, image.config)] * 2) == {image.manifest.layers[0].digest: image.config.diff_ids[0]}
    with pytest.raises(DiffIdMismatch):
        diff_ids_of([(image.manifest, image.config), (image.manifest, config)])
