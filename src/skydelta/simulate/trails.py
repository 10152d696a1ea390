"""Satellite trails: straight lines of light across an image, as wide as the seeing."""

import numpy as np

TRAIL_DTYPE = np.dtype([(name, "f8") for name in ("x0", "y0", "x1", "y1", "peak", "fwhm")])
"""A trail from (x0, y0) to (x1, y1), 0-based px: counts at its middle line, width across it, px."""

TRAIL_SNR = (1.0, 20.0)
"""Range of the brightness of a trail's middle line, in noise sigmas of a pixel."""

_REACH = 12.0
"""Half widths at half maximum beyond which a trail is not drawn."""


def draw_trails(image, count, psf, noise, rng, snr=TRAIL_SNR):
    """Add trails that cross the whole image, in place.

    A point source that moves uniformly leaves the PSF integrated along its path: across it a
    Moffat profile of exponent beta becomes one of beta - 1/2.

    Parameters
    ----------
    image
        (ny, nx) float32 noiseless counts.
    count
        Number of trails.
    psf
        skydelta.simulate.optics.MoffatField; its width in the middle of the field is used.
    noise
        Standard deviation of a blank pixel, counts.
    rng
        numpy Generator.
    snr
        Their brightness is drawn evenly in log from this range, in units of `noise`.

    Returns
    -------
    ndarray
        (count,) of TRAIL_DTYPE.
    """
    ny, nx = image.shape
    truth = np.zeros(count, TRAIL_DTYPE)
    for row in truth:
        angle = rng.uniform(0, np.pi)
        # Through a point of the middle half, so that no trail merely cuts a corner.
        x, y = rng.uniform(0.25, 0.75) * (nx - 1), rng.uniform(0.25, 0.75) * (ny - 1)
        peak = noise * np.exp(rng.uniform(*np.log(snr)))
        draw_trail(image, x, y, angle, peak, float(psf.fwhm[0]), psf.beta)
        ends = _ends(x, y, angle, image.shape)
        row["x0"], row["y0"], row["x1"], row["y1"] = ends
        row["peak"], row["fwhm"] = peak, trail_fwhm(float(psf.fwhm[0]), psf.beta)
    return truth


def draw_trail(image, x, y, angle, peak, fwhm, beta):
    """Add one trail through (x, y), in place.

    Parameters
    ----------
    image
        (ny, nx) counts.
    x, y
        A point of its middle line, 0-based px.
    angle
        Of the line against the x axis, radians.
    peak
        Counts per px on the middle line.
    fwhm, beta
        Of the Moffat PSF, px.
    """
    scale = 0.5 * fwhm / np.sqrt(2 ** (1 / beta) - 1)
    ny, nx = image.shape
    columns = np.arange(nx) - x
    reach = _REACH * 0.5 * fwhm
    for row in range(ny):
        distance = (row - y) * np.cos(angle) - columns * np.sin(angle)
        near = np.abs(distance) < reach
        image[row, near] += peak * (1 + (distance[near] / scale) ** 2) ** (0.5 - beta)


def trail_fwhm(fwhm, beta):
    """Width of a trail across, px, for a Moffat PSF of a FWHM and exponent."""
    scale = 0.5 * fwhm / np.sqrt(2 ** (1 / beta) - 1)
    return 2 * scale * np.sqrt(2 ** (1 / (beta - 0.5)) - 1)


def _ends(x, y, angle, shape):
    """Where the line through (x, y) leaves the image."""
    c, s = np.cos(angle), np.sin(angle)
    ny, nx = shape
    steps = []
    for start, slope, last in ((x, c, nx - 1), (y, s, ny - 1)):
        if abs(slope) > 1e-12:
            steps.append(sorted(((0 - start) / slope, (last - start) / slope)))
    low, high = max(t[0] for t in steps), min(t[1] for t in steps)
    return x + low * c, y + low * s, x + high * c, y + high * s
