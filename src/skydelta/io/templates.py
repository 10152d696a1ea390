"""Template files: native, with COVERAGE and NOISECORR."""

import numpy as np
from astropy.io import fits

from skydelta.io.native import read_native, write_exposure
from skydelta.io.products import open_product


def write_template(path, template):
    """A Template as a native file with COVERAGE and NOISECORR."""
    extra = [
        fits.ImageHDU(template.coverage, name="COVERAGE"),
        fits.ImageHDU(template.noise_correlation, name="NOISECORR"),
    ]
    write_exposure(path, template.exposure, extra)


def read_template(path):
    """(Exposure, noise correlation) of a template file."""
    with open_product(path) as hdul:
        return read_native(hdul), np.array(hdul["NOISECORR"].data, float)
