"""What an afw file says of itself without its pixels: its WCS, filter and detector."""

import warnings
import zlib
from collections import ChainMap
from contextlib import contextmanager

import numpy as np
from astropy.io import fits

from skydelta.errors import CorruptFileError, InputError
from skydelta.io.afw.components import component_ids, open_archive
from skydelta.io.afw.exposure_wcs import archive_wcs, exposure_wcs, no_wcs
from skydelta.io.native import origin_of
from skydelta.lsst.camera import detector_of_name


def read_afw_wcs(path):
    """(wcs, notes) of an exposure, as `read_afw` gives them.

    Raises
    ------
    InputError
        Of the type that fits.
    """
    with _image_and_archive(path) as (header, cards, archive):
        number = component_ids(cards).get("SKYWCS", 0)
        wcs, _, notes = exposure_wcs(header, archive, number, origin_of(header))
    return wcs, notes


def read_outline(path, x, y):
    """Ra, dec (deg) of an image's own pixels x, y by the WCS of the archive: two lists.

    Much quicker than `read_afw_wcs`, which has to fit a FITS WCS.

    Raises
    ------
    NoWcsError
        If the archive has none.
    InputError
        Of the type that fits.
    """
    with _image_and_archive(path) as (header, cards, archive):
        sky_wcs = archive_wcs(archive, component_ids(cards).get("SKYWCS", 0))
        if sky_wcs is None:
            raise no_wcs()
        x0, y0 = origin_of(header)
        ra, dec = sky_wcs.pixel_to_sky(np.add(x, x0), np.add(y, y0))
    return ra.tolist(), dec.tolist()


def read_identity(path, cards):
    """FILTER, VISIT and DETECTOR as header cards have them, as far as the file says.

    Files of EXPINFO_V 2 have the filter in the archive. The detector's number is there in all, but
    looked up only where its name does not tell. What cannot be read is left out.

    Parameters
    ----------
    path
        The file.
    cards
        Mapping of the cards of its image and primary headers.
    """
    found = {"VISIT": cards["IDNUM"]} if cards.get("IDNUM") else {}
    number = detector_of_name(cards.get("DETNAME") or "")
    if number is not None:
        found["DETECTOR"] = number
    ids = component_ids(cards)
    wanted = {"FILTER"} if cards.get("EXPINFO_V", 0) >= 2 else set()
    if number is None and not any(card in cards for card in _NUMBER_CARDS):
        wanted.add("DETECTOR")
    if not wanted & set(ids):
        return found
    with _image_and_archive(path) as (_, _, archive):
        things = {key: _loaded(archive, ids.get(key, 0)) for key in wanted}
    label, detector = things.get("FILTER"), things.get("DETECTOR")
    if label is not None:
        found["FILTER"] = label.band or label.physical
    if detector is not None:
        found["DETECTOR"] = detector.number
    return found


_NUMBER_CARDS = ("DETECTOR", "CCDNUM", "DET-ID")


def _loaded(archive, number):
    try:
        return archive.load(number)
    except InputError:  # the exposure may be usable without; its reader will say
        return None


_UNREADABLE = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, AttributeError),
    *(zlib.error, fits.VerifyError),
)
"""What astropy raises on damaged files, HDU by HDU."""


@contextmanager
def _image_and_archive(path):
    """Header of the image plane, cards of the exposure, and its archive, HDU by HDU as needed."""
    try:
        with warnings.catch_warnings(action="ignore"), fits.open(path, memmap=True) as hdul:
            image = next(
                hdu
                for hdu in hdul
                if hdu.is_image and len(hdu.shape) == 2
                if str(hdu.header.get("EXTTYPE", hdu.name)).strip() == "IMAGE"
            )
            cards = ChainMap(hdul[0].header, image.header)
            yield image.header, cards, open_archive(hdul, cards)
    except StopIteration as error:
        msg = "an LSST (afw) file without an image plane"
        raise InputError(msg) from error
    except _UNREADABLE as error:
        msg = f"not FITS, or damaged ({error}); fetch it again"
        raise CorruptFileError(msg) from error
