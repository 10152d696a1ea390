"""PSFs carried through mappings: a plain transcription of the rules, closed forms, edges."""

from dataclasses import dataclass

import numpy as np
import pytest
from astropy.wcs import WCS, NoConvergence

from skydelta.errors import BadPsfError, UnsupportedError
from skydelta.lsst.affine_warp import WarpingControl, half_boxes, warp
from skydelta.lsst.coadd_psf import CoaddPsf, CoaddPsfInput
from skydelta.lsst.functions import GaussianFunction2
from skydelta.lsst.gaussian_psf import GaussianPsf
from skydelta.lsst.kernel_psf import AnalyticKernel, KernelPsf
from skydelta.lsst.psfex_psf import PsfexPsf
from skydelta.lsst.sky_wcs import FitsSkyWcs
from skydelta.lsst.warped_psf import WarpedPsf

BOX = (0, 0, 999, 799)
SCALE = 0.2 / 3600


def tan(theta=0.0, at=(500.0, 400.0), scale=1.0, flip=-1):
    """A TAN WCS whose pixel `at` (0-based) is the common pole, turned by theta."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = 56.3, -30.5
    wcs.wcs.crpix = np.add(at, 1)
    c, s = np.cos(theta), np.sin(theta)
    wcs.wcs.cd = scale * SCALE * np.array([[flip * c, -flip * s], [s, c]])
    wcs.wcs.set()
    return FitsSkyWcs(wcs)


@dataclass(frozen=True)
class Affine:
    matrix: tuple
    shift: tuple

    def forward(self, x, y):
        (a, b), (c, d) = self.matrix
        return a * x + b * y + self.shift[0], c * x + d * y + self.shift[1]

    def inverse(self, x, y):
        u, v = np.asarray(x) - self.shift[0], np.asarray(y) - self.shift[1]
        (a, b), (c, d) = np.linalg.inv(self.matrix)
        return a * u + b * v, c * u + d * v


def ellipse(sigma1=2.8, sigma2=2.2, angle=0.4, size=41):
    function = GaussianFunction2(sigma1, sigma2, angle)
    return KernelPsf(AnalyticKernel((size, size), (size // 2, size // 2), function))


def covariance(sigma1=2.8, sigma2=2.2, angle=0.4):
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    return turn @ np.diag([sigma1**2, sigma2**2]) @ turn.T


def gaussian(size, cov):
    y, x = np.mgrid[:size, :size] - size // 2
    inverse = np.linalg.inv(cov)
    r2 = inverse[0, 0] * x**2 + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y**2
    return np.exp(-0.5 * r2) / (2 * np.pi * np.sqrt(np.linalg.det(cov)))


def coadd(*inputs, **options):
    return CoaddPsf(tan(), inputs, **options)


class TestWarp:
    @pytest.mark.parametrize("cache", [0, 50])
    @pytest.mark.parametrize("order", [2, 3, 5])
    def test_as_the_stack_does_pixel_by_pixel(self, order, cache):
        """The loops of warpImage and WarpAtOnePoint, written out, in double precision."""
        rng = np.random.default_rng(3)
        stamp, size = rng.normal(size=(9, 9)), 9
        matrix = np.array([[0.9123, 0.3517], [-0.4031, 1.0579]])
        origin, half = np.array([4.3137, 3.8271]), (5, 6)
        margin = order + 1
        padded = np.pad(stamp, margin)
        expected = np.zeros((15, 15))
        for j in range(-half[1], half[1] + 1):
            for i in range(-half[0], half[0] + 1):
                at = matrix @ [i, j] + origin + margin
                whole = np.floor(at).astype(int)
                # shrinkBBox of the padded image by the kernel, whose centre is order - 1.
                first, last = order - 1, order - 1 + size + 2 * margin - 2 * order
                if not all(first <= k <= last for k in whole):
                    continue
                weights = []
                for k, f in zip(whole, at - whole, strict=True):
                    if cache:
                        f = (int(f * cache) + 0.5) / cache
                    d = np.arange(1 - order, order + 1) - f
                    w = np.sinc(d) * np.sinc(d / order)
                    weights.append((k + 1 - order, w / w.sum()))
                (x0, wx), (y0, wy) = weights
                cut = padded[y0 : y0 + 2 * order, x0 : x0 + 2 * order]
                expected[7 + j, 7 + i] = wy @ cut @ wx
        got = warp(
            stamp[None],
            origin[None],
            matrix[None],
            np.array([half]),
            WarpingControl(f"lanczos{order}", cache),
            7,
        )[0]
        np.testing.assert_allclose(got, expected, atol=2e-6)
        assert np.count_nonzero(expected) > 60

    def test_bilinear_and_nearest(self):
        stamp = np.arange(25.0).reshape(1, 5, 5)
        arguments = stamp, np.array([[2.25, 2.5]]), np.eye(2)[None], np.array([[1, 1]])
        got = warp(*arguments, WarpingControl("bilinear", 0), 1)[0]
        assert got[1, 1] == pytest.approx(12 + 0.25 + 2.5)
        assert warp(*arguments, WarpingControl("nearest", 0), 1)[0, 1, 1] == 17.0

    def test_boxes(self):
        """A square of 41 px turned by 45 degrees is 57.98 wide: half of it, rounded down."""
        c = np.sqrt(0.5)
        turned, double = np.array([[c, -c], [c, c]]), 0.5 * np.eye(2)
        np.testing.assert_array_equal(half_boxes(41, 41, np.array([turned])), [[28, 28]])
        np.testing.assert_array_equal(half_boxes(41, 31, np.array([double])), [[41, 31]])
        with pytest.raises(BadPsfError, match="magnifies"):
            half_boxes(41, 41, 0.001 * np.eye(2)[None])
        with pytest.raises(BadPsfError, match="onto a line"):
            half_boxes(41, 41, np.ones((1, 2, 2)))

    def test_unknown_kernel(self):
        with pytest.raises(UnsupportedError, match="spline"):
            WarpingControl("spline")


class TestWarpedPsf:
    def test_identity(self):
        psf = ellipse(size=25)
        warped = WarpedPsf(psf, Affine(((1, 0), (0, 1)), (0, 0)), WarpingControl(cache_size=0))
        stamp, expected = warped.stamp(100.3, 50.2), psf.stamp(100.3, 50.2)
        pad = (warped.size - psf.size) // 2
        np.testing.assert_allclose(stamp[pad:-pad, pad:-pad], expected, atol=2e-8)

    def test_shift(self):
        """By whole pixels nothing changes; by parts of one two Lanczos shifts leave 0.6 %."""
        psf = ellipse(size=25)
        for shift, limit in (((7, -3), 1e-6), ((7.3, -3.4), 6e-3)):
            warped = WarpedPsf(psf, Affine(((1, 0), (0, 1)), shift), WarpingControl(cache_size=0))
            stamp, expected = warped.stamp(100.0, 50.0), psf.stamp(0, 0)
            pad = (warped.size - psf.size) // 2
            assert np.abs(stamp[pad:-pad, pad:-pad] - expected).max() < limit * expected.max()

    def test_shear_of_a_gaussian(self):
        matrix = ((1.1, 0.2), (-0.1, 0.95))
        warped = WarpedPsf(ellipse(), Affine(matrix, (12.3, -4.5)))
        stamp = warped.stamp(333.4, 222.2)
        m = np.array(matrix)
        expected = gaussian(warped.size, m @ covariance() @ m.T)
        assert np.abs(stamp - expected).max() < 4e-3 * expected.max()
        assert stamp.sum() == pytest.approx(1.0, abs=1e-6)

    def test_transform_that_is_not_defined(self):
        class Nowhere(Affine):
            def inverse(self, x, y):
                u, v = super().inverse(x, y)
                return np.where(x > 500, np.nan, u), v

        warped = WarpedPsf(ellipse(), Nowhere(((1, 0), (0, 1)), (0, 0)))
        warped.stamp(100, 100)
        with pytest.raises(BadPsfError, match=r"not defined at \(600"):
            warped.stamps([100, 600], [100, 100])


class TestCoaddPsf:
    def test_two_turned_gaussians(self):
        """Against the closed form: 0.4 % of the peak, which is Lanczos-3 itself."""
        turns = (0.5, 2.2)
        inputs = [
            CoaddPsfInput(ellipse(), tan(turn, at=(480.0, 410.0)), weight, BOX)
            for turn, weight in zip(turns, (1.0, 3.0), strict=True)
        ]
        psf = coadd(*inputs)
        stamp = psf.stamp(520.0, 380.0)
        expected = 0.0
        for turn, share in zip(turns, (0.25, 0.75), strict=True):
            # Pixels to tangent plane of the input, and back to pixels of the coadd.
            (c, s), flip = (np.cos(turn), np.sin(turn)), np.diag([-1.0, 1.0])
            m = flip @ np.array([[-c, s], [s, c]])
            expected = expected + share * gaussian(psf.size, m @ covariance() @ m.T)
        assert np.abs(stamp - expected).max() < 4e-3 * expected.max()
        assert stamp.sum() == pytest.approx(1.0, abs=1e-6)
        yy, xx = np.mgrid[: psf.size, : psf.size] - psf.size // 2
        # Where all pixel centres meet symmetry leaves nothing of the shifts of Lanczos.
        for at, limit in (((500.0, 400.0), 3e-5), ((520.0, 380.0), 6e-3)):
            stamp = psf.stamp(*at)
            assert abs((stamp * xx).sum()) < limit
            assert abs((stamp * yy).sum()) < limit

    def test_mirrored_sky(self):
        """An input whose x axis runs the other way: the PSF is mirrored, not turned."""
        psf = coadd(CoaddPsfInput(ellipse(), tan(flip=1), 1.0, BOX))
        mirror = np.diag([-1.0, 1.0])
        expected = gaussian(psf.size, mirror @ covariance() @ mirror)
        assert np.abs(psf.stamp(500, 400) - expected).max() < 2e-3 * expected.max()

    def test_weights_are_those_of_normalised_psfs(self):
        wide, narrow = GaussianPsf(41, 41, 3.0), GaussianPsf(31, 31, 1.5)
        inputs = [CoaddPsfInput(p, tan(), w, BOX) for p, w in ((wide, 1.0), (narrow, 4.0))]
        psf = coadd(*inputs, cache_size=0)
        alone = [coadd(one, cache_size=0).stamp(300.0, 300.0) for one in inputs]
        half = psf.size // 2
        expected = np.zeros((psf.size, psf.size))
        for stamp, share in zip(alone, (0.2, 0.8), strict=True):
            k = len(stamp) // 2
            cut = slice(half - k, half + k + 1)
            expected[cut, cut] += share * stamp
        np.testing.assert_allclose(psf.stamp(300.0, 300.0), expected, atol=1e-8)

    def test_only_inputs_that_contain_the_position(self):
        """Boxes reach half a pixel over their outer pixels' centres; polygons cut further."""

        class Left:
            def contains(self, x, y):
                return x < 300

        narrow = CoaddPsfInput(GaussianPsf(31, 31, 1.5), tan(), 1.0, BOX, Left(), id=1)
        wide = CoaddPsfInput(GaussianPsf(31, 31, 3.0), tan(), 1.0, BOX, id=2)
        psf = coadd(narrow, wide)
        peaks = psf.stamps([250.0, 350.0], [400.0, 400.0])[:, psf.size // 2, psf.size // 2]
        assert peaks[0] == pytest.approx((1 / 2.25 + 1 / 9) / (4 * np.pi), rel=2e-3)
        assert peaks[1] == pytest.approx(1 / (18 * np.pi), rel=2e-3)
        x = np.array([-0.51, -0.49, 999.49, 999.51, 5000.0])
        np.testing.assert_array_equal(
            psf.has_inputs(x, np.full(5, 400.0)), [False, True, True, False, False]
        )

    def test_many_at_once_are_those_of_each(self):
        rng = np.random.default_rng(5)
        components = np.stack([gaussian(21, s * np.eye(2)) for s in (6.0, 4.0, 8.0)])
        context = ((500.0, 500.0), (400.0, 400.0))
        model = PsfexPsf(components.astype(np.float32), (1,), (0, 0), context, 0.5)
        psf = coadd(
            CoaddPsfInput(model, tan(1.0), 1.0, BOX), CoaddPsfInput(ellipse(), tan(-0.3), 0.7, BOX)
        )
        x, y = rng.uniform(300, 600, (2, 40))
        together = psf.stamps(x, y)
        for k in (0, 17, 39):
            np.testing.assert_allclose(together[k], psf.stamp(x[k], y[k]), atol=1e-7)
        stamps, x0, y0 = psf.images(x, y)
        yy, xx = np.mgrid[: psf.size, : psf.size]
        np.testing.assert_allclose((stamps * xx).sum(axis=(1, 2)) + x0, x, atol=0.02)
        np.testing.assert_allclose((stamps * yy).sum(axis=(1, 2)) + y0, y, atol=0.02)

    def test_a_coadd_of_coadds(self):
        """Templates over several tracts: the input is a CoaddPsf itself."""
        inner = coadd(CoaddPsfInput(GaussianPsf(31, 31, 2.0), tan(0.3), 1.0, BOX))
        outer = coadd(
            CoaddPsfInput(inner, tan(), 1.0, BOX, tract=4639, patch=0), average_position=(0.0, 0.0)
        )
        expected = gaussian(outer.size, 4.0 * np.eye(2))
        assert np.abs(outer.stamp(400, 300) - expected).max() < 6e-3 * expected.max()

    def test_average_position(self):
        """Mean by weight and good pixels; what leads off the inputs is left out."""

        def at(x, y, weight, goodpix=None):
            kernel = ellipse().kernel
            return CoaddPsfInput(KernelPsf(kernel, (x, y)), tan(), weight, BOX, goodpix=goodpix)

        mean = coadd(at(100, 200, 1.0, 10), at(400, 500, 2.0, 20)).average_position
        assert mean == pytest.approx((340.0, 440.0), abs=1e-6)
        mean = coadd(at(100, 200, 5.0), at(9000, 500, 2.0)).average_position
        assert mean == pytest.approx((100.0, 200.0), abs=1e-6)

    def test_wcs_without_a_solution(self):
        """Where an input's WCS cannot be inverted, the input is not there."""

        class Diverging(FitsSkyWcs):
            def sky_to_pixel(self, ra, dec):
                u, v = super().sky_to_pixel(ra, dec)
                lost = np.flatnonzero(u > 600)
                if lost.size:
                    best = np.column_stack([u, v])
                    raise NoConvergence("diverges", best_solution=best, divergent=lost)
                return u, v

        psf = coadd(
            CoaddPsfInput(ellipse(), Diverging(tan().wcs), 1.0, BOX), average_position=(0.0, 0.0)
        )
        x = np.array([100.0, 500.0, 700.0])
        np.testing.assert_array_equal(psf.has_inputs(x, x), [True, True, False])
        assert psf.stamp(300.0, 300.0).sum() == pytest.approx(1.0, abs=1e-6)

    def test_no_input_at_the_position(self):
        psf = coadd(CoaddPsfInput(ellipse(), tan(), 1.0, BOX))
        with pytest.raises(BadPsfError, match=r"not known at \(1200.0, 300.0\) \(nor at 1 more\)"):
            psf.stamps([500, 1200, 1300], [300, 300, 300])

    @pytest.mark.parametrize(
        ("inputs", "text"),
        [
            ((), "no input images"),
            ((CoaddPsfInput(ellipse(), tan(), 0.0, BOX),), "not all zero"),
            ((CoaddPsfInput(ellipse(), tan(), np.nan, BOX),), "must be finite"),
            ((CoaddPsfInput(None, tan(), 1.0, BOX, id=7),), "input 7 .* no PSF"),
            ((CoaddPsfInput(ellipse(), None, 1.0, BOX, id=7),), "input 7 .* no WCS"),
        ],
    )
    def test_what_cannot_be_one(self, inputs, text):
        with pytest.raises(BadPsfError, match=text):
            coadd(*inputs)
