"""Pixels and mask planes of lsst-images files."""

import re

import numpy as np

from skydelta.errors import CorruptFileError, InputError
from skydelta.mask import MAX_BIT, PLANES, Mask

PLANE_NAMES = {
    "SATURATED": "SAT",
    "INTERPOLATED": "INTRP",
    "COSMIC_RAY": "CR",
    "DETECTION_EDGE": "EDGE",
    "UNMASKED_NAN": "UNMASKEDNAN",
}
"""What lsst-images calls planes that were known by other names; the rest kept theirs."""


def read_plane(hdul, name):
    """(ny, nx) float32 of the HDU IMAGE or VARIANCE.

    Raises
    ------
    CorruptFileError
        If there is none, or it is not two-dimensional.
    """
    if name not in [hdu.name for hdu in hdul]:
        msg = f"an lsst-images file without the HDU {name}: fetch it again"
        raise CorruptFileError(msg)
    data = hdul[name].data
    if data is None or data.ndim != 2:
        msg = f"{name} is not a two-dimensional image"
        raise CorruptFileError(msg)
    return np.ascontiguousarray(data, np.float32)


def read_mask(hdul):
    """The mask: every HDU called MASK holds up to 31 planes, named by its MSKN cards.

    Planes take skydelta's names. Where a file has more than the 31 that fit, those without a
    single pixel are left out.

    Raises
    ------
    InputError
        If bits are set that have no name, or too many planes are in use.
    """
    hdus = [hdu for hdu in hdul if hdu.name == "MASK"]
    if not hdus:
        msg = "an lsst-images file without the HDU MASK: fetch it again"
        raise CorruptFileError(msg)
    parts = [(np.asarray(hdu.data), _bits(hdu.header)) for hdu in hdus]
    shapes = {data.shape for data, _ in parts}
    if len(shapes) != 1 or any(data.dtype.kind not in "iu" for data, _ in parts):
        msg = f"the masks are not integer images of one shape: {sorted(shapes)}"
        raise CorruptFileError(msg)
    used = [_used(*part) for part in parts]
    planes = _planes([names for _, names in parts], used)
    array = np.zeros(shapes.pop(), np.int32)
    for (data, names), present in zip(parts, used, strict=True):
        for name in present:
            array |= ((data >> names[name]) & 1).astype(np.int32) << np.int32(planes[name])
    return Mask(array, planes)


def _bits(header):
    """Bit number by skydelta's plane names."""
    bits = {}
    for key in header:
        if re.fullmatch(r"MSKN\d{4}", key):
            value = header.get(f"MSKM{key[4:]}", 1 << int(key[4:]))
            if not isinstance(value, int) or value.bit_count() != 1:
                msg = f"MSKM{key[4:]} of the mask is {value!r}, not a single bit"
                raise CorruptFileError(msg)
            name = str(header[key]).strip()
            bits[PLANE_NAMES.get(name, name)] = value.bit_length() - 1
    if not bits:
        msg = "the mask has no MSKN cards: its bits have no names"
        raise InputError(msg)
    return bits


def _used(data, bits):
    """Names of the planes with at least one pixel."""
    present = int(np.bitwise_or.reduce(data, axis=None))
    named = sum(1 << bit for bit in set(bits.values()))
    if present & ~named:
        unnamed = [str(b) for b in range(present.bit_length()) if (present & ~named) >> b & 1]
        msg = f"the mask's bits {', '.join(unnamed)} are set and have no name (MSKN cards)"
        raise InputError(msg)
    return [name for name, bit in bits.items() if present >> bit & 1]


def _planes(named, used):
    """Bit numbers: skydelta's own planes, those in use, then the others as far as they fit."""
    planes = dict(PLANES)
    in_use = [name for names in used for name in names]
    for name in [*in_use, *(name for names in named for name in names)]:
        if name not in planes and len(planes) <= MAX_BIT:
            planes[name] = len(planes)
    lost = [name for name in in_use if name not in planes]
    if lost:
        msg = f"the mask has {len(lost)} planes more than fit into 32 bits: {', '.join(lost)}"
        raise InputError(msg)
    return planes
