"""Whether a file is complete and undamaged, judged by what its kind offers, quickly."""

import json
import sqlite3
import struct
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from skydelta.errors import CorruptFileError
from skydelta.tables import exposure_id

_TAIL = 64
_CHUNK = 1 << 20


def check_file(path, suffix=None):
    """Refuse a file that is cut off or damaged.

    FITS: every HDU is there, DATASUM and CHECKSUM are right. Parquet: the footer can be read and
    the file holds all that it speaks of. SQLite: its own integrity check. JSON: it parses. CSV:
    it ends with a line's end. HTML: it ends with ``</html>``. Other kinds: nothing is known.

    Parameters
    ----------
    path
        The file.
    suffix
        Its kind, ``.fits`` and so on; by default that of its name.

    Raises
    ------
    CorruptFileError
        With what is wrong; the message does not name the file.
    """
    check = _CHECKS.get(suffix or Path(path).suffix)
    if check is not None:
        check(path)


def _check_fits(path):
    from skydelta.io.fits_sums import read_sums

    read_sums(path)


def _check_parquet(path):
    parquet_rows(path)


def parquet_rows(path, *, data=False):
    """Number of rows of a Parquet file.

    Parameters
    ----------
    path
        The file.
    data
        Whether to read all of it, against the checksums of its pages; else the footer is judged.

    Raises
    ------
    CorruptFileError
        If the footer cannot be read, a page is damaged, or the row groups do not add up.
    """
    with _parquet(path) as parquet:
        rows = sum(len(batch) for batch in parquet.iter_batches()) if data else None
        footer = parquet.metadata
        groups = sum(footer.row_group(k).num_rows for k in range(footer.num_row_groups))
        if groups != footer.num_rows or rows not in (None, footer.num_rows):
            raise CorruptFileError(f"{rows or groups} rows instead of {footer.num_rows}")
        return footer.num_rows


def parquet_counts(path, *, data=False):
    """Number of rows of each exposure in a Parquet catalogue.

    Parameters
    ----------
    path
        The catalogue, with columns visit, detector and band.
    data
        Whether to read the other columns too, against the checksums of their pages.

    Returns
    -------
    collections.Counter
        By ``VISIT-BAND-detDETECTOR``.

    Raises
    ------
    CorruptFileError
        If it cannot be read.
    """
    import pyarrow as pa

    keys, counts = ("visit", "detector", "band"), Counter()
    with _parquet(path) as parquet:
        for batch in parquet.iter_batches(columns=None if data else keys):
            columns = {name: batch.column(name) for name in keys}
            groups = pa.table(columns).group_by(list(keys)).aggregate([([], "count_all")])
            for row in groups.to_pylist():
                name = exposure_id(row["visit"], row["detector"], row["band"])
                counts[name] += row["count_all"]
    return counts


@contextmanager
def _parquet(path):
    """An open Parquet file that verifies the pages it reads."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
            yield parquet
    except (pa.ArrowException, OSError, KeyError) as error:
        raise CorruptFileError(f"it cannot be read: {error}") from error


def _check_sqlite(path):
    place = f"file:{quote(str(Path(path).absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(place, uri=True)) as database:
            verdict = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise CorruptFileError(str(error)) from error
    if verdict != "ok":
        raise CorruptFileError(verdict)
    # SQLite takes what is missing from the last page for zeros.
    with open(path, "rb") as stream:
        header, size = stream.read(32), stream.seek(0, 2)
    if len(header) < 32:
        raise CorruptFileError("the file is empty")
    page, number = struct.unpack(">16xH10xI", header)
    if size != (page if page > 1 else 65536) * number:
        raise CorruptFileError(f"{size} bytes are no {number} pages of {page}")


def _check_json(path):
    read_json(path)


def read_json(path):
    """The content of a JSON file.

    Raises
    ------
    CorruptFileError
        If it does not parse.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptFileError(f"it is not JSON: {error}") from error


def _check_csv(path):
    if _tail(path)[-1:] != b"\n":
        raise CorruptFileError("its last line has no end")


def _check_html(path):
    if not _tail(path).rstrip().endswith(b"</html>"):
        raise CorruptFileError("its end is missing")


def _tail(path):
    with open(path, "rb") as stream:
        stream.seek(max(0, stream.seek(0, 2) - _TAIL))
        return stream.read()


_CHECKS = {
    ".fits": _check_fits,
    ".parquet": _check_parquet,
    ".sqlite3": _check_sqlite,
    ".json": _check_json,
    ".csv": _check_csv,
    ".html": _check_html,
}
