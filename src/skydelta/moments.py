"""Second moments of sources under Gaussian weights matched to each."""

import numpy as np

_LEAST_MOMENT = 0.01
"""px^2; weights narrower than this miss the pixels."""


def adaptive_moments(stamps, sigma, iterations=12):
    """Second moments of many stamps under Gaussian weights matched to each.

    Parameters
    ----------
    stamps
        (n, size, size), size odd, source near the middle pixel, sky zero.
    sigma
        Starting width of the weight, px.
    iterations
        Rounds of matching the weight (Bernstein & Jarvis 2002, section 3).

    Returns
    -------
    centre
        (2, n): x and y from the middle pixel; NaN, as the moments, where the iteration fails.
    moments
        (3, n): Ixx, Iyy, Ixy, px^2.
    weight
        (n, size, size), the last weights, with unit sum.
    """
    half, n = stamps.shape[-1] // 2, len(stamps)
    yy, xx = (a.ravel() for a in np.mgrid[-half : half + 1, -half : half + 1].astype(float))
    # All moments of a stamp in one product; they are moved to its centre afterwards.
    powers = np.stack([np.ones_like(xx), xx, yy, xx * xx, yy * yy, xx * yy], axis=1)
    flat = stamps.reshape(n, xx.size)
    centre = np.zeros((2, n))
    moments = np.tile(np.array([[sigma**2], [sigma**2], [0.0]]), (1, n))
    for _ in range(iterations):
        weight = _gaussians(xx, yy, centre, moments)
        total, *raw = ((weight * flat) @ powers).T
        with np.errstate(invalid="ignore", divide="ignore"):
            x, y, x2, y2, xy = (m / total for m in raw)
            step = np.stack([x, y]) - centre
            (cx, cy) = centre
            observed = np.stack(
                [
                    x2 - 2 * cx * x + cx * cx,
                    y2 - 2 * cy * y + cy * cy,
                    xy - cx * y - cy * x + cx * cy,
                ]
            )
            # A Gaussian source under an equal Gaussian weight shows half its covariance.
            updated = _inverse(_inverse(observed) - _inverse(moments))
            determinant = updated[0] * updated[1] - updated[2] ** 2
            failed = ~(
                (total > 0)
                & (updated[0] > 0)
                & (determinant > _LEAST_MOMENT * (updated[0] + updated[1]))
                & (np.abs(centre + 2 * step).max(axis=0) < half / 2)
                & (updated[:2].max(axis=0) < half**2)
            )
        centre = np.where(failed, np.nan, centre + 2 * step)
        moments = np.where(failed, np.nan, updated)
    return centre, moments, weight.reshape(stamps.shape)


def _gaussians(xx, yy, centre, moments):
    """(n, pixels) float32, each of unit sum."""
    xx, yy = xx.astype(np.float32), yy.astype(np.float32)
    inverse = _inverse(moments).astype(np.float32)[:, :, None]
    dx, dy = (
        grid - c.astype(np.float32)[:, None] for grid, c in zip((xx, yy), centre, strict=True)
    )
    weight = np.exp(-0.5 * (inverse[0] * dx * dx + inverse[1] * dy * dy + 2 * inverse[2] * dx * dy))
    return weight / weight.sum(axis=1, keepdims=True)


def _inverse(moments):
    """Inverses of the symmetric 2 x 2 matrices (xx, yy, xy)."""
    xx, yy, xy = moments
    return np.stack([yy, xx, -xy]) / (xx * yy - xy * xy)
