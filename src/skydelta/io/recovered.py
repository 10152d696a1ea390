"""What was recovered of injected sources, exposure by exposure, and the tables of all of them."""

import json
import logging
from dataclasses import dataclass, field

import numpy as np

from skydelta.dia_source import without_sky
from skydelta.efficiency.columns import COLUMNS, empty, typed
from skydelta.efficiency.recovery import recover
from skydelta.errors import SkydeltaError
from skydelta.io.catalogues import read_catalogue
from skydelta.io.injections import read_depth, read_injected, refuse_failed
from skydelta.io.outcome import OK
from skydelta.io.replacing import replacing

log = logging.getLogger(__name__)

_STATUS = b"skydelta_status"


@dataclass(frozen=True)
class Outcome:
    """One realisation of one exposure by one method.

    Parameters
    ----------
    status
        Plain values: method, visit, detector, band, realisation, status, stage, message, and the
        numbers of a skydelta.efficiency.recovery.Recovery.
    columns
        {name: array} of skydelta.efficiency.columns.COLUMNS; no row unless the status is ok.
    """

    status: dict
    columns: dict = field(default_factory=empty)


def recovered_exposure(identity, *, statuses, injected, catalogue, known, diffexp, **choices):
    """The Outcome of one realisation, from its products.

    Parameters
    ----------
    identity
        method, visit, detector, band, realisation.
    statuses
        Paths of the status files without and with injections.
    injected
        Path of the exposure with injections; like `diffexp` it may be a failure marker.
    catalogue, known
        Paths of the catalogues with and without injections.
    diffexp
        Path of the difference without injections.
    choices
        match_radius in FWHM, and min_good_weight of the detection.
    """
    try:
        recovery = _read_recovery(statuses, injected, catalogue, known, diffexp, **choices)
    except SkydeltaError as error:
        log.error("%s: %s", error.status, error)
        stage = (getattr(error, "stage", "") or "recover").removesuffix("_efficiency")
        failure = {"status": error.status, "stage": stage, "message": str(error)}
        return Outcome({**identity, **failure})
    count = len(recovery.columns["x"])
    named = {key: np.full(count, value, dtype=object) for key, value in identity.items()}
    ok = {"status": OK, "stage": "", "message": ""}
    return Outcome({**identity, **ok, **recovery.numbers}, typed(named | recovery.columns, COLUMNS))


def _read_recovery(statuses, injected, catalogue, known, diffexp, *, match_radius, min_good_weight):
    injected, fwhm = read_injected(injected)
    for path in statuses:
        refuse_failed(path)
    catalogue, known = (without_sky(read_catalogue(path)) for path in (catalogue, known))
    depth = read_depth(diffexp, min_good_weight)
    return recover(injected, catalogue, known, depth, fwhm, radius=match_radius)


def write_outcome(path, outcome):
    """An Outcome as Parquet, its status in the file's metadata."""
    with replacing(path) as partial:
        _write_parquet(
            partial, outcome.columns, {_STATUS: json.dumps(outcome.status, sort_keys=True)}
        )


def read_outcome(path):
    """An Outcome as written by `write_outcome`."""
    import pyarrow.parquet as pq

    status = json.loads(pq.read_schema(path).metadata[_STATUS])
    return Outcome(status, typed(read_catalogue(path), COLUMNS))


def write_injections(path, columns):
    """All injected sources as Parquet; every column carries its unit and description."""
    with replacing(path) as partial:
        _write_parquet(partial, columns, {})


def _write_parquet(path, columns, metadata):
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"i8": pa.int64(), "i4": pa.int32(), "i2": pa.int16(), "f8": pa.float64()}
    types |= {"?": pa.bool_(), "U": pa.string()}
    schema = pa.schema(
        [
            pa.field(
                c.name, types[c.dtype], metadata={"unit": c.unit, "description": c.description}
            )
            for c in COLUMNS
        ],
        metadata=metadata,
    )
    arrays = [pa.array(columns[field.name], type=field.type) for field in schema]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, write_page_checksum=True)


def write_ecsv(path, rows, columns, meta=None):
    """Rows as an ECSV table with units and descriptions.

    Parameters
    ----------
    path
        Destination, replaced as a whole.
    rows
        Mappings; a number that is missing or None becomes NaN.
    columns
        skydelta.calibrate.Column of each column.
    meta
        Plain values for the header, or None.
    """
    from astropy.table import Column, Table

    table = Table(meta=meta or {})
    for c in columns:
        values = [row.get(c.name) for row in rows]
        if c.dtype == "U":
            data = np.array(["" if v is None else str(v) for v in values], dtype="U")
        elif c.dtype.startswith("f"):
            data = np.array([np.nan if v is None else v for v in values], dtype=c.dtype)
        else:
            data = np.array(values, dtype=c.dtype)
        table.add_column(Column(data, c.name, unit=c.unit or None, description=c.description))
    with replacing(path) as partial:
        table.write(partial, format="ascii.ecsv", overwrite=True)
