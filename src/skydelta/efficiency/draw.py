"""The sources of one realisation: positions, fluxes and hosts."""

import logging
from dataclasses import dataclass

import numpy as np
from astropy.wcs.utils import proj_plane_pixel_area

from skydelta.efficiency.columns import INJECTED, typed
from skydelta.efficiency.hosts import find_hosts
from skydelta.efficiency.placement import grid_values, place
from skydelta.mask import UNUSABLE
from skydelta.photocalib import NJY_ZEROPOINT, nanojansky_to_magnitude
from skydelta.quality import at_pixels

log = logging.getLogger(__name__)

_MEGAPIXEL = 1e6


@dataclass(frozen=True)
class Depth:
    """The difference that sources are to be found on, as it is without them.

    Parameters
    ----------
    exposure
        Its Exposure: mask, WCS and photometric calibration.
    flux_sigma
        (ny, nx) error of a PSF flux centred on each pixel, counts; inf where there is none.
    """

    exposure: object
    flux_sigma: np.ndarray

    @property
    def usable(self):
        """(ny, nx) bool: pixels on which a source could be found."""
        return np.isfinite(self.flux_sigma) & ~self.exposure.mask.any(*UNUSABLE)


def generator(seed, realisation, visit, detector, band):
    """The Generator of a realisation: the same for the same numbers, whatever else is run."""
    return np.random.default_rng([seed, realisation, visit, detector, *band.encode()])


def draw_injections(template, depth, fwhm, options, rng):
    """The sources to inject.

    Parameters
    ----------
    template
        Exposure, for the hosts.
    depth
        Depth of the main chain's difference.
    fwhm
        Of the science PSF, px.
    options
        skydelta.efficiency.options.EfficiencyOptions.
    rng
        numpy Generator.

    Returns
    -------
    columns
        {name: (n,) array} in the order of skydelta.efficiency.columns.INJECTED.
    notes
        Sentences about what could not be done as asked.

    Raises
    ------
    NoRoomError
        If there is no place for any.
    """
    usable = depth.usable
    hosts = find_hosts(template, usable)
    count = max(round(options.density * usable.size / _MEGAPIXEL), 1)
    places = place(
        hosts,
        usable,
        count,
        on_hosts=options.on_hosts,
        separation=options.separation * fwhm,
        rng=rng,
    )
    counts = _fluxes(places, depth, options, rng)
    notes = []
    if options.on_hosts > 0 and not len(hosts):
        notes.append("the template shows no host: all sources are injected on random positions")
    elif len(places) < count:
        notes.append(f"{len(places)} of {count} sources are injected: there is no room for more")
    for note in notes:
        log.warning(note)
    log.info(
        "%d sources, %d of them on %d hosts", len(places), (places.host >= 0).sum(), len(hosts)
    )
    return _columns(places, counts, hosts, depth), tuple(notes)


def _fluxes(places, depth, options, rng):
    """Counts on the science image, from the grid of S/N or of magnitudes."""
    grid = options.snr if options.magnitudes is None else options.magnitudes
    values = grid_values(places, grid, rng)
    if options.magnitudes is None:
        counts = values * at_pixels(depth.flux_sigma, places.x, places.y)
    else:
        counts = 10 ** ((NJY_ZEROPOINT - values) / 2.5) / depth.exposure.photo_calib.scale
    negative = rng.permutation(len(places)) < round(options.negative_fraction * len(places))
    return np.where(negative, -counts, counts)


def _columns(places, counts, hosts, depth):
    exposure, calib = depth.exposure, depth.exposure.photo_calib
    pixel_area = 3600.0**2 * proj_plane_pixel_area(exposure.wcs)
    on_host = places.host >= 0
    host_x, host_y, brightness = (np.full(len(places), np.nan) for _ in range(3))
    host_x[on_host] = hosts.x[places.host[on_host]]
    host_y[on_host] = hosts.y[places.host[on_host]]
    light = hosts.surface_brightness(places.x[on_host], places.y[on_host])
    template_scale = float(exposure.meta.get("TMPSCALE", np.nan))
    brightness[on_host] = nanojansky_to_magnitude(light * template_scale / pixel_area)
    separation = np.hypot(places.x - host_x, places.y - host_y) * np.sqrt(pixel_area)
    ra, dec = exposure.wcs.all_pix2world(places.x, places.y, 0)
    flux = calib.to_nanojansky(counts)
    values = {
        "injection": np.arange(len(places)),
        "x": places.x,
        "y": places.y,
        "ra": ra % 360.0,
        "dec": dec,
        "counts": counts,
        "flux": flux,
        "mag": nanojansky_to_magnitude(np.abs(flux)),
        "on_host": on_host,
        "host_x": host_x,
        "host_y": host_y,
        "host_separation": separation,
        "host_surface_brightness": brightness,
    }
    return typed(values, INJECTED)
