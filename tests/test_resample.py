import numpy as np
import pytest
from reproject import reproject_adaptive, reproject_interp
from scenes import (
    correlation,
    gaussian_stamp,
    linear_map,
    make_exposure,
    rotation_matrix,
    star_field,
    tan_wcs,
    white_noise,
)
from scipy.ndimage import gaussian_filter

from skydelta.mask import Mask
from skydelta.pixelmap import PixelMap
from skydelta.resample import ORDER, noise_correlation, resample, warp_stamp

GRIDS = {
    "rotated": rotation_matrix(30),
    "finer": rotation_matrix(17, 0.2 / 0.25),
    "coarser": rotation_matrix(-40, 0.25 / 0.2),
    "much coarser": rotation_matrix(10, 2.0),
    "shifted": np.eye(2),
}
"""d(source px) / d(target px)."""


def with_no_data(mask):
    return ~mask.any("NO_DATA")


def resampled(exposure, jacobian, shape, **where):
    return resample(exposure, linear_map(jacobian, shape, **where), shape)


class TestFlux:
    @pytest.mark.parametrize("grid", ["rotated", "finer", "coarser", "shifted"])
    def test_stars_keep_their_flux(self, grid):
        """Aperture sums of stars at random sub-pixel places to 0.5 %, mean to 0.1 %."""
        rng = np.random.default_rng(3)
        jacobian = GRIDS[grid]
        shape, centre = (300, 300), (150.0, 150.0)
        x, y = (a.ravel() + rng.uniform(-0.5, 0.5, 16) for a in np.mgrid[90:211:40, 90:211:40])
        flux = rng.uniform(500, 2000, 16)
        source = make_exposure(star_field(shape, x, y, flux, 2.0))
        out = resampled(source, jacobian, shape, target=centre, source=centre)
        back = np.linalg.inv(jacobian)
        sums = []
        for xs, ys in zip(x, y, strict=True):
            tx, ty = back @ (np.array([xs, ys]) - centre) + centre
            yy, xx = np.mgrid[: out.image.shape[0], : out.image.shape[1]]
            inside = np.hypot(xx + out.x0 - tx, yy + out.y0 - ty) < 14
            sums.append(out.image[inside].sum())
        ratio = np.array(sums) / flux
        assert np.abs(ratio - 1).max() < 0.005
        assert ratio.mean() == pytest.approx(1, abs=0.001)

    def test_stars_keep_their_place(self):
        jacobian, centre = GRIDS["rotated"], (100.0, 100.0)
        source = make_exposure(star_field((200, 200), [110.3], [85.6], [1e4], 2.0))
        out = resampled(source, jacobian, (200, 200), target=centre, source=centre)
        yy, xx = np.mgrid[: out.image.shape[0], : out.image.shape[1]]
        total = out.image.sum()
        found = (out.image * (xx + out.x0)).sum() / total, (out.image * (yy + out.y0)).sum() / total
        expected = np.linalg.inv(jacobian) @ (np.array([110.3, 85.6]) - centre) + centre
        assert found == pytest.approx(expected, abs=0.01)


def test_same_grid_returns_the_input():
    wcs = tan_wcs((120, 150), rotation=12)
    image = white_noise((120, 150), 0) + 100
    source = make_exposure(image, np.linspace(1, 2, 150), wcs=wcs)
    out = resample(source, PixelMap.between(wcs, (120, 150), wcs), (120, 150))
    inside = with_no_data(out.mask)
    assert inside[ORDER:-ORDER, ORDER:-ORDER].all()
    rows, cols = out.slices
    assert np.array_equal(out.image[inside], source.image[rows, cols][inside])
    assert out.variance[inside] == pytest.approx(source.variance[rows, cols][inside], rel=1e-6)
    assert np.isnan(out.variance[~inside]).all()


def test_whole_pixel_shift():
    source = make_exposure(white_noise((60, 60), 1))
    out = resampled(source, np.eye(2), (60, 60), source=(7, -4))
    inside = with_no_data(out.mask)
    assert out.image[30 - out.y0, 20 - out.x0] == source.image[26, 27]
    assert inside.sum() >= (60 - 7 - 2 * ORDER) * (60 - 4 - 2 * ORDER)


@pytest.fixture(scope="module", params=["rotated", "finer", "coarser", "much coarser"])
def noise(request):
    """White noise of variance 4 on a new grid, and its map."""
    jacobian, shape = GRIDS[request.param], (260, 260)
    source = make_exposure(white_noise((700, 700), 5, 4.0), 4.0)
    pixel_map = linear_map(jacobian, shape, target=(130, 130), source=(350, 350))
    out = resample(source, pixel_map, shape)
    rows, cols = slice(5, -5), slice(5, -5)
    rho = noise_correlation(pixel_map, (0, 0, 260, 260), lags=6)
    return out.image[rows, cols].astype(float), out.variance[rows, cols], rho


class TestNoise:
    def test_correlation_is_that_of_the_pixels(self, noise):
        image, variance, rho = noise
        assert rho.sum() == pytest.approx(1.0)
        white = variance.mean()
        for dx, dy in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 3)]:
            measured = correlation(image, dx, dy) / white
            assert measured == pytest.approx(rho[6 + dy, 6 + dx], abs=0.02)

    def test_pixel_variance_is_the_plane_times_rho_at_zero(self, noise):
        image, variance, rho = noise
        assert (image**2).mean() == pytest.approx(variance.mean() * rho[6, 6], rel=0.02)

    def test_the_plane_is_what_a_broad_filter_sees(self, noise):
        """White noise of the variance plane filtered by a Gaussian has V / (4 pi s^2)."""
        image, variance, _ = noise
        smooth = gaussian_filter(image, 3.0)[12:-12, 12:-12]
        assert (smooth**2).mean() == pytest.approx(variance.mean() / (4 * np.pi * 9), rel=0.12)

    def test_symmetric_and_widest_at_zero(self, noise):
        rho = noise[2]
        assert rho == pytest.approx(rho[::-1, ::-1], abs=1e-2)
        assert rho.argmax() == rho.size // 2


def test_plane_follows_the_area():
    """The equivalent white variance of an image scaled by J in area is J times the input's."""
    for grid in ("rotated", "finer"):
        source = make_exposure(np.zeros((200, 200)), 3.0)
        out = resampled(source, GRIDS[grid], (80, 80), target=(40, 40), source=(100, 100))
        area = abs(np.linalg.det(GRIDS[grid]))
        assert np.median(out.variance) == pytest.approx(3.0 * area, rel=1e-3)


def test_noise_of_equal_grids_is_white():
    rho = noise_correlation(linear_map(np.eye(2), (50, 50)), (0, 0, 50, 50), lags=3)
    assert rho[3, 3] == pytest.approx(1.0, abs=1e-6)
    assert np.abs(rho).sum() == pytest.approx(1.0, abs=1e-5)


class TestBadPixels:
    @pytest.fixture
    def scene(self):
        return white_noise((80, 80), 2) + 50

    @pytest.mark.parametrize("kind", ["nan image", "no data", "nan variance", "zero variance"])
    def test_spread_no_further_than_the_kernel(self, scene, kind):
        image, variance, mask = scene.copy(), np.ones((80, 80)), Mask.empty((80, 80))
        at = (40, 35)
        if kind == "nan image":
            image[at] = np.nan
        elif kind == "no data":
            where = np.zeros((80, 80), bool)
            where[at] = True
            mask = mask.with_plane("NO_DATA", where)
            image[at] = 1e30
        else:
            variance[at] = np.nan if kind == "nan variance" else 0.0
        half_pixel = {"source": (0.5, 0.5)}
        clean = resampled(make_exposure(scene), np.eye(2), (80, 80), **half_pixel)
        out = resampled(
            make_exposure(image, variance, mask=mask), np.eye(2), (80, 80), **half_pixel
        )
        lost = with_no_data(clean.mask) & out.mask.any("NO_DATA")
        rows, cols = np.nonzero(lost)
        # (x, y) sees source pixels x - 2 ... x + 3: six of them.
        assert np.ptp(rows) == np.ptp(cols) == 2 * ORDER - 1
        assert np.abs(rows + out.y0 + 0.5 - at[0]).max() < ORDER
        assert np.abs(cols + out.x0 + 0.5 - at[1]).max() < ORDER
        kept = with_no_data(out.mask)
        assert np.array_equal(out.image[kept], clean.image[kept])
        assert np.isfinite(out.image).all()
        assert np.isnan(out.variance[~kept]).all()

    def test_masks_are_carried(self, scene):
        where = np.zeros((80, 80), bool)
        where[40, 35] = True
        mask = Mask.empty((80, 80)).with_plane("SAT", where).with_plane("STREAK", where)
        out = resampled(
            make_exposure(scene, mask=mask), rotation_matrix(30), (80, 80), source=(20, 0)
        )
        back = np.linalg.inv(rotation_matrix(30)) @ (np.array([35, 40]) - (20, 0))
        for plane in ("SAT", "STREAK"):
            rows, cols = np.nonzero(out.mask.any(plane))
            assert 1 <= rows.size <= 9
            distance = np.hypot(cols + out.x0 - back[0], rows + out.y0 - back[1])
            assert distance.max() < np.sqrt(2)
        assert with_no_data(out.mask)[out.mask.any("SAT")].all()

    def test_edges(self, scene):
        """Beyond the source there is NO_DATA, and the covered box holds all the rest."""
        out = resampled(make_exposure(scene), np.eye(2), (200, 200), target=(60.25, 90.5))
        inside = with_no_data(out.mask)
        rows, cols = np.nonzero(inside)
        # Kernels of six pixels fit at 80 - 6 + 1 positions between the pixels of 80, less phases.
        assert np.ptp(rows) + 1 == np.ptp(cols) + 1 == 80 - 2 * ORDER + 1
        assert (out.image[~inside] == 0).all()
        assert out.mask.any("NO_DATA")[~inside].all()

    def test_no_overlap(self, scene):
        assert resampled(make_exposure(scene), np.eye(2), (50, 50), source=(300, 0)) is None


@pytest.fixture(scope="module")
def sky():
    rng = np.random.default_rng(8)
    shape = (240, 240)
    x, y = rng.uniform(30, 210, (2, 40))
    image = star_field(shape, x, y, rng.uniform(1e3, 1e4, 40), 4.0)
    source = make_exposure(image, wcs=tan_wcs(shape, scale=0.2))
    target = tan_wcs((150, 150), scale=0.25, rotation=33)
    out = resample(source, PixelMap.between(target, (150, 150), source.wcs), (150, 150))
    full = np.full((150, 150), np.nan)
    full[out.slices] = np.where(with_no_data(out.mask), out.image, np.nan)
    return source, target, full


class TestReproject:
    """The same smooth sky through astropy's reproject: surface brightness times the area ratio."""

    def test_bicubic(self, sky):
        source, target, ours = sky
        theirs, _ = reproject_interp(
            (source.image.astype(float), source.wcs), target, shape_out=ours.shape, order="bicubic"
        )
        theirs *= (0.25 / 0.2) ** 2
        both = np.isfinite(ours) & np.isfinite(theirs)
        assert both.mean() > 0.95
        assert np.abs(ours - theirs)[both].max() < 2e-3 * np.nanmax(theirs)

    def test_adaptive(self, sky):
        source, target, ours = sky
        theirs, _ = reproject_adaptive(
            (source.image.astype(float), source.wcs),
            target,
            shape_out=ours.shape,
            kernel="hann",
            conserve_flux=True,
            center_jacobian=True,
        )
        both = np.isfinite(ours) & np.isfinite(theirs)
        assert both.mean() > 0.95
        # A Hann window blurs; fluxes must agree all the same.
        assert np.abs(ours - theirs)[both].max() < 0.03 * np.nanmax(theirs)
        assert ours[both].sum() == pytest.approx(theirs[both].sum(), rel=2e-3)


class TestWarpStamp:
    @pytest.mark.parametrize("grid", ["rotated", "finer", "coarser", "much coarser"])
    def test_equals_the_resampled_image_of_the_psf(self, grid):
        stamp = gaussian_stamp(2.2, 41, sigma_y=1.8, angle=0.5)
        image = np.zeros((141, 141))
        image[50:91, 50:91] = stamp
        out = resampled(
            make_exposure(image), GRIDS[grid], (101, 101), target=(50, 50), source=(70, 70)
        )
        size = 31
        y0, x0 = 50 - out.y0 - size // 2, 50 - out.x0 - size // 2
        box = out.image[max(y0, 0) : y0 + size, max(x0, 0) : x0 + size]
        warped = warp_stamp(stamp, GRIDS[grid], size)
        assert box.shape == warped.shape
        assert np.abs(warped - box).max() < 1e-4 * warped.max()

    def test_flux_is_kept(self):
        for jacobian in GRIDS.values():
            assert warp_stamp(gaussian_stamp(2.0, 41), jacobian, 61).sum() == pytest.approx(
                1.0, abs=2e-3
            )

    def test_identity(self):
        stamp = gaussian_stamp(1.5, 21)
        assert warp_stamp(stamp, np.eye(2), 21) == pytest.approx(stamp, abs=1e-12)
