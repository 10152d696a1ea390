"""The images that the coadds of a simulated survey are made of.

They are visits of their own, turned and dithered against each other and against the exposures; all
but one end within the field, so that the coadds' PSF is that of other inputs from place to place.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydelta.lsst.polygon import Polygon
from skydelta.lsst.psfex_psf import PsfexPsf
from skydelta.lsst.sky_wcs import AstSkyWcs
from skydelta.simulate.astrometry import moved_origin, outline, tan_wcs
from skydelta.simulate.optics import make_psf
from skydelta.simulate.psfex_optics import psfex_model
from skydelta.simulate.sky import rng_for

MARGIN_PX = 150
"""px of sky about the exposures that is drawn; the coadds reach 60 of them."""

_FIRST_INPUT_VISIT = 190001

# Inputs of a template: visit, detector, middle (in units of the field's radius), size (the same),
# rotation in deg, weight. The first, without a size, covers all patches; the others end within the
# field.
_INPUTS = (
    (0, 90, (0.0, 0.0), None, 12.0, 1.0),
    (1, 91, (-0.55, 0.1), (1.0, 1.7), 47.0, 0.8),
    (1, 92, (0.5, 0.1), (1.0, 1.7), 47.0, 0.8),
    (2, 93, (0.2, -0.4), (1.5, 1.4), -33.0, 0.6),
)
_CUT = 0.15
"""Part of each side that the valid polygon of an input loses at every corner."""


@dataclass(frozen=True)
class TemplateInput:
    """An image that went into the coadds.

    Parameters
    ----------
    visit, detector, band
        What it was.
    wcs
        astropy WCS.
    shape
        (ny, nx).
    psf
        PsfexPsf on its pixels.
    weight
        In the coadds.
    polygon
        Polygon of its valid pixels.
    """

    visit: int
    detector: int
    band: str
    wcs: object
    shape: tuple
    psf: PsfexPsf
    weight: float
    polygon: Polygon

    @property
    def id(self):
        """Visit and detector in one number, LSSTCam's way: 1000 detectors to a visit."""
        return self.visit * 1000 + self.detector

    @property
    def bbox(self):
        """(x_min, y_min, x_max, y_max), inclusive."""
        return 0, 0, self.shape[1] - 1, self.shape[0] - 1

    @cached_property
    def sky_wcs(self):
        """AstSkyWcs of the same."""
        return AstSkyWcs.from_fits(self.wcs)


def template_inputs(
    *, seed, band, number, centre, images, patch_size, fwhm, model, aligned_to=None
):
    """The inputs of the coadds of one band.

    Parameters
    ----------
    seed
        int.
    band, number
        The band, and which of the survey's it is: every band has visits of its own.
    centre
        (ra, dec) of the middle of the field, deg.
    images
        [(wcs, shape)] of the exposures.
    patch_size
        Side of the largest patch, px: the first input covers every patch that meets an exposure.
    fwhm
        Seeing, arcsec.
    model
        Keyword arguments of skydelta.simulate.psfex_optics.psfex_model.
    aligned_to
        skydelta.skymap.Tract on whose pixels all inputs lie, shifted by whole ones, all of them as
        large as the first; None for turned ones that end within the field.

    Returns
    -------
    tuple of TemplateInput
    """
    _, corners = seen_from(centre, images)
    radius = np.hypot(*corners).max() + MARGIN_PX
    # A patch reaches by its diagonal beyond an exposure, and sources by a margin.
    everything = 2 * (radius + 1.5 * patch_size + 2 * MARGIN_PX)
    inputs = []
    for offset, detector, middle, size, rotation, weight in _INPUTS:
        visit = _FIRST_INPUT_VISIT + 10 * number + offset
        rng = rng_for(seed, "input", visit, detector)
        if size is None or aligned_to is not None:
            nx = ny = int(everything)
        else:
            nx, ny = (int(side * radius) for side in size)
        north_up = tan_wcs(*centre, (0.0, 0.0))
        ra, dec = map(float, north_up.all_pix2world(middle[0] * radius, middle[1] * radius, 0))
        wcs = tan_wcs(ra, dec, ((nx - 1) / 2, (ny - 1) / 2), rotation)
        if aligned_to is not None:
            x, y = aligned_to.sky_to_pixel(ra, dec)
            wcs = moved_origin(aligned_to.wcs, round(float(x)) - nx // 2, round(float(y)) - ny // 2)
        # All seeings within 1 %: where an input ends, the coadds' PSF changes by little.
        seeing = fwhm * rng.uniform(0.99, 1.01)
        inputs.append(
            TemplateInput(
                visit=visit,
                detector=detector,
                band=band,
                wcs=wcs,
                shape=(ny, nx),
                psf=psfex_model(make_psf(rng, (ny, nx), seeing), (ny, nx), **model),
                weight=weight,
                polygon=_octagon(nx, ny, 0.0 if nx == int(everything) else _CUT),
            )
        )
    return tuple(inputs)


def _octagon(nx, ny, cut):
    """The box of an image without its corners."""
    x0, y0, x1, y1 = -0.5, -0.5, nx - 0.5, ny - 0.5
    dx, dy = cut * nx, cut * ny
    if not cut:
        return Polygon(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
    return Polygon(
        (
            *((x0 + dx, y0), (x1 - dx, y0), (x1, y0 + dy), (x1, y1 - dy)),
            *((x1 - dx, y1), (x0 + dx, y1), (x0, y1 - dy), (x0, y0 + dy)),
        )
    )


def seen_from(centre, images):
    """A WCS about `centre`, north up, and the corners of images on it, (2, n) px from there."""
    wcs = tan_wcs(*centre, (0.0, 0.0))
    corners = [wcs.all_world2pix(*outline(*image), 0) for image in images]
    return wcs, np.concatenate([np.array(one) for one in corners], axis=1)
