"""An Exposure written in the shape of lsst.afw, so that the stack reads it."""

from dataclasses import replace

import numpy as np
from astropy.io import fits

from skydelta.io.afw.exposure_header import plane_header, primary_header
from skydelta.io.afw.exposure_wcs import largest_offset
from skydelta.io.afw.output_archive import OutputArchive
from skydelta.io.afw.psf_forms import parent_psf
from skydelta.io.replacing import replacing
from skydelta.lsst.exposure_info import ExposureInfo, FilterLabel
from skydelta.lsst.photo_calib import BoundedPhotoCalib
from skydelta.lsst.sky_wcs import AstSkyWcs
from skydelta.lsst.visit_info import tai_ns_of_mjd
from skydelta.timescale import time_scale, to_tai

VERSIONS = (0, 1, 2)
"""EXPINFO_V: 0 with FLUXMAG0 (before 2019), 1 with PhotoCalib, 2 with FilterLabel (since 2021)."""

_SAME_WCS_MAS = 10.0


def write_afw(path, exposure, *, expinfo_version=1, psf=None, compress=False):
    """Write an exposure as lsst.afw would.

    HDUs: primary (all metadata), IMAGE, MASK, VARIANCE, the index of the archive and its tables.
    What `read_afw` makes of the file is the exposure again, except that times are TAI and that
    PSFs afw has no class for are written as the nearest there is (`psf_forms`).

    Parameters
    ----------
    path
        Destination; replaced as a whole or not at all.
    exposure
        What to write; from its `info` all components are taken over.
    expinfo_version
        0, 1 or 2: version of the format.
    psf
        A Psf on PARENT pixels that is written in place of the exposure's.
    compress
        Whether planes are tile-compressed without loss (GZIP_SHUFFLE, as the butler does).

    Raises
    ------
    ValueError
        For another version, or a photometric scale that the version cannot express.
    TypeError
        For a component of a class that cannot be written.
    UnsupportedError
        If the WCS cannot be expressed.
    """
    if expinfo_version not in VERSIONS:
        msg = f"expinfo_version must be one of {VERSIONS}, not {expinfo_version}"
        raise ValueError(msg)
    info = _info(exposure)
    archive = OutputArchive()
    psf, deviation = (psf, None) if psf is not None else parent_psf(exposure)
    ids = _saved(archive, exposure, info, psf, expinfo_version)
    primary = fits.PrimaryHDU(header=primary_header(exposure, info, expinfo_version, ids))
    if deviation is not None:
        primary.header["PSFDEV"] = (deviation, "largest error of the written PSF / its peak")
    hdus = [primary, *_planes(exposure, compress), *archive.hdus()]
    # Without sums: astropy changes variable-length tables once more while it writes them.
    with replacing(path) as partial:
        fits.HDUList(hdus).writeto(partial, overwrite=True, output_verify="silentfix")


def _planes(exposure, compress):
    arrays = {
        "IMAGE": (exposure.image, ">f4"),
        "MASK": (exposure.mask.array, ">i4"),
        "VARIANCE": (exposure.variance, ">f4"),
    }
    for kind, (array, dtype) in arrays.items():
        data = np.ascontiguousarray(array).astype(dtype, copy=False)
        header = plane_header(exposure, kind)
        if compress:
            yield fits.CompImageHDU(
                data, header, name=kind, compression_type="GZIP_2", quantize_level=0.0
            )
        else:
            yield fits.ImageHDU(data, header, name=kind)


def _info(exposure):
    """The ExposureInfo to write: that of the exposure, brought up to date with its fields."""
    info = exposure.info or ExposureInfo()
    label = info.filter_label or FilterLabel()
    if exposure.band != (label.band or label.physical):
        physical = exposure.meta.get("PHYSFILT", label.physical)
        physical = physical[0] if isinstance(physical, tuple) else physical
        label = FilterLabel(exposure.band, str(physical))
    visit = info.visit_info
    tai = to_tai(exposure.mjd, time_scale(exposure.meta)[0])
    if tai != visit.mjd_tai:
        visit = replace(visit, tai_ns=tai_ns_of_mjd(tai))
    if np.isfinite(exposure.exptime):
        visit = replace(visit, exposure_time=float(exposure.exptime))
    says_something = bool(label.band or label.physical)
    return info.replace(visit_info=visit, filter_label=label if says_something else None)


def _saved(archive, exposure, info, psf, version):
    """Numbers of the exposure's objects in the archive, by the stack's keys."""
    ids = {"SKYWCS": archive.save(_sky_wcs(exposure, info)), "PSF": archive.save(psf)}
    if version >= 1 and exposure.photo_calib is not None:
        calib = BoundedPhotoCalib.of(exposure.photo_calib, exposure.bbox)
        ids["PHOTOCALIB"] = archive.save(calib)
    if version >= 2:
        ids["FILTER"] = archive.save(info.filter_label)
    ids |= {key: archive.save(thing) for key, thing in info.components.items()}
    return {key: number for key, number in ids.items() if number}


def _sky_wcs(exposure, info):
    """The archive's WCS as it was read if it still is the exposure's, else one of its FITS WCS."""
    known = info.sky_wcs
    if isinstance(known, AstSkyWcs):
        offset = largest_offset(exposure.wcs, known, exposure.shape, exposure.xy0)
        if offset < _SAME_WCS_MAS:
            return known
    return AstSkyWcs.from_fits(exposure.wcs, exposure.xy0)
