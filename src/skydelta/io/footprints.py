"""Where on the sky an image lies, from its header alone.

Reading 60,000 headers takes minutes, and the Snakefile wants them at every start: footprints are
kept in a cache file that knows each image's modification time and size.
"""

import gzip
import hashlib
import json
import logging
import math
import os
import warnings
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from skydelta import sphere
from skydelta.errors import (
    BadImageError,
    CorruptFileError,
    InputError,
    MissingFileError,
    NoWcsError,
)

logger = logging.getLogger(__name__)

_POINTS_PER_EDGE = 8
_STRAIGHT_WITHIN_PX = 0.1
"""Distorted edges are followed to this accuracy; an undistorted image keeps its four corners."""

_FITS_BLOCK = 2880


@dataclass(frozen=True)
class Footprint:
    """The outline of an image on the sky.

    Parameters
    ----------
    outline
        A polygon as in skydelta.sphere, along the outer edges of the outermost pixels.
    pixel_scale
        Side of a pixel of mean area, rad.
    """

    outline: tuple
    pixel_scale: float

    @cached_property
    def area(self):
        """Solid angle, sr."""
        return sphere.area(self.outline)


def read_footprint(path):
    """The footprint of an image file; no pixel is read.

    Raises
    ------
    InputError
        Of the type that fits: missing or corrupt file, no image, no WCS.
    """
    header = image_header(path)
    from skydelta.io.wcs import repaired_header, wcs_from_header

    shape = header["NAXIS2"], header["NAXIS1"]
    try:
        if "EXTTYPE" in header and not header.get("CTYPE1"):  # an LSST file, its WCS in tables
            from skydelta.io.afw.grid import read_outline

            return _footprint(*read_outline(path, *_outline_pixels(*reversed(shape))), shape)
        wcs = wcs_from_header(repaired_header(_forward_cards(header))[0])
        return footprint_of(wcs, shape)
    except InputError as error:
        raise type(error)(f"{path}: {error}", path=os.fspath(path)) from error


def _forward_cards(header):
    """A header without the cards of the mapping from sky to pixels, which takes long to read."""
    from astropy.io import fits

    return fits.Header([c for c in header.cards if not c.keyword.startswith(("AP_", "BP_"))])


def read_footprints(paths, cache=None):
    """Footprints of many files.

    Parameters
    ----------
    paths
        Absolute paths of images.
    cache
        JSON file of footprints read before. What is new or changed is read and added to it. A file
        whose modification time (ns) and size are as before is not opened.

    Returns
    -------
    dict
        Footprint, or the InputError that explains why there is none, by path.
    """
    known = {} if cache is None else load_cache(cache, code_digest()) or {}
    found, fresh = {}, {}
    for path in dict.fromkeys(paths):
        stamp = file_stamp(path)
        entry = known.get(path)
        if stamp is not None and entry is not None and tuple(entry[0]) == stamp:
            found[path] = Footprint(tuple(map(tuple, entry[2])), entry[1])
            continue
        try:
            found[path] = read_footprint(path)
        except InputError as error:
            found[path] = error
        else:
            fresh[path] = (stamp, found[path].pixel_scale, found[path].outline)
    if cache is not None and fresh:
        store_cache(cache, code_digest(), known | fresh)
    return found


def file_stamp(path):
    """(modification time in ns, size in bytes) of a file, None if there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def image_header(path):
    """The header of the image in a FITS file, with its WCS and its true NAXIS1 and NAXIS2.

    Of several image HDUs it is the one called IMAGE (by EXTNAME, or EXTTYPE in LSST files), else
    the first: the one that skydelta.io.reader reads.

    Raises
    ------
    InputError
        If the file is missing, corrupt or cut off, or holds no image of two dimensions.
    """
    from astropy.io import fits

    path = os.fspath(path)
    if not os.path.exists(path):
        msg = f"{path} does not exist"
        raise MissingFileError(msg, path=path)
    try:
        # astropy warns about every harmless oddity and about cut-off files; we judge by ourselves.
        with (
            warnings.catch_warnings(action="ignore"),
            fits.open(path, memmap=False, disable_image_compression=True) as hdul,
        ):
            header = _chosen_header(hdul, path)
        if header is None:
            _refuse_damaged(path)
    except (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        zlib.error,
        fits.VerifyError,
    ) as error:
        # What astropy lets through from a damaged header or gzip stream has no common base.
        msg = f"{path} is not a readable FITS file: {error}"
        raise CorruptFileError(msg, path=path) from error
    if header is None:
        msg = f"{path} holds no image of two dimensions"
        raise BadImageError(msg, path=path)
    return header


def _chosen_header(hdul, path):
    """The header that image_header asks for, as if uncompressed; None if there is no image.

    HDUs behind one called IMAGE are not looked at: LSST coadds have hundreds.
    """
    first = None
    for hdu in hdul:
        prefix = "Z" if hdu.header.get("ZIMAGE") else ""
        is_image = prefix or hdu.header.get("XTENSION", "IMAGE").strip() == "IMAGE"
        if not is_image or hdu.header[f"{prefix}NAXIS"] != 2:
            continue
        nx, ny = (hdu.header[f"{prefix}NAXIS{axis}"] for axis in (1, 2))
        is_called_image = "IMAGE" in (hdu.name, str(hdu.header.get("EXTTYPE", "")).strip())
        if nx * ny > 0 and (is_called_image or first is None):
            _refuse_cut_off(hdu, path)
            header = hdu.header.copy()
            header["NAXIS1"], header["NAXIS2"] = nx, ny
            if is_called_image:
                return header
            first = header
    return first


def _refuse_cut_off(hdu, path):
    if _begins_with(path, b"SIMPLE"):  # packed files tell their length only after unpacking
        missing = hdu.fileinfo()["datLoc"] + hdu.size - os.path.getsize(path)
        if missing > 0:
            msg = f"it is cut off: {missing} bytes of image data are missing"
            raise OSError(msg)


def _refuse_damaged(path):
    """Raise if a file without images lost them: astropy takes a broken gzip stream for its end."""
    if _begins_with(path, b"\x1f\x8b"):
        with gzip.open(path) as stream:
            while stream.read(1 << 20):
                pass
    elif os.path.getsize(path) % _FITS_BLOCK:
        msg = f"it is cut off: its length is no multiple of {_FITS_BLOCK} bytes"
        raise OSError(msg)


def _begins_with(path, magic):
    with open(path, "rb") as stream:
        return stream.read(len(magic)) == magic


def footprint_of(wcs, shape):
    """The footprint of a pixel grid.

    Parameters
    ----------
    wcs
        Celestial astropy.wcs.WCS of two axes.
    shape
        (ny, nx).

    Raises
    ------
    NoWcsError
        If the WCS cannot be evaluated on the whole outline, or is singular.
    """
    return _footprint(*_sky(wcs, *_outline_pixels(*reversed(shape))), shape)


def _footprint(ra, dec, shape):
    """The footprint of an image whose outline's positions are at ra, dec (deg)."""
    if not all(map(math.isfinite, (*ra, *dec))):
        msg = "the WCS gives no sky position for parts of the image's outline"
        raise NoWcsError(msg)
    outline = sphere.polygon(ra, dec)
    area = sphere.area(outline)
    if not area > 0 or sphere.bounding_cap(outline)[1] > math.radians(60):
        msg = f"the WCS maps the image on {area:.3g} sr of sky: is its pixel scale right?"
        raise NoWcsError(msg)
    pixel_scale = math.sqrt(area / math.prod(shape))
    outline = sphere.simplified(outline, _STRAIGHT_WITHIN_PX * pixel_scale)
    try:
        sphere.convex_pieces(outline)
    except ValueError as error:
        msg = f"the WCS folds the image over: {error}"
        raise NoWcsError(msg) from error
    return Footprint(outline, pixel_scale)


def _outline_pixels(nx, ny):
    """0-based x and y along the outer edges, corner by corner, without repeating the first."""
    steps = [i / _POINTS_PER_EDGE for i in range(_POINTS_PER_EDGE)]
    unit = [(t, 0.0) for t in steps] + [(1.0, t) for t in steps]
    unit += [(1.0 - t, 1.0) for t in steps] + [(0.0, 1.0 - t) for t in steps]
    return [u * nx - 0.5 for u, _ in unit], [v * ny - 0.5 for _, v in unit]


def _sky(wcs, x, y):
    """ICRS ra, dec (deg) of 0-based pixel positions."""
    try:
        if wcs.wcs.lngtyp == "RA" and _is_icrs(wcs.wcs):
            first, second = wcs.all_pix2world(x, y, 0)
            ra, dec = (first, second) if wcs.wcs.lng == 0 else (second, first)
        else:
            sky = wcs.pixel_to_world(x, y).icrs
            ra, dec = sky.ra.deg, sky.dec.deg
    except Exception as error:  # wcslib raises a family without a common public base
        msg = f"the WCS cannot be evaluated: {error}"
        raise NoWcsError(msg) from error
    return ra.tolist(), dec.tolist()


def _is_icrs(wcsprm):
    """Whether the frame is ICRS, or FK5 of J2000, which lies within 0.03 arcsec of it."""
    frame = wcsprm.radesys.strip()
    return frame in ("", "ICRS") or (frame == "FK5" and not abs(wcsprm.equinox - 2000.0) > 0)


def code_digest(*sources):
    """Hash of the code that footprints depend on, and of further source files.

    A repaired reader then never meets what its predecessor left in a cache.
    """
    here = Path(__file__)
    digest = hashlib.sha256()
    for source in (here, here.with_name("wcs.py"), sphere.__file__, *sources):
        digest.update(Path(source).read_bytes())
    return digest.hexdigest()


def load_cache(path, key):
    """What store_cache wrote under the same key; None if there is nothing of the kind."""
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        return stored["content"] if stored["key"] == key else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("the cache %s is damaged and is made anew: %s", path, error)
        return None


def store_cache(path, key, content):
    """Keep JSON data in a file, replaced as a whole: several workflows may share a cache."""
    from skydelta.io.replacing import replacing

    text = json.dumps({"key": key, "content": content})
    try:
        with replacing(path, is_product=False) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:  # a full or read-only disk costs time at the next start, no more
        logger.warning("the cache %s cannot be written: %s", path, error)
