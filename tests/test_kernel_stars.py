import numpy as np
import pytest
from scenes import make_exposure, star_field, white_noise

from skydelta.errors import InputError
from skydelta.io.star_catalogue import StarCatalogue
from skydelta.kernel_stamps import cut_stamps
from skydelta.kernel_stars import StarOptions, kernel_stars
from skydelta.mask import Mask
from skydelta.subtract import SubtractOptions, subtract

SHAPE = (400, 400)
HALF, STAMP_HALF = 10, 12


def planes(*, x, y, flux, science_mask=None, template_mask=None, **fields):
    sky = star_field(SHAPE, x, y, flux, 2.0)
    science = make_exposure(sky + white_noise(SHAPE, 0), 1.0, mask=science_mask, **fields)
    template = make_exposure(sky + white_noise(SHAPE, 1, 0.1), 0.1, mask=template_mask)
    return science, template


@pytest.fixture(scope="module")
def grid():
    """Sixteen stars, the brightness rising along the rows."""
    y, x = (a.ravel() for a in np.mgrid[50:351:100, 50:351:100])
    return {"x": x + 0.2, "y": y - 0.3, "flux": np.linspace(2000, 8000, 16)}


def at(x, y):
    where = np.zeros(SHAPE, bool)
    where[y, x] = True
    return where


def found(stars, x, y):
    return np.hypot(stars["x"] - x, stars["y"] - y).min() < 2


def test_finds_the_stars(grid):
    stars = kernel_stars(*planes(**grid), HALF, STAMP_HALF)
    assert len(stars) == 16
    assert all(found(stars, x, y) for x, y in zip(grid["x"], grid["y"], strict=True))


def test_best_of_every_cell_first(grid):
    stars = kernel_stars(*planes(**grid), HALF, STAMP_HALF, StarOptions(cell_size=200))
    cells = [(s["x"] // 200, s["y"] // 200) for s in stars[:4]]
    assert len(set(cells)) == 4
    # In each cell the brightest is the one with the largest x and y.
    assert {(round(s["x"]), round(s["y"])) for s in stars[:4]} == {
        (150, 150), (350, 150), (150, 350), (350, 350)
    }  # fmt: skip


def test_limits(grid):
    images = planes(**grid)
    assert len(kernel_stars(*images, HALF, STAMP_HALF, StarOptions(max_stars=5))) == 5
    one = kernel_stars(*images, HALF, STAMP_HALF, StarOptions(cell_size=200, per_cell=1))
    assert len(one) == 4
    bright = kernel_stars(*images, HALF, STAMP_HALF, StarOptions(min_snr=500))
    assert 0 < len(bright) < 16
    assert bright["snr"].min() >= 500
    faint = kernel_stars(*images, HALF, STAMP_HALF, StarOptions(max_snr=500))
    assert len(bright) + len(faint) == 16


def test_bright_peaks_are_left_out(grid):
    """Beyond 0.9 of saturation a detector is no longer linear."""
    science, template = planes(**grid, saturate=300.0)
    peaks = grid["flux"] / (2 * np.pi * 4)
    stars = kernel_stars(science, template, HALF, STAMP_HALF)
    assert 0 < (peaks > 270).sum() < 16
    assert abs(len(stars) - (peaks < 270).sum()) <= 1


@pytest.mark.parametrize("plane", ["SAT", "BAD", "CR", "NO_DATA"])
def test_masked_cores_are_left_out(grid, plane):
    mask = Mask.empty(SHAPE).with_plane(plane, at(150, 50))
    stars = kernel_stars(*planes(**grid, science_mask=mask), HALF, STAMP_HALF)
    assert len(stars) == 15
    assert not found(stars, 150, 50)


@pytest.mark.parametrize("plane", ["SAT", "BAD", "NO_DATA"])
def test_bad_template_pixels_near_the_core_count(grid, plane):
    mask = Mask.empty(SHAPE).with_plane(plane, at(153, 48))
    stars = kernel_stars(*planes(**grid, template_mask=mask), HALF, STAMP_HALF)
    assert len(stars) == 15
    assert not found(stars, 150, 50)


def test_no_star():
    blank = planes(x=[], y=[], flux=[])
    assert len(kernel_stars(*blank, HALF, STAMP_HALF)) == 0


class TestStamps:
    def test_are_cut_about_the_stars(self, grid):
        science, template = planes(**grid)
        stars = kernel_stars(science, template, HALF, STAMP_HALF)
        stamps = cut_stamps(science, template, stars, HALF, STAMP_HALF)
        assert stamps.target.shape == (16, 25, 25)
        assert stamps.source.shape == (16, 45, 45)
        x, y = stamps.x[3], stamps.y[3]
        assert stamps.target[3] == pytest.approx(science.image[y - 12 : y + 13, x - 12 : x + 13])
        assert stamps.source[3] == pytest.approx(template.image[y - 22 : y + 23, x - 22 : x + 23])
        assert stamps.good.all()

    def test_a_bad_template_pixel_takes_all_that_the_kernel_reaches(self, grid):
        mask = Mask.empty(SHAPE).with_plane("NO_DATA", at(165, 50))
        science, template = planes(**grid, template_mask=mask)
        stars = kernel_stars(science, template, HALF, STAMP_HALF)
        stamps = cut_stamps(science, template, stars, HALF, STAMP_HALF)
        k = int(np.argmin(np.hypot(stamps.x - 150, stamps.y - 50)))
        columns = np.arange(-12, 13) + stamps.x[k]
        rows = np.arange(-12, 13) + stamps.y[k]
        reached = (np.abs(columns - 165) <= HALF) & (np.abs(rows - 50) <= HALF)[:, None]
        assert np.array_equal(~stamps.good[k], reached)

    def test_beyond_the_edge_is_bad(self):
        science, template = planes(x=[15.0], y=[200.0], flux=[9000.0])
        stars = kernel_stars(science, template, HALF, STAMP_HALF)
        assert len(stars) == 1
        stamps = cut_stamps(science, template, stars, HALF, STAMP_HALF)
        # The kernel needs ten more columns than there are.
        assert np.array_equal(~stamps.good[0][0], np.arange(-12, 13) + stamps.x[0] < HALF)
        assert np.isfinite(stamps.source).all()


class TestSources:
    """Where the stars are looked for."""

    @staticmethod
    def catalogue(wcs, x, y, is_star=None):
        ra, dec = wcs.all_pix2world(x, y, 0)
        return StarCatalogue(ra, dec, np.ones(len(ra)), is_star, "test")

    def test_template(self, grid):
        """Stars of the template alone serve only where it is searched."""
        science, template = planes(**grid)
        extra = star_field(SHAPE, [200.0], [200.0], [9000.0], 2.0).astype(np.float32)
        template = template.replace(image=template.image + extra)
        for source, number in (("exposure", 16), ("template", 17)):
            stars = kernel_stars(science, template, HALF, STAMP_HALF, StarOptions(source=source))
            assert len(stars) == number
            assert found(stars, 200, 200) == (source == "template")

    def test_saturation_is_that_of_the_image_searched(self, grid):
        science, template = planes(**grid, saturate=300.0)
        options = StarOptions(source="template")
        assert len(kernel_stars(science, template, HALF, STAMP_HALF, options)) == 16

    def test_catalogue(self, grid):
        """Of the exposure's stars those that the catalogue lists as stars."""
        images = planes(**grid)
        is_star = np.arange(8) != 3
        catalogue = self.catalogue(images[0].wcs, grid["x"][::2], grid["y"][::2], is_star)
        options = StarOptions(source="catalogue")
        stars = kernel_stars(*images, HALF, STAMP_HALF, options, catalogue)
        assert len(stars) == 7
        listed = zip(grid["x"][::2], grid["y"][::2], is_star, strict=True)
        assert all(found(stars, x, y) == wanted for x, y, wanted in listed)

    def test_match_radius(self, grid):
        """0.2 arcsec a pixel: every other star 4 px off is within 1 arcsec, not within 0.5."""
        images = planes(**grid)
        x = grid["x"] + np.where(np.arange(16) % 2, 4.0, 0.0)
        catalogue = self.catalogue(images[0].wcs, x, grid["y"])
        for radius, least, most in ((0.5, 8, 8), (2.0, 16, 16)):
            options = StarOptions(source="catalogue", match_radius=radius)
            stars = kernel_stars(*images, HALF, STAMP_HALF, options, catalogue)
            assert least <= len(stars) <= most

    def test_no_catalogue(self, grid):
        options = StarOptions(source="catalogue")
        with pytest.raises(InputError, match="no catalogue is given"):
            kernel_stars(*planes(**grid), HALF, STAMP_HALF, options)

    def test_through_the_subtraction(self, grid):
        images = planes(**grid)
        catalogue = self.catalogue(images[0].wcs, grid["x"][:10], grid["y"][:10])
        options = SubtractOptions(stars=StarOptions(source="catalogue"))
        difference = subtract(*images, options=options, catalogue=catalogue)
        assert len(difference.stars["x"]) == 10
        assert difference.stars["y"].max() < 300


def test_stamps_say_the_noise_of_the_source(grid):
    science, template = planes(**grid)
    stars = kernel_stars(science, template, HALF, STAMP_HALF)
    rho = np.full((3, 3), 1 / 9)
    stamps = cut_stamps(science, template, stars, HALF, STAMP_HALF, rho)
    assert stamps.source_variance == pytest.approx(0.1)
    assert stamps.variance == pytest.approx(1.0)
    assert stamps.source_correlation is rho


@pytest.mark.parametrize("swapped", [False, True])
def test_cosmic_rays_count_on_the_science_image(grid, swapped):
    """Whether it is the target or what is convolved; a coadd's own are clipped."""
    mask = Mask.empty(SHAPE).with_plane("CR", at(156, 50))
    science, template = planes(**grid, science_mask=mask)
    stars = kernel_stars(science, template, HALF, STAMP_HALF)
    pair = (template, science) if swapped else (science, template)
    stamps = cut_stamps(*pair, stars, HALF, STAMP_HALF, source_is_science=swapped)
    lost = (~stamps.good).sum(axis=(1, 2))
    assert lost[np.argmin(np.hypot(stamps.x - 150, stamps.y - 50))] > (100 if swapped else 0)
    wrong = cut_stamps(*pair, stars, HALF, STAMP_HALF, source_is_science=not swapped)
    assert wrong.good.all()
