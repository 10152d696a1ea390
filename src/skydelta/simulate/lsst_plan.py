"""A survey on LSST's rings skymap, planned before a pixel is drawn.

The field lies where three tracts meet. The template's inputs are visits of their own, turned and
dithered against each other and against the exposures.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skydelta.lsst.polygon import Polygon
from skydelta.lsst.psfex_psf import PsfexPsf
from skydelta.lsst.sky_wcs import AstSkyWcs
from skydelta.simulate.astrometry import moved_origin, outline, tan_wcs
from skydelta.simulate.optics import make_psf
from skydelta.simulate.psfex_optics import PIXSTEP, WIDTH, psfex_model
from skydelta.simulate.sky import rng_for
from skydelta.simulate.survey import nominal_conditions, plan_pointings
from skydelta.skymap import PlainPatches, RingsSkyMap, SkyMapConfig

FIRST_VISIT = 1013665
DETECTORS = (78, 79, 80, 81)
"""R20_S20, R20_S21, R20_S22 and R21_S00 of LSSTCam."""

SMALL_DC2 = SkyMapConfig(120, 0.2, 1 / 60, PlainPatches((600, 600), 50))
"""The skymap of DC2, its tracts cut into small patches."""

CORNER_OF_TRACT = 4639
_MARGIN_PX = 150
"""px of sky about the exposures; the coadds reach 60 of them."""

_OVERLAP_MARGIN_ARCSEC = 2.0
"""10 px: patches this close to an exposure count, as in LSST's own mapping."""

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


@dataclass(frozen=True)
class Window:
    """The part of a tract about a survey.

    Parameters
    ----------
    tract
        skydelta.skymap.Tract.
    patches
        Its skydelta.skymap.Patch that lie under an exposure.
    """

    tract: object
    patches: tuple

    @cached_property
    def bbox(self):
        """(x_min, y_min, x_max, y_max) in tract pixels, inclusive: all patches' outer boxes."""
        boxes = np.array([patch.outer_bbox for patch in self.patches])
        return (*map(int, boxes.min(axis=0)[:2]), *map(int, boxes.max(axis=0)[2:]))

    @property
    def shape(self):
        """(ny, nx)."""
        x0, y0, x1, y1 = self.bbox
        return y1 - y0 + 1, x1 - x0 + 1

    @cached_property
    def wcs(self):
        """astropy WCS of the window's own pixels."""
        return moved_origin(self.tract.wcs, *self.bbox[:2])

    def slices(self, patch):
        """(rows, columns) of a patch's outer box in the window."""
        (x0, y0), (a, b, c, d) = self.bbox[:2], patch.outer_bbox
        return slice(b - y0, d - y0 + 1), slice(a - x0, c - x0 + 1)


@dataclass(frozen=True)
class Grid:
    """A pixel grid on the sky: WCS and (ny, nx)."""

    wcs: object
    shape: tuple


@dataclass(frozen=True)
class LsstPlan:
    """Where a survey looks, and what its templates are made of.

    Parameters
    ----------
    skymap
        skydelta.skymap.RingsSkyMap.
    pointings
        skydelta.simulate.observe.Pointing of every exposure, with PsfexPsf.
    nominal
        Conditions of an exposure by band.
    inputs
        {band: tuple of TemplateInput}.
    centre
        (ra, dec) of the middle of the field, deg.
    """

    skymap: RingsSkyMap
    pointings: list
    nominal: dict
    inputs: dict
    centre: tuple

    @property
    def images(self):
        """[(wcs, shape)] of the exposures."""
        return [(p.wcs, p.shape) for p in self.pointings]

    @cached_property
    def edges(self):
        """[(tract number, patch index)] under each pointing."""
        return [
            [
                (int(tract.id), tuple(map(int, patch.index)))
                for tract, patches in self.skymap.find_tract_patch_list(
                    *outline(p.wcs, p.shape), _OVERLAP_MARGIN_ARCSEC
                )
                for patch in patches
            ]
            for p in self.pointings
        ]

    @cached_property
    def windows(self):
        """A Window on every tract under the survey, by number of the tract."""
        wanted = sorted({key for keys in self.edges for key in keys})
        windows = []
        for number in sorted({tract for tract, _ in wanted}):
            tract = self.skymap[number]
            patches = tuple(tract.patch(index) for t, index in wanted if t == number)
            windows.append(Window(tract, patches))
        return windows

    @cached_property
    def field(self):
        """The Grid, north up, of all the sky that is drawn."""
        wcs, corners = _seen_from(self.centre, self.images)
        low = np.floor(corners.min(axis=1)) - _MARGIN_PX
        high = np.ceil(corners.max(axis=1)) + _MARGIN_PX
        nx, ny = (high - low).astype(int) + 1
        return Grid(moved_origin(wcs, *low), (int(ny), int(nx)))


def tract_corner(skymap, number):
    """(ra, dec), deg, of the south-eastern corner of a tract's own part of the sky.

    Three tracts meet there, as rings are not cut at the same places.
    """
    _, east, south, _ = skymap[number].sky_range
    return east, south


def plan_lsst_survey(
    *,
    seed=3,
    n_visits=1,
    detectors=DETECTORS,
    bands=("i",),
    shape=(512, 512),
    centre=None,
    rotation_deg=30.0,
    fwhm_science=(0.7, 1.0),
    fwhm_template=0.8,
    zero_point=None,
    skymap=SMALL_DC2,
    psf_degree=2,
    psf_pixstep=PIXSTEP,
    aligned_inputs=False,
):
    """Plan a survey; parameters as of skydelta.simulate.lsst.simulate_lsst_survey.

    Returns
    -------
    LsstPlan
    """
    skymap = RingsSkyMap(skymap)
    centre = centre or tract_corner(skymap, CORNER_OF_TRACT)
    nominal = nominal_conditions(bands, zero_point)
    width = WIDTH if psf_pixstep == PIXSTEP else int(WIDTH * PIXSTEP / psf_pixstep) // 2 * 2 + 1
    model = {"degree": psf_degree, "pixstep": psf_pixstep, "width": width}
    pointings = plan_pointings(
        seed=seed,
        n_visits=n_visits,
        detectors=detectors,
        nominal=nominal,
        shape=shape,
        centre=centre,
        rotation_deg=rotation_deg,
        fwhm_science=fwhm_science,
        variable_psf=True,
        first_visit=FIRST_VISIT,
    )
    pointings = [replace(p, psf=psfex_model(p.psf, p.shape, **model)) for p in pointings]
    images = [(p.wcs, p.shape) for p in pointings]
    aligned_to = skymap.find_tract(*centre) if aligned_inputs else None
    inputs = {
        band: _template_inputs(
            seed, band, k, skymap, centre, images, fwhm_template, model, aligned_to
        )
        for k, band in enumerate(nominal)
    }
    return LsstPlan(skymap, pointings, nominal, inputs, centre)


def _template_inputs(seed, band, number, skymap, centre, images, fwhm, model, aligned_to):
    """The TemplateInputs of a band; on the pixels of tract `aligned_to`, if one is given."""
    _, corners = _seen_from(centre, images)
    radius = np.hypot(*corners).max() + _MARGIN_PX
    patches = skymap.config.patches
    # A patch that touches an exposure reaches by its diagonal beyond it; sources, by a margin.
    everything = 2 * (radius + 1.5 * max(patches.inner) + 3 * patches.border + 2 * _MARGIN_PX)
    inputs = []
    for offset, detector, middle, size, rotation, weight in _INPUTS:
        visit = _FIRST_INPUT_VISIT + 10 * number + offset
        rng = rng_for(seed, "input", visit, detector)
        nx, ny = (int(side * radius) for side in size or (everything / radius,) * 2)
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
                polygon=_octagon(nx, ny, 0.0 if offset == 0 else _CUT),
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


def _seen_from(centre, images):
    """A WCS about `centre`, north up, and the corners of images on it, (2, n) px from there."""
    wcs = tan_wcs(*centre, (0.0, 0.0))
    corners = [wcs.all_world2pix(*outline(*image), 0) for image in images]
    return wcs, np.concatenate([np.array(one) for one in corners], axis=1)
