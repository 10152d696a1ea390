import numpy as np
import pytest
from scenes import make_exposure, star_field, tan_wcs, white_noise
from scipy.ndimage import binary_dilation

from skydelta.alard_lupton import BasisOptions
from skydelta.combine import apply_kernel
from skydelta.errors import BadKernelError, TooFewStarsError
from skydelta.io.differences import read_difference, write_difference
from skydelta.kernel import SpatialKernel
from skydelta.kernel_basis import BasisSpec, gaussian_basis
from skydelta.kernel_fit import FitOptions
from skydelta.kernel_stars import StarOptions
from skydelta.mask import Mask
from skydelta.photocalib import PhotoCalib
from skydelta.subtract import SubtractOptions, subtract, subtract_options

SHAPE = (400, 400)
RATIO = 2.5


def gaussian_kernel(shape, sum_=1.0, sigma=1.5, size=15):
    basis = gaussian_basis(BasisSpec((sigma,), (0,), size))
    return SpatialKernel.polynomial(basis, np.full((1, 1), sum_), 0, np.zeros(1), 0, shape)


def scene(seed, sigma, *, scale=1.0, variance=1.0, stars=None, **fields):
    """A field of 30 stars (or those given) at one seeing with white noise."""
    rng = np.random.default_rng(100)
    x, y = stars if stars else rng.uniform(25, 375, (2, 30))
    flux = scale * rng.uniform(3e3, 3e4, 30)[: len(x)]
    image = star_field(SHAPE, x, y, flux, sigma) + white_noise(SHAPE, seed, variance)
    return make_exposure(image, variance, sigma=sigma, **fields)


@pytest.fixture(scope="module")
def gaussians():
    """Science of 2.2 px on 2.5 times the counts over a template of 1.6 px, and the difference."""
    science = scene(1, 2.2, scale=RATIO, variance=4.0, photo_calib=PhotoCalib(1 / RATIO))
    template = scene(2, 1.6, variance=0.2)
    return science, template, subtract(science, template)


class TestGaussians:
    def test_kernel_sum_is_the_flux_ratio(self, gaussians):
        solution = gaussians[2].solution
        assert solution.kernel.sum == pytest.approx(RATIO, rel=3e-3)
        assert abs(solution.kernel.sum - RATIO) < 5 * solution.sum_error

    def test_nothing_is_left(self, gaussians):
        science, _, difference = gaussians
        inside = ~difference.exposure.mask.any("NO_DATA")
        pull = (difference.exposure.image / np.sqrt(difference.exposure.variance))[inside]
        assert pull.std() == pytest.approx(1.0, abs=0.03)
        assert abs(pull.mean()) < 0.02
        assert np.abs(pull).max() < 6.5
        assert science.image.max() > 1000  # stars of a thousand sigma were there

    def test_cards(self, gaussians):
        meta = gaussians[2].exposure.meta
        cards = {"METHOD", "KSUM", "KSUMERR", "KFLUXERR", "KORDER", "KBGORDER", "KORDREQ"}
        cards |= {"KCOND", "KNSTAR", "KNREJ", "KSIZE", "KNBASIS", "KITER", "KRESID"}
        cards |= {"SCIFWHM", "TMPFWHM", "TMPSCALE", "ZPSOURCE"}
        assert cards <= set(meta)
        assert meta["KNBASIS"][0] == 28
        assert meta["SCIFWHM"][0] == pytest.approx(2.3548 * 2.2, rel=1e-3)
        assert meta["TMPFWHM"][0] == pytest.approx(2.3548 * 1.6, rel=1e-3)
        assert meta["KNSTAR"][0] + meta["KNREJ"][0] == len(gaussians[2].stars["x"])
        assert meta["ZPSOURCE"][0] == "exposure"
        assert all(len(comment) > 3 for _, comment in meta.values())

    def test_arguments_stay_as_they_are(self, gaussians):
        science, template, _ = gaussians
        again = scene(1, 2.2, scale=RATIO, variance=4.0)
        assert np.array_equal(science.image, again.image)
        assert not science.mask.array.any()
        assert np.isfinite(template.variance).all()

    def test_calibration_wcs_and_psf_are_the_science_images(self, gaussians):
        science, _, difference = gaussians
        assert difference.exposure.photo_calib is science.photo_calib
        assert difference.exposure.wcs is science.wcs
        assert difference.exposure.psf is science.psf

    def test_zero_point_through_the_kernel_sum(self):
        """Template of 1 nJy per count, kernel sum 2.5: 0.4 nJy per science count."""
        science = scene(1, 2.2, scale=RATIO, variance=4.0, photo_calib=None)
        difference = subtract(science, scene(2, 1.6, variance=0.2))
        calib = difference.exposure.photo_calib
        assert calib.scale == pytest.approx(1 / RATIO, rel=3e-3)
        assert 0 < calib.scale_err < 0.01 * calib.scale
        assert difference.exposure.meta["ZPSOURCE"][0] == "kernel sum"
        assert any("no zero point given" in note for note in difference.exposure.notes)

    def test_neither_has_a_zero_point(self):
        science = scene(1, 2.2, photo_calib=None)
        exposure = subtract(science, scene(2, 1.6).replace(photo_calib=PhotoCalib(1.0))).exposure
        assert exposure.photo_calib is not None

    def test_background_is_fitted(self):
        science, template = scene(1, 2.2, variance=4.0), scene(2, 1.6, variance=0.2)
        yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
        sky = (50 + 0.1 * xx - 0.05 * yy).astype(np.float32)
        with_sky = subtract(science.replace(image=science.image + sky), template)
        without = subtract(science, template)
        inside = ~(with_sky.exposure.mask.any("NO_DATA") | without.exposure.mask.any("NO_DATA"))
        change = (with_sky.exposure.image - without.exposure.image)[inside]
        assert change.std() < 0.5  # of a noise of 2; the stars' own errors among it
        assert abs(np.median(change)) < 0.1
        assert with_sky.solution.kernel.sum == pytest.approx(without.solution.kernel.sum, rel=2e-3)


class TestNull:
    def test_identity_kernel_of_equal_images(self):
        science = scene(1, 2.0)
        exposure = apply_kernel(science, science, SpatialKernel.identity(SHAPE, 5))
        inside = ~exposure.mask.any("NO_DATA")
        assert np.abs(exposure.image[inside]).max() < 1e-5 * science.image.max()
        assert exposure.variance[inside] == pytest.approx(2 * science.variance[inside], rel=1e-5)

    def test_fitted_kernel_of_equal_images(self):
        """Template = science: the kernel becomes a point and hardly anything is left."""
        science = scene(1, 2.0)
        difference = subtract(science, science)
        inside = ~difference.exposure.mask.any("NO_DATA")
        # The noise of the two is one and the same, which the fit, that takes it off, cannot know.
        assert difference.solution.kernel.sum == pytest.approx(1.0, abs=5e-3)
        # Smoothed stamps say nothing of the highest frequencies.
        assert np.std(difference.exposure.image[inside]) < 0.4  # of unit noise
        kernel = difference.solution.kernel.image(200, 200)
        half = kernel.shape[0] // 2
        assert kernel[half, half] == kernel.max()

    def test_opposite_sign(self):
        """What is brighter in the template is negative in the difference."""
        stars = np.random.default_rng(100).uniform(25, 375, (2, 30))
        science, template = scene(1, 2.0), scene(2, 2.0)
        extra = star_field(SHAPE, [200.0], [210.0], [2000.0], 2.0).astype(np.float32)
        assert np.hypot(stars[0] - 200, stars[1] - 210).min() > 15
        appeared = subtract(science.replace(image=science.image + extra), template)
        vanished = subtract(science, template.replace(image=template.image + extra))
        for difference, sign in ((appeared, 1), (vanished, -1)):
            box = difference.exposure.image[195:226, 185:216]
            assert box.sum() * sign == pytest.approx(2000, abs=150)


class TestApplyKernel:
    def test_image_and_variance(self):
        kernel = gaussian_kernel(SHAPE, RATIO)
        template = make_exposure(np.full(SHAPE, 10.0), 3.0)
        science = make_exposure(np.full(SHAPE, 100.0), 7.0)
        out = apply_kernel(science, template, kernel)
        middle = (200, 200)
        assert out.image[middle] == pytest.approx(100 - 10 * RATIO, rel=1e-5)
        stamp = kernel.image(200, 200)
        assert out.variance[middle] == pytest.approx(7 + 3 * (stamp**2).sum(), rel=1e-4)

    def test_background_goes_too(self):
        kernel = SpatialKernel.polynomial(
            np.ones((1, 1, 1)), np.ones((1, 1)), 0, np.array([4.0, 0, 0]), 1, SHAPE
        )
        out = apply_kernel(make_exposure(np.zeros(SHAPE)), make_exposure(np.zeros(SHAPE)), kernel)
        assert out.image == pytest.approx(np.full(SHAPE, -4.0))

    def test_variance_of_correlated_noise(self):
        """The plane predicts the scatter of a template whose noise was filtered before."""
        rng_noise = white_noise((420, 420), 3)
        weights = np.array([0.25, 0.5, 0.25])
        filtered = sum(
            w1 * w2 * rng_noise[5 + i : 405 + i, 5 + j : 405 + j]
            for i, w1 in enumerate(weights)
            for j, w2 in enumerate(weights)
        )
        lag = np.convolve(weights, weights)
        rho = np.outer(lag, lag)
        template = make_exposure(filtered, 1.0)
        science = make_exposure(np.zeros(SHAPE), 1e-6)
        out = apply_kernel(science, template, gaussian_kernel(SHAPE, 1.0), rho / rho.sum())
        inner = np.s_[15:-15, 15:-15]
        assert out.image[inner].var() == pytest.approx(np.median(out.variance[inner]), rel=0.06)

    @pytest.mark.parametrize("plane", ["NO_DATA", "BAD"])
    def test_missing_template_pixels_spread_no_further_than_the_kernel(self, plane):
        kernel = gaussian_kernel(SHAPE)
        where = np.zeros(SHAPE, bool)
        where[200, 150] = True
        template = make_exposure(
            white_noise(SHAPE, 1), mask=Mask.empty(SHAPE).with_plane(plane, where)
        )
        out = apply_kernel(make_exposure(white_noise(SHAPE, 2)), template, kernel)
        lost = out.mask.any("NO_DATA")
        inner = lost[20:-20, 20:-20]
        rows, cols = np.nonzero(inner)
        assert inner.any()
        assert np.abs(rows + 20 - 200).max() <= kernel.half
        assert np.abs(cols + 20 - 150).max() <= kernel.half
        assert np.isnan(out.variance[lost]).all()
        assert (out.image[lost] == 0).all()
        assert np.isfinite(out.variance[~lost]).all()
        assert np.isfinite(out.image).all()

    def test_frame_of_the_kernel_is_lost(self):
        kernel = gaussian_kernel(SHAPE)
        out = apply_kernel(make_exposure(np.ones(SHAPE)), make_exposure(np.ones(SHAPE)), kernel)
        lost = out.mask.any("NO_DATA") & out.mask.any("EDGE")
        assert lost[[0, -1]].all()
        assert lost[:, [0, -1]].all()
        assert not lost[kernel.half : -kernel.half, kernel.half : -kernel.half].any()

    def test_template_planes_get_their_own_names(self):
        saturated, ray = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
        saturated[100:103, 100:103] = True
        ray[300, 300] = True
        mask = Mask.empty(SHAPE).with_plane("SAT", saturated).with_plane("CR", ray)
        own = Mask.empty(SHAPE).with_plane("SAT", ray)
        kernel = gaussian_kernel(SHAPE)
        out = apply_kernel(
            make_exposure(np.ones(SHAPE), mask=own),
            make_exposure(np.ones(SHAPE), mask=mask),
            kernel,
        )
        hit = out.mask.any("SAT_TEMPLATE")
        assert hit[100:103, 100:103].all()
        grown = binary_dilation(saturated, np.ones((2 * kernel.half + 1,) * 2))
        assert not hit[~grown].any()
        assert hit.sum() > 9  # bad values travel with the kernel
        assert np.array_equal(out.mask.any("CR_TEMPLATE"), ray)
        assert np.array_equal(out.mask.any("SAT"), ray)

    def test_science_planes_keep_their_names(self):
        where = np.zeros(SHAPE, bool)
        where[50, 60] = True
        mask = Mask(np.where(where, 1, 0).astype(np.int32), {"STREAK": 0})
        out = apply_kernel(
            make_exposure(np.ones(SHAPE), mask=mask),
            make_exposure(np.ones(SHAPE)),
            SpatialKernel.identity(SHAPE),
        )
        assert np.array_equal(out.mask.any("STREAK"), where)


class TestFailures:
    def test_blank_sky(self):
        images = [make_exposure(white_noise(SHAPE, k)) for k in (0, 1)]
        with pytest.raises(TooFewStarsError, match="need 3: lower"):
            subtract(*images)

    @pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
    @pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
    def test_constant_images(self):
        images = [make_exposure(np.full(SHAPE, 10.0))] * 2
        with pytest.raises((TooFewStarsError, BadKernelError)):
            subtract(*images)

    def test_other_sky(self):
        """Stars that the template does not show give no kernel."""
        elsewhere = tuple(np.random.default_rng(7).uniform(25, 375, (2, 30)))
        with pytest.raises(BadKernelError, match="do not show the same sky"):
            subtract(scene(1, 2.2), scene(2, 1.6, stars=elsewhere))

    def test_fallback_is_noted(self):
        science, template = scene(1, 2.2, variance=4.0), scene(2, 1.6)
        options = SubtractOptions(
            stars=StarOptions(max_stars=7), fit=FitOptions(order=2, background_order=1)
        )
        difference = subtract(science, template, options=options)
        assert difference.solution.order == 0
        notes = difference.exposure.notes
        assert any("kernel order lowered from 2 to 0" in note for note in notes)
        assert any("background order lowered from 1 to 0" in note for note in notes)


class TestOptions:
    def test_from_the_configuration(self):
        section = {
            "basis": {"scale_by_fwhm": False, "sigmas": [1.0, 2.0], "degrees": [2, 2], "size": 19},
            "stars": {"min_snr": 30.0, "max_snr": None},
            "fit": {"order": 1},
            "background_cell": 64,
        }
        options = subtract_options(section)
        assert options.stars.max_snr == np.inf
        assert options.fit.order == 1
        assert options.background_cell == 64
        assert options.basis.spec(9.0, 1.0) == BasisSpec((1.0, 2.0), (2, 2), 19)
        assert section["stars"]["max_snr"] is None

    def test_scaled(self):
        assert BasisOptions().spec(2.5, 1.5).sigmas == pytest.approx((1.0, 2.0, 4.0, 8.0))
        assert BasisOptions(size=27).spec(2.5, 1.5).size == 27

    def test_tutorial_basis(self):
        options = BasisOptions(
            scale_by_fwhm=False, sigmas=(0.1, 0.7, 1.5, 3.0), degrees=(2, 4, 2, 2)
        )
        science = scene(1, 2.2, scale=RATIO, variance=4.0)
        difference = subtract(
            science, scene(2, 1.6, variance=0.2), options=SubtractOptions(basis=options)
        )
        assert difference.exposure.meta["KNBASIS"][0] == 33
        kernel = difference.solution.kernel
        sums = kernel.at([0, 399, 0, 399], [0, 0, 399, 399]).sum(axis=(1, 2))
        assert sums == pytest.approx(kernel.sum, rel=1e-5)
        assert kernel.sum == pytest.approx(RATIO, rel=0.01)


class TestSimulated:
    @pytest.mark.parametrize(("chain", "tolerance"), [("broad", 0.02), ("sharp", 0.03)])
    def test_kernel_sum(self, chain, tolerance, request):
        """A Moffat's wings beyond the kernel are not in its sum: that is the first percent."""
        chain = request.getfixturevalue(chain)
        assert chain.kernel.sum == pytest.approx(chain.pair.flux_scale, rel=tolerance)

    def test_events_are_not_kernel_stars(self, broad):
        difference = broad.difference
        used = {k: v[difference.solution.used] for k, v in difference.stars.items()}
        for row in broad.pair.truth:
            change = abs(row["flux_nJy"]) / max(row["template_flux_nJy"], 1e-9)
            if change > 0.2 and row["snr_expected"] > 50:
                assert np.hypot(used["x"] - row["x"], used["y"] - row["y"]).min() > 3

    def test_masks(self, broad):
        exposure = broad.difference.exposure
        for plane in ("SAT", "CR", "BAD"):
            assert np.array_equal(exposure.mask.any(plane), broad.science.mask.any(plane))
        lost = exposure.mask.any("NO_DATA")
        half = broad.kernel.half
        source = broad.template.exposure.mask.any("NO_DATA", "BAD")
        source |= ~np.isfinite(broad.template.exposure.variance)
        reach = binary_dilation(np.pad(source, half, constant_values=True), iterations=1)
        reach = binary_dilation(reach, np.ones((2 * half + 1,) * 2))[half:-half, half:-half]
        assert not (lost & ~reach & ~broad.science.mask.any("NO_DATA")).any()

    def test_residual_of_the_stars(self, broad):
        """Stars leave a few sigma at most in units of noise and the flux error of the match."""
        solution = broad.difference.solution
        assert np.median(solution.residual[solution.used]) < 1.5
        assert solution.flux_error < 0.02
        assert np.std(solution.flux_ratio[solution.used]) < 0.05


def test_wcs_of_other_sky_is_not_looked_at():
    """Subtraction is pixel by pixel: registration is the template stage's."""
    science = scene(1, 2.2, variance=4.0, wcs=tan_wcs(SHAPE, ra=10))
    assert subtract(science, scene(2, 1.6)).exposure.wcs is science.wcs


def test_two_stars_tell_no_flux_error(tmp_path):
    """What is not known is not in the product's header (FITS has no NaN), and a note says so."""
    stars = np.array([120.0, 280.0]), np.array([150.0, 260.0])
    science = scene(1, 2.2, scale=RATIO, variance=4.0, stars=stars)
    template = scene(2, 1.6, variance=0.2, stars=stars, photo_calib=PhotoCalib(1.0))
    options = SubtractOptions(fit=FitOptions(min_stars=2))
    write_difference(tmp_path / "d.fits", subtract(science, template, options=options))
    back = read_difference(tmp_path / "d.fits")
    assert back.kernel.sum == pytest.approx(RATIO, rel=0.05)
    assert np.isnan(back.flux_error)
    assert "KFLUXERR" not in back.exposure.meta
    assert any("errors hold noise only" in note for note in back.exposure.notes)
