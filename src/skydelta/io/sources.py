"""Source files: instrumental measurements as a FITS table."""

import numpy as np
from astropy.io import fits

from skydelta.io.native import replacing
from skydelta.io.products import open_product, primary_with, table_hdu


def _instrumental_unit(name):
    if name.endswith(("instFlux", "instFluxErr", "fluxDiff", "fluxDiffErr")):
        return "count"
    if name.startswith("coord_") or name.endswith("_orientation"):
        return "rad"
    if name.endswith(("_separation", "_bbox_size")):
        return "pix"
    if "entroid_" in name and not name.endswith("flag"):
        return "pix"
    if name.startswith("base_SdssShape_") and not name.endswith("flag"):
        return "pix2"
    return None


def write_sources(path, columns, provenance=({}, ())):
    """Instrumental measurements as a FITS table, LSST stack names, units on every column."""
    primary = primary_with(provenance)
    units = {name: _instrumental_unit(name) for name in columns}
    with replacing(path) as partial:
        fits.HDUList([primary, table_hdu(columns, "SOURCES", units)]).writeto(
            partial, overwrite=True
        )


def read_sources(path):
    """Instrumental measurements by column name."""
    with open_product(path) as hdul:
        return _columns_of(hdul["SOURCES"])


def _columns_of(hdu):
    data = hdu.data
    native = {}
    for name in data.dtype.names:
        values = np.array(data[name])
        native[name] = values.astype(values.dtype.newbyteorder("="), copy=False)
    return native
