"""Rows of bounded fields and of aperture corrections (afw: math/*BoundedField.cc, ApCorrMap.cc)."""

import numpy as np

from skydelta.errors import CorruptFileError
from skydelta.io.afw.archive import text_of
from skydelta.io.afw.output_archive import Catalog
from skydelta.io.afw.rows import load
from skydelta.lsst.bounded_field import (
    ChebyshevBoundedField,
    PixelAreaBoundedField,
    ProductBoundedField,
)
from skydelta.lsst.exposure_info import ApCorrMap

_BOX = ("bbox_min_x", "bbox_min_y", "bbox_max_x", "bbox_max_y")


def read_bbox(row):
    """(x_min, y_min, x_max, y_max) of a row."""
    return tuple(int(row[name]) for name in _BOX)


def bbox_columns(bbox):
    """Columns of one bbox."""
    return {name: ("J", [int(value)]) for name, value in zip(_BOX, bbox, strict=True)}


def read_chebyshev(archive, number):
    """The ChebyshevBoundedField of object `number`; coefficients are ordered by y, then x."""
    row = archive.row(number)
    coefficients = np.array(row["coefficients"], float).ravel()
    return ChebyshevBoundedField(coefficients.reshape(-1, int(row["order_x"]) + 1), read_bbox(row))


def write_chebyshev(archive, field):
    """Add a ChebyshevBoundedField."""
    ny, nx = field.coefficients.shape
    coefficients = np.asarray(field.coefficients, float).ravel()
    columns = {
        "order_x": ("J", [nx - 1]),
        **bbox_columns(field.bbox),
        "coefficients": (f"{ny * nx}D", [coefficients if ny * nx > 1 else coefficients[0]]),
    }
    return archive.add("ChebyshevBoundedField", "lsst.afw.math", Catalog(columns))


def read_product(archive, number):
    """The ProductBoundedField of object `number`."""
    return ProductBoundedField(tuple(_field(archive, row["id"]) for row in archive.rows(number)))


def _field(archive, number):
    field = load(archive, number, "evaluate", "BoundedField")
    if field is None:
        msg = "an object refers to a BoundedField of number 0, which is none"
        raise CorruptFileError(msg)
    return field


def write_product(archive, field):
    """Add a ProductBoundedField."""
    numbers = [archive.save(factor) for factor in field.factors]
    return archive.add("ProductBoundedField", "lsst.afw.math", Catalog({"id": ("J", numbers)}))


def read_pixel_area(archive, number):
    """The PixelAreaBoundedField of object `number`."""
    row = archive.row(number)
    wcs = load(archive, row["wcs"], "pixel_to_sky", "SkyWcs")
    return PixelAreaBoundedField(wcs, read_bbox(row), float(row["scaling"]))


def write_pixel_area(archive, field):
    """Add a PixelAreaBoundedField."""
    columns = {
        **bbox_columns(field.bbox),
        "wcs": ("J", [archive.save(field.wcs)]),
        "scaling": ("D", [field.scaling]),
    }
    return archive.add("PixelAreaBoundedField", "lsst.afw.math", Catalog(columns))


def read_ap_corr_map(archive, number):
    """The ApCorrMap of object `number`."""
    rows = archive.rows(number)
    return ApCorrMap({text_of(row["name"]): _field(archive, row["field"]) for row in rows})


def write_ap_corr_map(archive, corrections):
    """Add an ApCorrMap."""
    columns = {
        "name": ("64A", list(corrections.fields)),
        "field": ("J", [archive.save(field) for field in corrections.fields.values()]),
    }
    return archive.add("ApCorrMap", "lsst.afw.image", Catalog(columns))
