"""What an afw file says of itself without its pixels: its WCS, filter and detector."""

import re
import warnings
import zlib
from collections import ChainMap
from contextlib import contextmanager

from astropy.io import fits

from skydelta.errors import CorruptFileError, InputError
from skydelta.io.afw.components import component_ids, open_archive
from skydelta.io.afw.exposure_wcs import exposure_wcs
from skydelta.io.native import origin_of


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
    number = _lsstcam_number(str(cards.get("DETNAME") or ""))
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
_CORNERS = {"00", "04", "40", "44"}
_RAFTS = [f"{y}{x}" for y in range(5) for x in range(5) if f"{y}{x}" not in _CORNERS]
_LSSTCAM = re.compile(r"R(\d\d)_S([0-2])([0-2])")


def _lsstcam_number(name):
    """Number of a science CCD of LSSTCam (and of DC2) from its name, as R20_S21."""
    match = _LSSTCAM.fullmatch(name.strip())
    if match is None or match[1] not in _RAFTS:
        return None
    return 9 * _RAFTS.index(match[1]) + 3 * int(match[2]) + int(match[3])


def _loaded(archive, number):
    try:
        return archive.load(number)
    except InputError:  # the exposure may be usable without; its reader will say
        return None


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
    except (OSError, EOFError, ValueError, TypeError, zlib.error, fits.VerifyError) as error:
        msg = f"not FITS, or damaged ({error}); fetch it again"
        raise CorruptFileError(msg) from error
