"""A step is done once, however many builds want it."""

import os

from pybuild.builder.steps.locks import StepLocks


def test_a_lock_is_held_by_one_and_then_known_to_have_been_busy(store):
    first, second = StepLocks(store), StepLocks(store)
    with first, second:
        taken = first.take("k")
        assert taken is not None and not taken.was_busy
        assert second.take("k") is None
        first.release("k")
        taken = second.take("k")
        assert taken is not None and taken.was_busy
    assert not [name for name in os.listdir(f"{store.root}/locks") if name.startswith("step-")]


def test_leaving_releases_all(store):
    with StepLocks(store) as locks:
        assert locks.take("a") and locks.take("b")
    with StepLocks(store) as locks:
        taken = locks.take("a")
        assert taken is not None and not taken.was_busy


def test_a_lock_whose_file_goes_between_opening_and_locking_is_taken_anew(store, monkeypatch):
    first, second, third = StepLocks(store), StepLocks(store), StepLocks(store)
    first.take("k")
    opened = os.open

    def late(*arguments):
        descriptor = opened(*arguments)
        first.release("k")
        return descriptor

    monkeypatch.setattr(os, "open", late)
    taken = second.take("k")
    monkeypatch.undo()
    assert taken is not None and taken.was_busy
    assert third.take("k") is None, "both would do the step"
    second.release("k")
