"""One science exposure and its template, in memory, with everything about them known."""

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from skydelta.exposure import Exposure
from skydelta.simulate.astrometry import PIXEL_SCALE, detector_wcs
from skydelta.simulate.detector import Conditions, Defects, coadd_conditions, exposure_conditions
from skydelta.simulate.observe import Pointing, take_exposure, written_wcs
from skydelta.simulate.optics import MoffatField, make_psf
from skydelta.simulate.sky import (
    EVENT_DENSITY,
    GALAXY_DENSITY,
    STAR_DENSITY,
    Sky,
    make_events,
    make_static_sky,
    rng_for,
)
from skydelta.simulate.survey import TRACT, TYPICAL_FWHM
from skydelta.simulate.tract import Tract, observe_tract, tract_over
from skydelta.simulate.trails import TRAIL_SNR

_VISIT, _DETECTOR = 1, 0

_EDGE = 25
"""px at the edge of the science exposure where no event happens."""


@dataclass(frozen=True)
class SimulatedPair:
    """A science exposure, the coadds under it, and the truth.

    Parameters
    ----------
    science
        Exposure, its WCS with the registration error.
    coadds
        [(tract, (px, py), Exposure)].
    truth
        Table of what changed; the columns are those of truth.csv.
    psf_science_true
        Exact PSF on the science grid.
    psf_template_true
        Exact PSF on the grid of the first coadd (on its continuation for the others).
    wcs_true
        Where light truly fell on the science exposure.
    conditions_science, conditions_template
        Zero point, sky, gain and read noise.
    sky
        The catalogue that was drawn: static sources and events.
    cosmic_rays
        (ny, nx) bool, pixels of the science exposure that were hit, masked or not.
    trails
        Satellite trails of the science exposure: skydelta.simulate.trails.TRAIL_DTYPE.
    """

    science: Exposure
    coadds: list
    truth: Table
    psf_science_true: MoffatField
    psf_template_true: MoffatField
    wcs_true: object
    conditions_science: Conditions
    conditions_template: Conditions
    sky: Sky
    cosmic_rays: np.ndarray
    trails: np.ndarray

    @property
    def sky_variance_science(self):
        """Sky and read noise variance of a science pixel, counts^2."""
        return self.conditions_science.sky_variance

    @property
    def sky_variance_template(self):
        """Sky and read noise variance of a coadd pixel, its own counts^2."""
        return self.conditions_template.sky_variance

    @property
    def flux_scale(self):
        """Science counts of a source per template count."""
        return self.conditions_science.counts_per_njy / self.conditions_template.counts_per_njy


def simulate_pair(
    shape=(2048, 2048),
    *,
    fwhm_science=0.9,
    fwhm_template=0.75,
    seed=1,
    band="i",
    n_transients=None,
    registration_error_mas=10.0,
    variable_psf=True,
    saturated=True,
    cosmic_rays=True,
    bad_columns=True,
    gradient=True,
    same_grid=False,
    rotation_deg=30.0,
    coadd_depth=15,
    patch_inner=None,
    patch_border=50,
    zero_point=None,
    star_density=STAR_DENSITY,
    galaxy_density=GALAXY_DENSITY,
    variance_from="data",
    trails=0,
    trail_snr=TRAIL_SNR,
):
    """Simulate one exposure and its template.

    Parameters
    ----------
    shape
        (ny, nx) of the science exposure, px of 0.2 arcsec.
    fwhm_science, fwhm_template
        Seeing, arcsec, before pixel integration.
    seed
        int; all pixels follow from it.
    band
        One of ugrizy.
    n_transients
        Events on the science exposure, variable stars included; by default 2.6 per arcmin^2.
    registration_error_mas
        Error of the science WCS, rms over the image.
    variable_psf
        Whether the PSFs vary over the image.
    saturated, cosmic_rays, bad_columns, gradient
        Which defects there are. Without saturation bright stars keep all their light; cosmic rays
        can be ``"unmasked"``: in the image but not in its mask.
    same_grid
        Draw the template on the grid of the science exposure's written WCS: one coadd that needs
        no resampling.
    rotation_deg
        Of the science exposure against north; the coadds have north up.
    coadd_depth
        Exposures in the coadd.
    patch_inner, patch_border
        px; by default one patch covers the whole exposure.
    zero_point
        AB magnitude of 1 count in the science exposure; by default LSST's, 31.1 in i.
    star_density, galaxy_density
        arcmin^-2.
    variance_from
        Whether the science variance plane follows from the noisy ``"data"`` or the ``"model"``.
    trails
        Satellite trails on the science exposure.
    trail_snr
        Range of the brightness of their middle lines, in noise sigmas of a pixel.

    Returns
    -------
    SimulatedPair
    """
    rng = rng_for(seed, "exposure", _VISIT, _DETECTOR)
    pointing = Pointing(
        visit=_VISIT,
        detector=_DETECTOR,
        band=band,
        epoch=0,
        shape=tuple(shape),
        wcs=detector_wcs(55.0, -30.0, shape, rotation_deg, rng),
        psf=make_psf(rng, shape, fwhm_science, variable=variable_psf),
        conditions=exposure_conditions(band, zero_point),
        mjd=60310.25,
    )
    if same_grid:
        wcs = written_wcs(pointing, seed, registration_error_mas)
        tract = Tract(wcs, pointing.shape[::-1], 0, (1, 1))
    else:
        tract = tract_over(
            [(pointing.wcs, pointing.shape)], patch_inner=patch_inner, patch_border=patch_border
        )
    sky = _make_sky(pointing, tract, seed, n_transients, star_density, galaxy_density)
    taken = take_exposure(
        pointing,
        sky,
        seed,
        Defects(
            saturation=saturated,
            bleeding=saturated,
            cosmic_rays=cosmic_rays,
            bad_columns=bad_columns,
            gradient=gradient,
        ),
        registration_error_mas=registration_error_mas,
        template_variance_ratio=1.0 / coadd_depth,
        variance_from=variance_from,
        trails=trails,
        trail_snr=trail_snr,
    )
    rng = rng_for(seed, "template", band)
    psf = make_psf(rng, tract.shape, fwhm_template, variable=variable_psf)
    conditions = coadd_conditions(pointing.conditions, coadd_depth)
    coadds = observe_tract(tract, psf, sky, band, conditions, rng, saturation=saturated)
    return SimulatedPair(
        science=taken.exposure,
        coadds=[(TRACT, patch, coadd) for patch, coadd in coadds],
        truth=taken.truth,
        psf_science_true=pointing.psf,
        psf_template_true=psf,
        wcs_true=pointing.wcs,
        conditions_science=pointing.conditions,
        conditions_template=conditions,
        sky=sky,
        cosmic_rays=taken.cosmic_rays,
        trails=taken.trails,
    )


def _make_sky(pointing, tract, seed, n_transients, star_density, galaxy_density):
    stars, galaxies = make_static_sky(
        seed, tract.wcs, tract.shape, stars=star_density, galaxies=galaxy_density
    )
    ny, nx = pointing.shape
    if n_transients is None:
        n_transients = round(EVENT_DENSITY * nx * ny * (PIXEL_SCALE / 60.0) ** 2)
    noise_flux = {pointing.band: pointing.conditions.point_source_error(TYPICAL_FWHM)}
    events = make_events(
        seed, pointing.wcs, pointing.shape, n_transients, galaxies, noise_flux, margin=-_EDGE
    )
    return Sky(stars, galaxies, events)
