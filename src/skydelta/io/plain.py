"""Plain images: one image HDU with a WCS, and what is not in the file estimated from it."""

from collections import ChainMap
from datetime import datetime

import numpy as np

from skydelta.background import estimate_background, noise_correlation
from skydelta.errors import BadImageError, BadVarianceError, InputError
from skydelta.exposure import Exposure
from skydelta.io.native import (
    mark_unusable,
    mask_planes,
)
from skydelta.io.wcs import repaired_header, wcs_from_header
from skydelta.io.zero_points import is_vega, photo_calib_from_header
from skydelta.mask import Mask

MASK_CODES = {
    "decam": {"BAD": [1], "SAT": [3, 4], "CR": [5], "NO_DATA": [2], "SUSPECT": [6, 7, 8]},
}
"""Codes of the masks of known pipelines: the DECam Community Pipeline's ood files."""

_KEPT_CARDS = (
    *("OBJECT", "TELESCOP", "INSTRUME", "EXPNUM", "CCDNUM", "AIRMASS"),
    *("DATE-OBS", "TIMESYS"),
)
_MJD_ZERO = datetime(1858, 11, 17)


def read_plain(
    hdul, *, weight=None, mask=None, band=None, saturate=None, gain=None, mask_codes=None
):
    """An exposure, without PSF, from an open plain image.

    Parameters
    ----------
    hdul
        Open FITS file.
    weight, mask
        (data, header) of the side files, or None.
    band, saturate, gain, mask_codes
        As in `skydelta.io.reader.read_exposure`.

    Raises
    ------
    InputError
        Of the type that fits.
    """
    hdu, notes = _image_hdu(hdul)
    # Keywords of the primary header hold for the extensions as far as these do not repeat them.
    cards = ChainMap(hdu.header, hdul[0].header)
    header, repairs = repaired_header(hdu.header)
    notes += repairs
    image = np.ascontiguousarray(hdu.data, np.float32)
    finite = np.isfinite(image)
    if not finite.any():
        msg = "the image has no finite pixel"
        raise BadImageError(msg)
    flags = _read_mask(mask, image.shape, mask_codes).with_plane("NO_DATA", ~finite)
    sky = _Sky(image, flags)
    meta = {k: cards[k] for k in _KEPT_CARDS if _is_value(cards.get(k))}
    if _text(cards, "FILTER"):
        meta["PHYSFILT"] = (_text(cards, "FILTER"), "filter, as the image names it")
    level, note = _saturation(cards, saturate, gain, hdu, sky)
    notes += note
    gain, note = _gain(cards, gain, sky if weight is None else None)
    notes += note
    if weight is not None:
        variance, note = _variance_from_weight(weight[0], image.shape)
    else:
        variance, correlation, note = _estimated_variance(image, sky, gain)
        meta["NOISECOR"] = (round(correlation, 4), "mean correlation of adjacent sky pixels")
    notes += note
    flags = flags.with_plane("NO_DATA", np.isnan(variance))
    if np.isfinite(level):
        flags = flags.with_plane("SAT", _grown(finite & (image >= level)))
    if is_vega(cards):
        notes.append("the header's zero point is in the Vega system: not taken, fluxes are AB")
    exposure = Exposure(
        image=image,
        variance=variance,
        mask=flags,
        wcs=wcs_from_header(header),
        photo_calib=photo_calib_from_header(cards),
        band=band or _text(cards, "FILTER").split(" ")[0],
        exptime=_number(cards, "EXPTIME", default=np.nan),
        gain=gain,
        saturate=level,
        meta=meta,
        notes=tuple(notes),
        mjd=np.nan,
    )
    mjd, note = _mid_exposure(cards)
    return mark_unusable(exposure.replace(mjd=mjd).noted(*note))


def _image_hdu(hdul):
    """The HDU with the image, and a note if the file has more of them."""
    images = [hdu for hdu in hdul if hdu.is_image and hdu.data is not None]
    planes = [hdu for hdu in images if np.ndim(hdu.data) == 2]
    if not planes:
        shapes = ", ".join(str(hdu.data.shape) for hdu in images) or "no image at all"
        msg = f"the file holds no two-dimensional image ({shapes})"
        raise InputError(msg)
    chosen = next((hdu for hdu in planes if hdu.name == "IMAGE"), planes[0])
    if len(planes) == 1:
        return chosen, []
    return chosen, [f"the file holds {len(planes)} images: only {chosen.name or 'one'} was read"]


class _Sky:
    """Background of the image, measured when first asked for."""

    def __init__(self, image, flags):
        self._image, self._flags = image, flags
        self._background = None

    @property
    def background(self):
        if self._background is None:
            holes = self._flags.any("BAD", "SAT", "CR", "NO_DATA")
            self._background = estimate_background(self._image, holes)
        return self._background

    @property
    def poisson_gain(self):
        """Electrons per count if the sky's level is the source of its noise."""
        step = (slice(None, None, 8),) * 2
        return float(np.median(self.background.level[step] / self.background.rms[step] ** 2))


def _read_mask(mask, shape, codes):
    """Mask planes of a side file."""
    if mask is None:
        return Mask.empty(shape)
    data, header = mask
    if data.shape != shape:
        msg = f"the mask has shape {data.shape} and the image {shape}: they must be equal"
        raise InputError(msg)
    if not np.array_equal(data, np.asarray(data).astype(np.int64)):
        msg = "the mask holds values that are not integers: is it a weight map?"
        raise InputError(msg)
    data = np.asarray(data).astype(np.int64)
    if codes is not None:
        if isinstance(codes, str):
            if codes not in MASK_CODES:
                known = ", ".join(MASK_CODES)
                msg = f"mask_codes {codes!r} is unknown: give {{plane: [codes]}} or {known}"
                raise InputError(msg)
            codes = MASK_CODES[codes]
        flags = Mask.empty(shape)
        for plane, values in codes.items():
            flags = flags.with_plane(plane, np.isin(data, values))
        return flags
    if any(key.startswith("MP_") for key in header):
        return Mask(data.astype(np.int32), mask_planes(header)).canonical()
    return Mask.empty(shape).with_plane("BAD", data != 0)


def _variance_from_weight(weight, shape):
    """Variance from inverse variance; NaN where the weight is 0."""
    if weight.shape != shape:
        msg = f"the weight map has shape {weight.shape} and the image {shape}: they must be equal"
        raise InputError(msg)
    weight = np.asarray(weight, np.float32)
    negative = np.count_nonzero(weight < 0)
    if negative > 0.01 * weight.size:
        msg = (
            f"the weight map is negative on {negative} pixels: give inverse variances, "
            "0 where there are no data"
        )
        raise BadVarianceError(msg, n_negative=negative)
    good = np.isfinite(weight) & (weight > 0)
    if not good.any():
        msg = "the weight map is nowhere positive"
        raise BadVarianceError(msg)
    variance = np.full(shape, np.nan, np.float32)
    np.divide(1.0, weight, out=variance, where=good)
    notes = [f"{negative} negative weights were set to NO_DATA"] if negative else []
    return variance, notes


def _estimated_variance(image, sky, gain):
    """Sky noise squared, measured on the image, and the photon noise of what stands above it.

    Only pixels of detected sources get photon noise, so that the variance of blank sky does not
    rise and fall with its noise.
    """
    background = sky.background
    variance = background.rms**2
    correlation = noise_correlation(image, background)
    notes = [
        "variance estimated: sky noise measured on the image, median "
        f"{np.median(background.rms[::8, ::8]):.4g} counts"
    ]
    if np.isfinite(gain):
        signal = np.where(background.blank, 0.0, np.maximum(image - background.level, 0.0))
        variance = variance + np.nan_to_num(signal).astype(np.float32) / np.float32(gain)
        notes[0] += f", and the sources' photon noise at {gain:.4g} electrons per count"
    else:
        notes[0] += (
            "; the gain is unknown and the sky was subtracted, so the sources' photon noise is "
            "left out: give the gain"
        )
    if abs(correlation) > 0.1:
        notes.append(
            f"adjacent sky pixels are correlated ({correlation:.2f}): the image was resampled, and "
            "its noise on scales above a pixel is larger than the variance tells"
        )
    return variance.astype(np.float32, copy=False), correlation, notes


def _gain(cards, given, sky):
    """Electrons per count; from the sky's level and noise (if `sky` is given) as a last resort."""
    if given is not None:
        return float(given), []
    gain = _number(cards, "GAIN", default=np.nan)
    if np.isfinite(gain) and gain > 0:
        return gain, []
    amplifiers = [_number(cards, k, default=np.nan) for k in ("GAINA", "GAINB")]
    if np.isfinite(amplifiers).all():
        return float(np.mean(amplifiers)), ["gain: mean of GAINA and GAINB"]
    if sky is None or sky.background.subtracted:
        return np.nan, []
    gain = sky.poisson_gain
    return gain, [
        f"no GAIN in the header: {gain:.3g} electrons per count follow from the sky's level "
        "and noise, if its bias was subtracted"
    ]


def _saturation(cards, given, gain, hdu, sky):
    """Saturation level on the scale of the image (inf if unknown), and notes."""
    if given is not None:
        return float(given), []
    effective = _number(cards, "ESATUR", default=np.nan)
    if np.isfinite(effective):
        return effective, []
    level = _number(cards, "SATURATE", default=np.nan)
    amplifiers = [_number(cards, k, default=np.nan) for k in ("SATURATA", "SATURATB")]
    level = np.nanmin([level, *amplifiers, np.inf])
    if not np.isfinite(level):
        if hdu.header.get("BITPIX") == 16 or "BZERO" in hdu.header:
            return 65535.0, ["no SATURATE in the header: 65535, the end of 16 bits, was taken"]
        return np.inf, ["no SATURATE in the header: saturated stars cannot be told; give the level"]
    if not sky.background.subtracted:
        return float(level), []
    gain, _ = _gain(cards, gain, None)
    if not np.isfinite(gain):
        return float(level), []
    # Detectors saturate with their sky; its noise tells what was subtracted.
    offset = gain * float(np.median(sky.background.rms[::8, ::8])) ** 2
    return float(level - offset), [
        f"the sky was subtracted: saturation level lowered by {offset:.0f} counts, the sky that "
        "the noise tells"
    ]


def _mid_exposure(cards):
    """MJD of mid-exposure and a note; plain headers tell the start."""
    for key in ("MJD-AVG", "MJD-MID"):
        if np.isfinite(_number(cards, key, default=np.nan)):
            return _number(cards, key), []
    start, key = _number(cards, "MJD-OBS", default=np.nan), "MJD-OBS"
    if not np.isfinite(start) and _text(cards, "DATE-OBS"):
        start, key = _mjd_of_date(_text(cards, "DATE-OBS")), "DATE-OBS"
    if not np.isfinite(start):
        start, key = _number(cards, "JD", default=np.nan) - 2400000.5, "JD"
    if not np.isfinite(start):
        return np.nan, ["no time of observation in the header (MJD-OBS, DATE-OBS, JD)"]
    exptime = _number(cards, "EXPTIME", default=np.nan)
    if not np.isfinite(exptime):
        return start, [f"no EXPTIME: {key} was taken as mid-exposure"]
    return start + exptime / 172800.0, [f"mid-exposure: {key} plus half of EXPTIME"]


def _mjd_of_date(text):
    """MJD of an ISO date, NaN if it is none."""
    try:
        moment = datetime.fromisoformat(text.rstrip("Z"))
    except ValueError:
        return np.nan
    return (moment.replace(tzinfo=None) - _MJD_ZERO).total_seconds() / 86400.0


def _number(cards, key, default=None):
    value = cards.get(key)
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if good else default


def _text(cards, key):
    value = cards.get(key)
    return value.strip() if isinstance(value, str) else ""


def _is_value(value):
    return isinstance(value, str | int | float) and value != ""


def _grown(where):
    """A bool plane grown by one pixel."""
    from scipy.ndimage import binary_dilation

    return binary_dilation(where, np.ones((3, 3), bool))
