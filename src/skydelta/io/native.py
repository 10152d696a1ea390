"""The native image format: IMAGE, MASK, VARIANCE and PSFGRID (or PSF) HDUs.

A photometric scale that varies over the image has its coefficients in PHOTOCALIB. MJD-OBS is
mid-exposure in the scale that TIMESYS names, UTC without that card, as FITS has it.

A product carries sums of its HDUs and no date, so the same input and configuration give the same
bytes.
"""

from dataclasses import replace

import numpy as np
from astropy.io import fits

from skydelta.errors import BadImageError, BadVarianceError, InputError
from skydelta.exposure import Exposure
from skydelta.field import Field
from skydelta.io.fits_writer import write_hdus
from skydelta.io.wcs import header_of, wcs_from_header
from skydelta.io.zero_points import is_number, photo_calib_from_header
from skydelta.mask import Mask
from skydelta.psf import GridPsf, sample_psf


def write_exposure(path, exposure, extra=()):
    """Write an exposure in the native format.

    Parameters
    ----------
    path
        Destination; replaced as a whole or not at all.
    exposure
        What to write.
    extra
        Further HDUs that follow the standard ones.
    """
    write_hdus(path, [*exposure_hdus(exposure), *extra])


def exposure_hdus(exposure):
    """The HDUs of an exposure: primary, IMAGE, MASK, VARIANCE and, if it has a PSF, PSFGRID."""
    image_header = header_of(exposure.wcs)
    image_header.update(origin_cards(exposure.xy0))
    mask_header = image_header.copy()
    for name, bit in sorted(exposure.mask.planes.items(), key=lambda item: item[1]):
        mask_header[f"HIERARCH MP_{name}" if len(name) > 5 else f"MP_{name}"] = bit
    hdus = [
        fits.PrimaryHDU(header=_primary_header(exposure)),
        fits.ImageHDU(_big_endian(exposure.image, ">f4"), image_header, name="IMAGE"),
        fits.ImageHDU(_big_endian(exposure.mask.array, ">i4"), mask_header, name="MASK"),
        fits.ImageHDU(_big_endian(exposure.variance, ">f4"), image_header.copy(), name="VARIANCE"),
    ]
    if exposure.psf is not None:
        psf = exposure.psf
        hdus.append(psf_hdu(psf if isinstance(psf, GridPsf) else sample_psf(psf, exposure.shape)))
    if exposure.photo_calib is not None and exposure.photo_calib.field is not None:
        hdus.append(_photo_calib_hdu(exposure.photo_calib.field))
    return hdus


def origin_cards(xy0):
    """Where the first pixel lies in the parent image, as LSST files and ds9 say it; none at (0, 0).

    Read again by `origin_of`.
    """
    if xy0 == (0, 0):
        return []
    cards = []
    for axis, start in enumerate(xy0, start=1):
        cards += [
            (f"LTV{axis}", float(-start), f"[pix] minus CRVAL{axis}A"),
            (f"CTYPE{axis}A", "LINEAR", "parent image"),
            (f"CRPIX{axis}A", 1.0, "[pix]"),
            (f"CRVAL{axis}A", float(start), "[pix] first pixel"),
            (f"CUNIT{axis}A", "PIXEL", ""),
        ]
    return cards


def origin_of(header):
    """(x0, y0), the parent pixel of an image's first pixel, 0-based; (0, 0) where nothing is said.

    The WCS named A counts, as in LSST's afw, else LTV1 and LTV2.
    """
    origin = []
    for axis in (1, 2):
        start, first, minus = (
            _value(header, key, default)
            for key, default in ((f"CRVAL{axis}A", None), (f"CRPIX{axis}A", 1.0), (f"LTV{axis}", 0))
        )
        origin.append(round(-minus if start is None else start + 1.0 - first))
    return tuple(origin)


def _value(header, key, default):
    """A card's number, or the default if it is missing or none."""
    value = header.get(key, default)
    return value if is_number(value) else default


def _photo_calib_hdu(field):
    """The variation of the photometric scale: its coefficients, [y, x]."""
    header = fits.Header()
    header["FUNCTION"] = (field.kind, "factors along y and x, on NJYSCALE")
    header["NXIMAGE"] = (field.shape[1], "[pix] width they are scaled to")
    header["NYIMAGE"] = (field.shape[0], "[pix] height they are scaled to")
    return fits.ImageHDU(_big_endian(field.coefficients, ">f8"), header, name="PHOTOCALIB")


def _big_endian(array, dtype):
    """FITS byte order, so that astropy writes the array as it is instead of swapping it twice."""
    return np.ascontiguousarray(array).astype(dtype, copy=False)


def _primary_header(exposure):
    header = fits.Header()
    header["FILTER"] = (exposure.band, "filter")
    for key, value, comment in (
        ("MJD-OBS", exposure.mjd, "[d] mid-exposure"),
        ("EXPTIME", exposure.exptime, "[s] exposure time"),
        ("GAIN", exposure.gain, "electrons per count"),
        ("SATURATE", exposure.saturate, "[count] saturation level"),
    ):
        if np.isfinite(value):
            header[key] = (float(value), comment)
    if exposure.photo_calib is not None:
        calib = exposure.photo_calib
        header["MAGZERO"] = (float(calib.zero_point), "AB magnitude of 1 count")
        header["NJYSCALE"] = (calib.scale, "nJy per count")
        header["NJYSCERR"] = (calib.scale_err, "standard error of NJYSCALE")
    for key, value in exposure.meta.items():
        header[key] = value
    add_notes(header, exposure.notes)
    return header


_CARD_ROOM = 70


def add_notes(header, notes):
    """Sentences as HISTORY: each begins with "* ", what does not fit goes on after two blanks."""
    for note in notes:
        text = " ".join(note.split()).encode("ascii", "replace").decode()
        for start in range(0, len(text), _CARD_ROOM):
            header["HISTORY"] = ("* " if start == 0 else "  ") + text[start : start + _CARD_ROOM]


def notes_of(header):
    """The sentences that `add_notes` wrote."""
    notes = []
    for card in header.get("HISTORY", []):
        line = str(card)
        if line.startswith("* "):
            notes.append(line[2:].ljust(_CARD_ROOM))
        elif line.startswith("  ") and notes:
            notes[-1] += line[2:].ljust(_CARD_ROOM)
    return tuple(note.rstrip() for note in notes)


def psf_hdu(psf):
    """A GridPsf as the PSFGRID binary table."""
    columns = [
        fits.Column("x", "D", unit="pix", array=psf.x),
        fits.Column("y", "D", unit="pix", array=psf.y),
        fits.Column(
            "stamp",
            f"{psf.size**2}E",
            dim=f"({psf.size},{psf.size})",
            array=np.asarray(psf.data, np.float32),
        ),
    ]
    return fits.BinTableHDU.from_columns(columns, name="PSFGRID")


def is_native(hdul):
    """Whether an open FITS file has the native planes."""
    names = {hdu.name for hdu in hdul}
    if not {"IMAGE", "MASK", "VARIANCE"} <= names or "ARCHIVE_INDEX" in names:
        return False
    return "EXTTYPE" not in hdul["IMAGE"].header  # LSST's have it even without an archive


def read_native(hdul):
    """An exposure from an open native file.

    Raises
    ------
    InputError
        Of the type that fits: no WCS, bad PSF, bad variance, no usable pixel.
    """
    primary = hdul[0].header
    image_hdu = hdul["IMAGE"]
    header = _merged(primary, image_hdu.header)
    image = plane(image_hdu, np.float32)
    variance = plane(hdul["VARIANCE"], np.float32)
    mask = Mask(plane(hdul["MASK"], np.int32), mask_planes(hdul["MASK"].header)).canonical()
    shapes = [plane.shape for plane in (image, mask.array, variance)]
    if len(set(shapes)) != 1 or image.ndim != 2:
        msg = f"IMAGE, MASK and VARIANCE must be 2-d and of one shape, got {shapes}"
        raise InputError(msg)
    exposure = Exposure(
        image=image,
        variance=variance,
        mask=mask,
        wcs=wcs_from_header(image_hdu.header),
        psf=read_psf(hdul),
        photo_calib=_photo_calib(hdul, header),
        xy0=origin_of(image_hdu.header),
        **observation_from_header(header),
        meta={k: primary[k] for k in primary if k not in _STANDARD_CARDS and k not in _STRUCTURAL},
        notes=notes_of(primary),
    )
    return mark_unusable(exposure)


_STANDARD_CARDS = {
    *("FILTER", "MJD-OBS", "EXPTIME", "GAIN", "SATURATE"),
    *("MAGZERO", "NJYSCALE", "NJYSCERR"),
}
_STRUCTURAL = {
    *("SIMPLE", "BITPIX", "NAXIS", "EXTEND", "HISTORY", "COMMENT", ""),
    *("CHECKSUM", "DATASUM", "NEXTEND"),
}


def _merged(*headers):
    merged = fits.Header()
    for header in headers:
        merged.update(header)
    return merged


def plane(hdu, dtype):
    """The pixels of an HDU; one that was read from a file gives up its own copy of them."""
    data = hdu.data
    ours = hdu.fileinfo() is not None and data.flags.writeable
    if not ours or data.dtype.newbyteorder("=") != dtype:
        return np.array(data, dtype=dtype, order="C")
    del hdu.data  # swapped in place; asked again, the HDU would read the file again
    return data if data.dtype.isnative else data.byteswap(inplace=True).view(dtype)


def mask_planes(header):
    """Bit numbers by plane name from the MP_ cards of a mask header.

    Raises
    ------
    InputError
        If the header has none: bits without names cannot be interpreted.
    """
    planes = {key[3:]: int(header[key]) for key in header if key.startswith("MP_")}
    if not planes:
        msg = "the mask has no MP_<PLANE> cards: its bits have no names"
        raise InputError(msg)
    return planes


def read_psf(hdul):
    names = {hdu.name for hdu in hdul}
    if "PSFGRID" in names:
        table = hdul["PSFGRID"].data
        return GridPsf(
            np.array(table["x"], float),
            np.array(table["y"], float),
            np.array(table["stamp"], float),
        )
    if "PSF" in names:
        return GridPsf.constant(np.array(hdul["PSF"].data, float))
    return None


def _photo_calib(hdul, header):
    """The photometric scale of a native file, with its variation if there is one."""
    calib = photo_calib_from_header(header)
    if calib is None or not any(hdu.name == "PHOTOCALIB" for hdu in hdul):
        return calib
    hdu = hdul["PHOTOCALIB"]
    shape = (hdu.header["NYIMAGE"], hdu.header["NXIMAGE"])
    return replace(calib, field=Field(plane(hdu, float), shape, hdu.header["FUNCTION"]))


def observation_from_header(header):
    """band, mjd, exptime, gain and saturate as keyword arguments of Exposure."""

    def number(key, default):
        value = header.get(key)
        return float(value) if isinstance(value, int | float) else default

    return {
        "band": str(header.get("FILTER", "")).strip(),
        "mjd": number("MJD-OBS", np.nan),
        "exptime": number("EXPTIME", np.nan),
        "gain": number("GAIN", np.nan),
        "saturate": number("SATURATE", np.inf),
    }


def mark_unusable(exposure):
    """NO_DATA set, and variance NaN, wherever image or variance cannot be used.

    Raises
    ------
    BadImageError
        If no pixel is left.
    BadVarianceError
        If the variance is nowhere positive, or negative on more than 1 % of the usable pixels.
    """
    if _is_marked(exposure):
        return exposure
    finite = np.isfinite(exposure.image)
    if not finite.any():
        msg = "the image has no finite pixel"
        raise BadImageError(msg)
    known = _known(exposure.variance)
    bad = ~(known & finite)
    unflagged = bad & ~exposure.mask.any("NO_DATA")
    return _marked(exposure, finite, known, bad, unflagged)


def _known(variance):
    # NaN fails both comparisons.
    return (variance > 0) & (variance < np.inf)


def _is_marked(exposure, strip=256):
    """Whether every bad pixel is flagged, as those of our own products are, and some are good."""
    some, no_data = False, np.int32(exposure.mask.bits("NO_DATA"))
    for y0 in range(0, exposure.shape[0], strip):
        rows = slice(y0, y0 + strip)
        if not np.isfinite(exposure.image[rows]).all():
            return False
        known = _known(exposure.variance[rows])
        flagged = (exposure.mask.array[rows] & no_data) != 0
        if not (known | flagged).all():
            return False
        some |= bool(known.any())
    return some


def _no_variance():
    return BadVarianceError("the variance is nowhere positive")


def _marked(exposure, finite, known, bad, unflagged):
    """`mark_unusable` where something has to be marked."""
    usable = finite & ~exposure.mask.any("NO_DATA")
    if not (known & usable).any():
        raise _no_variance()
    negative = np.count_nonzero((exposure.variance < 0) & usable)
    if negative > 0.01 * np.count_nonzero(usable):
        msg = (
            f"the variance is negative on {negative} pixels: is the plane a weight map, "
            "or was a background subtracted from it?"
        )
        raise BadVarianceError(msg, n_negative=int(negative))
    marked = exposure.replace(
        mask=exposure.mask.with_plane("NO_DATA", bad),
        image=np.where(finite, exposure.image, np.float32(0)),
        variance=np.where(bad, np.float32(np.nan), exposure.variance),
    )
    if negative:
        return marked.noted(f"{negative} pixels of negative variance were set to NO_DATA")
    if unflagged.any():
        return marked.noted(
            f"{np.count_nonzero(unflagged)} unmasked pixels without finite value and positive "
            "variance were set to NO_DATA"
        )
    return marked
