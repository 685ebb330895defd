"""Records of earlier builds: they come back as they went in, and a damaged file is replaced, not believed."""

import contextlib
import os
import sqlite3
import threading

import pytest

from pybuild.builder import ending
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


@pytest.mark.parametrize("times", [1, 2])
def test_only_what_makes_a_new_file_waits_for_no_disk(tmp_path, times):
    for _ in range(times):
        database = Database(str(tmp_path / "db"))
        modes = [database.connection.execute(f"pragma {name}").fetchone()[0] for name in ("synchronous", "journal_mode")]
        database.close()
    assert modes == [1, "wal"]


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


def test_a_row_that_is_not_as_written_is_none(tmp_path):
    database = Database(tmp_path / "db")
    blob = Descriptor("application/x", LAYER, 5)
    database.add_step(StepRecord("k", LAYER, "tree", "2026"))
    database.add_blob(LAYER, "gzip", blob)
    database.add_memo("plan", "k", b"content")
    database.add_lineage("own", "k", "[]", most=4)
    database.moment("k", "one")
    assert database.step("k") and database.blob(LAYER, "gzip") == blob and database.blobs(LAYER) == (blob,)
    assert database.memo("plan", "k") == b"content" and database.lineages("own") == [("k", "[]")]
    assert database.unsound_rows() == 0
    changes = {"steps": "created", "blobs": "media_type", "memos": "content", "lineages": "lineage", "moments": "created"}
    for table, column in changes.items():
        database.connection.execute(f"update {table} set {column} = 'x'")
    assert database.unsound_rows() == 5
    assert database.step("k") is None and database.blob(LAYER, "gzip") is None and database.blobs(LAYER) == ()
    assert database.memo("plan", "k") is None and database.lineages("own") == []
    assert database.moment("k", "two") == "two"
    database.close()


def test_an_older_format_is_begun_anew_but_for_the_history(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "db")) as old:
        old.execute("create table steps (key text primary key, created text not null)")
        old.execute(
            "create table builds (number integer primary key autoincrement, moment real not null, seconds real not null, "
            "dockerfile text not null, target text not null, outline text not null, rest text not null, outcomes text not null)"
        )
        old.execute("insert into builds values (7, 1, 1, 'f', '', 'o', '[]', '{}')")
        old.execute("pragma user_version=4")
        old.commit()
    database = Database(tmp_path / "db")
    database.add_step(StepRecord("k", LAYER, None, "2026"))
    assert database.step("k") is not None and not database.was_damaged
    assert database.connection.execute("select number from builds").fetchall() == [(7,)]
    database.close()


def test_the_journal_of_processes_that_leave_it_stays_short(tmp_path):
    path = tmp_path / "pybuild.db"
    longest = 0
    for number in range(60):
        if not (child := os.fork()):
            ending.announce()
            database = Database(str(path))
            database.add_memo("kind", str(number), os.urandom(20_000))
            database.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        with contextlib.suppress(FileNotFoundError):
            longest = max(longest, os.stat(f"{path}-wal").st_size)
    # It was left to the next one, mostly, and written to its place in time.
    assert 100_000 < longest < 700_000
    database = Database(str(path))
    assert all(len(database.memo("kind", str(number)) or b"") == 20_000 for number in range(60))
