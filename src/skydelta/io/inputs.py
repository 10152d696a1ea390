"""The user's images, read as the input section of the configuration says."""

import logging

from skydelta.errors import InputError, NoOverlapError
from skydelta.io.footprints import image_header
from skydelta.io.reader import read_exposure
from skydelta.io.wcs import repaired_header, wcs_from_header

log = logging.getLogger(__name__)


def read_grid(path):
    """(wcs, (ny, nx)) of an image; no pixel is read.

    Raises
    ------
    InputError
        Of the type that fits.
    """
    header = image_header(path)
    header, notes = repaired_header(header)
    for note in notes:
        log.warning("%s: %s", path, note)
    try:
        wcs = wcs_from_header(header)
    except InputError as error:
        raise type(error)(f"{path}: {error}", **error.details) from error
    return wcs, (int(header["NAXIS2"]), int(header["NAXIS1"]))


def read_science(row, section, *, psf=None):
    """The exposure of a table row.

    Parameters
    ----------
    row
        band, path, psf, weight and mask.
    section
        The input section of the configuration.
    psf
        A Psf that is known already, so that none is estimated again; None to read or estimate it.
    """
    exposure = read_exposure(
        row["path"],
        psf=psf if psf is not None else row["psf"],
        weight=row["weight"],
        mask=row["mask"],
        band=row["band"],
        saturate=section["saturate"],
        gain=section["gain"],
        mask_codes=section["mask_codes"] or None,
    )
    for note in exposure.notes:
        log.info("%s: %s", row["path"], note)
    return exposure


def read_coadds(rows, section):
    """The usable coadds of table rows, one at a time.

    A coadd that cannot be used is left out, with the reason in the log and, through the notes of
    the next one, in the template's header.

    Raises
    ------
    NoOverlapError
        If there is no row.
    InputError
        That of the first coadd, if none is usable.
    """
    if not rows:
        msg = "no coadd of this band lies under the exposure"
        raise NoOverlapError(msg)
    first_error, usable, lost = None, 0, []
    for row in rows:
        try:
            coadd = read_exposure(
                row["path"],
                psf=row["psf"],
                weight=row["weight"],
                mask=row["mask"],
                band=row["band"],
                saturate=section["coadd_saturate"],
                gain=section["coadd_gain"],
                default_zero_point=section["coadd_zero_point"],
                mask_codes=section["mask_codes"] or None,
            )
        except InputError as error:
            first_error = first_error or error
            lost.append(f"coadd left out ({error.status}): {error}")
            log.warning(lost[-1])
            continue
        usable += 1
        yield coadd.noted(*lost)
        lost = []
    if not usable:
        raise first_error
