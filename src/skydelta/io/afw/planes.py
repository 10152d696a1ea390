"""The pixel planes of an afw file: found by EXTTYPE, with names for the mask's bits."""

import numpy as np

from skydelta.errors import InputError
from skydelta.io.native import mask_planes, origin_of, plane
from skydelta.mask import MAX_BIT, PLANES, Mask

KINDS = ("IMAGE", "MASK", "VARIANCE")


def image_planes(hdul):
    """{kind: HDU} of an open afw file.

    Raises
    ------
    InputError
        If one of the three is missing, or they are not of one shape.
    """
    found = {}
    for hdu in hdul:
        # EXTNAME is missing in older files; EXTTYPE is in the primary header too, without pixels.
        kind = str(hdu.header.get("EXTTYPE", hdu.name)).strip()
        if hdu.is_image and kind in KINDS and len(hdu.shape) == 2:
            found.setdefault(kind, hdu)
        if len(found) == len(KINDS):
            break
    missing = [kind for kind in KINDS if kind not in found]
    if missing:
        msg = (
            f"an LSST (afw) file without the plane {', '.join(missing)} (EXTTYPE): not an "
            "exposure; give a calexp, a coadd or a difference"
        )
        raise InputError(msg)
    shapes = {kind: found[kind].shape for kind in KINDS}
    if len(set(shapes.values())) != 1:
        msg = f"IMAGE, MASK and VARIANCE must be of one shape, got {shapes}"
        raise InputError(msg)
    return found


def parent_origin(planes):
    """(x0, y0), the parent pixel of the first pixel, and notes."""
    origins = {kind: origin_of(hdu.header) for kind, hdu in planes.items()}
    x0, y0 = origins["IMAGE"]
    others = sorted(k for k, origin in origins.items() if origin != (x0, y0))
    if not others:
        return (x0, y0), []
    return (x0, y0), [
        f"CRVAL1A, CRVAL2A of the planes differ ({', '.join(others)} from IMAGE): those of the "
        f"image were taken, ({x0}, {y0})"
    ]


def read_mask(hdu):
    """The mask with its planes on the canonical bits.

    Raises
    ------
    InputError
        If bits are set that no MP_ card names, or the planes are too many.
    """
    array, planes = plane(hdu, np.int32), mask_planes(hdu.header)
    used = int(np.bitwise_or.reduce(array, axis=None)) & 0xFFFFFFFF
    unnamed = [bit for bit in range(32) if used >> bit & 1 and bit not in planes.values()]
    if unnamed:
        counts = ", ".join(f"{b} on {np.count_nonzero(array >> b & 1)} pixels" for b in unnamed)
        msg = f"mask bits are set that no MP_ card of the MASK names: {counts}"
        raise InputError(msg)
    if len({*planes, *PLANES}) > MAX_BIT + 1:
        planes = {name: bit for name, bit in planes.items() if used >> bit & 1 or name in PLANES}
    try:
        return Mask(array, planes).canonical()
    except ValueError as error:
        msg = f"the mask has too many planes: {error}"
        raise InputError(msg) from error
