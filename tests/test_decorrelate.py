import numpy as np
import pytest
from scenes import (
    blank_sky,
    correlation,
    gaussian,
    make_exposure,
    robust_sigma,
    star_field,
    white_noise,
)

from skydelta.combine import apply_kernel
from skydelta.decorrelate import decorrelate
from skydelta.difference import Difference
from skydelta.kernel import SpatialKernel
from skydelta.kernel_basis import BasisSpec, gaussian_basis
from skydelta.mask import UNUSABLE, Mask
from skydelta.whitening import convolve_stamps

SHAPE = (700, 640)


def spatial_kernel(shape=SHAPE, sum_=1.5, size=17):
    """A Gaussian kernel of about 1.6 px whose width grows along x."""
    basis = gaussian_basis(BasisSpec((1.4, 2.0), (0, 0), size))
    coefficients = np.zeros((2, 3))
    coefficients[0, 0] = sum_
    coefficients[1, :2] = [0.10, 0.02]
    return SpatialKernel.polynomial(basis, coefficients, 1, np.zeros(1), 0, shape)


def whitened_difference(science, template, kernel):
    raw = apply_kernel(science, template, kernel)
    difference = Difference(raw, kernel, "template", kernel.sum)
    return raw, decorrelate(difference, science, template)


def chain(science_image, template_image, v_s, v_t, kernel, **fields):
    science = make_exposure(science_image, v_s, **fields)
    template = make_exposure(template_image, v_t)
    return whitened_difference(science, template, kernel)


@pytest.fixture(scope="module", params=[(1.0, 1.0), (4.0, 0.3)], ids=["equal", "deep template"])
def noise(request):
    """Independent noise in both images: raw and decorrelated pulls."""
    v_s, v_t = request.param
    kernel = spatial_kernel()
    images = white_noise(SHAPE, 1, v_s), white_noise(SHAPE, 2, v_t)
    raw, white = chain(*images, v_s, v_t, kernel)
    good = ~white.exposure.mask.any(*UNUSABLE)
    pulls = [
        np.where(good, e.image / np.sqrt(np.where(good, e.variance, 1)), np.nan)
        for e in (raw, white.exposure)
    ]
    return request.param, kernel, white, *pulls


class TestNoise:
    def test_rms_is_one(self, noise):
        assert np.nanstd(noise[4]) == pytest.approx(1.0, abs=0.01)
        assert abs(np.nanmean(noise[4])) < 0.01

    def test_neighbours_are_independent(self, noise):
        """Lag-1 correlation below 0.01, which the raw difference of equal images has not."""
        (v_s, v_t), _, _, raw, white = noise
        for lag in ((1, 0), (0, 1), (1, 1), (2, 0)):
            assert abs(correlation(white, *lag)) < 0.01
        if v_s == v_t:
            assert correlation(raw, 1, 0) > 0.03

    def test_variance_is_that_of_both_images(self, noise):
        """sigma_s^2 + sigma_t^2 ksum^2, what the whitened noise must have."""
        (v_s, v_t), kernel, white, *_ = noise
        expected = v_s + v_t * kernel.sum**2
        assert np.nanmedian(white.exposure.variance) == pytest.approx(expected, rel=3e-3)

    def test_no_seams(self, noise):
        """Scatter and mean of every strip of 20 px agree: tiles blend."""
        white = noise[4]
        for axis in (0, 1):
            strips = np.moveaxis(white, axis, 0)[20:-20].reshape(-1, 20, white.shape[1 - axis])
            rms = np.nanstd(strips, axis=(1, 2))
            # 20 x 640 pixels: 0.6 % each.
            assert np.abs(rms - 1).max() < 0.03

    def test_kernel_has_unit_sum(self, noise):
        white = noise[2]
        assert white.kernel.sum() == pytest.approx(1.0)
        assert white.exposure.meta["DCPEAK"][0] == pytest.approx(white.kernel.max())


def test_fluxes_and_psf():
    """A noiseless star keeps its flux and becomes the new PSF, everywhere on the image."""
    kernel = spatial_kernel()
    x, y = (a.ravel() + 0.3 for a in np.meshgrid([80.0, 320, 560], [90.0, 350, 610]))
    stars = star_field(SHAPE, x, y, np.full(9, 1e5), 2.0)
    _, white = chain(stars, np.zeros(SHAPE), 1.0, 1.0, kernel, sigma=2.0)
    psf = white.exposure.psf
    model = np.zeros((SHAPE[0], SHAPE[1]))
    stamps, x0, y0 = psf.images(x, y)
    for stamp, left, bottom in zip(stamps, x0, y0, strict=True):
        model[bottom : bottom + psf.size, left : left + psf.size] += 1e5 * stamp
    assert np.abs(white.exposure.image - model).max() < 5e-3 * model.max()
    assert white.exposure.image.sum() == pytest.approx(9e5, rel=2e-3)
    assert psf.data.sum(axis=(1, 2)) == pytest.approx(1.0, abs=5e-3)


def test_psf_is_the_science_psf_with_psi():
    kernel = spatial_kernel()
    raw, white = chain(np.zeros(SHAPE), np.zeros(SHAPE), 1.0, 1.0, kernel)
    at = (SHAPE[1] - 1) / 2, (SHAPE[0] - 1) / 2
    expected = convolve_stamps(raw.psf.stamp(*at), white.kernel, white.exposure.psf.size)
    assert white.exposure.psf.stamp(*at) == pytest.approx(expected, abs=2e-4)
    # Whitening sharpens: the peak rises.
    assert white.exposure.psf.stamp(*at).max() > raw.psf.stamp(*at).max()


def test_whole_and_tiled_agree():
    """The middle of a large image and the same pixels cut out, filtered in one piece."""
    constant = spatial_kernel((1200, 600)).images[:1], np.ones((1, 1)), 0, np.zeros(1), 0
    flat = SpatialKernel.polynomial(*constant, (1200, 600))
    image = white_noise((1200, 600), 4)
    _, tiled = chain(image, np.zeros_like(image), 1.0, 1.0, flat)
    part = np.s_[400:560, 200:360]
    small = SpatialKernel.polynomial(*constant, (160, 160))
    _, whole = chain(image[part], np.zeros((160, 160)), 1.0, 1.0, small)
    inner = np.s_[40:-40, 40:-40]
    assert whole.exposure.image[inner] == pytest.approx(tiled.exposure.image[part][inner], abs=1e-3)


class TestBadPixels:
    def test_do_not_ring(self):
        """A saturated pixel of a million counts leaves its surroundings untouched."""
        kernel = spatial_kernel()
        image = white_noise(SHAPE, 5)
        broken = image.copy()
        broken[350, 300] = 1e6
        where = broken == 1e6
        mask = Mask.empty(SHAPE).with_plane("SAT", where)
        _, white = chain(broken, np.zeros(SHAPE), 1.0, 1.0, kernel, mask=mask)
        _, clean = chain(image, np.zeros(SHAPE), 1.0, 1.0, kernel)
        change = np.abs(white.exposure.image - clean.exposure.image)
        assert change[~where].max() < 3
        assert white.exposure.mask.any("SAT")[350, 300]

    def test_no_data_stays_what_it_is(self):
        kernel = spatial_kernel()
        where = np.zeros(SHAPE, bool)
        where[300:340, 200:260] = True
        template = make_exposure(
            white_noise(SHAPE, 1), mask=Mask.empty(SHAPE).with_plane("NO_DATA", where)
        )
        template = template.replace(variance=np.where(where, np.float32(np.nan), template.variance))
        science = make_exposure(white_noise(SHAPE, 2))
        raw, white = whitened_difference(science, template, kernel)
        white = white.exposure
        lost = white.mask.any("NO_DATA")
        assert np.array_equal(lost, raw.mask.any("NO_DATA"))
        assert np.isnan(white.variance[lost]).all()
        assert (white.image[lost] == 0).all()
        assert np.isfinite(white.variance[~lost]).all()
        assert np.isfinite(white.image).all()


def test_arguments_stay_as_they_are():
    kernel = spatial_kernel((200, 200))
    science, template = (
        make_exposure(white_noise((200, 200), 1)),
        make_exposure(np.zeros((200, 200))),
    )
    raw = apply_kernel(science, template, kernel)
    before = raw.image.copy(), raw.variance.copy()
    decorrelate(Difference(raw, kernel, "template", kernel.sum), science, template)
    assert np.array_equal(raw.image, before[0])
    assert np.array_equal(raw.variance, before[1], equal_nan=True)


def test_local_variance():
    """Half the field with twice the exposure: each side is white with its own variance."""
    kernel = spatial_kernel((300, 1200))
    variance = np.where(np.arange(1200) < 600, 1.0, 4.0)
    science = make_exposure(white_noise((300, 1200), 1) * np.sqrt(variance), variance)
    template = make_exposure(white_noise((300, 1200), 2), 1.0)
    white = whitened_difference(science, template, kernel)[1].exposure
    for columns in (slice(40, 400), slice(800, 1160)):
        pull = (white.image / np.sqrt(white.variance))[30:-30, columns]
        assert pull.std() == pytest.approx(1.0, abs=0.02)
        assert abs(correlation(pull, 1, 0)) < 0.03


@pytest.mark.parametrize("chain", ["broad", "sharp"])
def test_blank_sky_of_the_simulated_pair(chain, request):
    """Resampled template, varying PSF, real masks: rms 1.00 +- 0.03, lag 1 below 0.05."""
    chain = request.getfixturevalue(chain)
    exposure = chain.decorrelated.exposure
    blank = blank_sky(chain, exposure)
    assert blank.mean() > 0.5
    pull = np.where(blank, exposure.image / np.sqrt(exposure.variance), np.nan)
    assert np.nanstd(pull) == pytest.approx(1.0, abs=0.03)
    assert robust_sigma(pull[blank]) == pytest.approx(1.0, abs=0.03)
    assert abs(np.nanmean(pull)) < 0.05
    for lag in ((1, 0), (0, 1)):
        assert abs(correlation(pull, *lag)) < 0.05


def test_cards():
    kernel = spatial_kernel((200, 200))
    _, white = chain(np.zeros((200, 200)), np.zeros((200, 200)), 1.0, 1.0, kernel)
    assert white.exposure.meta["DECORR"][0] is True
    assert white.exposure.meta["DCGAIN"][0] == pytest.approx(1.0)


def test_star_of_the_template_alone_is_negative():
    """Flux f in the template gives -f ksum in the difference, whitened or not."""
    kernel = spatial_kernel()
    template = gaussian(SHAPE, 320.4, 350.2, 1.6, 1e4)
    raw, white = chain(np.zeros(SHAPE), template, 1.0, 1.0, kernel)
    box = np.s_[310:391, 280:361]
    assert raw.image[box].sum() == pytest.approx(-1e4 * kernel.sum, rel=1e-3)
    assert white.exposure.image[box].sum() == pytest.approx(-1e4 * kernel.sum, rel=5e-3)
