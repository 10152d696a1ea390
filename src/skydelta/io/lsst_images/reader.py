"""An Exposure from an open lsst-images file."""

import numpy as np
from astropy.io import fits

from skydelta.errors import CorruptFileError, UnsupportedError
from skydelta.exposure import Exposure
from skydelta.io.lsst_images.calibration import njy_per_count
from skydelta.io.lsst_images.planes import read_mask, read_plane
from skydelta.io.lsst_images.projection import read_wcs
from skydelta.io.lsst_images.psf import psf_from_tree
from skydelta.io.lsst_images.tree import read_tree, schema_of
from skydelta.io.native import mark_unusable
from skydelta.photocalib import PhotoCalib

SCHEMAS = ("visit_image", "difference_image", "masked_image", "cell_coadd")
"""What can be read; a bare cutout, without a tree, as well."""

_MJD_OF_JD = 2400000.5


def is_lsst_images(hdul):
    """Whether an open FITS file is one of lsst-images, or a cutout of one."""
    if "DATAMODL" in hdul[0].header:
        return True
    return any(hdu.name == "MASK" and "MSKN0000" in hdu.header for hdu in hdul)


def read_lsst_images(hdul, *, with_psf=True):
    """An exposure from an open lsst-images file.

    Pixel coordinates are those of the file's own pixels; its xy0 leads to those of the parent.

    Parameters
    ----------
    hdul
        Open FITS file.
    with_psf
        False where the PSF is known from elsewhere: then that of the file need not be readable.

    Raises
    ------
    InputError
        Of the type that fits: another kind of object, a newer format, no WCS, a PSF that cannot
        be evaluated, a damaged tree.
    """
    try:
        return _exposure(hdul, with_psf)
    except fits.VerifyError as error:
        msg = f"a header card is damaged ({error}): fetch the file again"
        raise CorruptFileError(msg) from error


def _exposure(hdul, with_psf):
    schema = schema_of(hdul)
    if schema is not None and schema not in SCHEMAS:
        msg = f"the file holds a {schema}: only {', '.join(SCHEMAS)} can be read as an image"
        raise UnsupportedError(msg)
    tree = read_tree(hdul) if schema is not None else None
    image, variance = read_plane(hdul, "IMAGE"), read_plane(hdul, "VARIANCE")
    mask = read_mask(hdul)
    shapes = [image.shape, mask.array.shape, variance.shape]
    if len(set(shapes)) != 1:
        msg = f"IMAGE, MASK and VARIANCE must be of one shape, got {shapes}"
        raise CorruptFileError(msg)
    header = hdul["IMAGE"].header
    xy0 = _xy0(header)
    scale = njy_per_count(tree, header.get("BUNIT"), xy0, image.shape)
    if isinstance(scale, np.ndarray):
        image, variance, scale = image * scale, variance * scale**2, 1.0
    wcs, notes = read_wcs(header, tree, xy0, image.shape)
    exposure = Exposure(
        image=image,
        variance=variance,
        mask=mask,
        wcs=wcs,
        psf=_psf(tree, xy0) if with_psf else None,
        photo_calib=PhotoCalib(scale) if scale is not None else None,
        xy0=xy0,
        **_observation(tree),
    )
    return mark_unusable(exposure).noted(*notes)


def _xy0(header):
    """Parent coordinates of the first pixel, from the alternate WCS of kind LINEAR."""
    try:
        if header.get("CTYPE1A") == "LINEAR":
            return tuple(
                round(header.get(f"CRVAL{i}A", 0.0) - header.get(f"CRPIX{i}A", 1.0) + 1.0)
                for i in (1, 2)
            )
        return tuple(-round(header.get(f"LTV{i}", 0)) for i in (1, 2))
    except TypeError as error:
        msg = "the cards CRVAL1A, CRVAL2A (or LTV1, LTV2) of the image are not numbers"
        raise CorruptFileError(msg) from error


def _psf(tree, xy0):
    node = tree.get("psf") if tree is not None else None
    return None if node is None else psf_from_tree(node, xy0)


def _observation(tree):
    """Band, time and further header cards."""
    if tree is None:
        return {}
    band = tree.get("band")
    found = {"band": "" if band is None else str(band.value)}
    info = tree.get("obs_info")
    if info is None:
        return found
    meta = {}
    for card, key in (
        ("TELESCOP", "telescope"),
        ("INSTRUME", "instrument"),
        ("OBJECT", "object"),
        ("PHYSFILT", "physical_filter"),
        ("EXPNUM", "visit_id"),
        ("CCDNUM", "detector_num"),
        ("AIRMASS", "boresight_airmass"),
    ):
        if info.get(key) is not None:
            meta[card] = info[key].value
    exptime = info.number("exposure_time", np.nan)
    mjd = _mid_exposure(info, exptime)
    if np.isfinite(mjd):
        meta["TIMESYS"] = "TAI"
    return found | {"exptime": exptime, "mjd": mjd, "meta": meta}


def _mid_exposure(info, exptime):
    """MJD (TAI) of mid-exposure; the tree has begin and end as two-part Julian dates, TAI."""
    begin, end = (_mjd(info.get(f"datetime_{which}")) for which in ("begin", "end"))
    if np.isfinite(end) and np.isfinite(begin):
        return (begin + end) / 2.0
    return begin + exptime / 172800.0


def _mjd(node):
    if node is None:
        return np.nan
    parts = node.numbers()
    if len(parts) != 2:
        raise node.wrong("a Julian date of two parts")
    first, second = parts
    return (first - _MJD_OF_JD) + second
