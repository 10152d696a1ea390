import numpy as np
import pytest
from scenes import gaussian_stamp, make_exposure, star_field, white_noise

from skydelta.detect import DetectOptions, detect
from skydelta.mask import Mask
from skydelta.matched_template import MatchedTemplate, model_noise

SHAPE = (400, 400)
SIGMA = 2.0
NORM = np.sqrt((gaussian_stamp(SIGMA) ** 2).sum())
PLAIN = DetectOptions(model_error=0.0, registration_error=0.0)


def grid(step=40):
    at = np.arange(30.0, 380.0, step)
    return (a.ravel() for a in np.meshgrid(at, at))


def stars(x, y, snr, sigma=SIGMA):
    return star_field(SHAPE, x, y, np.broadcast_to(snr / NORM, x.shape), sigma)


def matched(image, kernel_sum=1.0, sigma=SIGMA, **fields):
    return MatchedTemplate(make_exposure(image, 1.0, sigma=sigma), kernel_sum, **fields)


@pytest.mark.parametrize("template_sigma", [1.6, 2.0])
def test_light_of_a_star_is_its_flux(template_sigma):
    """Above a pedestal, through a kernel of sum 3, whatever the width of the template's PSF."""
    image = star_field(SHAPE, [100.0], [120.0], [500.0], template_sigma) + 7.0
    template = matched(image, 3.0, template_sigma)
    psf = make_exposure(image, 1.0, sigma=SIGMA).psf
    light, gradient = template.light([100, 300], [120, 300], psf)
    assert light == pytest.approx([1500.0, 0.0], abs=2.0)
    assert gradient == pytest.approx([0.0, 0.0], abs=1.0)


def test_gradient_is_that_of_the_autocorrelation():
    """At w = sqrt(2) sigma off a Gaussian star it is flux exp(-1/2) / w, its largest."""
    template = matched(star_field(SHAPE, [100.0], [120.0], [500.0], SIGMA))
    _, gradient = template.light([103], [120], template.exposure.psf)
    w = np.sqrt(2) * SIGMA
    expected = 500 * 3 / w**2 * np.exp(-0.5 * (3 / w) ** 2)
    # A difference over two pixels: 4 % less at this width.
    assert gradient[0] == pytest.approx(expected, rel=0.05)


def test_noise_adds_in_quadrature():
    template = matched(star_field(SHAPE, [100.0], [120.0], [500.0], SIGMA), flux_error=0.03)
    at = np.array([100, 103]), np.array([120, 120])
    psf = template.exposure.psf
    light, gradient = template.light(*at, psf)
    noise = model_noise(
        template, *at, psf, np.array([4.0, 4.0]), model_error=0.04, registration_error=0.1
    )
    assert noise == pytest.approx(np.sqrt(16 + (0.05 * light) ** 2 + (0.1 * gradient) ** 2))
    measured = matched(template.exposure.image, flux_error=np.nan, registration_error=0.03)
    noise = model_noise(
        measured, *at, psf, np.array([4.0, 4.0]), model_error=0.0, registration_error=0.1
    )
    assert noise == pytest.approx(np.hypot(4.0, 0.03 * gradient))
    # A score that allows for the registration itself.
    noise = model_noise(
        measured, *at, psf, np.array([4.0, 4.0]), model_error=0.0, registration_error=None
    )
    assert noise == pytest.approx([4.0, 4.0])


def test_half_a_percent_of_a_bright_star_is_no_discovery():
    """Stars of S/N 6000 with a kernel sum wrong by 0.5 %: 30 sigma each, or about one."""
    x, y = grid()
    image = stars(x, y, 6000.0)
    difference = make_exposure(0.005 * image + white_noise(SHAPE, 1), 1.0, sigma=SIGMA)
    before = detect(difference, matched=matched(image), options=PLAIN)
    after = detect(difference, matched=matched(image))
    assert len(before.sources) == len(x)
    assert np.median(before.sources["score"]) == pytest.approx(30, abs=1)
    assert len(after.sources) == 0
    assert after.rejected["model_error"] == len(x)


def test_stars_out_of_place_by_a_tenth_of_a_pixel():
    """Stars of S/N 50 to 2000, each moved by 0.1 px rms along both axes."""
    rng = np.random.default_rng(3)
    x, y = grid()
    snr = np.exp(rng.uniform(np.log(50), np.log(2000), x.size))
    image = stars(x, y, snr)
    moved = stars(x + rng.normal(0, 0.1, x.size), y + rng.normal(0, 0.1, x.size), snr)
    difference = make_exposure(moved - image + white_noise(SHAPE, 4), 1.0, sigma=SIGMA)
    before = detect(difference, matched=matched(image), options=PLAIN).sources
    after = detect(difference, matched=matched(image, registration_error=0.1)).sources
    assert len(before) > 0.4 * x.size
    assert len(after) <= 0.02 * x.size


def test_transients_lose_as_much_as_the_formula_says():
    """Away from stars nothing; on a star of flux L the score is F / hypot(sigma, e L)."""
    x, y = grid(80)
    image = stars(x, y, 2000.0)
    events = stars(x, y, 50.0) + stars(x + 40, y + 40, 6.5)
    difference = make_exposure(events + 0.3 * white_noise(SHAPE, 5), 1.0, sigma=SIGMA)
    found = detect(difference, matched=matched(image), options=DetectOptions(model_error=0.003))
    on_star = np.abs(found.sources["score_noise"]) > 30
    assert on_star.sum() == x.size
    assert found.sources["score"][on_star] == pytest.approx(50 / np.hypot(1, 6), rel=0.05)
    off = found.sources[~on_star]
    assert off["score"] == pytest.approx(off["score_noise"], rel=1e-3)


def test_header_cards():
    template = make_exposure(np.zeros(SHAPE), 1.0)
    plain = MatchedTemplate.of(template, {"KSUM": (2.0, "comment"), "KFLUXERR": 0.01, "KSIZE": 25})
    assert (plain.kernel_sum, plain.flux_error, plain.reach) == (2.0, 0.01, 12)
    assert plain.registration_error is None
    zogy = MatchedTemplate.of(template, {"KSUM": 2.0, "ASTRMSX": 0.03, "ASTRMSY": 0.05})
    assert zogy.registration_error == pytest.approx(np.sqrt((0.03**2 + 0.05**2) / 2))
    assert np.isnan(zogy.flux_error)
    assert zogy.reach == 0


def test_template_without_data_gives_no_light():
    image = star_field(SHAPE, [100.0], [120.0], [500.0], SIGMA)
    image[118:123, 98:103] = np.nan
    where = np.isnan(image)
    exposure = make_exposure(image, 1.0, mask=Mask.empty(SHAPE).with_plane("NO_DATA", where))
    light, gradient = MatchedTemplate(exposure, 1.0).light([100], [120], exposure.psf)
    assert 0 < light[0] < 500
    assert np.isfinite(gradient[0])
