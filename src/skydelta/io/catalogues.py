"""The catalogue as Parquet files, units and meanings with every column."""

from skydelta.calibrate import COLUMNS
from skydelta.io.native import replacing


def write_catalogue(path, catalogue, provenance=({}, ())):
    """A DiaSource catalogue as Parquet; each column carries its unit and description.

    Parameters
    ----------
    path
        Destination.
    catalogue
        Array by column name, as from `skydelta.calibrate.calibrate`.
    provenance
        (header cards, sentences), kept in the file's own metadata.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    meta, notes = provenance
    schema = catalogue_schema({k: v[0] for k, v in meta.items()} | {"history": "; ".join(notes)})
    with replacing(path) as partial:
        arrays = [pa.array(catalogue[field.name], type=field.type) for field in schema]
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), partial)


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


def concatenate_catalogues(paths, path):
    """All catalogues as one Parquet file, in the given order, a row group each."""
    import pyarrow.parquet as pq

    with replacing(path) as partial, pq.ParquetWriter(partial, catalogue_schema()) as writer:
        for each in paths:
            table = pq.read_table(each)
            if table.num_rows:
                writer.write_table(table.cast(catalogue_schema()))
