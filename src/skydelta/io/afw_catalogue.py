"""LSST source catalogues (afw tables: src, diaSrc, deepCoadd_meas, forced_src) without the stack.

HDU 1 of such a file is the table. All its flags are bits of one column, named by the cards TFLAG1,
TFLAG2 ... (FLAGCOL is that column's number); ALIAS cards give prefixes of column names other names,
among them the slots: ``slot_PsfFlux:base_PsfFlux``. Positions are radians. The HDUs behind (the
footprints) are not read. Source: afw FitsWriter.cc, FitsSchemaInputMapper.cc.
"""

import re
from pathlib import Path

import numpy as np
from astropy.io import fits

from skydelta.errors import CorruptFileError, InputError
from skydelta.io.native import replacing
from skydelta.io.reader import open_fits

CURRENT_VERSION = 3
"""AFW_TABLE_VERSION of fluxes called ``_instFlux``."""

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

_CLASS = "afw_class"
"""Key of a column's meta: afw's own word for its type (TCCLS)."""


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
    if header.get("AR_HDU", 0) > len(hdul):
        msg = f"cut short: HDU {header['AR_HDU']}, where its footprints begin, is missing"
        raise CorruptFileError(msg)


def _table(hdu, path):
    from astropy.table import Table

    header = hdu.header
    names = [hdu.columns[i].name for i in range(len(hdu.columns))]
    flag_column = int(header.get("FLAGCOL", 0)) - 1
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
        column.meta[_CLASS] = header[f"TCCLS{number}"]
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
    version = header.get("AFW_TABLE_VERSION", 0 if "AFW_TYPE" in header else CURRENT_VERSION)
    return int(version)


def _other_cards(header):
    cards = {}
    for card in header.cards:
        key = card.keyword
        if key in _STRUCTURE or (key.startswith(_COLUMN_CARDS) and key[-1].isdigit()):
            continue
        cards.setdefault(key, []).append(card.value)
    return {key: values[0] if len(values) == 1 else values for key, values in cards.items()}


def resolve_alias(aliases, name):
    """The column a name stands for.

    The longest alias the name begins with is replaced by its target, again and again until none
    fits: ``slot_PsfFlux_instFlux`` becomes ``base_PsfFlux_instFlux``. Source: afw AliasMap.cc.

    Raises
    ------
    InputError
        If the aliases lead in a circle.
    """
    resolved = name
    for _ in range(len(aliases) + 1):
        alias = max((a for a in aliases if resolved.startswith(a)), key=len, default=None)
        if alias is None:
            return resolved
        resolved = aliases[alias] + resolved[len(alias) :]
    msg = f"the aliases of the catalogue lead in a circle from {name!r}"
    raise InputError(msg)


def column(table, name):
    """A column of a catalogue by its own name or an alias.

    Parameters
    ----------
    table
        From `read_afw_catalogue`.
    name
        As today's tables would have it: ``slot_PsfFlux_instFlux`` also finds the ``_flux`` of
        tables of version 1 and 2, ``Err`` also the ``Sigma`` of version 1.

    Raises
    ------
    InputError
        If there is no such column.
    """
    resolved = resolve_alias(table.meta.get("aliases", {}), name)
    for candidate in _spellings(resolved, table.meta.get("afw_version", CURRENT_VERSION)):
        if candidate in table.colnames:
            return table[candidate]
    arrow = f" (which stands for {resolved!r})" if resolved != name else ""
    file = f"{table.meta['file']}: " if "file" in table.meta else ""
    msg = f"{file}the catalogue has no column {name!r}{arrow}"
    raise InputError(msg)


def _spellings(name, version):
    """The name, and what older tables called it."""
    names = [name]
    if version < 3 and "_instFlux" in name:
        names.append(name.replace("_instFlux", "_flux"))
    if version < 2 and name.endswith("Err"):
        names += [spelling[:-3] + "Sigma" for spelling in names]
    if version == 0:
        # Names had points, a flux was called as its algorithm, and errors and flags were apart.
        plain = name.replace("_instFluxErr", "_err").replace("_instFlux", "")
        names += [plain, plain.replace("_flag", "_flags")]
        names += [spelling.replace("_", ".") for spelling in names]
    return names


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
    with replacing(path) as partial:
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(partial, overwrite=True)


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
    known = column.info.meta and column.info.meta.get(_CLASS)
    if known:
        return known
    if column.dtype.kind in "SU":
        return "String"
    if column.ndim > 1:
        return "Array"
    is_angle = str(column.unit) == "rad" and column.dtype.str[1:] == "f8"
    return "Angle" if is_angle else "Scalar"
