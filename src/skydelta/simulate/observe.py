"""Point a detector at the simulated sky: a science exposure and the truth about it."""

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from scipy import ndimage

from skydelta.exposure import Exposure
from skydelta.photocalib import PhotoCalib, nanojansky_to_magnitude
from skydelta.psf import sample_psf
from skydelta.simulate.astrometry import positions_on, with_error
from skydelta.simulate.detector import Conditions, Readout, read_out
from skydelta.simulate.optics import PSF_NODES, STAMP_SIZE, MoffatField
from skydelta.simulate.render import render_sky
from skydelta.simulate.sky import rng_for
from skydelta.simulate.trails import TRAIL_SNR, draw_trails

TRUTH_COLUMNS = {
    "visit": "d",
    "detector": "d",
    "band": "",
    "object_id": "d",
    "kind": "",
    "on_host": "d",
    "host_mag": ".4f",
    "ra": ".8f",
    "dec": ".8f",
    "x": ".4f",
    "y": ".4f",
    "flux_nJy": ".4f",
    "template_flux_nJy": ".4f",
    "science_flux_nJy": ".4f",
    "snr_expected": ".3f",
    "masked": "d",
}
"""Columns of the truth table and their formats."""


@dataclass(frozen=True)
class Pointing:
    """One detector of one visit, before it has seen anything.

    Parameters
    ----------
    visit, detector, band
        As in the input tables.
    epoch
        int; events have one brightness per epoch.
    shape
        (ny, nx).
    wcs
        Where light truly falls.
    psf
        MoffatField on this grid.
    conditions
        Conditions.
    mjd
        Mid-exposure, d.
    """

    visit: int
    detector: int
    band: str
    epoch: int
    shape: tuple
    wcs: object
    psf: MoffatField
    conditions: Conditions
    mjd: float


@dataclass(frozen=True)
class Observation:
    """A science exposure and everything that is true of it.

    Parameters
    ----------
    exposure
        Exposure.
    truth
        Table of what changed, one row an event.
    cosmic_rays
        (ny, nx) bool, pixels hit, masked or not.
    trails
        Structured array of skydelta.simulate.trails.TRAIL_DTYPE.
    """

    exposure: Exposure
    truth: Table
    cosmic_rays: np.ndarray
    trails: np.ndarray


def take_exposure(
    pointing,
    sky,
    seed,
    defects,
    *,
    registration_error_mas,
    template_variance_ratio,
    variance_from,
    trails=0,
    trail_snr=TRAIL_SNR,
):
    """The science exposure of a pointing and its truth.

    Parameters
    ----------
    pointing
        Pointing.
    sky
        Sky.
    seed
        int.
    defects
        Defects.
    registration_error_mas
        Error of the written WCS, rms over the image.
    template_variance_ratio
        Noise variance of the template relative to this image's at equal zero point, for the
        expected S/N.
    variance_from
        ``"data"``: the variance plane follows from the noisy pixels, as real pipelines do it;
        ``"model"``: from the noiseless ones.
    trails
        Number of satellite trails.
    trail_snr
        Range of their brightness, see skydelta.simulate.trails.draw_trails.

    Returns
    -------
    Observation
    """
    if variance_from not in ("data", "model"):
        msg = f"variance_from must be 'data' or 'model', got {variance_from!r}"
        raise ValueError(msg)
    key = (pointing.visit, pointing.detector)
    flux = sky.events.science_flux(pointing.band, rng_for(seed, "phase", pointing.epoch))
    noise = np.sqrt(pointing.conditions.sky_variance)
    source = render_sky(
        pointing.shape,
        pointing.wcs,
        pointing.psf,
        sky,
        pointing.band,
        flux,
        pointing.conditions.counts_per_njy,
        noise,
    )
    drawn = draw_trails(
        source, trails, pointing.psf, noise, rng_for(seed, "trails", *key), trail_snr
    )
    read = read_out(
        source,
        pointing.conditions,
        rng_for(seed, "noise", *key),
        defects,
        detector_rng=rng_for(seed, "detector", pointing.detector),
    )
    exposure = Exposure(
        image=read.image,
        variance=read.variance if variance_from == "data" else read.expected_variance,
        mask=read.mask,
        wcs=written_wcs(pointing, seed, registration_error_mas),
        psf=sample_psf(pointing.psf, pointing.shape, PSF_NODES, STAMP_SIZE),
        photo_calib=PhotoCalib.from_zero_point(pointing.conditions.zero_point),
        band=pointing.band,
        mjd=pointing.mjd,
        exptime=pointing.conditions.exptime,
        gain=pointing.conditions.gain,
        saturate=pointing.conditions.saturate,
        meta={
            "VISIT": (pointing.visit, "visit number"),
            "DETECTOR": (pointing.detector, "detector number"),
        },
    )
    truth = truth_table(pointing, sky, flux, read, template_variance_ratio)
    return Observation(exposure, truth, read.cosmic_rays, drawn)


def written_wcs(pointing, seed, registration_error_mas):
    """The WCS that the file of a pointing carries: the true one with an error."""
    rng = rng_for(seed, "wcs", pointing.visit, pointing.detector)
    return with_error(pointing.wcs, pointing.shape, registration_error_mas, rng)


def truth_table(pointing, sky, science_flux, read: Readout, template_variance_ratio):
    """What changed in an exposure, one row per event on the image.

    x and y are where the light fell (the true WCS), 0-based px; fluxes are in nJy,
    ``flux_nJy`` science minus template. ``snr_expected`` is that of a matched filter in the
    difference image, |flux| sqrt(sum(p^2 / V)); ``masked`` is 1 where a saturated, bad or
    cosmic-ray pixel lies within 2 px.
    """
    events = sky.events
    index, x, y = positions_on(pointing.wcs, pointing.shape, events.ra, events.dec, -0.5)
    template_flux = events.template_flux[pointing.band][index]
    change = science_flux[index] - template_flux
    host = events.host[index]
    host_mag = np.full(index.size, np.nan)
    host_flux = sky.galaxies.flux[pointing.band][host[host >= 0]]
    host_mag[host >= 0] = nanojansky_to_magnitude(host_flux)
    variance = read.expected_variance
    snr = _matched_filter_snr(pointing, change, x, y, variance, 1 + template_variance_ratio)
    near_masked = ndimage.binary_dilation(
        read.mask.any("SAT", "BAD") | read.cosmic_rays, iterations=2
    )
    pixel = np.round(y).astype(int), np.round(x).astype(int)
    return Table(
        {
            "visit": np.full(index.size, pointing.visit),
            "detector": np.full(index.size, pointing.detector),
            "band": np.full(index.size, pointing.band),
            "object_id": index + 1,
            "kind": events.kind[index],
            "on_host": (host >= 0).astype(int),
            "host_mag": host_mag,
            "ra": events.ra[index],
            "dec": events.dec[index],
            "x": x,
            "y": y,
            "flux_nJy": change,
            "template_flux_nJy": template_flux,
            "science_flux_nJy": science_flux[index],
            "snr_expected": snr,
            "masked": near_masked[pixel].astype(int),
        }
    )


def _matched_filter_snr(pointing, flux, x, y, variance, variance_factor):
    """S/N of point sources of `flux` nJy; stamps that cross the edge are cut there."""
    stamps, x0, y0 = pointing.psf.images(x, y)
    size = pointing.psf.size
    padded = np.pad(variance, size, constant_values=np.inf)
    counts = np.abs(flux) * pointing.conditions.counts_per_njy
    snr = np.empty(len(flux))
    for i, stamp in enumerate(stamps):
        box = padded[y0[i] + size : y0[i] + 2 * size, x0[i] + size : x0[i] + 2 * size]
        snr[i] = counts[i] * np.sqrt(np.sum(stamp**2 / (variance_factor * box)))
    return snr


def write_truth(path, truth):
    """Write a truth table as CSV, with a fixed number of digits."""
    formats = {name: form for name, form in TRUTH_COLUMNS.items() if form}
    truth[list(TRUTH_COLUMNS)].write(path, format="ascii.csv", formats=formats, overwrite=True)
