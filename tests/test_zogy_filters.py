"""The filters of proper subtraction against the equations of Zackay, Ofek & Gal-Yam (2016)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import gaussian_stamp, white_noise

from skydelta.whitening import centred, spectrum, transform, whitened
from skydelta.zogy_filters import zogy_filters

N = 96
BETA, S_N, S_R = 2.5, 1.7, 0.4
V_N, V_R = S_N**2, S_R**2
TOTAL = V_N + BETA**2 * V_R


def comet(sigma, size=61):
    """A PSF that is not its own reflection."""
    stamp = 0.8 * gaussian_stamp(sigma, size) + 0.2 * gaussian_stamp(1.1 * sigma, size, 1.4, 0.9)
    return stamp / stamp.sum()


PSFS = {
    "broad": (gaussian_stamp(2.0, 61), gaussian_stamp(1.5, 61)),
    "sharp": (gaussian_stamp(1.4, 61), gaussian_stamp(1.6, 61)),
    "shifted": (gaussian_stamp(2.0, 61, 0.3, -0.4), gaussian_stamp(1.5, 61, -0.2, 0.1)),
    "comet": (comet(1.7), gaussian_stamp(1.5, 61, sigma_y=1.3)),
}


@pytest.fixture(params=PSFS)
def hats(request):
    """Transforms of P_n and P_r."""
    return tuple(transform(stamp, N) for stamp in PSFS[request.param])


def filters_of(hats):
    p_n, p_r = hats
    return zogy_filters(p_n / p_r, p_n, (V_N, V_R), BETA)


def sky(seed=1):
    """Transforms of N and R, the template on its own flux scale."""
    return [np.fft.fft2(s * white_noise((N, N), seed + k)) for k, s in enumerate((S_N, S_R))]


def denominator(p_n, p_r):
    return V_N * abs(p_r) ** 2 + BETA**2 * V_R * abs(p_n) ** 2


F_D = BETA / np.sqrt(TOTAL)


def assert_same(found, expected, tolerance=1e-9):
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()


class TestEquations:
    """With F_r = 1 and F_n = beta; theirs is in the template's counts, ours in the science's."""

    def test_difference(self, hats):
        """Equation (13), up to the phase of P_r, which D and P_D share."""
        p_n, p_r = hats
        new, ref = sky()
        theirs = (p_r * new - BETA * p_n * ref) / np.sqrt(denominator(p_n, p_r))
        ours = filters_of(hats)
        found = ours.science * new - ours.template * ref
        phase = p_r / abs(p_r)
        assert_same(found * phase, BETA / F_D * theirs)

    def test_psf(self, hats):
        """Equation (14), up to the same phase."""
        p_n, p_r = hats
        theirs = BETA * p_r * p_n / (F_D * np.sqrt(denominator(p_n, p_r)))
        assert_same(filters_of(hats).psf * p_r / abs(p_r), theirs)

    def test_flux_of_the_psf(self, hats):
        assert filters_of(hats).psf[0, 0] == pytest.approx(1.0)

    def test_score(self, hats):
        """Equation (12)."""
        p_n, p_r = hats
        new, ref = sky()
        k_r = BETA**2 * np.conj(p_r) * abs(p_n) ** 2 / denominator(p_n, p_r)
        k_n = BETA * np.conj(p_n) * abs(p_r) ** 2 / denominator(p_n, p_r)
        ours = filters_of(hats)
        found = ours.score_science * new - ours.score_template * ref
        assert_same(found, TOTAL / BETA * (k_n * new - k_r * ref))

    def test_the_psfs_are_not_swapped(self, hats):
        """As they are in PyZOGY: k_r with |P_r|^2 P_n*, k_n with |P_n|^2 P_r*."""
        p_n, p_r = hats
        new, ref = sky()
        k_r = BETA**2 * np.conj(p_n) * abs(p_r) ** 2 / denominator(p_n, p_r)
        k_n = BETA * np.conj(p_r) * abs(p_n) ** 2 / denominator(p_n, p_r)
        ours = filters_of(hats)
        found = ours.score_science * new - ours.score_template * ref
        with pytest.raises(AssertionError):
            assert_same(found, TOTAL / BETA * (k_n * new - k_r * ref), 0.05)

    def test_score_is_the_difference_correlated_with_its_psf(self, hats):
        new, ref = sky()
        ours = filters_of(hats)
        difference = ours.science * new - ours.template * ref
        score = ours.score_science * new - ours.score_template * ref
        assert_same(score, np.conj(ours.psf) * difference)

    def test_a_static_sky_cancels(self, hats):
        p_n, p_r = hats
        stars = np.fft.fft2(white_noise((N, N), 3))
        ours = filters_of(hats)
        left = ours.science * BETA * p_n * stars - ours.template * p_r * stars
        assert np.abs(left).max() < 1e-9 * np.abs(BETA * p_n * stars).max()

    def test_flux_of_a_source(self, hats):
        """S / F_S at its pixel, exactly; S peaks there whatever the PSFs."""
        p_n, _ = hats
        ours = filters_of(hats)
        source = np.zeros((N, N))
        source[40, 57] = 321.0
        score = np.fft.ifft2(ours.score_science * p_n * np.fft.fft2(source)).real
        assert score[40, 57] / ours.power == pytest.approx(321.0, rel=1e-9)
        assert np.unravel_index(np.argmax(score), score.shape) == (40, 57)

    def test_power_is_theirs(self, hats):
        """F_S = sum F_n^2 |P_n|^2 F_r^2 |P_r|^2 / den, over the pixels of numpy's transforms."""
        p_n, p_r = hats
        f_s = (BETA**2 * abs(p_n * p_r) ** 2 / denominator(p_n, p_r)).mean()
        assert filters_of(hats).power == pytest.approx(TOTAL / BETA**2 * f_s)


class TestNoise:
    def test_identity(self, hats):
        """s_n^2 sum c_n^2 + s_r^2 sum c_r^2 = s_n^2 + beta^2 s_r^2."""
        ours = filters_of(hats)
        c_n, c_r = (np.fft.ifft2(c) for c in (ours.science, ours.template))
        found = V_N * (abs(c_n) ** 2).sum() + V_R * (abs(c_r) ** 2).sum()
        assert found == pytest.approx(TOTAL, rel=1e-10)
        assert ours.variance == pytest.approx(TOTAL)

    @settings(max_examples=25, deadline=None)
    @given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.1, 10), st.booleans())
    def test_spectrum_is_white(self, v_n, v_r, beta, correlated):
        """At every frequency, also with the correlation that resampling left in the template."""
        p_n, p_r = (transform(stamp, N) for stamp in PSFS["comet"])
        line = np.array([0.05, 0.2, 0.5, 0.2, 0.05])
        rho = np.outer(line, line) if correlated else None
        ours = zogy_filters(p_n / p_r, p_n, (v_n, v_r), beta, spectra=(1.0, spectrum(rho, N)))
        power = v_n * abs(ours.science) ** 2 + v_r * spectrum(rho, N) * abs(ours.template) ** 2
        assert power == pytest.approx(v_n + beta**2 * v_r, rel=1e-9)

    def test_score_of_noise(self, hats):
        """Its variance is that of D times sum P_D^2: the score over both is in sigma."""
        ours = filters_of(hats)
        k_n, k_r = (np.fft.ifft2(k) for k in (ours.score_science, ours.score_template))
        found = V_N * (abs(k_n) ** 2).sum() + V_R * (abs(k_r) ** 2).sum()
        assert found == pytest.approx(TOTAL * ours.power, rel=1e-9)


class TestDecorrelatedAlardLupton:
    """With the kernel P_n / P_r, whitened, it is the same."""

    SIGMA_N, SIGMA_R = 2.2, 1.6

    def both(self, correlations=(None, None), size=81):
        kernel = gaussian_stamp(np.sqrt(self.SIGMA_N**2 - self.SIGMA_R**2), 31)
        p_n, p_r = (transform(gaussian_stamp(s, 61), N * 2) for s in (self.SIGMA_N, self.SIGMA_R))
        ratio = np.where(abs(p_r) > 1e-9, p_n / p_r, 0)
        spectra = [spectrum(rho, N * 2) for rho in correlations]
        zogy = zogy_filters(ratio, p_n, (V_N, V_R), BETA, spectra=spectra)
        filters = np.ones((1, 1)), BETA * kernel
        return zogy, whitened(filters, (V_N, V_R), correlations, size)

    def test_filters(self):
        zogy, lupton = self.both()
        for theirs, ours in ((zogy.science, lupton.science), (zogy.template, lupton.template)):
            expected = centred(theirs, ours.shape[0])
            assert ours == pytest.approx(expected, abs=5e-5 * np.abs(expected).max())

    def test_with_a_correlated_template(self):
        rho = np.outer([0.2, 0.6, 0.2], [0.2, 0.6, 0.2])
        zogy, lupton = self.both((None, rho))
        expected = centred(zogy.science, lupton.science.shape[0])
        assert lupton.science == pytest.approx(expected, abs=5e-5)

    def test_psf(self):
        zogy, lupton = self.both()
        through = transform(lupton.science, N * 2)
        expected = centred(zogy.psf, 61)
        found = centred(through * transform(gaussian_stamp(self.SIGMA_N, 61), N * 2), 61)
        assert found == pytest.approx(expected, abs=1e-6)
