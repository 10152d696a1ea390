"""The PSF from an image's own stars, on images whose PSF is known."""

import numpy as np
import pytest

from skydelta.errors import NoPsfError
from skydelta.mask import Mask
from skydelta.psf import adaptive_shape
from skydelta.psf_estimate import estimate_psf, half_maximum_width
from skydelta.stars import find_stars, star_size

SKY = 1000.0


def moffat(size, fwhm, beta=3.0, q=1.0, angle=0.0, x=0.0, y=0.0, over=5):
    """Pixel-integrated Moffat profile of unit flux; q is the axis ratio."""
    axis = (np.arange(size * over) - (size * over - 1) / 2) / over
    dx, dy = axis - x, axis[:, None] - y
    major = (np.cos(angle) * dx + np.sin(angle) * dy) * np.sqrt(q)
    minor = (np.cos(angle) * dy - np.sin(angle) * dx) / np.sqrt(q)
    alpha2 = (fwhm / 2) ** 2 / (2 ** (1 / beta) - 1)
    profile = (beta - 1) / (np.pi * alpha2) * (1 + (major**2 + minor**2) / alpha2) ** -beta
    return profile.reshape(size, over, size, over).mean(axis=(1, 3))


def field(n, n_stars, profile, seed=0, faint=4.0, bright=5.7):
    """An image of stars on Poisson sky (gain 1) and its variance; profile(x, y, dx, dy)."""
    rng = np.random.default_rng(seed)
    image = np.full((n + 80, n + 80), 0.0)
    positions = rng.uniform(10, n - 10, (n_stars, 2))
    for (x, y), flux in zip(positions, 10 ** rng.uniform(faint, bright, n_stars), strict=True):
        ix, iy = round(x), round(y)
        image[iy : iy + 81, ix : ix + 81] += flux * profile(x, y, x - ix, y - iy)
    image = image[40:-40, 40:-40] + SKY
    variance = image.astype(np.float32)
    image = image + rng.normal(size=image.shape) * np.sqrt(image)
    return image.astype(np.float32), variance


def check(psf, x, y, truth, *, rms, fwhm):
    stamp = psf.stamp(x, y)
    assert np.sqrt(np.mean((stamp - truth) ** 2)) < rms * truth.max()
    assert adaptive_shape(stamp).fwhm == pytest.approx(adaptive_shape(truth).fwhm, rel=fwhm)
    # The flux that this PSF would give a star of the true one.
    assert (stamp * truth).sum() / (stamp**2).sum() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("n", "n_stars", "shape"),
    [
        (512, 60, {"fwhm": 4.0}),
        (256, 8, {"fwhm": 5.0, "beta": 2.5, "q": 0.85, "angle": 0.5}),
        (700, 200, {"fwhm": 3.3, "q": 1 / 1.9, "angle": 0.7}),
        (512, 60, {"fwhm": 2.2}),
        (512, 40, {"fwhm": 9.0}),
    ],
)
def test_constant_psf(n, n_stars, shape):
    image, variance = field(n, n_stars, lambda x, y, dx, dy: moffat(81, **shape, x=dx, y=dy))
    psf, info = estimate_psf(image, variance)
    truth = moffat(psf.size, **shape)
    check(psf, n / 2, n / 2, truth, rms=1e-3, fwhm=0.01)
    assert info.fwhm == pytest.approx(half_maximum_width(truth), rel=0.015)
    assert psf.stamp(0, 0).sum() == pytest.approx(truth.sum(), abs=1e-3)
    # Pixels round the profile a little: compare with the true stamp's moments.
    moments = adaptive_shape(truth)
    mean = 0.5 * (moments.ixx + moments.iyy)
    spread = np.hypot(0.5 * (moments.ixx - moments.iyy), moments.ixy)
    ellipticity = 1 - np.sqrt((mean - spread) / (mean + spread))
    assert info.ellipticity == pytest.approx(ellipticity, abs=0.015)


def test_varying_psf():
    n = 800

    def width(x):
        return 4.0 * (1 + 0.2 * (x / n - 0.5))

    image, variance = field(
        n, 250, lambda x, y, dx, dy: moffat(81, width(x), 3.5, 0.9, 0.3, dx, dy)
    )
    psf, info = estimate_psf(image, variance)
    assert info.order == 2
    for x in (0.15 * n, 0.5 * n, 0.85 * n):
        check(psf, x, n / 2, moffat(psf.size, width(x), 3.5, 0.9, 0.3), rms=1e-3, fwhm=0.01)


def test_profile_that_is_no_moffat():
    """Two Gaussians, one off centre: the residual table carries what the Moffat cannot."""
    grid = np.arange(-40, 41)

    def profile(x, y, dx, dy, size=81):
        half = size // 2
        axis = grid[40 - half : 41 + half]
        core = np.exp(-((axis - dx) ** 2 + (axis[:, None] - dy) ** 2) / (2 * 1.8**2))
        lobe = np.exp(-((axis - dx - 3) ** 2 + (axis[:, None] - dy - 1) ** 2) / (2 * 2.2**2))
        both = core + 0.2 * lobe
        return both / (2 * np.pi * (1.8**2 + 0.2 * 2.2**2))

    image, variance = field(600, 120, profile, faint=4.8)
    psf, _ = estimate_psf(image, variance)
    stamp = psf.stamp(300, 300)
    # The centre is a matter of convention for such a shape: compare at the best offset.
    offsets = np.linspace(-0.6, 0.2, 33)
    errors = [
        np.abs(stamp - profile(0, 0, dx, dy, psf.size)).max() for dx in offsets for dy in offsets
    ]
    assert min(errors) < 0.02 * stamp.max()


def test_big_galaxy_and_few_stars():
    """Five stars around a galaxy that fills a small image."""
    n = 256
    image, variance = field(n, 0, None)
    rng = np.random.default_rng(4)
    yy, xx = np.mgrid[:n, :n] - n / 2
    extra = 12000 * np.exp(-np.hypot(xx, 1.4 * yy) / 9.0)
    for x, y, flux in [
        (40.3, 50.1, 3e5),
        (200.6, 60.7, 8e4),
        (60.2, 210.4, 5e4),
        (215, 200.5, 2e5),
        (30.5, 130.2, 4e4),
    ]:
        ix, iy = round(x), round(y)
        extra[iy - 25 : iy + 26, ix - 25 : ix + 26] += flux * moffat(51, 4.5, x=x - ix, y=y - iy)
    image = (image + extra + rng.normal(size=image.shape) * np.sqrt(extra)).astype(np.float32)
    psf, info = estimate_psf(image, variance + extra.astype(np.float32))
    assert info.n_stars == 5
    check(psf, 128, 128, moffat(psf.size, 4.5), rms=2e-3, fwhm=0.01)


def test_saturated_and_masked_stars_are_left_out():
    image, variance = field(512, 60, lambda x, y, dx, dy: moffat(81, 4.0, x=dx, y=dy))
    full = 0.5 * image.max()
    image = np.minimum(image, full)
    _, info = estimate_psf(image, variance, saturate=0.99 * full)
    _, unaware = estimate_psf(image, variance)
    assert info.n_stars < unaware.n_stars
    assert info.fwhm == pytest.approx(half_maximum_width(moffat(41, 4.0)), rel=0.015)
    bad = np.zeros(image.shape, bool)
    bad[:, 256:] = True
    _, half = estimate_psf(image, variance, Mask.empty(image.shape).with_plane("BAD", bad))
    assert half.x.max() < 256


@pytest.mark.parametrize("n_stars", [0, 1])
def test_too_few_stars(n_stars):
    image, variance = field(256, n_stars, lambda x, y, dx, dy: moffat(81, 4.0, x=dx, y=dy))
    with pytest.raises(NoPsfError, match="need 2"):
        estimate_psf(image, variance)


def test_find_stars():
    """Stars, galaxies, cosmic rays and a close pair: only the isolated stars are usable."""
    n = 512
    rng = np.random.default_rng(2)
    image = np.zeros((n, n))

    def put(x, y, flux, fwhm, q=1.0):
        ix, iy = round(x), round(y)
        image[iy - 20 : iy + 21, ix - 20 : ix + 21] += flux * moffat(
            41, fwhm, q=q, x=x - ix, y=y - iy
        )

    spots = [(x, y) for y in range(40, n - 30, 50) for x in range(40, n - 30, 50)]
    kinds = np.array(["star", "star", "galaxy", "ray", "pair"])[np.arange(len(spots)) % 5]
    truth = []
    for (x, y), kind in zip(spots, kinds, strict=True):
        x, y = x + rng.uniform(-0.5, 0.5), y + rng.uniform(-0.5, 0.5)
        flux = 10 ** rng.uniform(4.3, 5.3)
        if kind == "star":
            put(x, y, flux, 4.0)
            truth.append((x, y))
        elif kind == "galaxy":
            put(x, y, flux, 7.0, q=0.6)
        elif kind == "ray":
            image[round(y), round(x)] += 4000
        else:
            put(x, y, flux, 4.0)
            put(x + 8, y, 0.6 * flux, 4.0)
    variance = (image + SKY).astype(np.float32)
    image = (image + SKY + rng.normal(size=image.shape) * np.sqrt(variance)).astype(np.float32)
    stars = find_stars(image, variance)
    assert np.all(np.diff(stars["snr"]) <= 0)
    good = stars[stars["usable"]]
    truth = np.array(truth)
    distance = np.hypot(good["x"][:, None] - truth[:, 0], good["y"][:, None] - truth[:, 1])
    assert (distance.min(axis=1) < 0.3).all()
    assert (distance.min(axis=0) < 0.3).mean() > 0.95
    assert np.median(star_size(good)) == pytest.approx(
        adaptive_shape(moffat(31, 4.0)).determinant_radius, rel=0.03
    )
    psf, _ = estimate_psf(image, variance)
    again = find_stars(image, variance, psf=psf)
    assert again["usable"].sum() == pytest.approx(len(truth), abs=2)
