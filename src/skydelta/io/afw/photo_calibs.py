"""Rows of photometric calibrations (afw: image/PhotoCalib.cc; Calib.cc before 2019)."""

import numpy as np

from skydelta.errors import UnsupportedError
from skydelta.io.afw.output_archive import Catalog
from skydelta.io.afw.rows import load
from skydelta.io.zero_points import MAGGIES_TO_NJY
from skydelta.lsst.bounded_field import ChebyshevBoundedField
from skydelta.lsst.photo_calib import BoundedPhotoCalib

_VERSION = 1
_NO_BOX = (0, 0, -1, -1)


def read_photo_calib(archive, number):
    """The BoundedPhotoCalib of object `number`.

    Version 0, which afw itself refuses, is in maggies and is converted.
    """
    row = archive.row(number)
    version = int(row["version"]) if "version" in row.array.columns.names else 0
    if version > _VERSION:
        msg = f"archive object {number} is a PhotoCalib of version {version}, a later one"
        raise UnsupportedError(msg)
    unit = 1.0 if version else MAGGIES_TO_NJY
    mean, error = float(row["calibrationMean"]) * unit, float(row["calibrationErr"]) * unit
    if bool(row["flags"][0]):
        return BoundedPhotoCalib(mean, error)
    field = load(archive, row["field"], "evaluate", "BoundedField")
    if field is None:
        msg = f"archive object {number}: a PhotoCalib that varies has no field"
        raise ValueError(msg)
    if version == 0:
        msg = f"archive object {number} is a varying PhotoCalib of version 0, in maggies"
        raise UnsupportedError(msg)
    return BoundedPhotoCalib(mean, error, field)


def write_photo_calib(archive, calib):
    """Add a BoundedPhotoCalib; afw expects a field of a constant one too."""
    field = calib.field
    if field is None:
        field = ChebyshevBoundedField(np.array([[calib.mean]]), _NO_BOX)
    columns = {
        "calibrationMean": ("D", [calib.mean]),
        "calibrationErr": ("D", [calib.error]),
        "field": ("J", [archive.save(field)]),
        "version": ("J", [_VERSION]),
    }
    catalog = Catalog(columns, {"isConstant": [calib.field is None]})
    return archive.add("PhotoCalib", "", catalog)


def read_calib(archive, number):
    """The BoundedPhotoCalib of an old Calib: the counts of magnitude 0 and their error."""
    row = archive.row(number)
    flux, error = float(row["fluxmag0"]), float(row["fluxmag0.err"])
    if not flux > 0:
        return None
    return BoundedPhotoCalib(MAGGIES_TO_NJY / flux, MAGGIES_TO_NJY * error / flux**2)
