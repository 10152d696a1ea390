import csv
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from skydelta.errors import InputError, MissingFileError, SkydeltaError
from skydelta.io.tracts_mapping import (
    exposures_of,
    mapped_coadds,
    overlaps_of,
    write_coverage,
    write_overlaps,
    write_tracts_mapping,
)
from skydelta.overlap import Coverage, Overlap
from skydelta.tables import ExposureRow

OVERLAPS = [
    Overlap(1013665, 79, "i", 4639, (0, 0), 0.75),
    Overlap(1013665, 79, "i", 4639, (10, 2), 0.125),
    Overlap(7, 3, "r", 4639, (0, 0), 1.0),
    Overlap(7, 4, "r", 12, (3, 3), 0.0),
]


@pytest.fixture
def mapping(tmp_path):
    path = tmp_path / "tracts_mapping.sqlite3"
    write_tracts_mapping(path, OVERLAPS)
    return path


def foreign(path, rows, table="overlaps"):
    """A database as DESC's own tool makes it."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            f"CREATE TABLE {table} (id integer PRIMARY KEY, tract integer NOT NULL, patch text NOT "
            "NULL, visit integer NOT NULL, detector integer, filter text NOT NULL, layer text)"
        )
        database.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def test_schema_and_values_are_those_of_desc(mapping, tmp_path):
    foreign(tmp_path / "desc.sqlite3", [])
    columns = []
    for path in (mapping, tmp_path / "desc.sqlite3"):
        with closing(sqlite3.connect(path)) as database:
            columns.append(database.execute("PRAGMA table_info(overlaps)").fetchall())
            rows = database.execute("SELECT * FROM overlaps").fetchall()
            if path == mapping:
                assert (2, 4639, "(0, 0)", 7, 3, "r", "") in rows
                assert [row[0] for row in rows] == [1, 2, 3, 4]
                names = database.execute("SELECT name FROM sqlite_master WHERE type = 'index'")
                assert len(names.fetchall()) == 2
    assert columns[0] == columns[1]


def test_same_overlaps_give_the_same_bytes(mapping, tmp_path):
    write_tracts_mapping(tmp_path / "again.sqlite3", reversed(OVERLAPS))
    assert (tmp_path / "again.sqlite3").read_bytes() == mapping.read_bytes()
    write_tracts_mapping(mapping, OVERLAPS[:1])
    assert overlaps_of(mapping, 7, 3) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.sqlite3", mapping.name]


def test_queries(mapping):
    assert overlaps_of(mapping, 1013665, 79, "i") == [(4639, (0, 0), "i"), (4639, (10, 2), "i")]
    assert overlaps_of(mapping, 1013665, 79, "r") == []
    assert overlaps_of(mapping, np.int64(7), np.int32(4)) == [(12, (3, 3), "r")]
    assert exposures_of(mapping, 4639, (0, 0)) == [(7, 3, "r"), (1013665, 79, "i")]
    assert exposures_of(mapping, 4639, (0, 0), "i") == [(1013665, 79, "i")]
    assert exposures_of(mapping, 4639, (0, 1)) == []


def test_values_are_bound_not_pasted(mapping):
    assert overlaps_of(mapping, 7, 3, "r' OR '1'='1") == []


def test_many_exposures_at_once(mapping):
    rows = [ExposureRow(7, 3, "r", "a"), ExposureRow(8, 3, "r", "b"), ExposureRow(7, 4, "i", "c")]
    assert mapped_coadds(mapping, rows) == [
        (rows[0], [(4639, (0, 0), "r")]),
        (rows[1], []),
        (rows[2], []),
    ]


def test_foreign_database(tmp_path):
    """No index, no detector in some rows, repeated rows, patches in either form."""
    path = tmp_path / "a name with ? and #.sqlite3"
    foreign(
        path,
        [
            (1, 5, "(1, 2)", 7, 3, "r", ""),
            (2, 5, "(1, 2)", 7, 3, "r", ""),
            (3, 5, "1,2", 8, 3, "r", ""),
            (4, 5, "(1, 2)", 9, None, "r", ""),
        ],
    )
    assert overlaps_of(path, 7, 3) == [(5, (1, 2), "r")]
    assert exposures_of(path, 5, (1, 2)) == [(7, 3, "r"), (8, 3, "r")]
    assert mapped_coadds(path, [ExposureRow(8, 3, "r", "")])[0][1] == [(5, (1, 2), "r")]
    with closing(sqlite3.connect(path)) as database:
        assert len(database.execute("SELECT * FROM overlaps").fetchall()) == 4


def not_a_database(path):
    path.write_text("tract,patch\n" * 100)


def other_table(path):
    foreign(path, [], table="visits")


def cut_off(path):
    write_tracts_mapping(path, OVERLAPS)
    path.write_bytes(path.read_bytes()[:5000])


def other_columns(path):
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE overlaps (tract integer, visit integer)")


def bad_patch(path):
    foreign(path, [(1, 5, "17", 7, 3, "r", "")])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (not_a_database, "not a database"),
        (other_table, "no such table: overlaps"),
        (other_columns, "column"),
        (cut_off, "malformed"),
        (bad_patch, "'17' is neither"),
        (lambda path: path.mkdir(), "cannot be used as a tracts_mapping"),
    ],
)
def test_unusable_files_are_named(tmp_path, make, message):
    path = tmp_path / "bad.sqlite3"
    make(path)
    for query in (
        lambda: overlaps_of(path, 7, 3),
        lambda: mapped_coadds(path, [ExposureRow(7, 3, "r", "")]),
    ):
        with pytest.raises(InputError, match=message) as caught:
            query()
        assert "bad.sqlite3" in str(caught.value)
    if make is not bad_patch:  # the patches of the answer are those of the question
        with pytest.raises(InputError, match=message):
            exposures_of(path, 5, (1, 2))


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(SkydeltaError, match=r"m\.sqlite3 cannot be written .* folder writable"):
        write_tracts_mapping(tmp_path / "file" / "m.sqlite3", OVERLAPS)

    def refuse(_):
        msg = "attempt to write a readonly database"
        raise sqlite3.OperationalError(msg)

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with pytest.raises(SkydeltaError, match=r"m\.sqlite3 cannot be written .*readonly"):
        write_tracts_mapping(tmp_path / "m.sqlite3", OVERLAPS)
    assert not (tmp_path / "m.sqlite3").exists()


def test_read_only_file_is_read(mapping):
    mapping.chmod(0o444)
    mapping.parent.chmod(0o555)
    try:
        assert overlaps_of(mapping, 7, 3) == [(4639, (0, 0), "r")]
        assert mapped_coadds(mapping, [ExposureRow(7, 3, "r", "")])[0][1]
    finally:
        mapping.parent.chmod(0o755)


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match=r"gone\.sqlite3 does not exist"):
        exposures_of(tmp_path / "gone.sqlite3", 1, (0, 0))
    assert not (tmp_path / "gone.sqlite3").exists()


def test_locked_file(mapping, monkeypatch):
    monkeypatch.setattr("skydelta.io.tracts_mapping._BUSY_TIMEOUT_S", 0.01)
    with closing(sqlite3.connect(mapping)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match=r"tracts_mapping\.sqlite3.*locked"):
            overlaps_of(mapping, 7, 3)


def test_csv_files(tmp_path):
    write_overlaps(
        tmp_path / "sub/overlaps.csv", [*OVERLAPS, Overlap(1, 1, "i", 1, (0, 0), np.nan)]
    )
    coverage = [
        Coverage(7, 3, "r", "ok", 1.0, 1),
        Coverage(8, 3, "r", "missing_file", float("nan"), 0, 'a, "b" does not exist'),
    ]
    write_coverage(tmp_path / "exposures.csv", coverage)
    with (tmp_path / "sub/overlaps.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[1] == {
        "visit": "1013665",
        "detector": "79",
        "band": "i",
        "tract": "4639",
        "patch": "10,2",
        "fraction_of_exposure": "0.125000",
    }
    assert rows[-1]["fraction_of_exposure"] == ""
    with (tmp_path / "exposures.csv").open(newline="") as stream:
        first, second = csv.DictReader(stream)
    assert first["covered_fraction"] == "1.000000"
    assert second["covered_fraction"] == ""
    assert second["message"] == 'a, "b" does not exist'
