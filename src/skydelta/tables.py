"""The two input tables: which exposures to search, and which coadds to search them against.

The Snakefile reads both at every start, so this module needs the standard library only.
"""

import csv
import logging
import os
import re
from dataclasses import dataclass
from difflib import get_close_matches

from skydelta.errors import TableError

logger = logging.getLogger(__name__)

_SIDE_FILES = ("psf", "weight", "mask")
_EXPOSURE_COLUMNS = ("visit", "detector", "band", "path")
_COADD_COLUMNS = ("tract", "patch", "band", "path")

_SYNONYMS = {
    "band": ("filter", "filtername", "physical_filter", "abstract_filter"),
    "detector": ("ccd", "chip", "ccdnum", "sensor", "det"),
    "path": ("file", "filename", "fits", "image", "filepath"),
    "visit": ("exposure", "expnum", "expid", "exposure_id"),
    "weight": ("weightmap", "wht", "ivar"),
}
"""What other surveys call our columns: only ever suggested, never accepted in silence."""

_BAND = re.compile(r"[A-Za-z0-9_+-]+")
_PATCH = re.compile(r"(\()?\s*(\d{1,9})\s*,\s*(\d{1,9})\s*(?(1)\))", re.ASCII)
_MAX_DIGITS = 18
"""Longest integer that always fits the 64 bits of an SQLite column."""


@dataclass(frozen=True, slots=True)
class ExposureRow:
    """One line of the exposure table; paths are absolute, side files None where not given."""

    visit: int
    detector: int
    band: str
    path: str
    psf: str | None = None
    weight: str | None = None
    mask: str | None = None

    @property
    def id(self):
        """The name of the exposure in all products, for example ``01013665-i-det079``."""
        return exposure_id(self.visit, self.detector, self.band)

    @property
    def key(self):
        """(visit, detector, band)."""
        return self.visit, self.detector, self.band


@dataclass(frozen=True, slots=True)
class CoaddRow:
    """One line of the coadd table; `patch` is (x, y), paths as in ExposureRow."""

    tract: int
    patch: tuple[int, int]
    band: str
    path: str
    psf: str | None = None
    weight: str | None = None
    mask: str | None = None

    @property
    def id(self):
        """The name of the coadd in messages, for example ``4639-0,0-i``."""
        return f"{self.tract}-{self.patch[0]},{self.patch[1]}-{self.band}"

    @property
    def key(self):
        """(tract, patch, band)."""
        return self.tract, self.patch, self.band


def exposure_id(visit, detector, band):
    """The name of an exposure in file names: ``{visit:08d}-{band}-det{detector:03d}``."""
    return f"{visit:08d}-{band}-det{detector:03d}"


def parse_patch(text):
    """(x, y) of ``"x,y"`` or ``"(x, y)"``.

    Raises
    ------
    ValueError
        If the text is neither.
    """
    match = _PATCH.fullmatch(text.strip())
    if match is None:
        msg = f'patch {text!r} is neither "x,y" nor "(x, y)" with x, y = 0, 1, 2 ...'
        raise ValueError(msg)
    return int(match[2]), int(match[3])


def read_exposures(path, folder=None):
    """The exposure table (columns visit, detector, band, path; optional psf, weight, mask).

    Parameters
    ----------
    path
        A CSV file.
    folder
        What relative paths inside the table are relative to; None for the table's own folder.

    Returns
    -------
    list of ExposureRow
        In the order of the table. Whether the images exist is not looked at.

    Raises
    ------
    TableError
        With file name, line and cure, for a table that cannot be understood.
    """

    def parse(cells):
        return ExposureRow(
            _integer(cells, "visit"), _integer(cells, "detector"), _band(cells), *cells.files()
        )

    return _read(path, folder, _EXPOSURE_COLUMNS, parse, "exposures")


def read_coadds(path, folder=None):
    """The coadd table (columns tract, patch, band, path; optional psf, weight, mask).

    Parameters
    ----------
    path
        A CSV file.
    folder
        What relative paths inside the table are relative to; None for the table's own folder.

    Returns
    -------
    list of CoaddRow
        In the order of the table. Whether the images exist is not looked at.

    Raises
    ------
    TableError
        With file name, line and cure, for a table that cannot be understood.
    """

    def parse(cells):
        return CoaddRow(
            _integer(cells, "tract"), parse_patch(cells["patch"]), _band(cells), *cells.files()
        )

    return _read(path, folder, _COADD_COLUMNS, parse, "coadds")


class _Cells:
    """Cells of one line by column name."""

    def __init__(self, columns, folder):
        self._columns = columns
        self._folder = folder
        self._row = None

    def load(self, row):
        self._row = row
        return self

    def __getitem__(self, name):
        return self._row[self._columns[name]].strip()

    def files(self):
        """Absolute path of the image and its side files (None where not given)."""
        path = self["path"]
        if not path:
            msg = "path is empty: name the FITS file of the image"
            raise ValueError(msg)
        return self._absolute(path), *(self._side_file(name) for name in _SIDE_FILES)

    def _side_file(self, name):
        text = self[name] if name in self._columns else ""
        return self._absolute(text) if text else None

    def _absolute(self, text):
        if not text.isprintable():
            msg = f"the path {text!r} holds a character that cannot be printed: rename the file"
            raise ValueError(msg)
        return os.path.normpath(os.path.join(self._folder, text))


def _integer(cells, name):
    text = cells[name]
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        msg = f"{name} {text!r} is not a whole number of at most {_MAX_DIGITS} digits"
        raise ValueError(msg)
    return int(text)


def _band(cells):
    band = cells["band"]
    if not _BAND.fullmatch(band):
        msg = (
            f"band {band!r} cannot be part of a file name: "
            "use one or more of the letters A-Z a-z, digits, _ + -"
        )
        raise ValueError(msg)
    return band


def _read(path, folder, required, parse, kind):
    """Rows of a table, each made by `parse` from its cells and unique in its key."""
    path = os.fspath(path)
    lines = _records(path, kind)
    header_line, header = next(lines, (1, None))
    if header is None:
        msg = f"{path} is empty: it needs a header line with {', '.join(required)}"
        raise TableError(msg, path=path)
    columns = _columns(path, header_line, header, required)
    cells = _Cells(columns, os.path.abspath(folder or os.path.dirname(os.path.abspath(path))))
    rows, seen = [], {}
    for line, record in lines:
        if len(record) != len(header):
            raise _at(path, line, _wrong_length(record, header))
        try:
            row = parse(cells.load(record))
        except ValueError as error:
            raise _at(path, line, str(error)) from error
        if row.key in seen:
            what = f"{row.id} is already on line {seen[row.key]}: remove one of the two"
            raise _at(path, line, what)
        seen[row.key] = line
        rows.append(row)
    if not rows:
        msg = f"{path} has a header but no {kind}: add one line per image"
        raise TableError(msg, path=path)
    return rows


def _records(path, kind):
    """(line number, cells) of each line that is not blank."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            # strict: an unclosed quote is an error here, not a cell that swallows the rest.
            reader = csv.reader(stream, skipinitialspace=True, strict=True)
            line = 1
            for record in reader:
                if any(cell.strip() for cell in record):
                    yield line, record
                line = reader.line_num + 1
    except FileNotFoundError as error:
        msg = (
            f"the table of {kind} {path} does not exist: correct the key '{kind}' of the "
            "configuration, or make the table with `skydelta index DIR`"
        )
        raise TableError(msg, path=path) from error
    except OSError as error:
        msg = f"the table of {kind} {path} cannot be read: {error.strerror}"
        raise TableError(msg, path=path) from error
    except UnicodeDecodeError as error:
        msg = f"{path} is not a text file in UTF-8 ({error.reason}): save it as CSV"
        raise TableError(msg, path=path) from error
    except csv.Error as error:
        raise _at(path, reader.line_num, f"this is not CSV: {error}") from error


def _columns(path, line, header, required):
    """Index of each known column."""
    names = [cell.strip() for cell in header]
    known = (*required, *_SIDE_FILES)
    repeated = sorted({name for name in names if name in known and names.count(name) > 1})
    if repeated:
        raise _at(path, line, f"column {repeated[0]!r} is there twice: remove one of the two")
    extra = [name for name in names if name not in known]
    missing = [name for name in required if name not in names]
    if missing:
        what = "; ".join(f"column {name!r} is missing{_hint(name, extra)}" for name in missing)
        raise _at(path, line, f"{what}. The header line is: {','.join(names)}")
    for name in extra:
        wanted = next((k for k in _SIDE_FILES if k not in names and _alike(k, [name])), None)
        if wanted:
            logger.warning("%s: column %r is ignored: did you mean %r?", path, name, wanted)
        else:
            logger.info("%s: column %r is not used", path, name)
    return {name: names.index(name) for name in known if name in names}


def _hint(name, candidates):
    close = _alike(name, candidates)
    return f" (is it {close[0]!r}? then rename it)" if close else ""


def _alike(name, candidates):
    """Those of the candidates that look like a misspelling or a synonym of `name`."""
    words = (name, *_SYNONYMS.get(name, ()))
    return [c for c in candidates if get_close_matches(c.lower(), words, n=1, cutoff=0.75)]


def _wrong_length(record, header):
    what = f"{len(record)} cells where the header has {len(header)}"
    if len(record) > len(header) and "patch" in (cell.strip() for cell in header):
        return f'{what}: put quotation marks around the patch, "0,0"'
    return f"{what}: quote cells that hold a comma, and leave unused ones empty"


def _at(path, line, what):
    return TableError(f"{path}, line {line}: {what}", path=path, line=line)
