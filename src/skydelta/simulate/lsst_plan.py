"""A survey on LSST's rings skymap, planned before a pixel is drawn.

The field lies where three tracts meet; `lsst_inputs` plans what the templates are made of.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skydelta.simulate.astrometry import moved_origin, outline
from skydelta.simulate.lsst_inputs import MARGIN_PX, seen_from, template_inputs
from skydelta.simulate.psfex_optics import PIXSTEP, WIDTH, psfex_model
from skydelta.simulate.survey import nominal_conditions, plan_pointings
from skydelta.skymap import PlainPatches, RingsSkyMap, SkyMapConfig

FIRST_VISIT = 1013665
DETECTORS = (78, 79, 80, 81)
"""R20_S20, R20_S21, R20_S22 and R21_S00 of LSSTCam."""

SMALL_DC2 = SkyMapConfig(120, 0.2, 1 / 60, PlainPatches((600, 600), 50))
"""The skymap of DC2, its tracts cut into small patches."""

CORNER_OF_TRACT = 4639
_OVERLAP_MARGIN_ARCSEC = 2.0
"""10 px: patches this close to an exposure count, as in LSST's own mapping."""


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
        """The astropy WCS of the window's own pixels."""
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
        wcs, corners = seen_from(self.centre, self.images)
        low = np.floor(corners.min(axis=1)) - MARGIN_PX
        high = np.ceil(corners.max(axis=1)) + MARGIN_PX
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
    width = int(WIDTH * PIXSTEP / psf_pixstep) // 2 * 2 + 1  # the same part of the sky, odd
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
    patches = skymap.config.patches
    inputs = {
        band: template_inputs(
            seed=seed,
            band=band,
            number=number,
            centre=centre,
            images=images,
            patch_size=max(patches.inner) + 2 * patches.border,
            fwhm=fwhm_template,
            model=model,
            aligned_to=skymap.find_tract(*centre) if aligned_inputs else None,
        )
        for number, band in enumerate(nominal)
    }
    return LsstPlan(skymap, pointings, nominal, inputs, centre)
