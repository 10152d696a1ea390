"""The catalogue as Parquet and FITS tables, units and meanings with every column.

Neither carries a date: the same catalogue gives the same bytes.
"""

from pathlib import Path

import numpy as np

from skydelta.dia_source import COLUMNS
from skydelta.io.replacing import replacing

_NO_ID = 0
"""Stands for null in FITS, whose integers have none; no source has this id."""


def write_catalogue(path, catalogue, provenance=({}, ())):
    """A DiaSource catalogue as a Parquet or FITS table, by the ending of its name.

    Parameters
    ----------
    path
        Destination, ``.parquet`` or ``.fits``.
    catalogue
        Array by column name, as from `skydelta.calibrate.calibrate`.
    provenance
        (header cards, sentences), kept in the file's own metadata.

    Raises
    ------
    ValueError
        For another ending.
    """
    _writer(path)(path, catalogue, provenance)


def _writer(path):
    writers = {".parquet": _write_parquet, ".fits": _write_fits}
    suffix = Path(path).suffix
    if suffix not in writers:
        msg = f"{path}: a catalogue is written as {' or '.join(writers)}"
        raise ValueError(msg)
    return writers[suffix]


def _write_parquet(path, catalogue, provenance):
    import pyarrow as pa
    import pyarrow.parquet as pq

    meta, notes = provenance
    schema = catalogue_schema({k: v[0] for k, v in meta.items()} | {"history": "; ".join(notes)})
    arrays = [_arrow_array(catalogue[field.name], field.type) for field in schema]
    with replacing(path) as partial:
        pq.write_table(
            pa.Table.from_arrays(arrays, schema=schema), partial, write_page_checksum=True
        )


def _arrow_array(values, kind):
    """An Arrow array from its bytes.

    `pa.array` would import pandas: a fifth of the stage's time.
    """
    import pyarrow as pa

    nulls = np.ma.getmaskarray(values)
    if pa.types.is_string(kind):
        text = _text(values)
        nulls = np.array([v is None for v in text], bool)
        data = _text_buffers(text)
    elif pa.types.is_boolean(kind):
        data = [_bits(np.asarray(values, bool))]
    else:
        flat = np.ascontiguousarray(np.ma.getdata(values), dtype=kind.to_pandas_dtype())
        data = [pa.py_buffer(flat)]
    valid = _bits(~nulls) if nulls.any() else None
    return pa.Array.from_buffers(kind, len(values), [valid, *data])


def _bits(values):
    import pyarrow as pa

    return pa.py_buffer(np.packbits(values, bitorder="little"))


def _text(values):
    """A list of str, None for null."""
    nulls = np.ma.getmaskarray(values)
    pairs = zip(np.ma.getdata(values), nulls, strict=True)
    return [None if null or value is None else str(value) for value, null in pairs]


def _text_buffers(text):
    """Offsets and characters."""
    import pyarrow as pa

    encoded = [(value or "").encode() for value in text]
    offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int32)
    return [pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]


def catalogue_schema(meta=None):
    """The Arrow schema of the DiaSource catalogue."""
    import pyarrow as pa

    types = {"i8": pa.int64(), "i4": pa.int32(), "i2": pa.int16(), "f8": pa.float64()}
    types |= {"f4": pa.float32(), "?": pa.bool_(), "U": pa.string()}
    fields = [
        pa.field(c.name, types[c.dtype], metadata={"unit": c.unit, "description": c.description})
        for c in COLUMNS
    ]
    return pa.schema(fields, metadata={k: str(v) for k, v in (meta or {}).items()})


_FITS_FORMATS = {"i8": "K", "i4": "J", "i2": "I", "f8": "D", "f4": "E", "?": "L"}


def _write_fits(path, catalogue, provenance):
    from astropy.io import fits

    from skydelta.io.fits_writer import write_hdus
    from skydelta.io.products import primary_with

    hdu = fits.BinTableHDU.from_columns(
        [_fits_column(c, catalogue[c.name]) for c in COLUMNS], name="DIASOURCE"
    )
    for k, column in enumerate(COLUMNS, 1):
        hdu.header[f"TCOMM{k}"] = column.description
    write_hdus(path, [primary_with(provenance), hdu])


def _fits_column(column, values):
    from astropy.io import fits

    null = None
    if column.dtype == "U":
        values = np.array([value or "" for value in _text(values)], dtype=str)
        kind = f"{max(values.dtype.itemsize // 4, 1)}A"
    else:
        kind = _FITS_FORMATS[column.dtype]
        if column.is_nullable:
            values, null = np.ma.filled(values, _NO_ID), _NO_ID
    return fits.Column(column.name, kind, unit=column.unit or None, null=null, array=values)


def read_catalogue(path):
    """A Parquet catalogue as arrays by column name; masked where a column holds nulls."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return {name: arrow_values(table[name]) for name in table.column_names}


def arrow_values(column):
    """An Arrow column as an array: masked if it is of integers, bools or text and holds nulls."""
    import pyarrow as pa

    if not column.null_count or pa.types.is_floating(column.type):
        return column.to_numpy()
    nulls = column.is_null().to_numpy()
    is_text = pa.types.is_string(column.type)
    return np.ma.array(column.fill_null("" if is_text else 0).to_numpy(), mask=nulls)


def concatenate_catalogues(paths, targets, provenance=({}, ())):
    """All catalogues as one, in the given order.

    Parameters
    ----------
    paths
        Parquet catalogues.
    targets
        Files to write, ``.parquet`` (a row group for each catalogue) or ``.fits``.
    provenance
        (header cards, sentences), kept in the files' own metadata.
    """
    for target in targets:
        if _writer(target) is _write_parquet:
            _join_parquet(paths, target, provenance)
        else:
            _write_fits(target, _joined(paths), provenance)


def _join_parquet(paths, path, provenance):
    import pyarrow.parquet as pq

    meta, notes = provenance
    schema = catalogue_schema({k: v[0] for k, v in meta.items()} | {"history": "; ".join(notes)})
    with (
        replacing(path) as partial,
        pq.ParquetWriter(partial, schema, write_page_checksum=True) as writer,
    ):
        for each in paths:
            table = pq.read_table(each)
            if table.num_rows:
                writer.write_table(table.cast(schema))


def _joined(paths):
    parts = [read_catalogue(path) for path in paths]
    return {c.name: np.ma.concatenate([part[c.name] for part in parts]) for c in COLUMNS}
