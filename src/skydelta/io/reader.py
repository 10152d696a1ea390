"""One door for every image: the format is told by what the file holds."""

import gzip
import io
import warnings
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from astropy.io import fits

from skydelta.errors import BandMismatchError, CorruptFileError, InputError, MissingFileError
from skydelta.io.lsst_images import is_lsst_images, read_lsst_images
from skydelta.io.native import is_native, read_native
from skydelta.io.plain import read_plain
from skydelta.photocalib import PhotoCalib
from skydelta.psf import Psf


def read_exposure(
    path,
    *,
    psf=None,
    weight=None,
    mask=None,
    band=None,
    saturate=None,
    gain=None,
    default_zero_point=None,
    mask_codes=None,
    trusted=False,
):
    """An image of any known format as an Exposure.

    Parameters
    ----------
    path
        FITS file, also compressed (.gz, .fz): native, LSST (afw) or plain.
    psf
        Path of a PSF side file: PSFEx model, PSFGRID table or an image of odd size; or a Psf that
        is known already. Without one, and without a PSF in the file itself, it is estimated from
        the image's stars.
    weight
        Path of an inverse-variance map of the image's shape, 0 where there are no data.
    mask
        Path of an integer mask of the image's shape.
    band
        Filter name; overrides the FILTER card, which is then kept as PHYSFILT.
    saturate
        Saturation level, counts on the scale of the image; overrides the header.
    gain
        Electrons per count; overrides the header.
    default_zero_point
        AB magnitude of 1 count, for images whose header has none.
    mask_codes
        {plane: [codes]} for masks that hold one code per pixel, or the name ``"decam"``; without,
        and without MP_ cards in the mask's header, every pixel that is not 0 is BAD.
    trusted
        Whether a PSF that is a Python pickle, as LSST's PiffPsf, may be unpickled: it can do
        anything its author wishes.

    Returns
    -------
    Exposure
        Its `notes` say what was estimated or repaired.

    Raises
    ------
    InputError
        Of the type that fits: missing or corrupt file, no WCS, no usable pixel, bad variance, bad
        or no PSF.
    """
    side = {"weight": weight, "mask": mask}
    side = {kind: Path(name) for kind, name in side.items() if name is not None}
    with _located(path), open_fits(path) as hdul:
        known = psf if psf is None or isinstance(psf, Psf) else _side_psf(psf, _ccd_names(hdul))
        if is_lsst_images(hdul):
            exposure = _lsst_images(hdul, side, band, saturate, gain, with_psf=psf is None)
        elif is_native(hdul):
            exposure = _native(hdul, side, band, saturate, gain)
        elif _is_afw(hdul):
            exposure = _afw(hdul, side, band, saturate, gain, trusted, known)
        else:
            exposure = _plain(hdul, side, band, saturate, gain, mask_codes)
        if known is not None:
            exposure = exposure.replace(psf=known)
        if exposure.photo_calib is None and default_zero_point is not None:
            exposure = exposure.replace(
                photo_calib=PhotoCalib.from_zero_point(default_zero_point)
            ).noted(f"no zero point in the header: {default_zero_point} mag was taken as given")
        return exposure if exposure.psf is not None else with_estimated_psf(exposure)


def with_estimated_psf(exposure):
    """The exposure with a PSF from its own stars and a note of it."""
    from skydelta.psf_estimate import estimate_psf

    psf, info = estimate_psf(
        exposure.image, exposure.variance, exposure.mask, saturate=exposure.saturate
    )
    return exposure.replace(psf=psf).noted(
        f"PSF estimated from {info.n_stars} stars of the image: FWHM {info.fwhm:.2f} px, "
        f"ellipticity {info.ellipticity:.2f}, polynomial of order {info.order}"
    )


@contextmanager
def open_fits(path):
    """A FITS file read to its end and held in memory.

    Raises
    ------
    MissingFileError
        If there is no such file.
    CorruptFileError
        If it is not FITS, or shorter than its headers say.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file; correct the table or fetch the file"
        raise MissingFileError(msg)
    with _loaded(path) as hdul:
        yield hdul


def _loaded(path):
    """The open file, all its data in memory."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            hdul = fits.open(_whole(path), memmap=False, lazy_load_hdus=False)
        except _UNREADABLE as error:
            raise _corrupt(path, error) from error
        try:
            for hdu in hdul:
                _ = hdu.data
        except _UNREADABLE as error:
            hdul.close()
            raise _corrupt(path, error) from error
    # A file cut short only draws a warning, and may then be filled up with zeros.
    for warning in caught:
        if "truncated" in str(warning.message):
            hdul.close()
            raise _corrupt(path, warning.message)
    return hdul


def _whole(path):
    """The path, or what a gzip file holds: cut short, it would end silently after a whole HDU."""
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP
    if not compressed:
        return path
    with gzip.open(path) as file:
        return io.BytesIO(file.read())


_GZIP = b"\x1f\x8b"

_UNREADABLE = (
    OSError,
    EOFError,
    zlib.error,
    gzip.BadGzipFile,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    fits.VerifyError,
)
"""What astropy raises on damaged files."""


def _corrupt(path, error):
    msg = f"{path}: not FITS, or damaged ({error}); fetch it again"
    return CorruptFileError(msg)


@contextmanager
def _located(path):
    """Puts the image's path before the message of an error that does not name it."""
    try:
        yield
    except InputError as error:
        text = str(error)
        if str(path) in text:
            raise
        raise type(error)(f"{path}: {text}", **error.details) from error
    except fits.VerifyError as error:  # raised when a damaged card is first asked for
        raise _corrupt(path, error) from error


_CCD_CARDS = ("EXTNAME", "CCDNAME", "DETPOS")


def _is_afw(hdul):
    return any(hdu.name == "ARCHIVE_INDEX" or "EXTTYPE" in hdu.header for hdu in hdul)


def _afw(hdul, side, band, saturate, gain, trusted, psf):
    from skydelta.io.afw.exposure_reader import read_afw

    _require_no(side, "an LSST exposure")
    # The file's own PSF is not even looked at where one is given.
    return read_afw(hdul, band=band, saturate=saturate, gain=gain, trusted=trusted, psf=psf)


def _native(hdul, side, band, saturate, gain):
    _require_no(side, "a native image")
    return _with_given(read_native(hdul), band, saturate, gain)


def _lsst_images(hdul, side, band, saturate, gain, *, with_psf):
    _require_no(side, "an lsst-images file")
    return _with_given(read_lsst_images(hdul, with_psf=with_psf), band, saturate, gain)


def _require_no(side, kind):
    if side:
        msg = (
            f"{kind} carries its own variance and mask: leave {', '.join(side)} empty in the table"
        )
        raise InputError(msg)


def _with_given(exposure, band, saturate, gain):
    """The exposure with what the table says of it, which must not contradict its band."""
    if band and exposure.band and band != exposure.band:
        msg = f"the table says band {band!r}, the file's FILTER card {exposure.band!r}"
        raise BandMismatchError(msg)
    given = {"band": band, "saturate": saturate, "gain": gain}
    return exposure.replace(**{k: v for k, v in given.items() if v is not None})


def _plain(hdul, side, band, saturate, gain, mask_codes):
    planes = {}
    for kind in ("weight", "mask"):
        if kind in side:
            with _located(side[kind]), open_fits(side[kind]) as side_hdul:
                planes[kind] = _first_plane(side_hdul)
    return read_plain(
        hdul, band=band, saturate=saturate, gain=gain, mask_codes=mask_codes, **planes
    )


def _ccd_names(hdul):
    """Names of the image's CCD, as a merged PSFEx table may call it."""
    names = (str(hdu.header.get(key, "")).strip() for hdu in hdul for key in _CCD_CARDS)
    return [name for name in names if name]


def _first_plane(hdul):
    """Data and header of the first 2-d image."""
    for hdu in hdul:
        if hdu.is_image and hdu.data is not None and np.ndim(hdu.data) == 2:
            return hdu.data, hdu.header
    msg = "holds no two-dimensional image"
    raise InputError(msg)


def _side_psf(path, ccd):
    from skydelta.io.psfex import psf_from_hdus

    with _located(path), open_fits(path) as hdul:
        return psf_from_hdus(hdul, ccd=ccd)
