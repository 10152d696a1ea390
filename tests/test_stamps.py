import re
from pathlib import Path

import numpy as np
import pytest
from scenes import gaussian

from skydelta.errors import BadImageError, BadKernelError, BadVarianceError, InputError
from skydelta.kernel_basis import BasisSpec
from skydelta.psf import adaptive_shape
from skydelta.stamps import StampOptions, aperture_flux, match_stamp, stamp_spec
from skydelta.star_noise import robust_sigma

ROOT = Path(__file__).resolve().parents[1]
SHAPE = (63, 63)
STARS = [
    (14, 17, 9e3),
    (48, 12, 2e4),
    (12, 44, 4e4),
    (50, 50, 1.2e4),
    (30, 9, 2.5e4),
    (33, 53, 7e3),
]
GALAXY = (34.0, 28.0, 9.0, 1.5e5)
SUPERNOVA = (31.3, 30.8)
NO_MATCH = r"nothing to match|no light in common|unexplained|fit the"


def scene(sigma, ratio=1.0, *, shape=SHAPE, dx=0.0):
    """Stars and a galaxy seen with a Gaussian PSF, whatever image they are on."""
    x, y, width, flux = GALAXY
    image = gaussian(shape, x + dx, y, np.hypot(width, sigma), flux)
    for x, y, flux in STARS:
        image += gaussian(shape, x + dx, y, sigma, flux)
    return ratio * image


def around(x, y, radius, shape=SHAPE):
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(xx - x, yy - y) <= radius


def noisy(image, sigma, seed):
    return image + sigma * np.random.default_rng(seed).normal(size=image.shape)


def valid(match):
    return match.difference[np.isfinite(match.difference)]


class TestKernel:
    def test_is_the_gaussian_between_two_gaussians(self):
        science, template = scene(2.0, 1.3) + 12.0, scene(1.5)
        match = match_stamp(science, template, sigma_science=2.0, sigma_template=1.5)
        shape = adaptive_shape(match.kernel.middle)
        assert match.convolved == "template"
        assert match.kernel_sum == pytest.approx(1.3, rel=2e-4)
        assert shape.determinant_radius == pytest.approx(np.sqrt(2.0**2 - 1.5**2), rel=0.02)
        assert np.abs(valid(match)).max() < 1e-3 * np.ptp(science)
        np.testing.assert_allclose(match.background, 12.0, atol=0.1)

    def test_follows_a_shift(self):
        match = match_stamp(scene(1.8, dx=0.4), scene(1.5))
        kernel = match.kernel.middle / match.kernel_sum
        u = np.arange(kernel.shape[1]) - match.kernel.half
        assert (kernel.sum(axis=0) * u).sum() == pytest.approx(0.4, abs=0.02)

    @pytest.mark.parametrize("known", [True, False])
    def test_convolves_the_sharper_image(self, known):
        """The science image, here; the difference stays in science counts."""
        widths = {"sigma_science": 1.3, "sigma_template": 1.8} if known else {}
        transient = gaussian(SHAPE, *SUPERNOVA, 1.3, 8e3)
        science, template = scene(1.3, 0.8) + transient, scene(1.8)
        mask = around(*SUPERNOVA, 6)
        match = match_stamp(noisy(science, 2.0, 1), template, mask=mask, **widths)
        assert match.convolved == "science"
        assert match.flux_ratio == pytest.approx(0.8, rel=0.01)
        assert aperture_flux(match, *SUPERNOVA, 9).flux == pytest.approx(8e3, abs=300)

    def test_template_is_convolved_unless_that_sharpens(self):
        science, template = noisy(scene(1.5), 3.0, 1), noisy(scene(1.5), 1.0, 2)
        assert match_stamp(science, template).convolved == "template"

    @pytest.mark.parametrize("convolve", ["template", "science"])
    def test_error_of_the_sum_is_its_scatter(self, convolve):
        """With noise in both images, and no bias from that of the one convolved."""
        widths = (1.9, 1.5) if convolve == "template" else (1.5, 1.9)
        science, template = scene(widths[0], 1.2), scene(widths[1])
        matches = [
            match_stamp(
                noisy(science, 6.0, seed),
                noisy(template, 4.0, 1000 + seed),
                variance=36.0,
                template_variance=16.0,
                convolve=convolve,
            )
            for seed in range(25)
        ]
        sums = np.array([m.kernel_sum for m in matches])
        error = np.mean([m.kernel_sum_error for m in matches])
        expected = 1.2 if convolve == "template" else 1 / 1.2
        assert 0.6 < sums.std() / error < 1.4
        assert abs(sums.mean() - expected) < error
        assert np.mean([m.chi2 for m in matches]) == pytest.approx(1.0, abs=0.1)


class TestTransient:
    @pytest.mark.parametrize("convolve", ["template", "science"])
    @pytest.mark.parametrize("planes", [True, False])
    def test_is_recovered_within_errors(self, planes, convolve):
        widths = (1.9, 1.5) if convolve == "template" else (1.5, 1.9)
        true = 6e3
        science = scene(widths[0]) + gaussian(SHAPE, *SUPERNOVA, widths[0], true)
        template = scene(widths[1])
        known = {"variance": 36.0, "template_variance": 1.0} if planes else {}
        pulls = []
        for seed in range(25):
            match = match_stamp(
                noisy(science, 6.0, seed),
                noisy(template, 1.0, 1000 + seed),
                mask=around(*SUPERNOVA, 9),
                convolve=convolve,
                options=StampOptions(model_error=0.0),
                **known,
            )
            flux = aperture_flux(match, *SUPERNOVA, 9)
            pulls.append((flux.flux - true) / flux.error)
        # Measured errors are wide if the kernel is, but never too small.
        assert 0.65 * planes + 0.2 < np.std(pulls) < 1.4
        assert abs(np.mean(pulls)) < 0.6

    def test_counts_its_photons(self):
        science = scene(1.5) + gaussian(SHAPE, *SUPERNOVA, 1.5, 1e5)
        match = match_stamp(noisy(science, 1.0, 1), scene(1.5), mask=around(31, 31, 9), gain=4.0)
        sky = aperture_flux(
            match_stamp(noisy(science, 1.0, 1), scene(1.5), mask=around(31, 31, 9)), 31, 31, 9
        )
        flux = aperture_flux(match, 31, 31, 9)
        light = (science - np.median(science))[around(31, 31, 9)].sum()
        assert flux.noise**2 - sky.noise**2 == pytest.approx(light / 4.0, rel=0.05)

    def test_matters_little_to_the_kernel_without_mask(self):
        science = noisy(scene(1.9) + gaussian(SHAPE, *SUPERNOVA, 1.9, 2e5), 3.0, 1)
        match = match_stamp(science, scene(1.5))
        assert match.kernel_sum == pytest.approx(1.0, abs=0.01)

    def test_one_faint_star_is_enough(self):
        science, template = gaussian(SHAPE, 20, 40, 1.9, 500.0), gaussian(SHAPE, 20, 40, 1.5, 500.0)
        match = match_stamp(noisy(science, 3.0, 1), template, mask=around(31, 31, 9))
        assert match.kernel_sum == pytest.approx(1.0, abs=4 * match.kernel_sum_error)

    def test_unmasked_outlier_is_clipped(self):
        science = noisy(scene(1.9), 3.0, 1)
        science[40, 22] += 4e3
        match = match_stamp(science, scene(1.5))
        assert not match.fitted[40, 22]
        assert match.kernel_sum == pytest.approx(1.0, abs=4 * match.kernel_sum_error)
        assert match.difference[40, 22] == pytest.approx(4e3, abs=20)


class TestPixels:
    def test_the_border_of_half_a_kernel_is_lost(self):
        match = match_stamp(noisy(scene(1.9), 3.0, 1), scene(1.5))
        half = match.kernel.half
        inner = np.zeros(SHAPE, bool)
        inner[half:-half, half:-half] = True
        for plane in (match.difference, match.variance):
            np.testing.assert_array_equal(np.isfinite(plane), inner)
        assert not match.fitted[~inner].any()

    def test_missing_pixels_stay_local(self):
        science, template = noisy(scene(1.9), 3.0, 1), scene(1.5)
        whole = match_stamp(science, template)
        science, template = science.copy(), template.copy()
        science[20, 24], template[42, 36] = np.nan, np.nan
        match = match_stamp(science, template)
        assert np.isnan(match.difference[20, 24])
        assert np.isnan(match.difference[42, 36])
        assert not match.fitted[42 - 7 : 42 + 8, 36 - 7 : 36 + 8].any()
        both = np.isfinite(match.difference)
        assert both.sum() > np.isfinite(whole.difference).sum() - 100
        assert np.abs(match.difference - whole.difference)[both].max() < 5.0
        assert np.isnan(aperture_flux(match, 24, 20, 5).flux)

    def test_oblong_stamps(self):
        shape = (63, 47)
        science = noisy(scene(1.9, shape=shape), 3.0, 1)
        match = match_stamp(science, scene(1.5, shape=shape))
        half = match.kernel.half
        assert match.difference.shape == match.background.shape == shape
        assert np.isfinite(match.difference[half:-half, half:-half]).all()
        assert np.isnan(match.difference[:, -half:]).all()
        assert valid(match).std() == pytest.approx(3.0, rel=0.1)
        assert abs(aperture_flux(match, 20, 30, 9).flux) < 5 * aperture_flux(match, 20, 30, 9).error

    def test_inputs_are_left_alone(self):
        science, template, mask = noisy(scene(1.9), 3.0, 1), scene(1.5), around(31, 31, 9)
        template[3, 3] = np.nan
        before = science.copy(), template.copy(), mask.copy()
        match_stamp(science, template, mask=mask)
        for one, other in zip((science, template, mask), before, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_aperture_beyond_the_valid_part_has_no_flux(self):
        match = match_stamp(noisy(scene(1.9), 3.0, 1), scene(1.5))
        for x, y in ((31, 10), (2, 31), (-40, 31)):
            flux = aperture_flux(match, x, y, 9)
            assert np.isnan([flux.flux, flux.noise, flux.error]).all()


class TestBadInput:
    def test_shapes(self):
        with pytest.raises(InputError, match="one shape"):
            match_stamp(np.ones(SHAPE), np.ones((63, 62)))
        with pytest.raises(InputError, match="one shape"):
            match_stamp(np.ones(63), np.ones(63))
        with pytest.raises(InputError, match="mask must have"):
            match_stamp(scene(1.5), scene(1.5), mask=np.zeros((5, 5), bool))
        with pytest.raises(InputError, match="variance must have"):
            match_stamp(scene(1.5), scene(1.5), variance=np.ones((5, 5)))

    def test_too_small(self):
        with pytest.raises(InputError, match="too small"):
            match_stamp(np.ones((13, 13)), np.ones((13, 13)))
        wide = StampOptions(spec=BasisSpec((1.0,), (2,), 33))
        with pytest.raises(InputError, match="too small"):
            match_stamp(scene(1.5), scene(1.5), options=wide)

    @pytest.mark.parametrize("which", [0, 1])
    def test_no_finite_pixel(self, which):
        pair = [scene(1.9), scene(1.5)]
        pair[which] = np.full(SHAPE, np.nan)
        with pytest.raises(BadImageError, match="no finite pixel"):
            match_stamp(*pair)

    def test_all_masked(self):
        with pytest.raises(BadImageError, match="0 usable pixels"):
            match_stamp(scene(1.9), scene(1.5), mask=np.ones(SHAPE, bool))

    def test_mask_that_leaves_nothing_to_convolve(self):
        with pytest.raises(BadImageError, match="usable pixels"):
            match_stamp(scene(1.5), scene(1.9), mask=around(31, 31, 24), convolve="science")

    @pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
    def test_variance(self, value):
        plane = np.ones(SHAPE)
        plane[30, 30] = value
        for name in ("variance", "template_variance"):
            with pytest.raises(BadVarianceError, match=name):
                match_stamp(scene(1.9), scene(1.5), **({"variance": 1.0} | {name: plane}))

    @pytest.mark.parametrize("template", [0.0, 7.0, "noise"])
    @pytest.mark.parametrize("variance", [None, 9.0])
    def test_nothing_in_the_template(self, template, variance):
        flat = np.zeros(SHAPE)
        image = noisy(flat, 2.0, 5) if template == "noise" else flat + template
        with pytest.raises(BadKernelError, match=NO_MATCH):
            match_stamp(noisy(scene(1.9), 3.0, 1), image, variance=variance)

    @pytest.mark.parametrize("seed", range(8))
    def test_noise_bent_to_a_galaxy_is_no_match(self, seed):
        noise = noisy(np.zeros(SHAPE), 2.0, 100 + seed)
        for known in ({}, {"variance": 9.0}, {"variance": 9.0, "template_variance": 4.0}):
            with pytest.raises(BadKernelError):
                match_stamp(noisy(scene(1.9), 3.0, seed), noise, **known)

    def test_other_sky(self):
        with pytest.raises(BadKernelError):
            match_stamp(noisy(scene(1.9), 3.0, 1), scene(1.5)[::-1, ::-1], variance=9.0)

    @pytest.mark.parametrize("science", [0.0, 7.0, "noise", "negative"])
    def test_nothing_in_the_science_image(self, science):
        flat = np.zeros(SHAPE)
        images = {"noise": noisy(flat, 3.0, 1), "negative": noisy(-scene(1.9), 3.0, 1)}
        image = images[science] if science in images else flat + science
        with pytest.raises(BadKernelError, match=NO_MATCH):
            match_stamp(image, scene(1.5))

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"convolve": "both"}, "convolve must be"),
            ({"gain": 0.0}, "gain must be positive"),
            ({"sigma_science": -1.0, "sigma_template": 1.0}, "sigmas must be positive"),
        ],
    )
    def test_options(self, wrong, message):
        with pytest.raises(ValueError, match=message):
            match_stamp(scene(1.9), scene(1.5), **wrong)


@pytest.mark.parametrize(("side", "size"), [(63, 15), (61, 15), (41, 9), (200, 21), (20, 7)])
def test_kernel_is_at_most_a_quarter_of_the_stamp(side, size):
    assert stamp_spec(side, 2.0, 1.5).size == size
    assert stamp_spec(side).size == min(size, 21)


@pytest.fixture(scope="module")
def document(shared_data):
    """What the code block of docs/stamps.md leaves behind."""
    text = (ROOT / "docs" / "stamps.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        exec(compile(block, "docs/stamps.md", "exec"), names)
    return names


class TestSupernova:
    def test_magnitudes_are_those_of_ztf(self, document):
        deviation = np.asarray(document["difference"])
        assert len(deviation) == 34
        assert abs(np.median(deviation)) < 0.02
        assert deviation.std() < 0.03
        assert robust_sigma(deviation) < 0.03

    @pytest.mark.parametrize("band", ["g", "r"])
    def test_in_each_band(self, document, band):
        deviation = np.asarray(document["difference"])[document["ztf"]["band"] == band]
        assert abs(np.median(deviation)) < 0.02
        assert deviation.std() < 0.03

    def test_deviations_are_within_the_errors(self, document):
        both = np.hypot(document["error"], document["ztf"]["sigmapsf"])
        pull = np.asarray(document["difference"] / both)
        assert np.abs(pull).max() < 3.0
        assert pull.std() < 1.0

    def test_document_quotes_its_own_output(self, document):
        deviation = np.asarray(document["difference"])
        text = (ROOT / "docs" / "stamps.md").read_text()
        quoted = re.search(r"median ([+-][\d.]+), scatter ([\d.]+) mag\n", text).groups()
        assert float(quoted[0]) == pytest.approx(np.median(deviation), abs=2e-3)
        assert float(quoted[1]) == pytest.approx(deviation.std(), abs=2e-3)
