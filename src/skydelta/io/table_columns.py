"""Columns with their units of a table in CSV, ECSV, FITS or Parquet, read when asked for."""

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from skydelta.errors import CorruptFileError, InputError, MissingFileError

_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_FITS = b"SIMPLE"

_TRUTH = dict.fromkeys(("t", "true", "y", "yes"), 1.0)
_TRUTH |= dict.fromkeys(("f", "false", "n", "no"), 0.0)
_TRUTH |= dict.fromkeys(("", "none", "null", "--"), np.nan)


@dataclass(frozen=True)
class Column:
    """A column of a table, its values yet to be taken.

    Parameters
    ----------
    name
        As the table has it.
    unit
        What the file says, ``""`` if it says nothing.
    take
        Function without arguments that gives the (n, ...) array.
    path
        Of the table, for messages.
    """

    name: str
    unit: str
    take: Callable
    path: Path

    @property
    def lower(self):
        """The name in lower case."""
        return self.name.strip().lower()

    def numbers(self):
        """(n,) float64, NaN where null.

        Raises
        ------
        InputError
            If a value is no number, or a row has several.
        """
        values = self.take()
        try:
            if np.ma.isMaskedArray(values):
                values = np.ma.filled(values.astype(float), np.nan)
            values = np.array(values, float)
        except (ValueError, TypeError) as error:
            msg = (
                f"{self.path}: column {self.name!r} is not all numbers ({error}); "
                "give decimal numbers, for positions decimal degrees"
            )
            raise InputError(msg) from error
        return self._flat(values)

    def truths(self):
        """(n,) float64: 1 for true (numbers above 0.5), 0 for false, NaN where null.

        Raises
        ------
        InputError
            If a value is neither a number nor a word for true or false.
        """
        values = self.take()
        masked = np.ma.getmaskarray(values)
        values = np.ma.getdata(values).astype(object)
        values[masked] = None
        if all(isinstance(value, str | bytes) for value in values.flat if value is not None):
            words = [str(value or "").strip().lower() for value in values.flat]
            try:
                truth = [_TRUTH[word] if word in _TRUTH else float(word) for word in words]
            except ValueError as error:
                msg = f"{self.path}: column {self.name!r} is neither true nor false: {error}"
                raise InputError(msg) from error
            values = np.reshape(truth, values.shape)
        values = self._flat(values.astype(float))
        return np.where(np.isnan(values), np.nan, values > 0.5)

    def words(self):
        """(n,) text without blanks at the ends; what is no text as Python prints it."""
        return np.array([str(value).strip() for value in self._flat(np.asarray(self.take()))], str)

    def _flat(self, values):
        if values.ndim != 1:
            msg = f"{self.path}: column {self.name!r} has {values.shape[1:]} values a row, not one"
            raise InputError(msg)
        return values


@dataclass(frozen=True)
class Columns:
    """The columns of one table.

    Parameters
    ----------
    path
        Of the file.
    columns
        List of Column.
    """

    path: Path
    columns: list

    def find(self, name):
        """The column of a name, which is given in lower case; None without one.

        Raises
        ------
        InputError
            If there are several that differ in case only.
        """
        found = [column for column in self.columns if column.lower == name]
        if len(found) > 1:
            names = ", ".join(column.name for column in found)
            msg = f"{self.path}: columns {names} are alike; rename or remove one of them"
            raise InputError(msg)
        return found[0] if found else None

    def first(self, names):
        """The first of the named columns that is there, None without one."""
        return next((c for c in map(self.find, names) if c is not None), None)

    def listed(self):
        """The names for a message."""
        names = [column.name for column in self.columns]
        return ", ".join(names[:60]) + (" ..." if len(names) > 60 else "") if names else "none"


def read_columns(path):
    """The tables of a file, by what the file holds: a list of Columns, one but for FITS.

    The flags that LSST packs into one bit column are columns as any other here.

    Raises
    ------
    MissingFileError
        If there is no such file.
    CorruptFileError
        If it is neither CSV, ECSV, FITS nor Parquet, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file; correct the path of the catalogue"
        raise MissingFileError(msg)
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP):
            # To its end, as astropy takes a file cut short for one of fewer HDUs.
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise _corrupt(path, error) from error
    if content.startswith(_FITS):
        return _from_fits(path)
    if content.startswith(_PARQUET):
        return [_from_parquet(path, content)]
    if b"\0" in content[:4096]:
        raise _corrupt(path, "neither FITS, Parquet nor text")
    if content.startswith(b"# %ECSV"):
        return [_from_ecsv(path, content)]
    return [_from_csv(path, content)]


def _corrupt(path, error):
    msg = f"{path}: damaged, or no catalogue ({error}); fetch it again, as CSV, FITS or Parquet"
    return CorruptFileError(msg)


def _from_fits(path):
    from astropy.io import fits

    from skydelta.io.reader import open_fits

    with open_fits(path) as hdul:
        return [
            _fits_table(path, hdu)
            for hdu in hdul
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)
        ]


def _fits_table(path, hdu):
    columns = []
    for i, column in enumerate(hdu.columns):
        if i + 1 != hdu.header.get("FLAGCOL"):
            columns.append(Column(column.name, column.unit or "", partial(hdu.data.field, i), path))
            continue
        bits = np.reshape(hdu.data.field(i), (len(hdu.data), -1))
        for bit in range(bits.shape[1]):
            name = str(hdu.header.get(f"TFLAG{bit + 1}", f"flag{bit + 1}"))
            columns.append(Column(name, "", partial(np.array, bits[:, bit]), path))
    return Columns(path, columns)


def _from_parquet(path, content):
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return _from_arrow(path, pq.read_table(pa.BufferReader(content), use_threads=False))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _corrupt(path, error) from error


def _from_csv(path, content):
    import pyarrow as pa
    from pyarrow import csv

    content = content.removeprefix(b"\xef\xbb\xbf")
    while content.startswith((b"#", b"\n", b"\r")):
        content = content.partition(b"\n")[2]
    if not content.strip():
        return Columns(path, [])
    try:
        # One block: a type found in the first rows only may not suit the others.
        options = csv.ReadOptions(use_threads=False, block_size=len(content) + 1)
        return _from_arrow(path, csv.read_csv(pa.BufferReader(content), read_options=options))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _corrupt(path, error) from error


def _from_arrow(path, table):
    units = _astropy_units(path, table.schema.metadata or {})
    columns, names = [], table.column_names
    for i, field in enumerate(table.schema):
        unit = (field.metadata or {}).get(b"unit", b"").decode() or units.get(field.name, "")
        take = table.column(i).to_numpy
        if f"{field.name}.mask" in names:  # astropy's way to write nulls
            take = partial(_masked, table.column(i), table.column(f"{field.name}.mask"))
        columns.append(Column(field.name, unit, take, path))
    return Columns(path, columns)


def _masked(values, mask):
    return np.ma.array(values.to_numpy(), mask=mask.to_numpy().astype(bool))


def _astropy_units(path, metadata):
    """Unit by column name, where astropy wrote the Parquet file."""
    header = metadata.get(b"table_meta_yaml")
    if header is None:
        return {}
    from astropy.table.meta import YamlParseError, get_header_from_yaml

    try:
        described = get_header_from_yaml(header.decode().split("\n"))
    except YamlParseError as error:
        raise _corrupt(path, error) from error
    return {each.get("name"): str(each.get("unit", "")) for each in described.get("datatype", [])}


def _from_ecsv(path, content):
    import csv

    from astropy.table import Table

    try:
        table = Table.read(content.decode().split("\n"), format="ascii.ecsv")
    except (ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
        raise _corrupt(path, error) from error
    return Columns(
        path,
        [
            Column(name, str(getattr(column, "unit", None) or ""), column.view, path)
            for name, column in table.columns.items()
        ],
    )
