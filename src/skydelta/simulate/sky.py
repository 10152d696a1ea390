"""What there is in the sky: stars, galaxies and things that change, with fluxes in nJy."""

from dataclasses import dataclass

import numpy as np

from skydelta.photocalib import NJY_ZEROPOINT
from skydelta.simulate.astrometry import PIXEL_SCALE

BANDS = "ugrizy"

STAR_DENSITY = 30.0
"""Stars per arcmin^2 down to the faint limit: a third of them give S/N > 50 in one exposure."""

GALAXY_DENSITY = 40.0
"""Galaxies per arcmin^2 down to the faint limit, i = 25.5."""

EVENT_DENSITY = 2.6
"""Transients and variable stars per arcmin^2: 30 on 1024 x 1024 px."""

# Magnitude minus i magnitude: the mean and the change along the sequence of colours.
_STAR_COLOURS = {
    "u": (2.4, 1.0), "g": (1.0, 0.45), "r": (0.3, 0.2), "i": (0, 0), "z": (-0.12, 0.1),
    "y": (-0.18, 0.14),
}  # fmt: skip
_GALAXY_COLOURS = {
    "u": (1.6, 0.6), "g": (0.9, 0.4), "r": (0.4, 0.2), "i": (0, 0), "z": (-0.2, 0.1),
    "y": (-0.3, 0.15),
}  # fmt: skip

_SNR_RANGE = (4.0, 400.0)
"""Of the largest changes over the noise of the sky: 3 to 200 with their phase and own photons."""

_MIN_SEPARATION = 4.0
"""arcsec between two events, so that each detection has one truth."""


@dataclass(frozen=True)
class Stars:
    """Point sources: ra, dec (n,) in deg and flux {band: (n,) nJy}."""

    ra: np.ndarray
    dec: np.ndarray
    flux: dict


@dataclass(frozen=True)
class Galaxies:
    """Sersic profiles.

    Parameters
    ----------
    ra, dec
        (n,) deg.
    flux
        {band: (n,) nJy}.
    radius
        (n,) half-light radius, arcsec.
    index
        (n,) int Sersic index, 1 or 4.
    g1, g2
        (n,) reduced shear in the frame of east and north.
    """

    ra: np.ndarray
    dec: np.ndarray
    flux: dict
    radius: np.ndarray
    index: np.ndarray
    g1: np.ndarray
    g2: np.ndarray


@dataclass(frozen=True)
class Events:
    """Point sources that change between the template and the science exposures.

    Parameters
    ----------
    kind
        (n,) str: ``transient`` (absent from the template), ``fading`` (in the template only, or
        nearly so) or ``variable`` (a star).
    ra, dec
        (n,) deg.
    host
        (n,) int index into the galaxies, -1 for none.
    template_flux
        {band: (n,) nJy}.
    change
        {band: (n,) nJy} largest science minus template flux, signed.
    """

    kind: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    host: np.ndarray
    template_flux: dict
    change: dict

    def science_flux(self, band, rng):
        """(n,) nJy at an epoch: between a half of the largest change and all of it."""
        phase = rng.uniform(0.5, 1.0, self.ra.size)
        return self.template_flux[band] + phase * self.change[band]


@dataclass(frozen=True)
class Sky:
    """Everything that shines."""

    stars: Stars
    galaxies: Galaxies
    events: Events


def rng_for(seed, *keys):
    """A random Generator of its own for each thing, so that none depends on another's draws."""
    return np.random.default_rng([seed, *(_as_int(key) for key in keys)])


def _as_int(key):
    return int.from_bytes(key.encode(), "big") if isinstance(key, str) else int(key)


def make_static_sky(seed, wcs, shape, *, margin=120, stars=STAR_DENSITY, galaxies=GALAXY_DENSITY):
    """Stars and galaxies that cover an image.

    Parameters
    ----------
    seed
        int.
    wcs, shape
        Of the image.
    margin
        px around it that are covered too.
    stars, galaxies
        Densities, arcmin^-2.

    Returns
    -------
    Stars, Galaxies
    """
    area = (shape[0] + 2 * margin) * (shape[1] + 2 * margin) * (PIXEL_SCALE / 60.0) ** 2
    return (
        _make_stars(rng_for(seed, "stars"), wcs, shape, margin, round(stars * area)),
        _make_galaxies(rng_for(seed, "galaxies"), wcs, shape, margin, round(galaxies * area)),
    )


def _make_stars(rng, wcs, shape, margin, n):
    # Counts rise by 10^0.23 per magnitude and level off, as they do at high galactic latitude.
    mag = _magnitudes(rng, n, [(12.5, 0.23), (21.0, 0.0), (25.5, 0.0)])
    ra, dec = _positions(rng, wcs, shape, margin, n)
    return Stars(ra, dec, _fluxes(rng, mag, _STAR_COLOURS))


def _make_galaxies(rng, wcs, shape, margin, n):
    mag = _magnitudes(rng, n, [(17.0, 0.36), (25.5, 0.36)])
    ra, dec = _positions(rng, wcs, shape, margin, n)
    radius = 0.45 * 10 ** (-0.11 * (mag - 23.0) + rng.normal(0, 0.13, n))
    shear = np.minimum(rng.rayleigh(0.2, n), 0.6)
    angle = rng.uniform(0, 2 * np.pi, n)
    return Galaxies(
        ra,
        dec,
        _fluxes(rng, mag, _GALAXY_COLOURS),
        radius=np.clip(radius, 0.1, 3.0),
        index=np.where(rng.random(n) < 0.2, 4, 1),
        g1=shear * np.cos(angle),
        g2=shear * np.sin(angle),
    )


def _magnitudes(rng, n, knots):
    """N magnitudes from counts that go as 10^(slope m) between (magnitude, slope) knots.

    Stratified: the number of bright objects does not scatter from sky to sky.
    """
    edges, slopes = np.array(knots).T
    m = np.linspace(edges[0], edges[-1], 2000)
    slope = slopes[np.clip(np.searchsorted(edges, m, side="right") - 1, 0, len(edges) - 2)]
    counts = 10 ** np.cumsum(slope * np.gradient(m))
    cumulative = np.cumsum(counts) / counts.sum()
    return np.interp((rng.permutation(n) + rng.random(n)) / max(n, 1), cumulative, m)


def _positions(rng, wcs, shape, margin, n):
    """N positions spread evenly over an image and a margin (px) around it, ra and dec in deg."""
    x = rng.uniform(-margin, shape[1] + margin, n)
    y = rng.uniform(-margin, shape[0] + margin, n)
    return wcs.all_pix2world(x, y, 0)


def _fluxes(rng, mag, colours):
    temperature = np.clip(rng.normal(size=mag.size), -2, 2)
    return {
        band: 10 ** ((NJY_ZEROPOINT - mag - mean - slope * temperature) / 2.5)
        for band, (mean, slope) in colours.items()
    }


_KINDS = (
    # kind, whether on a host, sign of the change
    *((("transient", True, 1),) * 4),
    *((("transient", False, 1),) * 2),
    *((("fading", True, -1),) * 2),
    ("fading", False, -1),
    ("variable", False, 1),
    ("variable", False, -1),
    ("variable", False, -1),
)


def make_events(seed, wcs, shape, n, galaxies, noise_flux, *, margin=0):
    """Transients and variable stars on an image.

    Parameters
    ----------
    seed
        int.
    wcs, shape
        Of the image.
    n
        How many.
    galaxies
        Possible hosts; those between magnitudes 18 and 24.5 in i are taken.
    noise_flux
        {band: nJy} flux error of a point source in a typical exposure: the largest changes lie
        between 4 and 400 times it, evenly in the logarithm.
    margin
        px around the image where events happen too; negative to keep clear of the edges.
    """
    rng = rng_for(seed, "events")
    kinds = [_KINDS[i % len(_KINDS)] for i in rng.permutation(n)]
    on_host = np.array([k[1] for k in kinds], bool)
    sign = np.array([k[2] for k in kinds], float)
    ra, dec, host = _event_positions(rng, wcs, shape, margin, on_host, galaxies)
    strata = (rng.permutation(n) + rng.random(n)) / max(n, 1)
    snr = _SNR_RANGE[0] * (_SNR_RANGE[1] / _SNR_RANGE[0]) ** strata
    change = {band: sign * snr * noise for band, noise in noise_flux.items()}
    kind = np.array([k[0] for k in kinds], dtype="U9")
    # A fading source keeps nothing when its phase is 1; a variable star always shines.
    ratio = np.where(kind == "variable", rng.uniform(1.3, 8.0, n), 1.0 * (kind == "fading"))
    template = {band: np.abs(value) * ratio for band, value in change.items()}
    return Events(kind, ra, dec, host, template, change)


def _event_positions(rng, wcs, shape, margin, on_host, galaxies):
    """ra, dec (deg) and host index of each event, no two closer than _MIN_SEPARATION."""
    hosts = _possible_hosts(wcs, shape, margin, galaxies)
    taken = np.empty((0, 3))
    for wants_host in on_host:
        for _ in range(30):
            candidate = _one_position(
                rng, wcs, shape, margin, hosts if wants_host else [], galaxies
            )
            if taken.size == 0 or np.min(_separation(candidate, taken)) > _MIN_SEPARATION:
                break
        taken = np.vstack([taken, candidate])
    return taken[:, 0], taken[:, 1], taken[:, 2].astype(int)


def _possible_hosts(wcs, shape, margin, galaxies):
    x, y = wcs.wcs_world2pix(galaxies.ra, galaxies.dec, 0)
    inside = (x > -margin) & (x < shape[1] + margin) & (y > -margin) & (y < shape[0] + margin)
    mag = NJY_ZEROPOINT - 2.5 * np.log10(galaxies.flux["i"])
    return np.flatnonzero(inside & (mag > 18.0) & (mag < 24.5))


def _one_position(rng, wcs, shape, margin, hosts, galaxies):
    if len(hosts) == 0:
        ra, dec = _positions(rng, wcs, shape, margin, 1)
        return ra[0], dec[0], -1
    host = rng.choice(hosts)
    # Supernovae follow the light: most lie within one half-light radius of the nucleus.
    offset = galaxies.radius[host] * np.abs(rng.normal(0, 0.8)) + 0.05
    angle = rng.uniform(0, 2 * np.pi)
    dec = galaxies.dec[host] + offset * np.sin(angle) / 3600.0
    east = offset * np.cos(angle) / 3600.0
    return galaxies.ra[host] + east / np.cos(np.radians(dec)), dec, host


def _separation(one, many):
    east = (many[:, 0] - one[0]) * np.cos(np.radians(one[1]))
    return 3600.0 * np.hypot(east, many[:, 1] - one[1])
