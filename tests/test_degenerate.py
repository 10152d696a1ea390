"""Input that cannot be subtracted, or hardly: a typed failure or the right answer."""

import numpy as np
import pytest
from scenes import make_exposure, star_field, white_noise

from skydelta.decorrelate import decorrelate
from skydelta.errors import BadKernelError, SkydeltaError, TooFewStarsError
from skydelta.kernel_fit import FitOptions
from skydelta.kernel_stars import StarOptions
from skydelta.mask import UNUSABLE, Mask
from skydelta.subtract import SubtractOptions, subtract

SHAPE = (400, 400)
EITHER = pytest.mark.parametrize("convolve", ["template", "science"])


def places(n=45, seed=100):
    rng = np.random.default_rng(seed)
    return rng.uniform(25, 375, (2, n)), rng.uniform(3e3, 3e4, n)


def scene(seed, sigma, *, variance=1.0, n=45, scale=1.0, **fields):
    (x, y), flux = places(n)
    image = star_field(SHAPE, x, y, scale * flux, sigma) + white_noise(SHAPE, seed, variance)
    return make_exposure(image, variance, sigma=sigma, **fields)


def pull_of(difference):
    exposure = difference.exposure
    good = ~exposure.mask.any(*UNUSABLE)
    return (exposure.image / np.sqrt(np.where(good, exposure.variance, 1)))[good]


def test_identical_images_leave_next_to_nothing():
    science = scene(1, 2.0)
    difference = subtract(science, science)
    assert np.std(pull_of(difference)) < 0.25
    assert difference.flux_ratio == pytest.approx(1.0, abs=5e-3)


@EITHER
def test_equal_sky_with_other_noise_leaves_noise(convolve):
    images = scene(1, 2.0), scene(2, 2.0, variance=0.1)
    images = images if convolve == "template" else images[::-1]
    difference = subtract(*images, options=SubtractOptions(convolve=convolve))
    result = decorrelate(difference, *images)
    good = ~result.exposure.mask.any(*UNUSABLE)
    pull = (result.exposure.image / np.sqrt(np.where(good, result.exposure.variance, 1)))[good]
    assert np.std(pull) == pytest.approx(1.0, abs=0.05)
    assert np.abs(pull).max() < 7


@EITHER
@pytest.mark.parametrize("empty", ["science", "template"])
def test_one_image_without_the_stars(convolve, empty):
    blank = make_exposure(white_noise(SHAPE, 3))
    images = (blank, scene(2, 1.6)) if empty == "science" else (scene(1, 2.2), blank)
    with pytest.raises((BadKernelError, TooFewStarsError)):
        subtract(*images, options=SubtractOptions(convolve=convolve))


@EITHER
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_constant_images(convolve):
    images = [make_exposure(np.full(SHAPE, 10.0))] * 2
    with pytest.raises((BadKernelError, TooFewStarsError)):
        subtract(*images, options=SubtractOptions(convolve=convolve))


def test_all_stars_saturated():
    (x, y), _ = places()
    full = np.zeros(SHAPE, bool)
    for a, b in zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True):
        full[b - 2 : b + 3, a - 2 : a + 3] = True
    science = scene(1, 2.2, mask=Mask.empty(SHAPE).with_plane("SAT", full), saturate=50.0)
    with pytest.raises(TooFewStarsError):
        subtract(science, scene(2, 1.6))


def test_one_star_only():
    images = []
    for seed, sigma in ((1, 2.2), (2, 1.6)):
        star = star_field(SHAPE, [200.3], [190.7], [2e4], sigma)
        images.append(make_exposure(star + white_noise(SHAPE, seed), 1.0, sigma=sigma))
    with pytest.raises(TooFewStarsError) as caught:
        subtract(*images)
    assert caught.value.details["n_required"] == 3
    options = SubtractOptions(fit=FitOptions(min_stars=1))
    difference = subtract(*images, options=options)
    assert difference.flux_ratio == pytest.approx(1.0, rel=0.03)
    assert np.abs(pull_of(difference)).max() < 7
    assert np.isnan(difference.flux_error)
    assert any("errors hold noise only" in note for note in difference.exposure.notes)


def test_few_stars_with_min_stars_one():
    options = SubtractOptions(stars=StarOptions(max_stars=2), fit=FitOptions(min_stars=1))
    difference = subtract(scene(1, 2.2), scene(2, 1.6, variance=0.1), options=options)
    assert difference.flux_ratio == pytest.approx(1.0, rel=0.03)
    assert difference.solution.order == 0


@EITHER
@pytest.mark.parametrize("which", ["science", "template"])
def test_columns_without_data(convolve, which):
    """NaN variance, masked: lost where the kernel reaches them, everything else as without."""
    science, template = scene(1, 2.2), scene(2, 1.6, variance=0.1)
    if convolve == "science":
        science, template = scene(1, 1.6), scene(2, 2.2, variance=0.1)
    hole = np.zeros(SHAPE, bool)
    hole[:, 150:153] = True
    broken = science if which == "science" else template
    broken = broken.replace(
        image=np.where(hole, np.float32(0), broken.image),
        variance=np.where(hole, np.float32(np.nan), broken.variance),
        mask=broken.mask.with_plane("NO_DATA", hole),
    )
    images = (broken, template) if which == "science" else (science, broken)
    difference = subtract(*images, options=SubtractOptions(convolve=convolve))
    result = decorrelate(difference, *images)
    for exposure in (difference.exposure, result.exposure):
        lost = exposure.mask.any("NO_DATA")
        assert lost[hole].all()
        columns = np.nonzero(lost[200])[0]
        half = difference.kernel.half
        inner = columns[(columns > half) & (columns < 400 - half)]
        assert inner.min() >= 150 - half
        assert inner.max() <= 152 + half
        assert np.isfinite(exposure.image).all()
        assert np.isnan(exposure.variance[lost]).all()
        assert (exposure.variance[~lost] > 0).all()
    assert np.abs(np.median(difference.exposure.image)) < 0.2


@EITHER
def test_template_three_times_as_wide(convolve):
    """Too much to sharpen: a typed failure, or noise-limited residuals, never a broken one."""
    science, template = scene(1, 1.3), scene(2, 3.9, variance=0.1)
    try:
        difference = subtract(science, template, options=SubtractOptions(convolve=convolve))
    except SkydeltaError:
        return
    assert difference.flux_ratio == pytest.approx(1.0, rel=0.05)
    assert difference.solution.median_residual < 2.0


def test_science_three_times_as_wide_is_fine():
    difference = subtract(scene(1, 3.9), scene(2, 1.3, variance=0.1))
    assert difference.flux_ratio == pytest.approx(1.0, rel=0.02)
    assert difference.solution.median_residual < 1.3
