"""What the files of a repository are read as: exposures, tables, the sky map, statuses."""

import json
import os
from pathlib import Path

from skydelta.errors import CorruptFileError, InputError, MissingFileError, UnsupportedError
from skydelta.lsst import gen2
from skydelta.repository import stores


def read(dataset, path, *, band=None):
    """Read a file.

    Parameters
    ----------
    dataset
        skydelta.path_templates.Dataset, of which the kind counts.
    path
        An existing file.
    band
        Band of an image of a gen2 repository, whose own name of it may be another.

    Returns
    -------
    skydelta.exposure.Exposure, astropy.table.Table or skydelta.skymap.RingsSkyMap

    Raises
    ------
    SkydeltaError
        A StageFailure, if the file stands for one; else an InputError of the type that fits.
    """
    if dataset.kind in _OWN:
        return _read_own(_OWN[dataset.kind], path)
    return _GEN2[dataset.kind](path, band)


def _read_own(read_one, path):
    """A product of skydelta, or the failure in its place."""
    _refuse_failed(path)
    try:
        return read_one(path)
    except InputError as error:
        raise type(error)(f"{path}: {error}", path=os.fspath(path)) from error
    except (OSError, LookupError, ValueError, TypeError) as error:
        # What astropy and pyarrow let through from a damaged file has no common base.
        msg = f"{path} cannot be read ({error}): delete it and run the workflow again"
        raise CorruptFileError(msg, path=os.fspath(path)) from error


def _read_exposure(path, band):
    from skydelta.io.reader import read_exposure

    return read_exposure(path, band=band)


def _read_catalogue(path, _band):
    from skydelta.io.afw_catalogue import read_afw_catalogue

    return read_afw_catalogue(path)


def _read_sky_map(path, _band):
    from skydelta.io.skymap import read_skymap

    return read_skymap(path)


def _refuse_file(path, _band):
    msg = f"{path}: there is no reader for files of this kind; take what path() gives"
    raise UnsupportedError(msg, path=os.fspath(path))


def read_status(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        msg = f"{path} does not exist: the exposure has not been through the workflow"
        raise MissingFileError(msg, path=os.fspath(path)) from error
    except (OSError, ValueError) as error:
        msg = f"{path} is not a status file: {error}"
        raise CorruptFileError(msg, path=os.fspath(path)) from error


def quoted_status(status_path):
    """What the status file says, as the end of a message."""
    try:
        status = read_status(status_path)
    except InputError as error:
        return f" ({error})"
    return f"; {status_path} says {json.dumps(status)}"


def _refuse_failed(path):
    """Raise the failure that a product stands for: a FITS marker, whatever the file's name."""
    from astropy.io import fits

    from skydelta.io.outcome import StageFailure, raise_failure

    with path.open("rb") as stream:
        if stream.read(6) != b"SIMPLE":
            return
    try:
        header = fits.getheader(path)
    except (OSError, ValueError) as error:
        msg = f"{path} has a damaged header ({error}): delete it and run the workflow again"
        raise CorruptFileError(msg, path=os.fspath(path)) from error
    try:
        raise_failure(header)
    except StageFailure as failure:
        msg = f"{path}: {failure.status}: {failure}"
        raise StageFailure(failure.status, msg, failure.stage) from failure


def _read_image(path):
    from skydelta.io.products import read_image

    return read_image(path)


def read_difference(path, footprints=None):
    """A difference; what detection marked is in its mask if there is a footprint file beside it.

    Parameters
    ----------
    path
        Of the difference.
    footprints
        Of the detections; None for the file of the usual name beside it, if there is one.

    Raises
    ------
    StageFailure
        If the difference stands for one, or the footprints named do.
    """
    from skydelta.io.outcome import StageFailure

    difference = _read_image(path)
    if footprints is not None:
        return _marked(difference, footprints)
    path = Path(path)
    footprints = path.with_name(path.name.replace("diffexp_", "footprints_", 1))
    if not footprints.exists():
        return difference
    try:
        return _marked(difference, footprints)
    except StageFailure as failure:  # a failed detection leaves the difference itself as it is
        return difference.noted(f"{failure.stage} failed: {failure}")


def _marked(difference, footprints):
    from skydelta.detections import mask_with_planes
    from skydelta.io.detections import read_detections

    detections = read_detections(footprints)
    return difference.replace(mask=mask_with_planes(difference.mask, detections))


def _read_fits_table(path):
    from astropy.table import Table

    return Table.read(path, format="fits", hdu=1)


def _read_parquet(path):
    """A catalogue whose Arrow fields carry ``unit`` and ``description``."""
    import numpy as np
    import pyarrow.parquet
    from astropy.table import Column, MaskedColumn, Table

    from skydelta.io.catalogues import arrow_values

    arrow = pyarrow.parquet.read_table(path)
    columns = []
    for field, values in zip(arrow.schema, arrow.itercolumns(), strict=True):
        array = arrow_values(values)
        kind = MaskedColumn if np.ma.isMaskedArray(array) else Column
        metadata = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        columns.append(
            kind(
                array.astype(str) if array.dtype == object else array,
                name=field.name,
                unit=metadata.get("unit") or None,
                description=metadata.get("description"),
            )
        )
    return Table(columns)


_OWN = {
    stores.RESULT: _read_image,
    stores.DIFFERENCE: read_difference,
    stores.SOURCES: _read_fits_table,
    stores.DIA_SOURCES: _read_parquet,
}

_GEN2 = {
    gen2.EXPOSURE: _read_exposure,
    gen2.CATALOGUE: _read_catalogue,
    gen2.SKYMAP: _read_sky_map,
    gen2.FILE: _refuse_file,
}
