"""Which objects an afw exposure has in its archive, and the information made of them."""

from skydelta.errors import CorruptFileError, InputError, UnsupportedError
from skydelta.io.afw.archive import InputArchive
from skydelta.io.afw.persistables import READERS
from skydelta.io.afw.rows import load
from skydelta.io.afw.visit_infos import visit_info_of_cards
from skydelta.lsst.exposure_info import Deferred, ExposureInfo, FilterLabel

LATEST_VERSION = 2
"""EXPINFO_V."""

_NEW = "ARCHIVE_ID_"
KEYS = (
    *("PSF", "SKYWCS", "COADD_INPUTS", "AP_CORR_MAP", "VALID_POLYGON", "TRANSMISSION_CURVE"),
    *("DETECTOR", "PHOTOCALIB", "FILTER", "SUMMARY_STATS"),
)
"""Keys of the stack (afw: ExposureInfo.h); ids are in <key>_ID, since 2019 in ARCHIVE_ID_<key>."""

_CLASSES = {
    "AP_CORR_MAP": "ApCorrMap",
    "COADD_INPUTS": "CoaddInputs",
    "DETECTOR": "Detector",
    "FILTER": "FilterLabel",
    "SUMMARY_STATS": "ExposureSummaryStats",
    "VALID_POLYGON": "Polygon",
}
"""What the archive must have under these keys."""

_OWN_FIELDS = ("PSF", "SKYWCS", "PHOTOCALIB", "FILTER")
"""Components that fields of Exposure and ExposureInfo hold."""

_BANDS = {"u", "g", "r", "i", "z", "y", "SH", "PH", "VR", "white"}


def component_ids(cards):
    """{key: number in the archive} of a header, without those that are 0.

    Raises
    ------
    CorruptFileError
        If one is no number.
    """
    ids = {key: cards.get(f"{key}_ID", 0) for key in KEYS}
    ids["SKYWCS"] = ids["SKYWCS"] or cards.get("WCS_ID", 0)  # before 2018
    ids |= {key[len(_NEW) :]: cards[key] for key in cards if key.startswith(_NEW)}
    ids = {key: number for key, number in ids.items() if number}
    wrong = [key for key, number in ids.items() if type(number) is not int]
    if wrong:
        msg = f"the archive ids of {', '.join(wrong)} are no numbers: the header is damaged"
        raise CorruptFileError(msg)
    return ids


def version_of(cards):
    """EXPINFO_V of a header, 0 where it is missing.

    Raises
    ------
    UnsupportedError
        For a later version than is known.
    CorruptFileError
        If it is no number.
    """
    version = cards.get("EXPINFO_V", 0)
    if type(version) is not int:
        msg = f"EXPINFO_V = {version!r} is no version: the header is damaged"
        raise CorruptFileError(msg)
    if version > LATEST_VERSION:
        msg = f"an exposure of EXPINFO_V {version}; versions up to {LATEST_VERSION} are known"
        raise UnsupportedError(msg)
    return version


def open_archive(hdul, cards, *, trusted=False):
    """The archive of an open file, None if it has none.

    Raises
    ------
    CorruptFileError
        If the header names objects of an archive that is not there.
    """
    if "AR_HDU" in cards:
        return InputArchive(hdul, trusted=trusted)
    ids = component_ids(cards)
    if ids:
        msg = f"the header names objects of an archive ({', '.join(ids)}) but no AR_HDU"
        raise CorruptFileError(msg)
    return None


def exposure_info(cards, archive, version, sky_wcs):
    """The ExposureInfo of an exposure, and notes.

    Parameters
    ----------
    cards
        Header cards, of the primary and the image HDU.
    archive
        InputArchive, or None.
    version
        EXPINFO_V.
    sky_wcs
        As `exposure_wcs` gives it.
    """
    components, notes = {}, []
    for key, number in component_ids(cards).items() if archive is not None else ():
        if key in _OWN_FIELDS:
            continue
        problem = _problem(archive, key, number)
        if problem is None:
            components[key] = Deferred(archive, number)
        else:
            notes.append(f"{key} left out: {problem}")
    exposure_id = cards.get("EXPID")
    info = ExposureInfo(
        visit_info=visit_info_of_cards(cards),
        filter_label=_filter_label(cards, archive, version),
        exposure_id=exposure_id if isinstance(exposure_id, int) else None,
        components=components,
        sky_wcs=sky_wcs,
    )
    return info, notes


def _problem(archive, key, number):
    """Why an object cannot be read, as far as the index tells."""
    try:
        name = archive.class_name(number)
    except InputError as error:
        return str(error)
    if name != _CLASSES.get(key, name):
        return f"archive object {number} is a {name}: the file is damaged"
    return None if name in READERS else f"a {name}, a class this version cannot read"


def _filter_label(cards, archive, version):
    if version >= 2:
        number = component_ids(cards).get("FILTER", 0)
        return load(archive, number, "physical", "FilterLabel") if archive is not None else None
    name = str(cards.get("FILTER") or "").strip()
    if name in ("", "_unknown_"):
        return None
    physical = str(cards.get("PHYSFILT") or "").strip()
    if physical or is_band(name):
        return FilterLabel(name, physical)
    return FilterLabel("", name)


def is_band(name):
    """Whether a filter's name is that of a band (afw: ExposureFitsReader.cc)."""
    narrow, medium = name.startswith("N"), name.startswith("I") and len(name) > 2
    return name in _BANDS or ((narrow or medium) and name[1:].isdigit())
