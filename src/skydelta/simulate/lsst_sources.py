"""The catalogue `src` of a simulated calexp: its stars, with the errors of a measurement."""

import numpy as np
from astropy import units as u
from astropy.table import Table

from skydelta.psf import adaptive_shape
from skydelta.simulate.astrometry import positions_on
from skydelta.simulate.sky import rng_for

ALIASES = {
    "slot_Centroid": "base_SdssCentroid",
    "slot_PsfFlux": "base_PsfFlux",
    "slot_CalibFlux": "base_PsfFlux",
}

_MIN_SNR = 5.0


def measured_stars(pointing, exposure, sky, seed):
    """Stars of an exposure as a detection at 5 sigma would have them.

    Fluxes and centroids scatter about the truth by the errors of a PSF fit to a star on blank sky.

    Parameters
    ----------
    pointing
        skydelta.simulate.observe.Pointing.
    exposure
        What became of it; its WCS gives the coordinates, its mask the flag.
    sky
        skydelta.simulate.sky.Sky.
    seed
        int.

    Returns
    -------
    Table
        id, parent, coord_ra, coord_dec, base_SdssCentroid_x, _y, base_PsfFlux_instFlux,
        _instFluxErr and flags, the names and units as LSST's.
    """
    rng = rng_for(seed, "src", pointing.visit, pointing.detector)
    conditions, (ny, nx) = pointing.conditions, pointing.shape
    index, x, y = positions_on(pointing.wcs, pointing.shape, sky.stars.ra, sky.stars.dec, -1.0)
    counts = sky.stars.flux[pointing.band][index] * conditions.counts_per_njy
    stamp = pointing.psf.stamp((nx - 1) / 2, (ny - 1) / 2)
    blank = conditions.sky_variance / np.sum(stamp**2)
    error = np.sqrt(blank + counts / conditions.gain)
    flux = counts + error * rng.standard_normal(len(counts))
    seen = flux > _MIN_SNR * error
    x, y, flux, error = x[seen], y[seen], flux[seen], error[seen]
    scatter = adaptive_shape(stamp).determinant_radius * error / flux
    x, y = (a + scatter * rng.standard_normal(len(a)) for a in (x, y))
    ra, dec = exposure.wcs.all_pix2world(x, y, 0)
    column, row = (np.clip(np.rint(a).astype(int), 0, n - 1) for a, n in ((x, nx), (y, ny)))
    number = (pointing.visit * 1000 + pointing.detector) * 1_000_000 + 1 + np.arange(len(x))
    return Table(
        {
            "id": number.astype(np.int64),
            "parent": np.zeros(len(x), np.int64),
            "coord_ra": np.radians(ra) * u.rad,
            "coord_dec": np.radians(dec) * u.rad,
            "base_SdssCentroid_x": x * u.pix,
            "base_SdssCentroid_y": y * u.pix,
            "base_PsfFlux_instFlux": flux * u.ct,
            "base_PsfFlux_instFluxErr": error * u.ct,
            "base_PsfFlux_flag": np.zeros(len(x), bool),
            "base_PixelFlags_flag_saturated": exposure.mask.any("SAT")[row, column],
            "calib_psf_used": flux > 50.0 * error,
        }
    )
