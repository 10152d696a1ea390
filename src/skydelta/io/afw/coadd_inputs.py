"""Rows of CoaddInputs: two catalogues of exposures (afw: CoaddInputs.cc, table/Exposure.cc)."""

import numpy as np

from skydelta.io.afw.archive import text_of
from skydelta.io.afw.output_archive import Catalog
from skydelta.lsst.exposure_info import CoaddInputs, Deferred, ExposureCatalog

_KINDS = {
    "wcs": "wcs",
    "psf": "psf",
    "photoCalib": "photoCalib",
    "calib": "photoCalib",
    "apCorrMap": "apCorrMap",
    "validPolygon": "validPolygon",
    "visitInfo": "visitInfo",
    "transmissionCurve": "transmissionCurve",
    "detector": "detector",
}
"""Columns that hold numbers of objects, and our names of them."""

_FIRST = ("id", "bbox_min_x", "bbox_min_y", "bbox_max_x", "bbox_max_y")


def read_coadd_inputs(archive, number):
    """The CoaddInputs of object `number`; the objects of its rows are read when asked for."""
    return CoaddInputs(*(_read_catalog(archive, number, which) for which in (0, 1)))


def _read_catalog(archive, number, which):
    rows = archive.rows(number, which)
    flag_names = archive.flag_names(number, which)
    columns, components = {}, {}
    for column in rows.columns:
        name = column.name
        if name in _KINDS:
            components[_KINDS[name]] = tuple(
                Deferred(archive, n) if n else None for n in rows[name].tolist()
            )
        elif column.format.endswith("A") or "A(" in column.format:
            columns[name] = np.array([text_of(value) for value in rows[name]], str)
        elif column.format.endswith("X"):
            columns |= {flag: rows[name][:, i].copy() for i, flag in enumerate(flag_names)}
        else:
            values = np.array(rows[name])
            columns[name] = values.astype(values.dtype.newbyteorder("="))
    return ExposureCatalog(columns, components)


def write_coadd_inputs(archive, inputs):
    """Add CoaddInputs with all objects of their rows."""
    catalogs = [_written_catalog(archive, part) for part in (inputs.visits, inputs.ccds)]
    return archive.add("CoaddInputs", "lsst.afw.image", *catalogs)


def _written_catalog(archive, exposures):
    kinds = [kind for kind in _KINDS if kind != "calib"]
    nothing = (None,) * len(exposures)
    columns = {
        kind: ("J", [archive.save(t) for t in exposures.components.get(kind, nothing)])
        for kind in kinds
    }
    others = [name for name in exposures.columns if name not in _FIRST]
    flags = {}
    for name in (*_FIRST, *others):
        values = np.asarray(exposures.columns[name])
        if values.dtype.kind == "b":
            flags[name] = values
        else:
            columns[name] = _format(name, values), values
    return Catalog(columns, flags)


def _format(name, values):
    """FITS format of a column of ours."""
    if values.dtype.kind == "U":
        return f"{max(values.dtype.itemsize // 4, 1)}A"
    if name == "id":
        return "K"
    if name in _FIRST:
        return "J"
    return {"i4": "J", "i8": "K", "f4": "E", "f8": "D", "i2": "I", "u1": "B"}[values.dtype.str[1:]]
