"""Source files: instrumental measurements as a FITS table."""

import re

import numpy as np

from skydelta.io.fits_writer import write_hdus
from skydelta.io.products import open_product, primary_with, table_hdu

_UNITS = (
    (r"(instFlux|fluxDiff)(Err)?(_\w+)?", "count"),
    (r"coord_(ra|dec)", "rad"),
    (r"base_LocalPhotoCalib(Err)?", "nJy/count"),
    (r"base_LocalWcs_CDMatrix_\d_\d", "rad/pix"),
    (r"ip_diffim_DipoleFit_orientation", "rad"),
    (r"ip_diffim_DipoleFit_separation|footprint_bbox_size", "pix"),
    (r"base_NaiveCentroid_x_y_Cov", "pix2"),
    (r"\w*[cC]entroid_(neg_|pos_)?[xy](Err)?", "pix"),
    (r"base_SdssShape_(xx|yy|xy)", "pix2"),
)
"""Units of instrumental columns by the ending of their name."""


def _instrumental_unit(name):
    return next((unit for end, unit in _UNITS if re.search(rf"(^|_)({end})$", name)), None)


def write_sources(path, columns, provenance=({}, ())):
    """Instrumental measurements as a FITS table, LSST stack names, units on every column."""
    primary = primary_with(provenance)
    units = {name: _instrumental_unit(name) for name in columns}
    write_hdus(path, [primary, table_hdu(columns, "SOURCES", units)])


def read_sources(path):
    """Instrumental measurements by column name."""
    with open_product(path) as hdul:
        return _columns_of(hdul["SOURCES"])


def read_sources_table(path):
    """The same as an astropy Table with units."""
    from astropy.table import Table

    with open_product(path) as hdul:
        return Table.read(hdul["SOURCES"])


def _columns_of(hdu):
    data = hdu.data
    native = {}
    for name in data.dtype.names:
        values = np.array(data[name])
        native[name] = values.astype(values.dtype.newbyteorder("="), copy=False)
    return native
