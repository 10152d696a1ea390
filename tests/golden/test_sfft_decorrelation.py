"""The whitening kernel against SFFT's own, for its ten-exposure DECam difference."""

import numpy as np
import pytest
from astropy.io import fits

from skydelta.whitening import noise_power, real_transform, whitening_kernel


def sky_sigma(image):
    """Scatter of the sky from the median absolute deviation, clipped once at 3 sigma."""
    values = image.ravel()
    for _ in range(2):
        middle = np.median(values)
        sigma = 1.4826 * np.median(np.abs(values - middle))
        values = values[np.abs(values - middle) < 3 * sigma]
    return sigma


def test_whitening_kernel_equals_sfft(shared_data):
    folder = shared_data / "decam_sfft_i"

    def read(name):
        with fits.open(folder / f"{name}.fits.gz") as hdul:
            return np.array(hdul[0].data, float)

    final = read("FinalMatchKernel")
    terms = []
    for epoch, chain in (("04", []), ("18", [final])):
        for letter in "abcde":
            variance = sky_sigma(read(f"DEC-OBS{epoch}{letter}.mini")) ** 2
            own = [] if letter == "a" else [read(f"DEC-OBS{epoch}{letter}.MatchKernel")]
            terms.append((variance, own + chain))
    expected = read("sfft_answer_DeCorrKernel")
    # SFFT's grid: twice the power of two above the largest kernel.
    largest = max(k.shape[0] for _, kernels in terms for k in kernels)
    n = 2 ** (int(np.ceil(np.log2(largest))) + 1)
    variances = [variance for variance, _ in terms]
    filters = [np.prod([real_transform(k, n) for k in chain], axis=0) for _, chain in terms]
    power = noise_power(variances, filters, [1.0] * len(terms))
    kernel = whitening_kernel(power, expected.shape[0], n)
    assert kernel.sum() == pytest.approx(1.0)
    assert np.abs(kernel - expected).max() / expected.max() < 0.005
