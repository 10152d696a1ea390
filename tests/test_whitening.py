import numpy as np
import pytest
from scenes import gaussian_stamp, white_noise
from scipy import fft
from scipy.signal import fftconvolve

from skydelta.whitening import (
    centred,
    convolve_stamps,
    noise_power,
    real_transform,
    transform,
    whitened,
    whitening_kernel,
)

KERNEL = 1.7 * gaussian_stamp(1.6, 21)
POINT = np.ones((1, 1))
RHO = np.outer([0.05, 0.2, 0.5, 0.2, 0.05], [0.05, 0.2, 0.5, 0.2, 0.05])
"""Noise autocorrelation of a resampled image, more or less; sum 1."""


def whitened_template(v_s, v_t, rho=None, kernel=KERNEL, size=None):
    """The filters of S - K conv T."""
    return whitened((POINT, kernel), (v_s, v_t), (None, rho), size)


def test_transform_of_a_centred_stamp_is_real():
    hat = transform(gaussian_stamp(1.5, 21), 64)
    assert np.abs(hat.imag).max() < 1e-12
    assert hat[0, 0] == pytest.approx(1.0, abs=1e-6)


def test_centred_undoes_transform():
    stamp = white_noise((9, 9), 0)
    assert centred(transform(stamp, 20), 9) == pytest.approx(stamp, abs=1e-12)
    with pytest.raises(ValueError, match="cannot cut 21 px from a grid of 20"):
        centred(transform(stamp, 20), 21)


def test_convolve_stamps():
    a, b = white_noise((9, 9), 1), white_noise((5, 5), 2)
    assert convolve_stamps(a, b, 13) == pytest.approx(fftconvolve(a, b), abs=1e-12)
    assert convolve_stamps(a, b, 9) == pytest.approx(fftconvolve(a, b, mode="same"), abs=1e-12)


@pytest.mark.parametrize(("v_s", "v_t"), [(1.0, 0.1), (1.0, 1.0), (0.2, 3.0)])
class TestDecorrelationKernel:
    def test_unit_sum(self, v_s, v_t):
        psi = whitened_template(v_s, v_t).psi
        assert psi.sum() == pytest.approx(1.0)
        assert psi.shape == (43, 43)
        assert psi == pytest.approx(psi[::-1, ::-1], abs=1e-9)

    def test_noise_identity(self, v_s, v_t):
        """sigma_s^2 sum c_n^2 + sigma_t^2 sum c_r^2 = sigma_s^2 + sigma_t^2 ksum^2 (dia.md 2.3)."""
        psi = whitened_template(v_s, v_t).psi
        c_n, c_r = psi, convolve_stamps(KERNEL, psi, 63)
        after = v_s * (c_n**2).sum() + v_t * (c_r**2).sum()
        assert after == pytest.approx(v_s + v_t * KERNEL.sum() ** 2, rel=2e-3)

    def test_power_is_flat(self, v_s, v_t):
        psi = whitened_template(v_s, v_t).psi
        hat = real_transform(psi, 128)
        power = noise_power([v_s, v_t], [hat, real_transform(KERNEL, 128) * hat], [1.0, 1.0])
        assert power == pytest.approx(np.full(power.shape, v_s + v_t * KERNEL.sum() ** 2), rel=0.02)

    def test_correlated_template(self, v_s, v_t):
        """With rho the identity holds for the template's spectrum V rho(k), and for the gain."""
        filters = whitened_template(v_s, v_t, RHO)
        psi, gain = filters.psi, filters.template_gain
        c_r = convolve_stamps(KERNEL, psi, 63)
        expected = v_s + v_t * KERNEL.sum() ** 2
        after = v_s * (psi**2).sum() + gain * v_t * (c_r**2).sum()
        assert after == pytest.approx(expected, rel=2e-3)
        n = 128
        power = v_s * np.abs(transform(psi, n)) ** 2
        power += v_t * np.abs(transform(c_r, n)) ** 2 * transform(RHO, n).real
        assert power == pytest.approx(np.full((n, n), expected), rel=0.02)


def test_gain_of_white_noise_is_one():
    assert whitened_template(1.0, 1.0).template_gain == pytest.approx(1.0)
    assert whitened_template(1.0, 1.0, POINT).template_gain == pytest.approx(1.0)


def test_broad_noise_gains():
    """The correlation moves the template's noise to low frequencies, which the kernel passes."""
    assert 1 > whitened_template(1.0, 1.0, RHO).template_gain > 0.5


def test_noiseless_template_needs_no_decorrelation():
    psi = whitened_template(1.0, 0.0).psi
    delta = np.zeros_like(psi)
    delta[21, 21] = 1
    assert psi == pytest.approx(delta, abs=1e-10)


def test_whitening_of_coloured_noise():
    """A sum of filtered white noises, whitened: unit variance after scaling, no neighbours."""
    kernels = [gaussian_stamp(0.8, 13), gaussian_stamp(0.6, 13)]
    filters = [real_transform(kernel, 96) for kernel in (*kernels, np.ones((1, 1)))]
    psi = whitening_kernel(noise_power([1.0, 0.5, 0.3], filters, [1.0] * 3), 41, 96)
    noise = sum(
        fftconvolve(white_noise((400, 400), k), kernel, mode="same")
        for k, kernel in enumerate(
            [kernels[0], np.sqrt(0.5) * kernels[1], np.sqrt(0.3) * np.ones((1, 1))]
        )
    )
    white = fftconvolve(noise, psi, mode="same")[30:-30, 30:-30]
    before = np.mean(noise[:, 1:] * noise[:, :-1]) / noise.var()
    after = np.mean(white[:, 1:] * white[:, :-1]) / white.var()
    assert before > 0.2
    assert abs(after) < 0.02
    assert white.var() == pytest.approx(1.8, rel=0.02)  # the power at k = 0


@pytest.mark.parametrize(("v_s", "v_t", "flux_scale"), [(1.0, 0.2, 1.0), (2.0, 1.0, 1.7)])
def test_equals_zogy_on_gaussians(v_s, v_t, flux_scale):
    """AL with decorrelation against ZOGY (Zackay et al. 2016; dia.md 2.4), kernel P_n / P_r.

    psi (S - K T) and ZOGY's D, P_D and noise differ by the flux zero point F_D only.
    """
    n, sigma_n, sigma_r = 128, 2.0, 1.5
    ky, kx = np.meshgrid(fft.fftfreq(n), fft.fftfreq(n), indexing="ij")
    k2 = 2 * np.pi**2 * (kx**2 + ky**2)
    p_n, p_r = np.exp(-k2 * sigma_n**2), np.exp(-k2 * sigma_r**2)
    f_n, f_r = flux_scale, 1.0
    # Zero-pad the stamp of the kernel in real space: the same grid as the decorrelation's.
    kernel = centred(flux_scale * p_n / p_r, 61)
    psi = whitened_template(v_s, v_t, kernel=kernel, size=127).psi
    hat_psi, hat_k = transform(psi, n), transform(kernel, n)

    den = v_s * f_r**2 * p_r**2 + v_t * f_n**2 * p_n**2
    f_d = f_n * f_r / np.sqrt(v_s * f_r**2 + v_t * f_n**2)
    p_d = f_n * f_r * p_n * p_r / (f_d * np.sqrt(den))
    # In ZOGY's D the science image is multiplied by F_r P_r / sqrt(den), of unit noise.
    science_filter = f_r * p_r / np.sqrt(den)
    template_filter = f_n * p_n / np.sqrt(den)
    ours = np.sqrt(v_s + v_t * kernel.sum() ** 2)
    seen = p_r > 1e-5  # beyond it the ratio of Gaussians is round-off
    assert (hat_psi / ours)[seen] == pytest.approx(science_filter[seen], abs=2e-4)
    assert (hat_psi * hat_k / ours)[seen] == pytest.approx(template_filter[seen], abs=2e-4)
    assert (hat_psi * p_n)[seen] == pytest.approx(p_d[seen], abs=2e-4)
    noise = v_s * np.abs(hat_psi) ** 2 + v_t * np.abs(hat_psi * hat_k) ** 2
    assert noise[seen] == pytest.approx(np.full(seen.sum(), ours**2), rel=2e-3)
