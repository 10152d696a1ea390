"""The archive at the end of an afw file: objects by number, each some rows of some tables.

Layout after afw (table/io/InputArchive.cc, CatalogVector.h): the index lists, for every object,
its class and which rows of which table (``cat.archive``) make up its 1st, 2nd... catalogue
(``cat.persistable``). The k-th table of the archive follows k HDUs after the index.
"""

from importlib import import_module
from operator import itemgetter

import numpy as np
from astropy.io.fits import VerifyError

from skydelta.errors import CorruptFileError, UnsupportedError
from skydelta.io.afw.persistables import READERS

_COLUMNS = ("id", "cat.archive", "cat.persistable", "row0", "nrows", "name", "module")


class InputArchive:
    """Objects of an open afw file.

    Parameters
    ----------
    hdul
        Open HDUList.
    first
        0-based number of the index HDU; by default what AR_HDU says.
    trusted
        Whether objects that are Python pickles may be unpickled. An unpickled file can do
        anything its author wishes.

    Raises
    ------
    CorruptFileError
        If the index is not there or is not an index.
    """

    def __init__(self, hdul, first=None, *, trusted=False):
        self._hdul = hdul
        self._first = _index_number(hdul) if first is None else first
        self.trusted = trusted
        index = self._table(0)
        missing = [name for name in _COLUMNS if name not in index.columns.names]
        if missing:
            msg = f"the archive's index lacks the columns {', '.join(missing)}: not an afw archive"
            raise CorruptFileError(msg)
        self._entries = {}
        rows = zip(*(index[name].tolist() for name in _COLUMNS), strict=True)
        for row in sorted(rows, key=itemgetter(_COLUMNS.index("cat.persistable"))):
            entry = dict(zip(_COLUMNS, row, strict=True))
            self._entries.setdefault(entry["id"], []).append(entry)
        self._loaded = {}
        self._loading = []

    def __contains__(self, number):
        return int(number) in self._entries

    def detach(self):
        """Let go of the HDUs before the archive, so that their pixels are not kept in memory."""
        self._hdul, self._first = list(self._hdul)[self._first :], 0

    def class_name(self, number):
        """Name of the class of object `number`, for example ``"PsfexPsf"``."""
        return str(self._entry(number)[0]["name"]).strip()

    def module(self, number):
        """LSST's Python module of the class of object `number`; may be empty."""
        return str(self._entry(number)[0]["module"]).strip()

    def catalogs(self, number):
        """The rows of an object: one FITS_rec for each of its catalogues.

        Raises
        ------
        CorruptFileError
            If there is no such object, or its rows are not in the file.
        """
        return [self._rows(entry) for entry in self._entry(number)]

    def flag_names(self, number, which=0):
        """Names of the bits of the column ``flags`` of one of an object's catalogues."""
        entry = self._entry(number)[which]
        if entry["cat.archive"] < 0:
            return []
        header = self._hdu(entry["cat.archive"]).header
        return [str(header[key]).strip() for key in header if key.startswith("TFLAG")]

    def rows(self, number, which=0):
        """One of an object's catalogues.

        Raises
        ------
        CorruptFileError
            If it has no such catalogue.
        """
        catalogs = self.catalogs(number)
        if which >= len(catalogs):
            msg = (
                f"archive object {number} ({self.class_name(number)}) has {len(catalogs)} "
                f"catalogues, expected at least {which + 1}: the file is damaged"
            )
            raise CorruptFileError(msg)
        return catalogs[which]

    def row(self, number, which=0):
        """The only row of one of an object's catalogues.

        Raises
        ------
        CorruptFileError
            If there is not exactly one.
        """
        rows = self.rows(number, which)
        if len(rows) != 1:
            msg = (
                f"archive object {number} ({self.class_name(number)}) has {len(rows)} rows, "
                "expected 1: the file is damaged"
            )
            raise CorruptFileError(msg)
        return rows[0]

    def load(self, number):
        """The object of that number; None for number 0, the same object each time.

        Raises
        ------
        CorruptFileError
            If it is not in the archive, refers to itself, or its rows do not make sense.
        UnsupportedError
            If its class is not known.
        """
        number = int(number)
        if number == 0:
            return None
        if number not in self._loaded:
            self._loaded[number] = self._load(number)
        return self._loaded[number]

    def _load(self, number):
        name = self.class_name(number)
        if name not in READERS:
            msg = f"archive object {number} is a {name}, a class this version cannot read"
            raise UnsupportedError(msg)
        if number in self._loading:
            msg = f"archive object {number} ({name}) refers to itself: the file is damaged"
            raise CorruptFileError(msg)
        module, function = READERS[name]
        self._loading.append(number)
        try:
            return getattr(import_module(module), function)(self, number)
        except (LookupError, ValueError, TypeError, VerifyError) as error:
            # What numpy and astropy raise on rows that are not as they should be.
            msg = f"archive object {number} ({name}) cannot be read: {error}"
            raise CorruptFileError(msg) from error
        finally:
            self._loading.pop()

    def _entry(self, number):
        entry = self._entries.get(int(number))
        if entry is None:
            msg = (
                f"the archive has no object {number} ({len(self._entries)} objects, largest "
                f"number {max(self._entries, default=0)}): the file is damaged"
            )
            raise CorruptFileError(msg)
        return entry

    def _rows(self, entry):
        which, first, count = (int(entry[key]) for key in ("cat.archive", "row0", "nrows"))
        if which < 0:  # an object without state
            return np.empty(0)
        table = self._table(which)
        if first < 0 or first + count > len(table):
            msg = (
                f"archive object {entry['id']} ({str(entry['name']).strip()}) needs rows {first} "
                f"to {first + count - 1} of table {which}, which has {len(table)}: the file was "
                "cut short or is damaged"
            )
            raise CorruptFileError(msg)
        return table[first : first + count]

    def _table(self, which):
        return self._hdu(which).data

    def _hdu(self, which):
        number = self._first + which
        try:
            hdu = self._hdul[number]  # not by len(), which would read every HDU behind it
        except IndexError:
            hdu = None
        if not hasattr(hdu, "columns"):
            msg = (
                f"table {which} of the archive should be HDU {number}, which is not a table: the "
                "file was cut short or is damaged"
            )
            raise CorruptFileError(msg)
        return hdu


def _index_number(hdul):
    """0-based number of the index HDU, from AR_HDU, which counts from 1."""
    value = hdul[0].header.get("AR_HDU")
    if not isinstance(value, int) or value < 2:
        msg = f"AR_HDU = {value!r} does not say where the archive begins"
        raise CorruptFileError(msg)
    return value - 1


def text_of(value):
    """Text of a column of characters, of fixed or variable length."""
    if isinstance(value, str):
        return value.rstrip()
    # astropy gives variable-length text character by character, and blanks as nothing.
    return "".join(character or " " for character in np.ravel(value).tolist()).rstrip()


def bytes_of(value):
    """Bytes of a column of unsigned bytes of variable length."""
    return np.asarray(value, np.uint8).tobytes()
