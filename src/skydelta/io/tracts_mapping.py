"""tracts_mapping.sqlite3: which patches of the sky map lie under which exposure.

The schema is that of LSSTDESC/ImageProcessingPipelines (tract2visit_mapper.py), so that tools
written for one work on the other; ours has indexes besides. The same facts, with fractions, go
into two CSV files.
"""

import csv
import os
import sqlite3
from contextlib import closing, contextmanager
from urllib.parse import quote

from skydelta.errors import InputError, MissingFileError, SkydeltaError
from skydelta.tables import parse_patch

_SCHEMA = (
    "CREATE TABLE overlaps (id integer PRIMARY KEY, tract integer NOT NULL, patch text NOT NULL, "
    "visit integer NOT NULL, detector integer, filter text NOT NULL, layer text)"
)
_INDEXES = (
    "CREATE INDEX overlaps_by_exposure ON overlaps (visit, detector)",
    "CREATE INDEX overlaps_by_patch ON overlaps (tract, patch)",
)
_BUSY_TIMEOUT_S = 2.0


def write_tracts_mapping(path, overlaps):
    """Write a tracts_mapping.sqlite3; the same overlaps give the same bytes.

    Parameters
    ----------
    path
        Destination; replaced as a whole or not at all.
    overlaps
        Objects with tract, patch, visit, detector and band, as skydelta.overlap.Overlap.

    Raises
    ------
    SkydeltaError
        If it cannot be written.
    """
    rows = sorted((o.tract, o.patch, o.visit, o.detector, o.band) for o in overlaps)
    values = [(tract, str(patch), *rest, "") for tract, patch, *rest in rows]
    try:
        _write(path, values)
    except (OSError, sqlite3.Error) as error:
        msg = f"{path} cannot be written ({error}): is its folder writable, and the disk not full?"
        raise SkydeltaError(msg, path=os.fspath(path)) from error


def _write(path, values):
    from skydelta.io.replacing import replacing

    with replacing(path) as partial:
        partial.unlink(missing_ok=True)
        with closing(sqlite3.connect(partial)) as database, database:
            database.execute(_SCHEMA)
            database.executemany(
                "INSERT INTO overlaps (tract, patch, visit, detector, filter, layer) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )
            for statement in _INDEXES:
                database.execute(statement)


def overlaps_of(path, visit, detector, band=None):
    """The coadds under an exposure.

    Parameters
    ----------
    path
        A tracts_mapping.sqlite3, ours or another's.
    visit, detector
        Numbers of the exposure.
    band
        Its filter; None if the visit has only one.

    Returns
    -------
    list of (tract, (x, y), band)
        Sorted.

    Raises
    ------
    InputError
        If the file is missing, busy, or not such a database.
    """
    query = (
        "SELECT DISTINCT tract, patch, filter FROM overlaps "
        "WHERE visit = :visit AND detector = :detector AND (:band IS NULL OR filter = :band)"
    )
    # int(): numbers from a numpy or astropy table are no Python integers, and SQLite minds.
    values = {"visit": int(visit), "detector": int(detector), "band": band}
    with _reading(path) as database:
        rows = database.execute(query, values)
        return sorted((tract, parse_patch(str(patch)), name) for tract, patch, name in rows)


def exposures_of(path, tract, patch, band=None):
    """The exposures on a patch.

    Parameters
    ----------
    path
        A tracts_mapping.sqlite3, ours or another's.
    tract, patch
        Number of the tract and (x, y) of the patch in it.
    band
        Filter of the exposures; None for all.

    Returns
    -------
    list of (visit, detector, band)
        Sorted.

    Raises
    ------
    InputError
        If the file is missing, busy, or not such a database.
    """
    query = (
        "SELECT DISTINCT visit, detector, filter FROM overlaps WHERE tract = :tract "
        "AND patch IN (:patch, :dense, :short) AND (:band IS NULL OR filter = :band) "
        "AND detector IS NOT NULL"
    )
    x, y = patch
    values = {
        "tract": int(tract),
        "patch": f"({x}, {y})",
        "dense": f"({x},{y})",
        "short": f"{x},{y}",
        "band": band,
    }
    with _reading(path) as database:
        return sorted(database.execute(query, values))


def mapped_coadds(path, exposures):
    """The coadds under each of many exposures, in one pass over the database.

    DESC's own file has tens of millions of rows and no index: one query per exposure would read
    all of them each time.

    Parameters
    ----------
    path
        A tracts_mapping.sqlite3, ours or another's.
    exposures
        Rows of the exposure table.

    Returns
    -------
    list of (exposure, list of (tract, (x, y), band))
        In the order of the exposures; sorted lists.

    Raises
    ------
    InputError
        If the file is missing, busy, or not such a database.
    """
    found = {exposure.key: set() for exposure in exposures}
    query = (
        "SELECT visit, detector, filter, tract, patch FROM overlaps "
        "JOIN temp.wanted USING (visit, detector, filter)"
    )
    with _reading(path) as database:
        database.execute(
            "CREATE TEMP TABLE wanted (visit integer, detector integer, filter text, "
            "PRIMARY KEY (visit, detector, filter)) WITHOUT ROWID"
        )
        database.executemany("INSERT INTO temp.wanted VALUES (?, ?, ?)", found)
        for visit, detector, band, tract, patch in database.execute(query):
            found[visit, detector, band].add((tract, parse_patch(str(patch)), band))
    return [(exposure, sorted(found[exposure.key])) for exposure in exposures]


@contextmanager
def _reading(path):
    """A read-only connection whose every complaint names the file."""
    path = os.path.abspath(path)
    if not os.path.exists(path):
        msg = f"{path} does not exist: run the overlap stage, or correct the configuration"
        raise MissingFileError(msg, path=path)
    try:
        with closing(
            sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)
        ) as database:
            yield database
    except (sqlite3.Error, ValueError) as error:
        # ValueError: a patch that cannot be parsed.
        msg = f"{path} cannot be used as a tracts_mapping.sqlite3 (table overlaps): {error}"
        raise InputError(msg, path=path) from error


def write_overlaps(path, overlaps):
    """Write overlaps.csv: one line for each pair of exposure and coadd.

    Columns: visit, detector, band, tract, patch (``x,y``, as in the coadd table) and
    fraction_of_exposure, the part of the exposure's area that lies on the coadd (empty: unknown).
    """
    header = ("visit", "detector", "band", "tract", "patch", "fraction_of_exposure")
    rows = (
        (o.visit, o.detector, o.band, o.tract, f"{o.patch[0]},{o.patch[1]}", _number(o.fraction))
        for o in overlaps
    )
    _write_csv(path, header, rows)


def write_coverage(path, coverage):
    """Write exposures.csv: what each exposure can expect.

    Columns: visit, detector, band, status (``ok``, ``no_overlap`` or an input error's),
    covered_fraction (part of its area on at least one coadd; empty: unknown), n_coadds, message.
    """
    header = (
        *("visit", "detector", "band", "status"),
        *("covered_fraction", "n_coadds", "message"),
    )
    rows = (
        (c.visit, c.detector, c.band, c.status, _number(c.fraction), c.n_coadds, c.message)
        for c in coverage
    )
    _write_csv(path, header, rows)


def _number(fraction):
    return "" if fraction != fraction else f"{fraction:.6f}"


def _write_csv(path, header, rows):
    from skydelta.io.replacing import replacing

    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
