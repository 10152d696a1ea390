import numpy as np
import pytest
from scenes import gaussian_stamp, make_exposure, robust_sigma, star_field, white_noise

from skydelta.blends import add_models, blend_groups, fit_blends, near_pairs
from skydelta.cutouts import Pixels
from skydelta.mask import Mask
from skydelta.psf import FWHM_PER_SIGMA

SIGMA = 2.0
FWHM = FWHM_PER_SIGMA * SIGMA
NORM = np.sqrt((gaussian_stamp(SIGMA) ** 2).sum())
HALF = 12


def pairs(separation, snr, ratio=1.0, *, noise=1.0, seed=0, shape=(600, 600)):
    """(exposure, x, y, flux) of blended pairs 50 px apart, separation in FWHM, random angles."""
    rng = np.random.default_rng(seed)
    grid = np.arange(40, shape[0] - 35, 50)
    xx, yy = (a.ravel() + rng.uniform(-0.5, 0.5, a.size) for a in np.meshgrid(grid, grid))
    angle, apart = rng.uniform(0, 2 * np.pi, xx.size), 0.5 * separation * FWHM
    x = np.column_stack([xx + apart * np.cos(angle), xx - apart * np.cos(angle)]).ravel()
    y = np.column_stack([yy + apart * np.sin(angle), yy - apart * np.sin(angle)]).ravel()
    flux = np.tile([1.0, ratio], xx.size) * snr / NORM
    image = star_field(shape, x, y, flux, SIGMA) + noise * white_noise(shape, seed)
    return make_exposure(image, max(noise, 1e-3) ** 2, sigma=SIGMA), x, y, flux


def fit(exposure, x, y, **options):
    groups = blend_groups(x, y, np.arange(len(x)), 3 * FWHM)
    return fit_blends(Pixels(exposure), exposure.psf, x, y, groups, HALF, FWHM, **options)


@pytest.mark.parametrize("separation", [0.7, 1.0, 1.5])
@pytest.mark.parametrize("ratio", [1.0, 0.1, -0.5])
def test_noiseless_members_are_exact(separation, ratio):
    exposure, x, y, flux = pairs(separation, 1000, ratio, noise=0, shape=(160, 160))
    rng = np.random.default_rng(3)
    result = fit(exposure, x + rng.normal(0, 0.2, x.size), y + rng.normal(0, 0.2, x.size))
    assert result["flux"] == pytest.approx(flux, rel=0.01)
    assert result["x"] == pytest.approx(x, abs=0.02)
    assert not result["bad_position"].any()


@pytest.mark.parametrize(("separation", "snr"), [(1.0, 30), (1.5, 20), (2.5, 20)])
def test_pulls(separation, snr):
    """Flux and position, started 0.3 px off: no bias beyond 3 standard errors, width 1."""
    exposure, x, y, flux = pairs(separation, snr, seed=int(10 * separation), shape=(1000, 1000))
    rng = np.random.default_rng(1)
    result = fit(exposure, x + rng.normal(0, 0.3, x.size), y + rng.normal(0, 0.3, x.size))
    pull = (result["flux"] - flux) / result["flux_error"]
    assert 0.9 < robust_sigma(pull) < 1.12
    assert abs(np.median(pull)) < 4 / np.sqrt(pull.size)
    for axis, true in (("x", x), ("y", y)):
        assert 0.88 < robust_sigma((result[axis] - true) / result[f"{axis}_error"]) < 1.15


def test_errors_carry_the_covariance_of_neighbours():
    """Two Gaussians d apart at known places: sigma / sqrt(1 - rho^2), rho = exp(-d^2 / 4 s^2).

    Free positions only add to it.
    """
    errors = {}
    for separation in (0.8, 1.0, 3.0):
        exposure, x, y, _ = pairs(separation, 1000, noise=0.1, shape=(160, 160))
        errors[separation] = np.median(fit(exposure, x, y)["flux_error"]) * NORM / 0.1
    assert errors[3.0] == pytest.approx(1.0, rel=0.01)
    for separation in (0.8, 1.0):
        rho = np.exp(-0.25 * (separation * FWHM / SIGMA) ** 2)
        assert errors[separation] > 0.99 / np.sqrt(1 - rho**2)
    assert errors[0.8] > errors[1.0]


def test_large_sets_are_fitted_in_turn():
    """The same solution, with a flag, and errors of single sources."""
    exposure, x, y, flux = pairs(1.5, 1000, 0.3, noise=0, shape=(160, 160))
    joint, turn = fit(exposure, x, y), fit(exposure, x, y, max_members=1)
    assert turn["too_many"].all()
    assert not joint["too_many"].any()
    assert turn["flux"] == pytest.approx(flux, rel=0.02)


def test_a_chain_of_many():
    """60 sources 1.3 FWHM apart in a row: every flux, one joint set."""
    x = 30 + 1.3 * FWHM * np.arange(60)
    y = np.full(60, 30.4)
    rng = np.random.default_rng(2)
    flux = rng.uniform(0.3, 1, 60) * 1e4
    exposure = make_exposure(star_field((60, 460), x, y, flux, SIGMA), 1e-6, sigma=SIGMA)
    result = fit(exposure, x + rng.normal(0, 0.1, 60), y)
    assert result["flux"] == pytest.approx(flux, rel=0.01)


def test_order_of_the_sources_does_not_matter():
    exposure, x, y, _ = pairs(1.2, 20, seed=5)
    order = np.random.default_rng(0).permutation(x.size)
    one, two = fit(exposure, x, y), fit(exposure, x[order], y[order])
    for name in ("flux", "x", "flux_error"):
        assert two[name] == pytest.approx(one[name][order], rel=1e-6)


def test_other_light_is_taken_off():
    exposure, x, y, flux = pairs(1.2, 1000, noise=0, shape=(160, 160))
    light = np.full(exposure.shape, 3.0)
    raised = exposure.replace(image=exposure.image + np.float32(3.0))
    result = fit(raised, x, y, light=light)
    assert result["flux"] == pytest.approx(flux, rel=0.01)
    # The models are on it afterwards.
    assert light.sum() - 3.0 * light.size == pytest.approx(flux.sum(), rel=0.01)


def test_a_masked_member_says_so_and_leaves_the_other():
    exposure, x, y, flux = pairs(2.0, 1000, noise=0, shape=(160, 160))
    where = np.zeros(exposure.shape, bool)
    yi, xi = int(y[0]), int(x[0])
    where[yi - 4 : yi + 5, xi - 4 : xi + 5] = True
    masked = exposure.replace(mask=Mask.empty(exposure.shape).with_plane("SAT", where))
    result = fit(masked, x, y)
    assert result["bad_flux"][0]
    assert not result["bad_flux"][2:].any()
    assert result["flux"][2:] == pytest.approx(flux[2:], rel=0.01)


class TestGroups:
    def test_by_footprint_and_by_distance(self):
        x = np.array([0.0, 100.0, 103.0, 300.0, 305.0, 500.0])
        groups = blend_groups(x, np.zeros(6), np.array([1, 1, 2, 3, 4, 5]), 4.0)
        assert groups[0] == groups[1] == groups[2]
        assert len(set(groups)) == 4

    def test_none(self):
        nothing = np.zeros(0)
        assert blend_groups(nothing, nothing, np.zeros(0, int), 4.0).size == 0
        assert near_pairs(nothing, nothing, 4.0).shape == (0, 2)


def test_models_at_the_edge_lose_what_is_outside():
    exposure = make_exposure(np.zeros((60, 60)), sigma=SIGMA)
    image = np.zeros((60, 60))
    add_models(image, exposure.psf, np.array([-0.5]), np.array([30.0]), np.array([100.0]))
    assert image.sum() == pytest.approx(50.0, rel=0.01)
