"""Products appear whole under their names, or not at all; leftovers of killed jobs go."""

import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from skydelta.io.replacing import leftovers_of, product_of, replacing


def test_leaves_nothing_behind_on_failure(tmp_path):
    target = tmp_path / "deep" / "x.txt"
    with pytest.raises(RuntimeError), replacing(target) as partial:  # noqa: PT012
        partial.write_text("half")
        raise RuntimeError
    assert list(target.parent.iterdir()) == []


def test_keeps_the_old_file_on_failure(tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as partial:  # noqa: PT012
        partial.write_text("half")
        raise RuntimeError
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_replaces(tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")
    with replacing(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert [p.read_text() for p in tmp_path.iterdir()] == ["new"]


KILLED = """
import os, signal, sys
from skydelta.io.replacing import replacing
with replacing(sys.argv[1]) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftover_of_a_killed_job_goes_with_its_next_run(tmp_path):
    target = tmp_path / "a [1].json"
    done = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(".a [1].json.")
    assert not target.exists()
    assert product_of(leftover) == target
    assert leftovers_of(target) == [leftover]
    with replacing(target) as partial:
        partial.write_text("{}")
    assert list(tmp_path.iterdir()) == [target]


def test_leftovers_of_others_stay(tmp_path):
    others = [".a.fits.b.json.12.part", ".b.json.bak.part", ".ab.json.1.part", "b.json.1.part"]
    for name in others:
        (tmp_path / name).write_text("")
    with replacing(tmp_path / "b.json") as partial:
        partial.write_text("{}")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "b.json"])


def test_a_cache_leaves_what_another_process_writes(tmp_path):
    other = tmp_path / ".cache.json.1.part"
    other.write_text("")
    with replacing(tmp_path / "cache.json", is_product=False) as partial:
        partial.write_text("{}")
    assert other.exists()


@pytest.mark.parametrize(
    ("name", "half"),
    [
        ("a.json", '{"a": 1'),
        ("a.csv", "x,y\n1,"),
        ("a.html", "<html><body>"),
        ("a.fits", "SIMPLE  =                    T"),
        ("a.parquet", "PAR1"),
        ("a.sqlite3", "SQLite format 3\0 and no more"),
    ],
)
def test_half_a_file_gets_no_name(tmp_path, name, half):
    with pytest.raises(OSError, match="did not reach the disk"), replacing(tmp_path / name) as part:
        part.write_text(half)
    assert list(tmp_path.iterdir()) == []


def test_a_whole_database_passes(tmp_path):
    path = tmp_path / "a #1?.sqlite3"
    with replacing(path) as partial:
        database = sqlite3.connect(partial)
        database.execute("create table t (x)")
        database.close()
    assert path.exists()


def test_files_have_the_users_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "x.json") as partial:
            partial.write_text("{}")
    finally:
        os.umask(before)
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o640
