"""ZOGY on simulated pairs: real masks, wings, gradients, a resampled template."""

import numpy as np
import pytest
from scenes import (
    blank_sky,
    correlation,
    pull_of,
    robust_sigma,
)

from skydelta.mask import UNUSABLE
from skydelta.subtract import SubtractOptions, ZogyOptions, subtract

SPACES = pytest.mark.parametrize("image_space", [False, True], ids=["tiles", "image space"])


class TestSimulated:
    """Real masks, wings, gradients, a resampled template: `broad` and `sharp`."""

    @pytest.fixture(scope="class")
    @classmethod
    def made(cls):
        return {}

    def result(self, made, request, name, image_space=False):
        chain = request.getfixturevalue(name)
        if (name, image_space) not in made:
            images = chain.science, chain.template.exposure, chain.template.noise_correlation
            options = SubtractOptions(method="zogy", zogy=ZogyOptions(image_space=image_space))
            made[name, image_space] = subtract(*images, options=options)
        return chain, made[name, image_space]

    PAIRS = pytest.mark.parametrize("name", ["broad", "sharp"])

    @PAIRS
    @SPACES
    def test_noise(self, made, request, name, image_space):
        chain, difference = self.result(made, request, name, image_space)
        blank = blank_sky(chain, difference.exposure)
        assert blank.mean() > 0.4
        pull = np.where(blank, pull_of(difference.exposure), np.nan)
        assert np.nanstd(pull) == pytest.approx(1.0, abs=0.03)
        assert robust_sigma(pull[blank]) == pytest.approx(1.0, abs=0.03)
        for lag in ((1, 0), (0, 1)):
            assert abs(correlation(pull, *lag)) < 0.05

    @PAIRS
    def test_tiles_and_image_space_agree(self, made, request, name):
        chain, tiles = self.result(made, request, name)
        _, image = self.result(made, request, name, True)
        blank = blank_sky(chain, tiles.exposure)
        sigma = np.sqrt(tiles.exposure.variance)
        change = ((image.exposure.image - tiles.exposure.image) / sigma)[blank]
        assert np.std(change) < 0.1
        assert (image.exposure.variance / tiles.exposure.variance)[blank] == pytest.approx(
            1.0, abs=0.03
        )
        assert np.std((image.score.score - tiles.score.score)[blank]) < 0.05

    @PAIRS
    @SPACES
    def test_transients_as_with_alard_lupton(self, made, request, name, image_space):
        """Fluxes to half an error, and what the flux ratios of the two allow."""
        chain, difference = self.result(made, request, name, image_space)
        truth = chain.pair.truth
        x, y = (np.array(truth[c], float) for c in ("x", "y"))
        inside = (np.minimum(x, y) > 40) & (np.maximum(x, y) < 472)
        x, y = x[inside], y[inside]
        ours, theirs = difference.exposure, chain.decorrelated.exposure
        fluxes = [psf_fluxes(e, x, y) for e in (ours, theirs)]
        known = np.isfinite(fluxes[0][0]) & np.isfinite(fluxes[1][0])
        assert known.sum() > 3
        host = np.array(truth["template_flux_nJy"])[inside] / chain.science.photo_calib.scale
        change = (fluxes[0][0] - fluxes[1][0])[known]
        allowed = 0.5 * fluxes[1][1] + 0.03 * (np.abs(fluxes[1][0]) + host)
        assert (np.abs(change) < allowed[known]).all()
        errors = fluxes[0][1] / fluxes[1][1]
        assert np.median(errors[known]) == pytest.approx(1.0, abs=0.05)

    @PAIRS
    def test_flux_ratio(self, made, request, name):
        chain, difference = self.result(made, request, name)
        error = difference.exposure.meta["KSUMERR"][0]
        allowed = 4 * error + 0.01 * chain.pair.flux_scale
        assert abs(difference.flux_ratio - chain.pair.flux_scale) < allowed
        assert error < 0.02 * chain.pair.flux_scale

    @PAIRS
    def test_score_in_blank_sky_is_unit_noise(self, made, request, name):
        chain, difference = self.result(made, request, name)
        score = difference.score
        blank = blank_sky(chain, difference.exposure) & np.isfinite(score.flux_sigma)
        assert robust_sigma(score.score[blank]) == pytest.approx(1.0, abs=0.08)


def psf_fluxes(exposure, x, y):
    """Optimal fluxes at known places and their errors; NaN where pixels of the core are bad."""
    values = []
    for stamp, x0, y0 in zip(*exposure.psf.images(x, y), strict=True):
        box = np.s_[y0 : y0 + len(stamp), x0 : x0 + len(stamp)]
        bad = exposure.mask.any(*UNUSABLE)[box]
        weight = np.where(bad, 0, 1 / exposure.variance[box])
        bottom = (weight * stamp**2).sum()
        lost = (stamp**2)[bad].sum() / (stamp**2).sum()
        flux = (weight * stamp * exposure.image[box]).sum() / bottom if lost < 0.05 else np.nan
        values.append((flux, bottom**-0.5))
    return np.transpose(values)
