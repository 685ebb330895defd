"""Records of earlier builds: they come back as they went in, and a damaged file is replaced, not believed."""

import threading

from pybuild.builder.records.database import Database, StepRecord
from pybuild.registry import Descriptor, Digest

LAYER, BLOB = Digest.of(b"layer"), Digest.of(b"blob")


def test_records_survive_reopening(tmp_path):
    path = tmp_path / "pybuild.db"
    first = Database(path)
    first.add_step(StepRecord("k", LAYER, "tree", "2026-01-01T00:00:00Z"))
    first.add_blob(LAYER, "gzip", Descriptor("m", BLOB, 3))
    first.close()
    second = Database(path)
    assert second.step("k") == StepRecord("k", LAYER, "tree", "2026-01-01T00:00:00Z")
    assert second.blob(LAYER, "gzip") == Descriptor("m", BLOB, 3)
    assert second.blob(LAYER, "zstd") is None
    assert second.trees_of(LAYER) == ("tree",)
    assert second.step("other") is None


def test_a_moment_is_the_first_one(tmp_path):
    database = Database(tmp_path / "pybuild.db")
    assert database.moment("k", "one") == "one"
    assert database.moment("k", "two") == "one"


def test_a_damaged_file_is_replaced(tmp_path):
    path = tmp_path / "pybuild.db"
    path.write_bytes(b"this is no database" * 500)
    database = Database(path)
    database.add_memo("kind", "key", b"content")
    assert database.memo("kind", "key") == b"content"


def test_many_threads_write_at_once(tmp_path):
    database = Database(tmp_path / "pybuild.db")

    def work(start):
        for n in range(start, start + 50):
            database.add_step(StepRecord(f"k{n}", None, None, "t"))
            database.add_file_digests([("d", f"f{n}", (n, n, n, n), b"x")])

    threads = [threading.Thread(target=work, args=(n * 100,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(database.step(f"k{n * 100 + i}") for n in range(6) for i in range(50))
    assert len(database.file_digests("d")) == 300
