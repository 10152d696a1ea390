"""Small gen2 repositories for tests: native images under LSST's names."""

import numpy as np
from scenes import make_exposure, tan_wcs, white_noise

from skydelta.io.native import write_exposure
from skydelta.lsst.gen2 import DATASETS

SHAPE = (60, 60)
RA, DEC = 55.0, -30.0


def put(root, dataset, *, exposure=None, ra=RA, **data_id):
    """Write an image as a dataset of a repository; its path."""
    path = root / DATASETS[dataset].path(data_id)
    if exposure is None:
        wcs = tan_wcs(SHAPE, ra=ra, dec=DEC)
        exposure = make_exposure(white_noise(SHAPE, 0), wcs=wcs, band=data_id.get("band", "i"))
    write_exposure(path, exposure)
    return path


def shifted(n_px):
    """Right ascension of an image so many px east of the first, 0.2 arcsec each."""
    return RA + n_px * 0.2 / 3600 / np.cos(np.radians(DEC))
