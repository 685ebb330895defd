"""What is left of a connection when its client has gone: no socket, no thread, and nothing in the process that we are in."""

from __future__ import annotations

import os
import socket
import threading
import warnings

import pytest

from pybuild.registry import Reference
from pybuild.registry.connections import _Watch
from pybuild.registry.errors import NotInRegistry
from pybuild.registry.transfer import pull, push


def sockets() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return {place for place in found if place.startswith("socket:")}


@pytest.mark.peers("docker-registry")
def test_an_error_that_is_kept_keeps_no_connection_open(registry, store):
    before = sockets()
    with pytest.raises(NotInRegistry) as kept:
        pull(store, Reference.parse(registry.name("is/not/there")))
    assert kept.value.__traceback__ is not None and sockets() <= before


@pytest.mark.peers("docker-registry")
def test_no_thread_stays_behind_a_push(registry, store, make_image):
    push(store, make_image(store, {"a": b"1"}), Reference.parse(registry.name("no/thread")))
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("watch", "transfer"))]


@pytest.mark.peers("docker-registry", "openssl")
def test_who_asked_for_no_certificates_is_not_warned_and_filters_stay(tls_registry, store, make_image):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = list(warnings.filters)
        push(store, make_image(store, {"a": b"1"}), Reference.parse(f"{tls_registry}/insecure"), insecure=True)
        assert warnings.filters == before


def test_a_fork_that_has_lost_the_watching_thread_has_another():
    watch = _Watch()
    # As it is in a child that was forked while its parent watched.
    watch._thread = threading.Thread(target=lambda: None)
    watch._thread.start()
    watch._thread.join()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(10)
        watch.put_in(ours, 0.01)
        assert theirs.recv(1) == b"", "nobody has shut down what was late"
        assert not watch.take_out(ours)
        watch.rest()
