"""The user's images, read as the input section of the configuration says."""

import logging

from skydelta.errors import CorruptFileError, InputError, MissingFileError, NoOverlapError
from skydelta.io.footprints import image_header
from skydelta.io.reader import read_exposure
from skydelta.io.wcs import repaired_header, wcs_from_header

log = logging.getLogger(__name__)

_LEFT_OUT = "coadd left out"


def read_grid(path):
    """(wcs, (ny, nx)) of an image; no pixel is read.

    Raises
    ------
    InputError
        Of the type that fits.
    """
    try:
        header = image_header(path)
    except MissingFileError as error:
        msg = f"{error}; correct the table or fetch the file"
        raise MissingFileError(msg) from error
    except CorruptFileError as error:
        msg = f"{error}; fetch it again"
        raise CorruptFileError(msg) from error
    try:
        wcs, notes = _wcs(path, header)
    except InputError as error:
        raise type(error)(f"{path}: {error}", **error.details) from error
    for note in notes:
        log.warning("%s: %s", path, note)
    return wcs, (int(header["NAXIS2"]), int(header["NAXIS1"]))


def _wcs(path, header):
    """The WCS that read_exposure gives the image, and notes."""
    if "EXTTYPE" in header:
        from skydelta.io.afw.grid import read_afw_wcs

        return read_afw_wcs(path)
    header, notes = repaired_header(header)
    return wcs_from_header(header), notes


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
        trusted=section["trust_pickles"],
    )
    for note in exposure.notes:
        log.info("%s: %s", row["path"], note)
    return exposure


def read_coadds(rows, section, lost):
    """The usable coadds of table rows, one at a time.

    Parameters
    ----------
    rows
        band, path, psf, weight and mask of each coadd.
    section
        The input section of the configuration.
    lost
        A list, to which a sentence is added for each coadd that cannot be used.

    Raises
    ------
    NoOverlapError
        If there is no row.
    InputError
        That of the first coadd, if none is usable.
    """
    if not rows:
        msg = (
            "no coadd of this band lies under the exposure; results/overlaps/exposures.csv says "
            "where the nearest is"
        )
        raise NoOverlapError(msg)
    first_error, usable = None, 0
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
                trusted=section["trust_pickles"],
            )
        except InputError as error:
            first_error = first_error or error
            lost.append(f"{_LEFT_OUT} ({error.status}): {error}")
            log.warning(lost[-1])
            continue
        usable += 1
        yield coadd
    if not usable:
        raise first_error


def left_out(template):
    """The sentences of a template's notes that name coadds which could not be used."""
    return [note for note in template.notes if note.startswith(_LEFT_OUT)]


def read_catalogue(path, band):
    """The catalogue that the kernel's stars are taken from.

    Parameters
    ----------
    path
        Its file, or an empty list if none is configured.
    band
        Whose fluxes.

    Raises
    ------
    InputError
        If none is named, or of the type that fits.
    """
    if not path:
        msg = "subtract.stars.source is catalogue: subtract.stars.catalogue must name its file"
        raise InputError(msg)
    from skydelta.io.star_catalogue import read_star_catalogue

    return read_star_catalogue(path, band)
