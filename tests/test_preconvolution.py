"""Pre-convolution: the filter, its removal, and detection with it."""

import numpy as np
import pytest
from scenes import gaussian_stamp, make_exposure, star_field, white_noise

from skydelta.decorrelate import DecorrelateOptions, decorrelate
from skydelta.detect import detect
from skydelta.io.differences import (
    detection_hdus,
    read_difference,
    read_for_detection,
    write_difference,
)
from skydelta.io.native import write_exposure
from skydelta.kernel_stars import StarOptions
from skydelta.psf import GridPsf
from skydelta.score import score_image
from skydelta.subtract import SubtractOptions, subtract

SHAPE = (360, 360)
MANY = StarOptions(cell_size=60.0)
AT = 180.0, 175.0


def comet(size=41):
    """A PSF with a tail to the upper right: not its own reflection."""
    stamp = 0.8 * gaussian_stamp(1.8, size) + 0.2 * gaussian_stamp(2.0, size, 1.6, 1.2)
    return stamp / stamp.sum()


def draw(shape, x, y, flux):
    """Stars of the comet shape, its two Gaussians drawn each."""
    image = star_field(shape, x, y, 0.8 * np.asarray(flux), 1.8)
    return image + star_field(shape, np.add(x, 1.6), np.add(y, 1.2), 0.2 * np.asarray(flux), 2.0)


@pytest.fixture(scope="module")
def images():
    """An asymmetric science image with one faint event over a deep, sharper template."""
    rng = np.random.default_rng(2)
    x, y = (a.ravel() for a in np.meshgrid(np.arange(30.0, 340, 42), np.arange(30.0, 340, 42)))
    x, y = x + rng.uniform(-3, 3, x.size), y + rng.uniform(-3, 3, x.size)
    far = np.hypot(x - AT[0], y - AT[1]) > 20
    x, y, flux = x[far], y[far], rng.uniform(2e3, 8e3, x.size)[far]
    science = draw(SHAPE, x, y, flux) + draw(SHAPE, [AT[0]], [AT[1]], [250.0])
    template = star_field(SHAPE, x, y, flux, 1.4) + white_noise(SHAPE, 1, 0.09)
    science += white_noise(SHAPE, 5, 4.0)
    return (
        make_exposure(science, 4.0, psf=GridPsf.constant(comet())),
        make_exposure(template, 0.09, sigma=1.4),
    )


@pytest.fixture(scope="module", params=["gaussian", "psf"])
def chain(request, images):
    difference = subtract(*images, options=SubtractOptions(preconvolve=request.param, stars=MANY))
    return request.param, difference, decorrelate(difference, *images)


def test_the_filter(chain, images):
    """The PSF reflected, for correlation; or a Gaussian of the PSF's width; of unit sum."""
    kind, difference, _ = chain
    stamp = difference.detection_filter
    assert stamp.sum() == pytest.approx(1.0)
    if kind == "psf":
        assert stamp == pytest.approx(comet()[::-1, ::-1], abs=1e-7)
        assert np.abs(stamp - comet()).max() > 0.1 * stamp.max()
    else:
        width = images[0].psf.compute_shape(180, 180).determinant_radius
        assert stamp == pytest.approx(gaussian_stamp(width, 41), abs=1e-4)
    assert difference.exposure.meta["PRECONV"][0] == kind


def test_the_difference_is_not_convolved(chain, images):
    """The filter is taken out again: the event has the science image's own PSF."""
    _, difference, _ = chain
    assert difference.exposure.psf is images[0].psf
    plain = subtract(*images, options=SubtractOptions(stars=MANY)).exposure
    inside = ~(difference.exposure.mask.any("NO_DATA") | plain.mask.any("NO_DATA"))
    change = (difference.exposure.image - plain.image)[inside]
    assert np.std(change) < 0.5 * 2.0


def score_at_event(exposure, psf=None):
    score, sigma = score_image(exposure, psf=psf)
    part = np.s_[int(AT[1]) - 3 : int(AT[1]) + 4, int(AT[0]) - 3 : int(AT[0]) + 4]
    j, i = np.unravel_index(np.argmax(score[part]), (7, 7))
    y, x = j + part[0].start, i + part[1].start
    return float(score[y, x]), (x, y), float(score[y, x] * sigma[y, x])


def test_event_has_its_significance_on_the_score(chain):
    """flux / sqrt(V / sum phi^2), within the unit scatter of a score; at its place."""
    kind, _, result = chain
    exposure = result.exposure
    phi = exposure.psf.stamp(*AT)
    expected = 250.0 * np.sqrt((phi**2).sum() / np.nanmedian(exposure.variance))
    assert expected > 10
    score, (x, y), flux = score_at_event(exposure, result.detection_psf)
    assert score == pytest.approx(expected, abs=3.0)
    if kind == "psf":  # a Gaussian on a comet peaks off the nucleus
        assert (x, y) == AT
    assert flux == pytest.approx(250.0, abs=3.5 * 250 / expected)


def test_no_more_is_lost_than_the_filter_differs(chain):
    """Correlating with the PSF itself is optimal; a Gaussian of its width loses a few per cent."""
    kind, _, result = chain
    best = score_at_event(result.exposure)[0]
    found = score_at_event(result.exposure, result.detection_psf)[0]
    assert found == pytest.approx(best, abs=0.3 if kind == "psf" else 1.2)


def test_score_without_sources_is_unit_noise(chain):
    _, _, result = chain
    score, _ = score_image(result.exposure, psf=result.detection_psf)
    low, high = np.percentile(score[30:-30, 30:-30], [15.865, 84.135])
    assert 0.5 * (high - low) == pytest.approx(1.0, abs=0.06)


def test_detection_finds_the_event(chain):
    _, _, result = chain
    found = detect(result.exposure, psf=result.detection_psf).sources
    near = np.hypot(found["x"] - AT[0], found["y"] - AT[1]) < 2.5
    assert near.sum() == 1
    assert found["score"][near][0] > 8
    assert (~near).sum() <= 1


def test_detection_psf_is_written_and_read(chain, tmp_path):
    _, _, result = chain
    write_exposure(tmp_path / "d.fits", result.exposure, detection_hdus(result))
    exposure, psf, score = read_for_detection(tmp_path / "d.fits")
    assert score is None
    assert np.array_equal(exposure.image, result.exposure.image)
    for place in (AT, (20.0, 300.0)):
        assert psf.stamp(*place) == pytest.approx(result.detection_psf.stamp(*place), abs=1e-8)
    assert score_at_event(exposure, psf)[0] == pytest.approx(
        score_at_event(result.exposure, result.detection_psf)[0], abs=1e-3
    )


def test_filter_is_written_and_read(chain, tmp_path):
    _, difference, _ = chain
    write_difference(tmp_path / "d.fits", difference)
    back = read_difference(tmp_path / "d.fits")
    assert back.detection_filter == pytest.approx(difference.detection_filter, abs=1e-12)
    assert back.convolved == "template"
    assert back.kernel.image(100, 200) == pytest.approx(difference.kernel.image(100, 200))


def test_without_decorrelation_the_filter_itself_detects(chain, images):
    kind, difference, _ = chain
    options = DecorrelateOptions(enabled=False)
    result = decorrelate(difference, *images, options=options)
    if kind == "psf":
        assert result.detection_psf.stamp(*AT) == pytest.approx(comet(), abs=1e-6)
    assert score_at_event(result.exposure, result.detection_psf)[0] > 8


def test_science_psf_comes_back_where_the_science_image_was_convolved(images, tmp_path):
    science, template = images
    swapped = subtract(template, science, options=SubtractOptions(convolve="science"))
    write_difference(tmp_path / "d.fits", swapped)
    back = read_difference(tmp_path / "d.fits")
    assert back.convolved == "science"
    assert back.flux_ratio == pytest.approx(swapped.flux_ratio, rel=1e-12)
    assert back.science_psf.stamp(*AT) == pytest.approx(template.psf.stamp(*AT), abs=1e-7)
    assert back.exposure.psf.stamp(*AT) == pytest.approx(science.psf.stamp(*AT), abs=1e-7)
