"""An afw catalogue as an astropy table."""

from pathlib import Path

import numpy as np
from astropy.io import fits

from skydelta.errors import CorruptFileError, InputError
from skydelta.io.afw_catalogue.names import AFW_CLASS, CURRENT_VERSION
from skydelta.io.reader import open_fits

_SLOT_CARDS = {
    "PSF_FLUX_SLOT": "slot_PsfFlux",
    "AP_FLUX_SLOT": "slot_ApFlux",
    "INST_FLUX_SLOT": "slot_GaussianFlux",
    "MODEL_FLUX_SLOT": "slot_ModelFlux",
    "CALIB_FLUX_SLOT": "slot_CalibFlux",
    "CENTROID_SLOT": "slot_Centroid",
    "SHAPE_SLOT": "slot_Shape",
}
"""How tables of version 0 named their slots."""

_COLUMN_CARDS = ("TTYPE", "TFORM", "TUNIT", "TDOC", "TCCLS", "TDIM", "TFLAG", "TFDOC", "TNULL")
_COLUMN_CARDS += ("TZERO", "TSCAL", "TDISP")
_STRUCTURE = {"XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS"}
_STRUCTURE |= {"FLAGCOL", "ALIAS", "AR_HDU", "AFW_TABLE_VERSION", "AFW_TYPE", "EXTNAME", ""}


def read_afw_catalogue(path):
    """An afw catalogue as a table.

    Parameters
    ----------
    path
        FITS file, also compressed.

    Returns
    -------
    astropy.table.Table
        The columns under the names of the file, with their units and descriptions, then one bool
        column per flag. ``coord_ra`` and ``coord_dec`` are in rad. Of its meta, ``aliases`` are
        those of the ALIAS cards (and the slot cards of version 0), ``afw_version`` is the version
        of the naming rules (0 to 3: fluxes are ``_instFlux`` from 3 on), ``afw_type`` the kind of
        table (SOURCE ...), ``file`` the path, ``header`` the other cards, lists where repeated.

    Raises
    ------
    MissingFileError
        If there is no such file.
    CorruptFileError
        If it is not FITS, is cut short, or its flags and their names do not fit.
    InputError
        If it is not an afw catalogue.
    """
    with open_fits(path) as hdul:
        hdu = hdul[1] if len(hdul) > 1 else hdul[0]
        try:
            _require_catalogue(hdu)
            _require_whole(hdul, hdu.header)
            return _table(hdu, Path(path))
        except InputError as error:
            raise type(error)(f"{path}: {error}", **error.details) from error
        except fits.VerifyError as error:
            msg = f"{path}: a header card is damaged ({error}): fetch the file again"
            raise CorruptFileError(msg) from error


def _require_catalogue(hdu):
    marks = ("AFW_TABLE_VERSION", "AFW_TYPE", "TCCLS1", "TCCLS2")
    is_table = isinstance(hdu, fits.BinTableHDU) and not isinstance(hdu, fits.CompImageHDU)
    if not is_table or not any(mark in hdu.header for mark in marks):
        msg = (
            "not an LSST (afw) catalogue: its first extension is "
            f"{'a table without AFW_TABLE_VERSION' if is_table else 'not a table'}; give a src, "
            "diaSrc or meas file of an LSST repository"
        )
        raise InputError(msg)


def _require_whole(hdul, header):
    """AR_HDU, counted from 1, is the HDU where the footprints begin."""
    if _integer(header, "AR_HDU", 0) > len(hdul):
        msg = f"cut short: HDU {header['AR_HDU']}, where its footprints begin, is missing"
        raise CorruptFileError(msg)


def _table(hdu, path):
    from astropy.table import Table

    header = hdu.header
    names = [hdu.columns[i].name for i in range(len(hdu.columns))]
    flag_column = _integer(header, "FLAGCOL", 0) - 1
    if flag_column >= len(names):
        msg = f"the flags should be in column {flag_column + 1} of {len(names)}: fetch it again"
        raise CorruptFileError(msg)
    columns, unit_of = [], _units()
    for i, name in enumerate(names):
        if i != flag_column:
            columns.append(_column(hdu, i, name, unit_of))
    if flag_column >= 0:
        columns += _flags(hdu, flag_column)
    taken = [column.name for column in columns]
    if len(set(taken)) != len(taken):
        double = sorted({name for name in taken if taken.count(name) > 1})
        msg = f"the columns {', '.join(double)} are in the table more than once"
        raise CorruptFileError(msg)
    meta = {
        "aliases": _aliases(header),
        "afw_version": _version(header),
        "afw_type": str(header.get("AFW_TYPE", "BASE")),
        "file": str(path),
        "header": _other_cards(header),
    }
    return Table(columns, meta=meta, copy=False)


def _units():
    """A function from the text of TUNIT to a unit, each text parsed once; unknown ones kept."""
    from functools import cache

    from astropy.units import Unit

    return cache(lambda text: Unit(text, parse_strict="silent"))


def _column(hdu, i, name, unit_of):
    from astropy.table import Column

    header, number = hdu.header, i + 1
    unit = header.get(f"TUNIT{number}")
    column = Column(
        _native(hdu, i),
        name=name,
        unit=unit_of(unit.strip()) if unit and unit.strip() else None,
        description=header.get(f"TDOC{number}") or header.comments[f"TTYPE{number}"] or None,
    )
    if f"TCCLS{number}" in header:
        column.meta[AFW_CLASS] = header[f"TCCLS{number}"]
    return column


def _native(hdu, i):
    """The values in the machine's byte order, a copy."""
    form = hdu.columns[i].format
    values = hdu.data.field(i)
    if form.upper().lstrip("0123456789").startswith(("P", "Q")):
        return np.array([np.array(row) for row in values] + [None], object)[:-1]
    values = np.asarray(values)
    if values.dtype.kind == "S":
        return np.char.decode(values, "ascii", "replace")
    return values.astype(values.dtype.newbyteorder("="))


def _flags(hdu, column):
    """One bool column per flag."""
    from astropy.table import Column

    header = hdu.header
    form = str(header[f"TFORM{column + 1}"]).strip().upper()
    if not form.endswith("X"):
        msg = f"the flags' column has the format {form}, not bits (X)"
        raise CorruptFileError(msg)
    n_bits = int(form[:-1] or 1)
    names = {int(k[5:]): header[k] for k in header if k.startswith("TFLAG") and k[5:].isdigit()}
    if set(names) != set(range(1, n_bits + 1)):
        wrong = sorted(set(names) ^ set(range(1, n_bits + 1)))
        msg = (
            f"the table has {n_bits} flag bits and {len(names)} names of them: "
            f"TFLAG{', TFLAG'.join(map(str, wrong[:5]))} and the bits do not fit"
        )
        raise CorruptFileError(msg)
    bits = _bits(hdu.data, column, n_bits)
    return [
        Column(
            bits[number - 1],
            name=names[number],
            description=header.get(f"TFDOC{number}") or header.comments[f"TFLAG{number}"] or None,
        )
        for number in range(1, n_bits + 1)
    ]


def _bits(data, column, n_bits):
    """(n_bits, n) bool from the packed bytes, the first flag in the highest bit."""
    raw = np.ndarray.__getitem__(data.view(np.ndarray), data.dtype.names[column])
    packed = np.ascontiguousarray(raw.reshape(len(data), (n_bits + 7) // 8).T)
    return np.unpackbits(packed.view(np.uint8), axis=0)[:n_bits].astype(bool)


def _aliases(header):
    aliases = {}
    if _version(header) == 0:
        aliases = {slot: header[key] for key, slot in _SLOT_CARDS.items() if header.get(key)}
    for i in range(header.count("ALIAS") if "ALIAS" in header else 0):
        card = header["ALIAS", i]
        alias, colon, target = str(card).partition(":")
        if not colon:
            msg = f"the ALIAS card {card!r} is not of the form alias:column"
            raise CorruptFileError(msg)
        aliases[alias] = target
    return aliases


def _version(header):
    """As afw: tables that name their type but no version are of version 0."""
    default = 0 if "AFW_TYPE" in header else CURRENT_VERSION
    return _integer(header, "AFW_TABLE_VERSION", default)


def _integer(header, key, default):
    value = header.get(key, default)
    if not isinstance(value, int):
        msg = f"the card {key} is {value!r}, not an integer: fetch the file again"
        raise CorruptFileError(msg)
    return value


def _other_cards(header):
    cards = {}
    for card in header.cards:
        key = card.keyword
        if key in _STRUCTURE or (key.startswith(_COLUMN_CARDS) and key[-1].isdigit()):
            continue
        cards.setdefault(key, []).append(card.value)
    return {key: values[0] if len(values) == 1 else values for key, values in cards.items()}
