"""The PSF of a coadd to and from the rows of an archive."""

import numpy as np

from skydelta.errors import CorruptFileError
from skydelta.io.afw.output_archive import Catalog
from skydelta.io.afw.rows import load, optional, point, point_columns

_WEIGHTS = "weight"


def read_coadd(archive, number):
    """CoaddPsf.

    Files written before July 2013 hold one catalogue, whose last row carries the coadd's WCS, and
    neither the average position nor how the inputs are warped (meas_algorithms: CoaddPsf.cc,
    readV0).
    """
    from skydelta.lsst.coadd_psf import CoaddPsf

    catalogs = archive.catalogs(number)
    if len(catalogs) == 1:
        if len(catalogs[0]) == 0:
            msg = f"the CoaddPsf, archive object {number}, has no rows: the file is damaged"
            raise CorruptFileError(msg)
        *rows, last = catalogs[0]
        return CoaddPsf(
            load(archive, last["wcs"], "sky_to_pixel", "WCS"),
            [_input(archive, row) for row in rows],
        )
    head = archive.row(number, 0)
    return CoaddPsf(
        coadd_wcs=load(archive, head["coaddwcs"], "sky_to_pixel", "WCS"),
        inputs=[_input(archive, row) for row in archive.rows(number, 1)],
        average_position=point(head, "avgpos"),
        warping_kernel=str(head["warpingkernelname"]).strip(),
        cache_size=int(head["cachesize"]),
    )


def _input(archive, row):
    from skydelta.lsst.coadd_psf import CoaddPsfInput

    return CoaddPsfInput(
        psf=load(archive, row["psf"], "images", "PSF"),
        wcs=load(archive, row["wcs"], "sky_to_pixel", "WCS"),
        weight=float(row[_WEIGHTS]),
        bbox=(*point(row, "bbox_min"), *point(row, "bbox_max")),
        valid_polygon=load(archive, optional(row, "validPolygon", 0), "contains", "polygon"),
        id=int(row["id"]),
        goodpix=optional(row, "goodpix"),
        tract=optional(row, "tract"),
        patch=optional(row, "patch"),
    )


_EMPTY = ("photoCalib", "apCorrMap", "visitInfo", "transmissionCurve", "detector")
"""Objects of an input that its PSF does not need: number 0, none."""

_OPTIONAL = {"goodpix": "J", "tract": "J", "patch": "J"}


def write_coadd(archive, psf):
    """The counterpart of `read_coadd`, in the present form."""
    head = {
        "coaddwcs": ("J", [archive.save(psf.coadd_wcs)]),
        "cachesize": ("J", [psf.cache_size]),
        **point_columns("avgpos", "D", psf.average_position),
        "warpingkernelname": ("32A", [psf.warping_kernel]),
    }
    inputs = psf.inputs
    none = [0] * len(inputs)
    rows = {
        "wcs": ("J", [archive.save(one.wcs) for one in inputs]),
        "psf": ("J", [archive.save(one.psf) for one in inputs]),
        "photoCalib": ("J", none),
        "apCorrMap": ("J", none),
        "validPolygon": ("J", [archive.save(one.valid_polygon) for one in inputs]),
        **dict.fromkeys(_EMPTY[2:], ("J", none)),
        "id": ("K", [one.id for one in inputs]),
    }
    corners = np.array([one.bbox for one in inputs]).T
    names = "bbox_min_x", "bbox_min_y", "bbox_max_x", "bbox_max_y"
    rows |= {name: ("J", list(values)) for name, values in zip(names, corners, strict=True)}
    for name, form in _OPTIONAL.items():
        values = [getattr(one, name) for one in inputs]
        if all(value is not None for value in values):
            rows[name] = form, values
    rows[_WEIGHTS] = "D", [one.weight for one in inputs]
    return archive.add("CoaddPsf", "lsst.meas.algorithms", Catalog(head), Catalog(rows))
