"""Headers of afw files to be written: primary cards, WCS and parent pixels of the planes."""

from astropy.io import fits

from skydelta.io.afw.exposure_reader import CREATOR
from skydelta.io.afw.visit_infos import cards_of_visit_info
from skydelta.io.native import add_notes
from skydelta.io.wcs import header_of
from skydelta.io.zero_points import MAGGIES_TO_NJY


def primary_header(exposure, info, version, ids):
    """The primary header.

    Parameters
    ----------
    exposure
        Exposure.
    info
        ExposureInfo to be written with it.
    version
        EXPINFO_V.
    ids
        {key: number in the archive}.
    """
    header = fits.Header()
    for key, value in exposure.meta.items():
        header[key] = value
    header["CREATOR"] = (CREATOR, "what wrote this file, in the shape of lsst.afw")
    header[_card("EXPINFO_V")] = (version, "version of the exposure's format")
    header["AR_HDU"] = (5, "HDU (counted from 1) of the archive's index")
    for key, number in ids.items():
        comment = f"archive id of {key}"
        header[_card(f"{key}_ID")] = (number, comment)
        if version >= 1:
            header[_card(f"ARCHIVE_ID_{key}")] = (number, comment)
    if version < 2 and exposure.band:
        header["FILTER"] = (exposure.band, "filter")
    if version == 0 and exposure.photo_calib is not None:
        fluxmag0, error = _flux_of_magnitude_0(exposure.photo_calib)
        header["FLUXMAG0"], header[_card("FLUXMAG0ERR")] = fluxmag0, error
    detector = info.detector
    if detector is not None:
        header["DETNAME"], header["DETSER"] = detector.name, detector.serial
    for key, value, comment in cards_of_visit_info(info.visit_info):
        header[_card(key)] = (value, comment)
    if info.exposure_id is not None:
        header["EXPID"] = info.exposure_id
    for key, value, comment in (
        ("GAIN", exposure.gain, "electrons per count"),
        ("SATURATE", exposure.saturate, "[count] saturation level"),
    ):
        if abs(value) < float("inf"):
            header[key] = (float(value), comment)
    add_notes(header, exposure.notes)
    return header


def _card(key):
    return key if len(key) <= 8 else f"HIERARCH {key}"


def _flux_of_magnitude_0(calib):
    if calib.field is not None:
        msg = "FLUXMAG0 cannot express a photometric scale that varies: write expinfo_version 1"
        raise ValueError(msg)
    fluxmag0 = MAGGIES_TO_NJY / calib.scale
    return fluxmag0, fluxmag0 * calib.scale_err / calib.scale


def plane_header(exposure, kind, unit=""):
    """The header of a plane: WCS, then parent pixels, in afw's order.

    Parameters
    ----------
    exposure
        Exposure.
    kind
        IMAGE, MASK or VARIANCE.
    unit
        BUNIT, of the image.
    """
    header = exact_header_of(exposure.wcs)
    for axis, start in enumerate(exposure.xy0, start=1):
        header[f"LTV{axis}"] = float(-start)
    header["INHERIT"] = True
    header["EXTTYPE"] = kind
    if unit and kind != "MASK":
        header["BUNIT"] = unit if kind == "IMAGE" else f"{unit}**2"
    if kind == "MASK":
        for name, bit in sorted(exposure.mask.planes.items()):
            header[_card(f"MP_{name}")] = bit
    for axis, start in enumerate(exposure.xy0, start=1):
        header[f"CTYPE{axis}A"] = ("LINEAR", "Type of projection")
        header[f"CRPIX{axis}A"] = (1.0, "Pixel Coordinate of Reference")
        header[f"CRVAL{axis}A"] = (float(start), "pixel of Reference Pixel")
        header[f"CUNIT{axis}A"] = ("PIXEL", "unit")
    return header


def exact_header_of(wcs):
    """WCS cards to the last digit: astropy's own have twelve."""
    header = header_of(wcs)
    prm = wcs.wcs
    for axis in range(2):
        header[f"CRPIX{axis + 1}"] = float(prm.crpix[axis])
        header[f"CRVAL{axis + 1}"] = float(prm.crval[axis])
    if prm.has_cd():
        for i in range(2):
            for j in range(2):
                header[f"CD{i + 1}_{j + 1}"] = float(prm.cd[i, j])
    for axis, parameter, value in prm.get_pv():
        header[f"PV{axis}_{parameter}"] = float(value)
    return header
