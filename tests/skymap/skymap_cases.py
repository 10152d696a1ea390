"""Points on the sky where skymaps are tried."""

import numpy as np


def sky_points(n, seed=7):
    """RA, Dec in deg: `n` points evenly on the sphere, and places where maps go wrong."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    hard_ra = [0.0, 0.0, 0.0, 359.999999, 1e-9, 350.0, 180.0, 0.0, 77.0]
    hard_dec = [90.0, -90.0, 0.0, 10.0, -10.0, 89.9, -89.9, 89.2561984, -75.0]
    return np.append(ra, hard_ra), np.append(dec, hard_dec)
