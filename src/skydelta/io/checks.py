"""Whether a file is complete and undamaged, judged by what its kind offers, quickly."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from skydelta.errors import CorruptFileError

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


def parquet_rows(path):
    """Number of rows by the footer of a Parquet file, which is seen to be complete.

    Raises
    ------
    CorruptFileError
        If the footer cannot be read, or the row groups do not add up.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        footer = pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise CorruptFileError(f"its footer cannot be read: {error}") from error
    groups = [footer.row_group(k).num_rows for k in range(footer.num_row_groups)]
    if sum(groups) != footer.num_rows:
        raise CorruptFileError(
            f"row groups of {sum(groups)} rows, the footer says {footer.num_rows}"
        )
    return footer.num_rows


def _check_sqlite(path):
    place = f"file:{quote(str(Path(path).absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(place, uri=True)) as database:
            verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise CorruptFileError(str(error)) from error
    if verdict != "ok":
        raise CorruptFileError(verdict)


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
