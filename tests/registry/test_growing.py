"""A blob on its way to a registry while it is still being written."""

from __future__ import annotations

import os
import threading

import pytest

from pybuild.registry import Descriptor, Digest, Reference, early, growing, media, upload
from pybuild.registry.client import Client
from pybuild.registry.early import EarlyPush
from pybuild.registry.growing import Growing
from pybuild.registry.parallel import Stop, Stopped
from pybuild.registry.repository import Repository
from pybuild.registry.transfer import push_growing

# All sizes are a sixteenth of the real ones, as in `sizes`: what is decided is the same, and less is sent.
MB = 1 << 16


@pytest.fixture(autouse=True)
def sizes(monkeypatch):
    for module, name in ((growing, "WORTHWHILE"), (early, "WORTHWHILE"), (growing, "PIECE"), (upload, "SMALL")):
        monkeypatch.setattr(module, name, getattr(module, name) // 16)


class Writing:
    """A blob that a test writes, piece by piece, to the store."""

    def __init__(self, store, content):
        self.content = content
        self.blob = Descriptor(media.OCI_LAYER, Digest.of(content), len(content))
        self.writer = store.writer()
        self.growing = Growing(self.writer.path)
        self.to = self.growing.grow
        self.before = lambda: None

    def write(self, end):
        self.before()
        self.writer.write(self.content[self.writer.size : end])
        self.to(end)

    def commit(self):
        self.write(len(self.content))
        self.writer.commit(self.blob.digest)


@pytest.fixture
def writing(store):
    made = Writing(store, os.urandom(40 * MB))
    yield made
    made.growing.close()
    made.writer.__exit__(None, None, None)


@pytest.fixture
def sending(faulty, pauses, store, writing):
    """Sends it in a thread, from the first byte on; `wait` is for its end, and gives what went wrong."""

    class Sending:
        def __init__(self):
            self.stop = Stop()
            self.outcome = []
            self.seen = threading.Event()
            self.told = []
            self.thread = threading.Thread(target=self.work)
            faulty.hold_after = lambda request: self.seen.set() if request.startswith("PATCH") else None
            writing.before = self.begin

        def begin(self):
            if self.thread.ident is None:
                self.thread.start()

        def work(self):
            with Client(faulty.host, patience=pauses.patience) as client:
                repository = Repository(client, "app", ("pull", "push"))
                try:
                    self.outcome.append(
                        push_growing(store, repository, writing.growing, listener=self.told.append, stop=self.stop)
                    )
                except BaseException as error:
                    self.outcome.append(error)

        def wait(self):
            self.thread.join(20)
            return self.outcome[0]

    made = Sending()
    yield made
    writing.growing.give_up()
    if made.thread.ident is not None:
        made.thread.join(20)


def finish(writing):
    writing.commit()
    writing.growing.finish(writing.blob)


def ranges(faulty):
    return [headers["Content-Range"] for headers in faulty.headers if "Content-Range" in headers]


def test_pieces_go_before_the_blob_is_whole(sending, writing, faulty):
    writing.write(20 * MB)
    assert sending.seen.wait(20) and not faulty.blobs
    finish(writing)
    assert sending.wait() == writing.blob
    assert faulty.blobs[writing.blob.digest] == writing.content
    assert ranges(faulty) == [f"0-{20 * MB - 1}", f"{20 * MB}-{40 * MB - 1}"] and faulty.count("POST") == 1
    assert sending.told[-1].done == 40 * MB


def test_what_is_small_waits_for_its_end(sending, writing, faulty):
    writing.write(15 * MB)
    writing.write(15 * MB + 1)
    finish(writing)
    assert sending.wait() == writing.blob
    assert ranges(faulty) == [f"0-{40 * MB - 1}"], "nothing went while it was written"


def test_a_piece_has_the_bytes_that_the_registry_wants(sending, writing, faulty):
    faulty.least_piece = 30 * MB
    writing.write(20 * MB)
    finish(writing)
    assert sending.wait() == writing.blob
    assert ranges(faulty)[0] == f"0-{40 * MB - 1}"


def test_an_upload_that_breaks_goes_on_where_the_registry_is(sending, writing, faulty, fault):
    faulty.faults = [fault("PATCH", take=5 * MB)]
    writing.write(20 * MB)
    finish(writing)
    assert sending.wait() == writing.blob
    assert faulty.blobs[writing.blob.digest] == writing.content
    assert faulty.count("POST") == 1 and any(text.startswith(f"{5 * MB}-") for text in ranges(faulty))


def test_an_upload_that_the_registry_loses_is_sent_when_it_is_whole(sending, writing, faulty, fault):
    faulty.faults = [fault("PATCH", take=5 * MB), fault("GET .*uploads", status=404)]
    writing.write(20 * MB)
    finish(writing)
    assert sending.wait() == writing.blob
    assert faulty.blobs[writing.blob.digest] == writing.content and faulty.count("POST") == 2


@pytest.mark.parametrize("status", [405, 500, 413])
def test_a_registry_that_takes_no_pieces_gets_it_when_it_is_whole(status, sending, writing, faulty, fault):
    faulty.faults = [fault("PATCH", status=status, times=1)]
    writing.write(20 * MB)
    finish(writing)
    assert sending.wait() == writing.blob
    assert faulty.blobs[writing.blob.digest] == writing.content


def test_one_that_does_not_answer_to_the_beginning_gets_it_when_it_is_whole(sending, writing, faulty, fault, pauses):
    faulty.faults = [fault("POST", status=500, times=pauses.patience.attempts)]
    writing.write(20 * MB)
    finish(writing)
    assert sending.wait() == writing.blob
    assert faulty.blobs[writing.blob.digest] == writing.content


def test_bytes_that_were_spoiled_on_the_way_are_sent_again(sending, writing, faulty):
    writing.write(20 * MB)
    assert sending.seen.wait(20)
    faulty.sessions["1"][100] ^= 1
    finish(writing)
    assert sending.wait() == writing.blob
    assert faulty.blobs[writing.blob.digest] == writing.content and faulty.count("POST") == 2


def test_what_the_registry_has_is_taken_back_at_the_end(sending, writing, faulty):
    writing.write(20 * MB)
    assert sending.seen.wait(20)
    faulty.blobs[writing.blob.digest] = writing.content
    finish(writing)
    assert sending.wait() == writing.blob
    assert not faulty.sessions and sending.told[-1].action == "exists" and faulty.count("PUT") == 0


@pytest.mark.parametrize("way", ["given up", "stopped"])
def test_what_comes_to_nothing_is_taken_back(way, sending, writing, faulty):
    writing.write(20 * MB)
    assert sending.seen.wait(20)
    if way == "stopped":
        sending.stop.set()
    writing.growing.give_up()
    assert isinstance(sending.wait(), Stopped)
    assert not faulty.sessions and not faulty.blobs


def test_layers_that_grow_go_ahead_of_their_image(faulty, store):
    """To a second repository the finished layer goes."""
    names = tuple(Reference.parse(f"{faulty.host}/{name}:1") for name in ("a", "b"))
    pushing = EarlyPush(store, names, insecure=False, listener=lambda event: None)
    writing = Writing(store, os.urandom(20 * MB))
    writing.growing.close()
    writing.to = lambda size: pushing.grow(writing.writer.path, size)
    for size in range(4, 20, 4):
        writing.write(size * MB)
    writing.commit()
    pushing.offer(writing.blob, path=writing.writer.path)
    pushing.finish()
    assert faulty.blobs[writing.blob.digest] == writing.content
    assert pushing.sent == {writing.blob.digest.short} and not faulty.sessions
    assert faulty.count("PATCH /v2/a/") and not pushing._growing


def test_a_layer_that_is_never_finished_keeps_nobody_waiting(faulty, store):
    pushing = EarlyPush(store, (Reference.parse(f"{faulty.host}/a:1"),), insecure=False, listener=lambda event: None)
    with store.writer() as writer:
        writer.write(os.urandom(17 * MB))
        pushing.grow(writer.path, 17 * MB)
    pushing.finish()
    assert not faulty.sessions and not pushing.sent
