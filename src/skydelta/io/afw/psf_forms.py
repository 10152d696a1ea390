"""PSFs for afw files: those that afw has a class for as they are, others as the nearest it has."""

import numpy as np

from skydelta.io.afw.persistables import WRITERS
from skydelta.lsst.offset_psf import OffsetPsf
from skydelta.psf import grid_nodes

_GOOD_ENOUGH = 1e-4
"""Of the peak: the polynomial's degree rises until no stamp is worse."""

_LARGEST_DEGREE = 6
_NODES = 9


def parent_psf(exposure):
    """An exposure's PSF on parent pixels, of a class that afw has.

    A constant PSF becomes a KernelPsf, which is exact. Any other is sampled on a grid and fitted
    by a PsfexPsf, stamps that are polynomials of the position, of rising degree. Both are divided
    by their sum: afw's PSFs have sum 1.

    Returns
    -------
    psf
        None if the exposure has none.
    deviation
        Largest error of the fitted stamps in units of their peak; None where nothing was fitted.
    """
    psf, (x0, y0) = exposure.psf, exposure.xy0
    if psf is None:
        return None, None
    if isinstance(psf, OffsetPsf) and (psf.x0, psf.y0) == (x0, y0):
        psf = psf.psf
    elif (x0, y0) != (0, 0):
        psf = OffsetPsf(psf, -x0, -y0)
    # A plain PSFEx file's class bears the same name as LSST's, but not its conventions.
    ours = type(psf).__module__.startswith("skydelta.lsst.")
    if ours and type(psf).__name__ in WRITERS:
        return psf, None
    return _nearest(psf, exposure.bbox)


def _nearest(psf, bbox):
    x, y, stamps = _sampled(psf, bbox, _NODES)
    centre = (bbox[0] + bbox[2]) / 2.0, (bbox[1] + bbox[3]) / 2.0
    if np.abs(stamps - stamps[0]).max() < 1e-7 * stamps[0].max():
        return _kernel_psf(stamps[0], centre), None
    between = _sampled(psf, bbox, 2 * _NODES - 1)
    best = None
    for degree in range(1, _LARGEST_DEGREE + 1):
        fitted = _psfex_psf(x, y, stamps, bbox, degree, centre)
        error = _largest_error(fitted, *between)
        if best is None or error < best[1]:
            best = fitted, error
        if error < _GOOD_ENOUGH:
            break
    return best


def _sampled(psf, bbox, count):
    """Positions in parent pixels on a grid over the image, and normalised stamps there."""
    x = grid_nodes(bbox[2] - bbox[0] + 1, count) + bbox[0]
    y = grid_nodes(bbox[3] - bbox[1] + 1, count) + bbox[1]
    x, y = (a.ravel() for a in np.meshgrid(x, y))
    stamps = psf.stamps(x, y)
    return x, y, stamps / stamps.sum(axis=(1, 2), keepdims=True)


def _kernel_psf(stamp, centre):
    from skydelta.lsst.kernel_psf import FixedKernel, KernelPsf

    half = stamp.shape[-1] // 2
    return KernelPsf(FixedKernel(stamp, (half, half)), centre)


def _psfex_psf(x, y, stamps, bbox, degree, centre):
    """The PsfexPsf whose components fit the stamps best (least squares)."""
    from skydelta.lsst.psfex_psf import PsfexPsf

    context = tuple(
        (middle, max(bbox[axis + 2] - bbox[axis], 1) / 2.0) for axis, middle in enumerate(centre)
    )
    u, v = ((a - offset) / scale for a, (offset, scale) in zip((x, y), context, strict=True))
    powers = [(i, j) for j in range(degree + 1) for i in range(degree + 1 - j)]
    design = np.stack([u**i * v**j for i, j in powers], axis=1)
    components = np.linalg.lstsq(design, stamps.reshape(len(stamps), -1), rcond=None)[0]
    components = components.reshape(-1, *stamps.shape[1:]).astype(np.float32)
    return PsfexPsf(
        components=components,
        degree=(degree,),
        group=(0, 0),
        context=context,
        pixstep=1.0,
        average_position=centre,
    )


def _largest_error(fitted, x, y, stamps):
    return float(np.abs(fitted.stamps(x, y) - stamps).max() / stamps.max())
