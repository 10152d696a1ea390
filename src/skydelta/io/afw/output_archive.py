"""Writing the archive of an afw file: the counterpart of `archive`.

Rows of one class with one set of columns share a table, as in afw (table/io/OutputArchive.cc).
"""

from dataclasses import dataclass, field
from importlib import import_module

import numpy as np
from astropy.io import fits

from skydelta.io.afw.persistables import WRITERS
from skydelta.lsst.exposure_info import Deferred

_VERSION = 3
"""AFW_TABLE_VERSION of the files written."""


@dataclass
class Catalog:
    """Rows of an object.

    Parameters
    ----------
    columns
        {name: (FITS format, values)}: one value a row; for variable-length formats (``"QB"``,
        ``"QD"``...) one array a row.
    flags
        {name: bools}, packed into the bit column ``flags``.
    """

    columns: dict
    flags: dict = field(default_factory=dict)

    def __len__(self):
        values = [v for _, v in self.columns.values()] + list(self.flags.values())
        return len(values[0]) if values else 0

    @property
    def schema(self):
        """What tables must have in common to be one."""
        return tuple((n, f) for n, (f, _) in self.columns.items()), tuple(self.flags)


class OutputArchive:
    """Objects on their way to a file.

    `save` gives an object a number, the same for the same object; `hdus` makes the index and the
    tables.
    """

    def __init__(self):
        self._index = []
        self._tables = {}
        self._numbers = {}
        self._kept = []
        self._next = 1

    def save(self, thing):
        """The number of an object, which is added if it is new; 0 for None.

        Raises
        ------
        TypeError
            If its class cannot be written.
        InputError
            If it is Deferred and cannot be read.
        """
        if thing is None:
            return 0
        if id(thing) not in self._numbers:
            name = type(thing).__name__
            if isinstance(thing, Deferred):
                self._kept.append(thing)
                self._numbers[id(thing)] = self.save(thing.load())
                return self._numbers[id(thing)]
            if name not in WRITERS:
                msg = f"a {name} cannot be written to an afw archive"
                raise TypeError(msg)
            module, function = WRITERS[name]
            self._kept.append(thing)  # alive, or its id could become another's
            self._numbers[id(thing)] = getattr(import_module(module), function)(self, thing)
        return self._numbers[id(thing)]

    def add(self, name, module, *catalogs):
        """Add the rows of an object of class `name` of an LSST `module`; returns its number."""
        number, self._next = self._next, self._next + 1
        for which, catalog in enumerate(catalogs):
            key = name, which, catalog.schema
            table = self._tables.setdefault(key, [])
            first = sum(len(part) for part in table)
            table.append(catalog)
            where = list(self._tables).index(key) + 1
            self._index.append((number, where, which, first, len(catalog), name, module))
        if not catalogs:
            self._index.append((number, -1, 0, 0, 0, name, module))
        return number

    def hdus(self):
        """The index and the tables, to follow the image planes."""
        columns = [
            fits.Column(name, form, array=np.array([row[i] for row in self._index]))
            for i, (name, form) in enumerate(_INDEX_COLUMNS)
        ]
        index = fits.BinTableHDU.from_columns(columns, name="ARCHIVE_INDEX")
        index.header["EXTTYPE"] = "ARCHIVE_INDEX"
        index.header["AR_CATN"] = (0, "# of this table relative to the index")
        index.header["AR_NCAT"] = (len(self._tables) + 1, "# of tables, including this one")
        _finish(index)
        tables = [
            _table_hdu(name, number + 1, parts)
            for number, ((name, _, _), parts) in enumerate(self._tables.items())
        ]
        return [index, *tables]


_INDEX_COLUMNS = (
    *(("id", "J"), ("cat.archive", "J"), ("cat.persistable", "J"), ("row0", "J"), ("nrows", "J")),
    *(("name", "64A"), ("module", "64A")),
)


def _table_hdu(name, number, parts):
    """The catalogues of one schema as a table."""
    columns = []
    flags = list(parts[0].flags)
    if flags:
        bits = np.column_stack([np.concatenate([part.flags[f] for part in parts]) for f in flags])
        columns.append(fits.Column("flags", f"{len(flags)}X", array=bits.astype(bool)))
    for key, (form, _) in parts[0].columns.items():
        values = [value for part in parts for value in part.columns[key][1]]
        columns.append(fits.Column(key, form, array=_as_array(values, form)))
    hdu = fits.BinTableHDU.from_columns(columns, name=name)
    hdu.header["EXTTYPE"] = "ARCHIVE_DATA"
    hdu.header["AR_CATN"] = (number, "# of this table relative to the index")
    hdu.header["AR_NAME"] = (name, "class stored in this table")
    _finish(hdu, flags)
    return hdu


def _finish(hdu, flags=()):
    """The cards by which afw tells its kinds of columns (table/io/FitsSchemaInputMapper.cc)."""
    header = hdu.header
    header["HIERARCH AFW_TABLE_VERSION"] = _VERSION
    if flags:
        header["FLAGCOL"] = (1, "number of the column of flags")
    for position, flag in enumerate(flags, start=1):
        header[f"TFLAG{position}"] = flag
    for position, column in enumerate(hdu.columns, start=1):
        kind = _kind(column)
        if kind is not None:
            header[f"TCCLS{position}"] = (kind, "field template of lsst.afw.table")
        if kind == "Angle":
            header[f"TUNIT{position}"] = "rad"


def _kind(column):
    """Scalar, Array, String or Angle; None for the flags."""
    form = column.format
    letter = form.split("(")[0][-1]
    if letter == "X":
        return None
    if letter == "A":
        return "String"
    if letter == "D" and column.name in _ANGLES:
        return "Angle"
    count = form.split("(")[0][:-1].lstrip("1")
    return "Array" if count or column.name in _ARRAYS else "Scalar"


_ANGLES = {
    *("yaw", "pitch", "roll", "era", "longitude", "latitude"),
    *("boresightradec_ra", "boresightradec_dec", "boresightrotangle"),
    *("boresightazalt_az", "boresightazalt_alt"),
}
"""Columns that afw declares as angles; all are in rad."""

_ARRAYS = {
    *("coefficients", "image", "amplitudes", "components", "spatialfunctions"),
    *("group", "degree", "basis", "coeff", "_size", "_comp", "_context_first", "_context_second"),
}
"""Columns that are arrays even where they have one element."""


def _as_array(values, form):
    if form.lstrip("1")[0] not in "PQ":
        return np.array(values)
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array
