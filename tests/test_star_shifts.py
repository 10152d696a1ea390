from dataclasses import replace

import numpy as np
import pytest
from scenes import gaussian_stamp, make_exposure, star_field, white_noise

from skydelta.decorrelate import decorrelate
from skydelta.detect import DetectOptions, detect
from skydelta.field import polynomial_field
from skydelta.kernel import SpatialKernel
from skydelta.kernel_stamps import Stamps
from skydelta.left_out import student
from skydelta.matched_template import MatchedTemplate
from skydelta.star_noise import NoiseModel
from skydelta.star_shifts import registration_rms
from skydelta.subtract import SubtractOptions, subtract

SHAPE = (700, 700)
SKY = 10.0


def places(seed):
    """15 x 15 stars of S/N 10 to 3000: x, y, counts on a science image of 2 px PSF sigma."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*2 * [np.linspace(32, 668, 15)])
    x, y = (a.ravel() + rng.uniform(-4, 4, a.size) for a in grid)
    return x, y, counts(np.exp(rng.uniform(np.log(10), np.log(3000), x.size)))


def counts(snr, sigma=2.0):
    return snr * SKY * np.sqrt(4 * np.pi) * sigma


def moves(seed):
    """(2, 225) shifts along x and y of unit rms."""
    return np.random.default_rng([seed, 9]).normal(0, 1, (2, 225))


def pair(rms, *, sigmas=(2.0, 1.6), template_sky=2.5, seed=5, events=None):
    """Science and template; every star of the science image is off by its own shift."""
    x, y, flux = places(seed)
    moved = moves(seed) * rms
    clean = [
        star_field(SHAPE, x + moved[0], y + moved[1], flux, sigmas[0]),
        star_field(SHAPE, x, y, flux, sigmas[1]),
    ]
    if events is not None:
        clean[0] += star_field(SHAPE, *events, sigmas[0])
    images = []
    for k, (image, sky, gain) in enumerate(zip(clean, (SKY, template_sky), (5, 75), strict=True)):
        variance = sky**2 + image / gain
        noisy = image + np.sqrt(variance) * white_noise(SHAPE, [seed, k])
        images.append(make_exposure(noisy, variance, sigma=sigmas[k]))
    return images


def cards(difference):
    return [difference.exposure.meta[name][0] for name in ("ASTRMSX", "ASTRMSY")]


@pytest.mark.parametrize("sigmas", [(2.0, 1.6), (1.3, 1.0), (1.6, 2.0)])
def test_random_shifts_of_the_stars_are_measured(sigmas):
    """From 170 stars; from 45 the kernel's own error adds to it."""
    options = SubtractOptions()
    options = replace(options, stars=replace(options.stars, per_cell=25, min_snr=10))
    measured = cards(subtract(*pair(0.1, sigmas=sigmas), options=options))
    assert measured == pytest.approx(0.1 * moves(5).std(axis=1), rel=0.2)


@pytest.mark.parametrize("sigmas", [(2.0, 1.6), (1.6, 2.0)])
@pytest.mark.parametrize("template_sky", [2.5, SKY])
def test_noise_is_no_shift(sigmas, template_sky):
    """Not that of a template as shallow as the science image, which the kernel correlates."""
    assert max(cards(subtract(*pair(0.0, sigmas=sigmas, template_sky=template_sky)))) < 0.02


def test_each_axis_has_its_own():
    assert cards(subtract(*pair(np.array([[0.12], [0.0]])))) == pytest.approx([0.12, 0], abs=0.024)


def test_a_common_shift_is_the_kernels():
    science, template = pair(0.0)
    moved = template.replace(image=np.roll(template.image, 1, axis=1))
    assert max(cards(subtract(science, moved))) < 0.02


def test_closed_form():
    """Noiseless stars half of them 0.1 px to the left, half to the right, a bad pixel in each."""
    shift = np.repeat([0.1, -0.1], 20)
    model = np.array([gaussian_stamp(1.5, 25, flux=1e4) for _ in shift])
    data = np.array([gaussian_stamp(1.5, 25, d, 0.0, flux=1.02e4) for d in shift]) + 7.0
    good = np.ones(model.shape, bool)
    good[:, 12, 13] = False
    at = np.full(40, 50)
    stamps = Stamps(at, at, data, np.ones_like(data), model, good, np.ones_like(data))
    point = np.zeros((1, 3, 3))
    point[0, 1, 1] = 1.0
    level = polynomial_field(np.zeros(1), 0, (100, 100))
    kernel = SpatialKernel(point, (polynomial_field(np.ones(1), 0, (100, 100)),), level, (100, 100))
    flat = [a.reshape(40, -1) for a in (model, data, good)]
    along_x, along_y = registration_rms(
        flat[0],
        np.zeros((40, 1)),
        flat[1],
        flat[2].astype(float),
        NoiseModel(stamps, 0.0),
        kernel,
        None,
        np.ones(40, bool),
    )
    # The slope from five points is 2.5 % small at sigma 1.5.
    assert along_x == pytest.approx(0.1 * student(40), rel=0.04)
    assert along_y < 1e-6


def test_too_few_stars_say_nothing():
    """Eight."""
    science, template = pair(0.1)
    both = [e.replace(image=e.image.copy()) for e in (science, template)]
    x, y, _ = places(5)
    kept = np.zeros(SHAPE, bool)
    for xi, yi in zip(x[100:108].astype(int), y[100:108].astype(int), strict=True):
        kept[yi - 15 : yi + 16, xi - 15 : xi + 16] = True
    for exposure in both:
        exposure.image[~kept] = white_noise(SHAPE, 3)[~kept]
    options = SubtractOptions()
    options = replace(options, fit=replace(options.fit, min_stars=1, order=0, background_order=0))
    assert "ASTRMSX" not in subtract(*both, options=options).exposure.meta


@pytest.mark.slow
def test_misplaced_stars_are_no_discoveries_and_transients_are_untouched():
    """Stars each 0.1 px off; transients of S/N 5 to 12, of both signs, between them."""
    rng = np.random.default_rng(2)
    middle = np.linspace(32, 668, 15)[:-1] + 22.7
    x, y = (a.ravel() for a in np.meshgrid(middle[::2], middle[::2]))
    snr = rng.uniform(5, 12, x.size) * rng.choice([-1, 1], x.size)
    science, template = pair(0.1, events=(x, y, counts(snr)))
    difference = decorrelate(subtract(science, template), science, template)
    matched = MatchedTemplate.of(template, difference.exposure.meta)
    assert matched.registration_error == pytest.approx(0.1, rel=0.3)

    def found(matched):
        options = DetectOptions(sky_sources=0)
        sources = detect(difference.exposure, matched=matched, options=options).sources
        near = np.hypot(sources["x"][:, None] - x, sources["y"][:, None] - y).min(axis=1) < 4
        return sources["score"][near], int((~near).sum())

    before, static_before = found(replace(matched, registration_error=None))
    after, static_after = found(matched)
    assert static_before > 20
    assert static_after <= 1
    assert len(before) > 0.8 * x.size
    assert after == pytest.approx(before, rel=0.01)
