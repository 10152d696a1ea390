"""Rows of WCS: AST text since 2018, FITS-like columns before (afw: geom/SkyWcs.cc, TanWcs.cc)."""

import warnings

import numpy as np

from skydelta.errors import CorruptFileError, UnsupportedError
from skydelta.io.afw.archive import bytes_of, text_of
from skydelta.io.afw.output_archive import Catalog
from skydelta.lsst.sky_wcs import AstSkyWcs, FitsSkyWcs


def read_sky_wcs(archive, number):
    """The AstSkyWcs of object `number`."""
    row = archive.row(number)
    approximation = ""
    if "approx" in row.array.columns.names and len(row["approx"]):
        approximation = _ast_text(bytes_of(row["approx"]), number)
    return AstSkyWcs(_ast_text(bytes_of(row["wcs"]), number), approximation)


def _ast_text(stored, number):
    """AST's text without the words before it: version, class, whether there is an approximation."""
    words = stored.decode("latin-1").split(" ", 3)
    if len(words) < 4 or words[1] != "SkyWcs":
        msg = f"archive object {number}: its text is not that of a SkyWcs"
        raise CorruptFileError(msg)
    if words[0] != "1":
        msg = f"archive object {number} is a SkyWcs of version {words[0]}, not 1"
        raise UnsupportedError(msg)
    return words[3]


def write_sky_wcs(archive, wcs):
    """Add an AstSkyWcs."""
    texts = {"wcs": f"1 SkyWcs {int(bool(wcs.approximation))} {wcs.text}"}
    if wcs.approximation:
        texts["approx"] = f"1 SkyWcs 0 {wcs.approximation}"
    columns = {
        name: ("1QB", [np.frombuffer(text.encode("latin-1"), np.uint8)])
        for name, text in texts.items()
    }
    return archive.add("SkyWcs", "lsst.afw.geom", Catalog(columns))


def write_fits_sky_wcs(archive, wcs):
    """Add a FitsSkyWcs, as AST text."""
    return write_sky_wcs(archive, AstSkyWcs.from_fits(wcs.wcs, wcs.xy0))


def read_old_wcs(archive, number):
    """The FitsSkyWcs of an old Wcs or TanWcs; its CRPIX is 0-based and in parent pixels.

    Matrices are stored column by column: A_i_j is element j * size + i.
    """
    from astropy.wcs import WCS, FITSFixedWarning, Sip, WcsError

    row = archive.row(number)
    wcs = WCS(naxis=2)
    crpix = np.array(_point(row, "crpix")) + 1.0
    wcs.wcs.crpix, wcs.wcs.crval = crpix, _point(row, "crval")
    wcs.wcs.cd = np.array(row["cd"], float).reshape(2, 2).T
    ctypes = [text_of(row[f"ctype{axis}"]) for axis in (1, 2)]
    if len(archive.catalogs(number)) > 1:
        sip = archive.row(number, 1)
        forward_and_back = (_matrix(sip[name]) for name in ("A", "B", "Ap", "Bp"))
        wcs.sip = Sip(*forward_and_back, crpix)
        ctypes = [c if c.endswith("-SIP") else f"{c}-SIP" for c in ctypes]
    wcs.wcs.ctype = ctypes
    wcs.wcs.cunit = [text_of(row[f"cunit{axis}"]) or "deg" for axis in (1, 2)]
    wcs.wcs.radesys, wcs.wcs.equinox = text_of(row["radesys"]), float(row["equinox"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            wcs.wcs.set()
    except WcsError as error:
        msg = f"archive object {number} is not a usable WCS: {str(error).splitlines()[-1]}"
        raise CorruptFileError(msg) from error
    return FitsSkyWcs(wcs)


def _point(row, name):
    """(x, y) of columns name_x and name_y, or of one column of two values."""
    if name in row.array.columns.names:
        return tuple(map(float, row[name]))
    return float(row[f"{name}_x"]), float(row[f"{name}_y"])


def _matrix(values):
    values = np.array(values, float).ravel()
    size = round(np.sqrt(values.size))
    return values.reshape(size, size).T if size else None
