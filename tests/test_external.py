"""Differences of external engines, here a fake one: variance, mask, calibration, header."""

import numpy as np
import pytest
from scenes import gaussian_stamp, make_exposure, robust_sigma, star_field, white_noise
from scipy.signal import fftconvolve

from skydelta.decorrelate import decorrelate
from skydelta.engines import EngineFailedError, EngineResult
from skydelta.io.differences import read_difference, write_difference
from skydelta.mask import UNUSABLE, Mask
from skydelta.photocalib import PhotoCalib
from skydelta.subtract import SubtractOptions, subtract

SHAPE = (260, 300)
RATIO = 2.5
KERNEL = RATIO * gaussian_stamp(np.sqrt(2.0**2 - 1.6**2), 15)
LOST = np.s_[:12, :]


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(4)
    x, y, flux = rng.uniform(20, 280, 30), rng.uniform(20, 240, 30), rng.uniform(1e3, 1e4, 30)
    sky = star_field(SHAPE, x, y, RATIO * flux, 2.0), star_field(SHAPE, x, y, flux, 1.6)
    full = np.zeros(SHAPE, bool)
    full[100:103, 200:204] = True
    return (
        make_exposure(sky[0] + white_noise(SHAPE, 1, 4.0), 4.0, sigma=2.0),
        make_exposure(
            sky[1] + white_noise(SHAPE, 2, 0.25),
            0.25,
            sigma=1.6,
            mask=Mask.empty(SHAPE).with_plane("SAT", full),
        ),
    )


def engine(science, template, *, stars=None):
    """What an engine that knows the kernel gives; it loses the first rows."""
    moved = fftconvolve(template.image, KERNEL, mode="same")
    lost = np.zeros(SHAPE, bool)
    lost[LOST] = True
    places = np.array([10.0, 290.0, 10.0, 290.0]), np.array([10.0, 10.0, 250.0, 250.0])
    return EngineResult(
        image=np.where(lost, 0, science.image - moved).astype(np.float32),
        lost=lost,
        noise=None,
        kernel_x=places[0],
        kernel_y=places[1],
        kernels=np.tile(KERNEL, (4, 1, 1)),
        order=1,
        cpu_seconds=1.234,
        wall_seconds=1.5,
        stars=stars,
        notes=("it was a fake",),
        log="hello",
    )


@pytest.fixture(params=["hotpants", "sfft"])
def method(request, monkeypatch):
    monkeypatch.setattr("skydelta.external._run", lambda s, t, _options: engine(s, t))
    return SubtractOptions(method=request.param, background_cell=None)


def test_pixels_and_kernel_are_the_engines(method, images):
    difference = subtract(*images, options=method)
    expected = engine(*images)
    assert np.array_equal(difference.exposure.image, expected.image)
    for place in ((5.0, 5.0), (250.0, 100.0)):
        assert difference.kernel.image(*place) == pytest.approx(KERNEL, abs=1e-9)
    assert difference.flux_ratio == pytest.approx(KERNEL.sum())
    assert difference.convolved == "template"
    assert not difference.white
    assert difference.score is None


def test_variance_is_that_of_the_two_images(method, images):
    exposure = subtract(*images, options=method).exposure
    expected = 4.0 + 0.25 * (KERNEL**2).sum()
    assert exposure.variance[130, 150] == pytest.approx(expected, rel=1e-3)
    assert np.isnan(exposure.variance[LOST]).all()


def test_mask(method, images):
    mask = subtract(*images, options=method).exposure.mask
    lost = np.zeros(SHAPE, bool)
    lost[LOST] = True
    assert np.array_equal(mask.any("NO_DATA"), lost)
    assert np.array_equal(mask.any("EDGE"), lost)
    assert np.array_equal(mask.any("SAT_TEMPLATE"), images[1].mask.any("SAT"))


def test_header_and_notes(method, images):
    exposure = subtract(*images, options=method).exposure
    meta = exposure.meta
    assert meta["METHOD"] == (method.method, "external engine")
    assert meta["KSUM"][0] == pytest.approx(RATIO, rel=1e-3)
    assert meta["KSUMERR"][0] == pytest.approx(0.0, abs=1e-9)
    assert (meta["KORDER"][0], meta["KSIZE"][0], meta["ENGCPU"][0]) == (1, 15, 1.23)
    assert meta["TMPSCALE"][0] == 1.0
    assert "it was a fake" in exposure.notes


def test_zero_point_through_the_kernel(method, images):
    science, template = images
    bare = science.replace(photo_calib=None)
    exposure = subtract(bare, template, options=method).exposure
    assert exposure.photo_calib.scale == pytest.approx(1 / RATIO, rel=1e-3)
    kept = subtract(science.replace(photo_calib=PhotoCalib(7.0)), template, options=method)
    assert kept.exposure.photo_calib.scale == 7.0


def test_is_whitened_like_our_own(method, images):
    difference = subtract(*images, options=method)
    exposure = decorrelate(difference, *images).exposure
    good = ~exposure.mask.any(*UNUSABLE)
    pull = (exposure.image / np.sqrt(np.where(good, exposure.variance, 1)))[20:-20, 20:-20]
    assert robust_sigma(pull[good[20:-20, 20:-20]]) == pytest.approx(1.0, abs=0.03)
    assert exposure.meta["DECORR"][0] is True


def test_stars_as_far_as_it_tells(images, monkeypatch):
    options = SubtractOptions(method="hotpants")
    for stars, count in ((None, 0), (np.array([[10.0, 20.0], [30.0, 40.0]]), 2)):
        monkeypatch.setattr(
            "skydelta.external._run", lambda s, t, _o, stars=stars: engine(s, t, stars=stars)
        )
        table = subtract(*images, options=options).stars
        assert len(table["x"]) == count
        assert table["used"].all()
        if count:
            assert table["x"].tolist() == [10.0, 30.0]
            assert table["y"].tolist() == [20.0, 40.0]


def test_round_trip(method, images, tmp_path):
    difference = subtract(*images, options=method)
    write_difference(tmp_path / "d.fits", difference)
    back = read_difference(tmp_path / "d.fits")
    assert back.kernel.image(100, 100) == pytest.approx(KERNEL, abs=1e-9)
    assert back.flux_ratio == pytest.approx(difference.flux_ratio)
    assert back.score is None
    assert not back.white
    assert np.array_equal(back.exposure.image, difference.exposure.image)


def test_its_failures_are_passed_on(images, monkeypatch):
    def broken(*_):
        raise EngineFailedError("no image", "the last line")

    monkeypatch.setattr("skydelta.external._run", broken)
    with pytest.raises(EngineFailedError, match="the last line"):
        subtract(*images, options=SubtractOptions(method="sfft"))
