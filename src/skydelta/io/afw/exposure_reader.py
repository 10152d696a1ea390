"""An Exposure from an afw file: calexp, coadd, warp or difference of the LSST stack."""

from collections import ChainMap

import numpy as np

from skydelta.errors import BandMismatchError, InputError, UnsupportedError
from skydelta.exposure import Exposure
from skydelta.io.afw.components import component_ids, exposure_info, open_archive, version_of
from skydelta.io.afw.exposure_wcs import exposure_wcs
from skydelta.io.afw.planes import image_planes, parent_origin, read_mask
from skydelta.io.afw.rows import load
from skydelta.io.afw.visit_infos import CARDS as VISIT_CARDS
from skydelta.io.native import mark_unusable, notes_of, plane
from skydelta.io.zero_points import MAGGIES_TO_NJY
from skydelta.lsst.offset_psf import OffsetPsf
from skydelta.photocalib import PhotoCalib

CREATOR = "skydelta"
"""Card CREATOR of files that `exposure_writer` wrote: all their cards are ours."""

OWN_CARDS = {
    *("CREATOR", "GAIN", "SATURATE", "FILTER", "FLUXMAG0", "FLUXMAG0ERR", "EXPINFO_V"),
    *("AR_HDU", "EXPID", "DETNAME", "DETSER", "PSFDEV"),
}
"""Primary cards that fields of the exposure hold."""

_KEPT_CARDS = ("TELESCOP", "INSTRUME", "INSTRUMENT", "OBJECT", "EXPID", "DETNAME")
_STRUCTURAL = {"SIMPLE", "BITPIX", "NAXIS", "EXTEND", "HISTORY", "COMMENT", ""}
_BANDS = "ugrizy"


def read_afw(hdul, *, band=None, saturate=None, gain=None, trusted=False, psf=None):
    """An exposure from an open afw file.

    Parameters
    ----------
    hdul
        Open HDUList.
    band, saturate, gain
        What overrides the file.
    trusted
        Whether a PSF that is a Python pickle may be unpickled.
    psf
        A skydelta.psf.Psf in the image's own pixels that is used in place of the file's.

    Returns
    -------
    Exposure
        Its `info` has what the file says besides; its `psf` is None if the file has none.

    Raises
    ------
    InputError
        Of the type that fits.
    """
    planes = image_planes(hdul)
    cards = _cards(hdul, planes["IMAGE"])
    version = version_of(cards)
    archive = open_archive(hdul, cards, trusted=trusted)
    ids = component_ids(cards)
    xy0, notes = parent_origin(planes)
    number = ids.get("SKYWCS", 0)
    wcs, sky_wcs, more = exposure_wcs(planes["IMAGE"].header, archive, number, xy0)
    info, others = exposure_info(cards, archive, version, sky_wcs)
    exposure = Exposure(
        image=plane(planes["IMAGE"], np.float32),
        variance=plane(planes["VARIANCE"], np.float32),
        mask=read_mask(planes["MASK"]),
        wcs=wcs,
        psf=psf if psf is not None else _psf(archive, ids.get("PSF", 0), xy0),
        band=band or _band(info.filter_label),
        mjd=info.visit_info.mjd_tai,
        exptime=info.visit_info.exposure_time or np.nan,  # old coadds have 0
        xy0=xy0,
        info=info,
        meta=_meta(cards, info),
        notes=(*(notes_of(hdul[0].header) if _is_ours(cards) else ()), *notes, *more, *others),
    )
    _check_band(band, info.filter_label)
    exposure, unit = _calibrated(exposure, archive, ids.get("PHOTOCALIB", 0), cards, version)
    exposure = _with_levels(exposure, cards, unit, saturate, gain)
    if archive is not None:
        archive.detach()
    return mark_unusable(exposure)


def _cards(hdul, image):
    """Cards of the exposure: the primary's, which old files without INHERIT repeat in the image."""
    return ChainMap(hdul[0].header, image.header)


def _is_ours(cards):
    return cards.get("CREATOR") == CREATOR


def _psf(archive, number, xy0):
    if archive is None or not number:
        return None
    try:
        psf = load(archive, number, "stamps", "PSF")
    except UnsupportedError as error:
        msg = f"its PSF cannot be read ({error}): give one in the table's column psf"
        raise UnsupportedError(msg) from error
    return psf if xy0 == (0, 0) else OffsetPsf(psf, *xy0)


def _band(label):
    return "" if label is None else label.band or label.physical


def _check_band(given, label):
    known = label.band.lower() if label is not None else ""
    both = given and known
    if both and given.lower() in _BANDS and known in _BANDS and given.lower() != known:
        msg = f"the table says band {given!r}, the file's filter is {label.band!r}"
        raise BandMismatchError(msg)


def _meta(cards, info):
    """Cards that go with the exposure: all of our own files, a few of the stack's."""
    if _is_ours(cards):
        header = cards.maps[0]
        known = {*OWN_CARDS, *_STRUCTURAL, *VISIT_CARDS}.difference(_KEPT_CARDS)
        meta = {key: header[key] for key in header if key not in known and not _is_id(key)}
    else:
        meta = {key: cards[key] for key in _KEPT_CARDS if cards.get(key) not in (None, "")}
        if info.filter_label is not None and info.filter_label.physical:
            meta["PHYSFILT"] = info.filter_label.physical
        if np.isfinite(info.visit_info.boresight_airmass):
            meta["AIRMASS"] = info.visit_info.boresight_airmass
    if info.visit_info.tai_ns is not None:
        meta["TIMESYS"] = "TAI"
    # Longer keywords would need HIERARCH.
    return {key: value for key, value in meta.items() if len(key) <= 8}


def _is_id(key):
    return key.endswith("_ID") or key.startswith("ARCHIVE_ID_")


def _calibrated(exposure, archive, number, cards, version):
    """The exposure with its photometric scale, and the unit of its pixels."""
    unit = str(cards.get("BUNIT") or "").strip()
    if number and archive is not None:
        calib = load(archive, number, "on", "PhotoCalib")
        try:
            return exposure.replace(photo_calib=calib.on(exposure.bbox)), unit
        except ValueError as error:
            raise InputError(str(error)) from error
    fluxmag0 = cards.get("FLUXMAG0")
    if version == 0 and isinstance(fluxmag0, int | float) and fluxmag0 > 0:
        error = float(cards.get("FLUXMAG0ERR") or 0.0)
        scale = MAGGIES_TO_NJY / fluxmag0
        return exposure.replace(photo_calib=PhotoCalib(scale, scale * error / fluxmag0)), unit
    if unit == "nJy":
        return exposure.replace(photo_calib=PhotoCalib(1.0)), unit
    return exposure, unit


def _with_levels(exposure, cards, unit, saturate, gain):
    """The exposure with gain and saturation level: as given, of our own cards, or the detector's.

    The detector's are in ADU, which an image in nJy is not.
    """
    notes, known_gain, known_level = [], np.nan, np.inf
    if _is_ours(cards):
        known_gain, known_level = cards.get("GAIN", np.nan), cards.get("SATURATE", np.inf)
    elif unit != "nJy":
        known_gain, known_level, notes = _detector_levels(exposure.info, unit)
    return exposure.replace(
        gain=float(known_gain if gain is None else gain),
        saturate=float(known_level if saturate is None else saturate),
    ).noted(*notes)


def _detector_levels(info, unit):
    try:
        detector = info.detector
    except InputError as error:
        return np.nan, np.inf, [f"the detector cannot be read: {error}"]
    if detector is None:
        return np.nan, np.inf, []
    gain, level = detector.gain, detector.saturation
    if unit.startswith("electron"):
        return 1.0, level * gain, ["gain: 1, the image is in electrons"]
    notes = []
    if np.isfinite(gain):
        count = len(detector.amplifiers)
        notes.append(f"gain: mean of the {count} amplifiers of detector {detector.name}")
    return gain, level, notes
