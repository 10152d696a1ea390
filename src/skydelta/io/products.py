"""The files between the stages: template, subtraction, detections, measurements, catalogue."""

import numpy as np
from astropy.io import fits

from skydelta.errors import SkydeltaError
from skydelta.io.native import add_notes, read_native

_FORMATS = {"f8": "D", "f4": "E", "i8": "K", "i4": "J", "i2": "I", "?": "L", "b1": "L"}


def table_hdu(columns, name, units=None, header=None):
    """A binary table from a dict of arrays (or a structured array), with units by column name."""
    units = units or {}
    names = columns.dtype.names if isinstance(columns, np.ndarray) else list(columns)
    out = []
    for key in names:
        values = np.asarray(columns[key])
        code = values.dtype.str.lstrip("<>|=")
        size = int(np.prod(values.shape[1:])) if values.ndim > 1 else 1
        repeat = "" if values.ndim == 1 else str(size)
        dim = None if values.ndim < 3 else f"({','.join(map(str, values.shape[:0:-1]))})"
        kind = f"{max(values.dtype.itemsize // 4, 1)}A" if code.startswith("U") else _FORMATS[code]
        out.append(fits.Column(key, f"{repeat}{kind}", unit=units.get(key), dim=dim, array=values))
    hdu = fits.BinTableHDU.from_columns(out, name=name)
    for card, value in (header or {}).items():
        hdu.header[card] = value
    return hdu


def read_image(path):
    """The Exposure of a product of the native format."""
    with open_product(path) as hdul:
        return read_native(hdul)


def primary_with(provenance):
    """A primary HDU with the cards and HISTORY of (meta, notes)."""
    meta, notes = provenance
    primary = fits.PrimaryHDU()
    for key, value in meta.items():
        primary.header[key] = value
    add_notes(primary.header, notes)
    return primary


class open_product:
    """An open product of a former stage, or the failure it stands for.

    Raises
    ------
    SkydeltaError
        With the status and message of the failure, if the file is a failure marker.
    """

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        from skydelta.io.outcome import raise_failure

        self.hdul = fits.open(self.path, memmap=False)
        try:
            raise_failure(self.hdul[0].header)
        except SkydeltaError:
            self.hdul.close()
            raise
        return self.hdul

    def __exit__(self, *exc):
        self.hdul.close()
