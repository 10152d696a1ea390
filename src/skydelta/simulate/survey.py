"""A small survey on disk: exposures, coadds, the two input tables and the truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import vstack

from skydelta.io.native import write_exposure
from skydelta.simulate.astrometry import PIXEL_SCALE, detector_wcs, moved_origin, tan_wcs
from skydelta.simulate.detector import Defects, coadd_conditions, exposure_conditions
from skydelta.simulate.observe import Pointing, take_exposure, write_truth
from skydelta.simulate.optics import make_psf
from skydelta.simulate.sky import (
    BANDS,
    EVENT_DENSITY,
    GALAXY_DENSITY,
    STAR_DENSITY,
    Sky,
    make_events,
    make_static_sky,
    rng_for,
)
from skydelta.simulate.tract import covered, observe_tract, tract_over

TRACT = 4849
"""Number of the tract in the tables."""

TYPICAL_FWHM = 0.85
"""arcsec; the seeing that the events' signal-to-noise ratios refer to."""

_FIRST_VISIT = 500001
_FIRST_MJD = 60310.25
_GAP = 40
"""px between detectors."""


@dataclass(frozen=True)
class SurveyTables:
    """Paths of the tables of a simulated survey."""

    exposures: Path
    coadds: Path
    truth: Path


@dataclass(frozen=True)
class SurveyPlan:
    """Where and when a survey looks, known before a pixel is drawn.

    Parameters
    ----------
    pointings
        skydelta.simulate.observe.Pointing of every exposure.
    tract
        Tract of the coadds.
    data
        (ny, nx) bool, where on the tract the coadds have data.
    nominal
        Conditions of an exposure by band.
    """

    pointings: list
    tract: object
    data: np.ndarray
    nominal: dict

    def exposures(self):
        """(visit, detector, band, path relative to the tables) of every exposure."""
        return [
            (p.visit, p.detector, p.band, _exposure_name(p.visit, p.band, p.detector))
            for p in self.pointings
        ]

    def coadds(self):
        """(tract, (x, y), band, path relative to the tables) of every coadd."""
        return [
            (TRACT, patch, band, _coadd_name(patch, band))
            for band in self.nominal
            for patch, _, _, box in self.tract.patches()
            if self.data[box].any()
        ]

    def grids(self):
        """(wcs, shape) of every image by its relative path; the exposures' without its error."""
        images = {
            _exposure_name(p.visit, p.band, p.detector): (p.wcs, p.shape) for p in self.pointings
        }
        for patch, x0, y0, box in self.tract.patches():
            grid = moved_origin(self.tract.wcs, x0, y0), self.data[box].shape
            images |= {_coadd_name(patch, band): grid for band in self.nominal}
        return images


def _exposure_name(visit, band, detector):
    return f"exposures/exposure_{visit}_{band}_{detector:03d}.fits"


def _coadd_name(patch, band):
    return f"coadds/coadd_{TRACT}_{patch[0]}-{patch[1]}_{band}.fits"


def plan_survey(
    *,
    seed=3,
    n_visits=1,
    detectors=(0, 1),
    bands=("r", "i"),
    shape=(1024, 1024),
    centre=(55.0, -30.0),
    rotation_deg=30.0,
    fwhm_science=(0.7, 1.0),
    patch_inner=1100,
    patch_border=50,
    zero_point=None,
    variable_psf=True,
):
    """The geometry of a survey; parameters as of `simulate_survey`.

    Returns
    -------
    SurveyPlan
    """
    nominal = nominal_conditions(bands, zero_point)
    pointings = plan_pointings(
        seed=seed,
        n_visits=n_visits,
        detectors=detectors,
        nominal=nominal,
        shape=shape,
        centre=centre,
        rotation_deg=rotation_deg,
        fwhm_science=fwhm_science,
        variable_psf=variable_psf,
    )
    images = [(p.wcs, p.shape) for p in pointings]
    tract = tract_over(images, patch_inner=patch_inner, patch_border=patch_border)
    return SurveyPlan(pointings, tract, covered(tract, images), nominal)


def nominal_conditions(bands, zero_point=None):
    """Conditions of an exposure by band; ValueError for a band that is not one of ugrizy."""
    unknown = sorted(set(bands) - set(BANDS))
    if unknown:
        msg = f"bands must be out of {BANDS}, got {unknown}"
        raise ValueError(msg)
    return {band: exposure_conditions(band, zero_point) for band in bands}


def simulate_survey(
    outdir,
    *,
    seed=3,
    n_visits=1,
    detectors=(0, 1),
    bands=("r", "i"),
    shape=(1024, 1024),
    centre=(55.0, -30.0),
    rotation_deg=30.0,
    fwhm_science=(0.7, 1.0),
    fwhm_template=0.8,
    registration_error_mas=10.0,
    coadd_depth=15,
    patch_inner=1100,
    patch_border=50,
    zero_point=None,
    star_density=STAR_DENSITY,
    galaxy_density=GALAXY_DENSITY,
    event_density=EVENT_DENSITY,
    defects=None,
    variable_psf=True,
    variance_from="data",
):
    """Simulate a survey and write it in the native format.

    Every (epoch, band) is a visit of its own. The seeing alternates between worse and better
    than the template's. All of it follows from the seed: the same call gives the same bytes.

    Parameters
    ----------
    outdir
        Folder to write; made if missing.
    seed
        int.
    n_visits
        Epochs; each is taken in every band.
    detectors
        Detector numbers; they lie side by side in a grid as square as possible.
    bands
        Out of ugrizy.
    shape
        (ny, nx) of an exposure, px of 0.2 arcsec.
    centre
        ra, dec of the middle of the field, deg.
    rotation_deg
        Camera rotation of the first visit; the coadds have north up.
    fwhm_science
        Best and worst seeing, arcsec, before pixel integration.
    fwhm_template
        Seeing of the coadds, arcsec; up to 4 % better or worse from band to band.
    registration_error_mas
        Error of the exposures' WCS, rms over the image. The coadds have none.
    coadd_depth
        Exposures in a coadd.
    patch_inner, patch_border
        px; see skydelta.simulate.tract.Tract.
    zero_point
        AB magnitude of 1 count in the exposures, in all bands; by default LSST's, about 31. It
        varies by 0.1 from exposure to exposure.
    star_density, galaxy_density, event_density
        arcmin^-2.
    defects
        skydelta.simulate.detector.Defects; all of them by default.
    variable_psf
        Whether the PSFs vary over the field.
    variance_from
        Whether variance planes follow from the noisy ``"data"`` or from the ``"model"``.

    Returns
    -------
    SurveyTables
    """
    outdir = Path(outdir)
    outdir.mkdir(parents=True, exist_ok=True)
    plan = plan_survey(
        seed=seed,
        n_visits=n_visits,
        detectors=detectors,
        bands=bands,
        shape=shape,
        centre=centre,
        rotation_deg=rotation_deg,
        fwhm_science=fwhm_science,
        patch_inner=patch_inner,
        patch_border=patch_border,
        zero_point=zero_point,
        variable_psf=variable_psf,
    )
    tract, nominal = plan.tract, plan.nominal
    noise_flux = {b: c.point_source_error(TYPICAL_FWHM) for b, c in nominal.items()}
    sky = make_sky(seed, tract, star_density, galaxy_density, event_density, noise_flux)
    paths = SurveyTables(outdir / "exposures.csv", outdir / "coadds.csv", outdir / "truth.csv")
    _write_exposures(
        paths,
        plan.pointings,
        sky,
        seed,
        Defects() if defects is None else defects,
        registration_error_mas=registration_error_mas,
        template_variance_ratio=1.0 / coadd_depth,
        variance_from=variance_from,
    )
    coadds = []
    for band in bands:
        conditions = coadd_conditions(nominal[band], coadd_depth)
        rng = rng_for(seed, "template", band)
        fwhm = fwhm_template * rng.uniform(0.96, 1.04)
        psf = make_psf(rng, tract.shape, fwhm, variable=variable_psf)
        patches = observe_tract(tract, psf, sky, band, conditions, rng, data=plan.data)
        coadds += _write_coadds(outdir, band, patches)
    write_csv(paths.coadds, "tract,patch,band,path", coadds)
    return paths


def _write_exposures(paths, pointings, sky, seed, defects, **options):
    """The exposures, their table and the truth table."""
    rows, truths = [], []
    for pointing in pointings:
        taken = take_exposure(pointing, sky, seed, defects, **options)
        exposure, truth = taken.exposure, taken.truth
        visit, detector, band = pointing.visit, pointing.detector, pointing.band
        name = _exposure_name(visit, band, detector)
        write_exposure(paths.exposures.parent / name, exposure)
        rows.append(f"{visit},{detector},{band},{name}")
        truths.append(truth)
    write_csv(paths.exposures, "visit,detector,band,path", rows)
    write_truth(paths.truth, vstack(truths))


def _write_coadds(outdir, band, patches):
    """The coadds of one band; returns their rows of the table."""
    rows = []
    for (px, py), coadd in patches:
        name = _coadd_name((px, py), band)
        write_exposure(outdir / name, coadd)
        rows.append(f'{TRACT},"{px},{py}",{band},{name}')
    return rows


def plan_pointings(
    *,
    seed,
    n_visits,
    detectors,
    nominal,
    shape,
    centre,
    rotation_deg,
    fwhm_science,
    variable_psf,
    first_visit=_FIRST_VISIT,
):
    """All pointings of a survey: where, when and how sharp.

    Parameters
    ----------
    nominal
        Conditions by band.
    first_visit
        Number of the first visit; the others follow.
    seed, n_visits, detectors, shape, centre, rotation_deg, fwhm_science, variable_psf
        As of `simulate_survey`.

    Returns
    -------
    list of Pointing
    """
    pointings = []
    for number in range(n_visits * len(nominal)):
        epoch, band = number // len(nominal), list(nominal)[number % len(nominal)]
        visit = first_visit + number
        rng = rng_for(seed, "visit", visit)
        rotation = rotation_deg + 25.0 * epoch + rng.uniform(-2, 2)
        dither = rng.uniform(-15, 15, 2) * PIXEL_SCALE / 3600.0
        ra = centre[0] + dither[0] / np.cos(np.radians(centre[1]))
        boresight = tan_wcs(ra, centre[1] + dither[1], (0.0, 0.0), rotation)
        best, worst = fwhm_science
        fwhm = best + (worst - best) * (
            rng.uniform(0.6, 1.0) if number % 2 == 0 else rng.uniform(0, 0.2)
        )
        zero_point = nominal[band].zero_point + rng.uniform(-0.1, 0.1)
        offsets = _detector_offsets(len(detectors), shape)
        for detector, offset in zip(detectors, offsets, strict=True):
            its_ra, its_dec = boresight.all_pix2world(*offset, 0)
            rng = rng_for(seed, "exposure", visit, detector)
            wcs = detector_wcs(float(its_ra), float(its_dec), shape, rotation, rng)
            psf = make_psf(rng, shape, fwhm, variable=variable_psf)
            conditions = exposure_conditions(band, zero_point)
            mjd = _FIRST_MJD + 3.0 * epoch + 0.005 * (number % len(nominal))
            pointings.append(
                Pointing(visit, detector, band, epoch, shape, wcs, psf, conditions, mjd)
            )
    return pointings


def _detector_offsets(n, shape):
    """(x, y) px of the middle of each of n detectors from the boresight."""
    n_columns = int(np.ceil(np.sqrt(n)))
    n_rows = int(np.ceil(n / n_columns))
    for i in range(n):
        row, column = divmod(i, n_columns)
        yield (
            (column - (n_columns - 1) / 2) * (shape[1] + _GAP),
            (row - (n_rows - 1) / 2) * (shape[0] + _GAP),
        )


def make_sky(seed, grid, star_density, galaxy_density, event_density, noise_flux):
    """Everything that shines on a grid, an object with `wcs` and `shape`; densities in arcmin^-2.

    noise_flux: {band: nJy}, see skydelta.simulate.sky.make_events.
    """
    stars, galaxies = make_static_sky(
        seed, grid.wcs, grid.shape, stars=star_density, galaxies=galaxy_density
    )
    area = np.prod(grid.shape) * (PIXEL_SCALE / 60.0) ** 2
    events = make_events(
        seed, grid.wcs, grid.shape, round(event_density * area), galaxies, noise_flux
    )
    return Sky(stars, galaxies, events)


def write_csv(path, header, rows):
    """Write a table of lines that are ready."""
    path.write_text("\n".join([header, *rows]) + "\n")
