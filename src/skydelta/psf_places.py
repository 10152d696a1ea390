"""Where a PSF is known: the place nearest to one where it is not."""

import numpy as np

_DIRECTIONS = 32
_LARGEST = 16384.0
_HALVINGS = 12


def nearest_known(psf, x, y):
    """Positions moved, where necessary, to near places at which a PSF has inputs.

    Circles of doubled radius about each position are searched for one, and the way to it halved
    until the border of what is known is found.

    Parameters
    ----------
    psf
        Psf, with ``has_inputs(x, y)``.
    x, y
        (n,) px.

    Returns
    -------
    x, y
        (n,) px. Unchanged where nothing is known within 16384 px, too.
    distance
        (n,) px that each was moved.
    """
    x, y = (np.array(value, float) for value in (x, y))
    distance = np.zeros(x.size)
    for k in np.flatnonzero(~psf.has_inputs(x, y)):
        found = _nearest(psf, x[k], y[k])
        if found is not None:
            distance[k] = np.hypot(found[0] - x[k], found[1] - y[k])
            x[k], y[k] = found
    return x, y, distance


def _nearest(psf, x, y):
    angle = 2 * np.pi / _DIRECTIONS * np.arange(_DIRECTIONS)
    c, s = np.cos(angle), np.sin(angle)
    radius = 1.0
    while radius <= _LARGEST:
        known = psf.has_inputs(x + radius * c, y + radius * s)
        if known.any():
            break
        radius *= 2
    else:
        return None
    c, s = c[known], s[known]
    near, far = np.zeros(c.size), np.full(c.size, radius)
    for _ in range(_HALVINGS):
        middle = 0.5 * (near + far)
        known = psf.has_inputs(x + middle * c, y + middle * s)
        near, far = np.where(known, near, middle), np.where(known, middle, far)
    k = np.argmin(far)
    return x + far[k] * c[k], y + far[k] * s[k]
