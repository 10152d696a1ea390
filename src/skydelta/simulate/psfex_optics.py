"""A simulated camera's PSF as LSST's pipelines would know it: a PSFEx model."""

import galsim
import numpy as np

from skydelta.lsst.psfex_psf import PsfexPsf
from skydelta.psf import grid_nodes

DEGREE = 2
PIXSTEP = 0.5
WIDTH = 81
"""As of DC2: polynomials of degree 2 on 81 x 81 model pixels of half an image pixel."""

_NODES = 7
_TAPER = 0.7
"""Part of the model's radius from which on it falls to zero, so that light ends without a step."""


def psfex_model(field, shape, *, degree=DEGREE, pixstep=PIXSTEP, width=WIDTH):
    """The PSFEx model nearest to a MoffatField over an image (least squares at 7 x 7 positions).

    Parameters
    ----------
    field
        skydelta.simulate.optics.MoffatField on the image's pixels.
    shape
        (ny, nx) of the image; the polynomial's variables run from -1 to 1 over it.
    degree
        Of the polynomials of the position.
    pixstep
        Size of a model pixel in image pixels.
    width
        Model pixels along each axis, odd.

    Returns
    -------
    PsfexPsf
        Its constant component has sum 1, the others sum 0: with `pixstep` 1 and `degree` 1, stamps
        are linear in the position.
    """
    ny, nx = shape
    x, y = (a.ravel() for a in np.meshgrid(grid_nodes(nx, _NODES), grid_nodes(ny, _NODES)))
    stamps = _tapered(_drawn(field, x, y, pixstep, width))
    context = ((nx - 1) / 2, nx / 2), ((ny - 1) / 2, ny / 2)
    u, v = ((a - offset) / scale for a, (offset, scale) in zip((x, y), context, strict=True))
    powers = [(i, j) for j in range(degree + 1) for i in range(degree + 1 - j)]
    design = np.stack([u**i * v**j for i, j in powers], axis=1)
    components = np.linalg.lstsq(design, stamps.reshape(len(x), -1), rcond=None)[0]
    return PsfexPsf(
        components=components.reshape(-1, width, width).astype(np.float32),
        degree=(degree,),
        context=context,
        pixstep=pixstep,
        average_position=((nx - 1) / 2, (ny - 1) / 2),
    )


def _drawn(field, x, y, pixstep, width):
    """(n, width, width) samples, `pixstep` px apart, of the profile seen by whole pixels."""
    stamps = np.empty((len(x), width, width))
    pixel = galsim.Pixel(1.0)
    for stamp, values in zip(stamps, np.column_stack(field.parameters(x, y)), strict=True):
        image = galsim.ImageD(width, width)
        seen = galsim.Convolve(field.profile(*values), pixel)
        seen.drawImage(image, scale=pixstep, method="no_pixel")
        stamp[:] = image.array
    return stamps


def _tapered(stamps):
    """Stamps that fall to zero within their radius, each of sum 1."""
    half = stamps.shape[-1] // 2
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    outside = np.clip((np.hypot(xx, yy) / half - _TAPER) / (1.0 - _TAPER), 0.0, 1.0)
    stamps = stamps * np.cos(0.5 * np.pi * outside) ** 2
    return stamps / stamps.sum(axis=(1, 2), keepdims=True)
