"""Tables as afw catalogues."""

import re

import numpy as np
from astropy.io import fits

from skydelta.io.afw_catalogue.names import AFW_CLASS, CURRENT_VERSION
from skydelta.io.fits_writer import write_hdus


def write_afw_catalogue(path, table, *, aliases=None, kind="SOURCE"):
    """A table as an afw catalogue that ``SourceCatalog.readFits`` reads, without footprints.

    Parameters
    ----------
    path
        Destination; replaced as a whole or not at all.
    table
        astropy Table. Bool columns become flags; float64 columns in rad become angles; units and
        descriptions are kept.
    aliases
        {alias: column or prefix}; default those of the table's meta.
    kind
        AFW_TYPE: ``"SOURCE"``, whose tables need id, parent, coord_ra and coord_dec, or ``"BASE"``.

    Raises
    ------
    ValueError
        For a column afw has no type for, one with missing values, or a SOURCE table without its
        columns.
    """
    if kind == "SOURCE":
        lacking = {"id", "parent", "coord_ra", "coord_dec"} - set(table.colnames)
        if lacking:
            msg = f"an afw source table needs the columns {', '.join(sorted(lacking))}"
            raise ValueError(msg)
    flags = [name for name in table.colnames if table[name].dtype.kind == "b"]
    others = [name for name in table.colnames if name not in flags]
    columns = [_packed(table, flags)] if flags else []
    columns += [_fits_column(table[name]) for name in others]
    hdu = fits.BinTableHDU.from_columns(columns, nrows=len(table))
    cards = _header_cards(table, flags, others)
    cards += [("ALIAS", f"{a}:{target}") for a, target in sorted(_given(aliases, table).items())]
    cards += [("AFW_TABLE_VERSION", CURRENT_VERSION), ("AFW_TYPE", kind)]
    hdu.header.extend(
        (fits.Card(f"HIERARCH {key}" if len(key) > 8 else key, value) for key, value in cards),
        unique=False,
    )
    write_hdus(path, [fits.PrimaryHDU(), hdu])


def _given(aliases, table):
    return table.meta.get("aliases", {}) if aliases is None else aliases


def _packed(table, flags):
    bits = np.stack([_whole(table[name]) for name in flags], axis=1)
    # astropy packs the bits itself.
    return fits.Column("flags", f"{len(flags)}X", array=bits)


_FORMATS = {"u1": "B", "u2": "I", "i4": "J", "i8": "K", "f4": "E", "f8": "D"}
_WIDENED = {"i1": "i4", "i2": "i4", "u4": "i8", "f2": "f4"}


def _fits_column(column):
    values = _whole(column)
    if values.dtype.kind in "SU":
        width = max(values.dtype.itemsize // (4 if values.dtype.kind == "U" else 1), 1)
        return fits.Column(column.name, f"{width}A", array=np.char.encode(values, "ascii"))
    code = values.dtype.str[1:]
    code = _WIDENED.get(code, code)
    count = int(np.prod(values.shape[1:]))
    if code not in _FORMATS or (code == "i8" and count != 1):
        msg = f"column {column.name!r}: afw tables have no type for {count} x {values.dtype}"
        raise ValueError(msg)
    zero = {"bzero": 32768} if code == "u2" else {}
    values = values.astype(code).reshape(len(values), count) if count != 1 else values.astype(code)
    return fits.Column(column.name, f"{count}{_FORMATS[code]}", array=values, **zero)


def _whole(column):
    """The values; floats that are missing become NaN."""
    missing = np.ma.getmaskarray(column) if np.ma.isMaskedArray(column) else np.zeros(1, bool)
    if not missing.any():
        return np.asarray(column)
    if column.dtype.kind != "f":
        msg = f"column {column.name!r} has missing values, which only floats can show: fill it"
        raise ValueError(msg)
    return np.asarray(column.filled(np.nan))


def _header_cards(table, flags, others):
    """What afw needs beside the FITS standard's own cards, and units, which it writes as text."""
    cards = [("FLAGCOL", 1)] if flags else []
    for number, name in enumerate(others, start=1 + bool(flags)):
        column = table[name]
        if column.description:
            cards.append((f"TDOC{number}", column.description))
        if column.unit is not None:
            cards.append((f"TUNIT{number}", _afw_unit(column.unit)))
        cards.append((f"TCCLS{number}", _class_of(column)))
    for number, name in enumerate(flags, start=1):
        cards.append((f"TFLAG{number}", name))
        if table[name].description:
            cards.append((f"TFDOC{number}", table[name].description))
    return cards


def _afw_unit(unit):
    """The unit as text, counts and pixels in full: only so does afw tell fluxes."""
    return re.sub(r"\bpix(?=\d|\b)", "pixel", re.sub(r"\bct(?=\d|\b)", "count", str(unit)))


def _class_of(column):
    known = column.info.meta and column.info.meta.get(AFW_CLASS)
    if known:
        return known
    if column.dtype.kind in "SU":
        return "String"
    if column.ndim > 1:
        return "Array"
    is_angle = str(column.unit) == "rad" and column.dtype.str[1:] == "f8"
    return "Angle" if is_angle else "Scalar"
