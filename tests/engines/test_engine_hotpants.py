import re
import shutil
from itertools import pairwise

import numpy as np
import pytest
from astropy.io import fits
from engine_scene import make_scene, residuals
from scenes import make_exposure, star_field, white_noise

from skydelta.engines import EngineFailedError, EngineMissingError
from skydelta.engines.hotpants import HotpantsOptions, run_hotpants
from skydelta.mask import Mask

needs_hotpants = pytest.mark.skipif(
    shutil.which("hotpants") is None, reason="the program hotpants is not on PATH"
)

SHAPE = (200, 200)


def field(seed, sigma, **fields):
    stars = star_field(SHAPE, [60, 140, 100], [60, 70, 140], [9e3, 8e3, 7e3], sigma)
    return make_exposure(stars + white_noise(SHAPE, seed), 1.0, sigma=sigma, **fields)


@pytest.fixture(scope="module")
def small():
    return field(1, 2.2), field(2, 1.6)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a shell script in the place of hotpants."""

    def install(script):
        program = tmp_path / "hotpants"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return install


def test_missing_program(small, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineMissingError, match=r"acbecker/hotpants.*cfitsio.*PATH") as caught:
        run_hotpants(*small)
    assert caught.value.status == "engine_missing"
    with pytest.raises(EngineMissingError, match="/nowhere/hotpants"):
        run_hotpants(*small, HotpantsOptions(program="/nowhere/hotpants"))


def test_exit_code_and_last_words(small, fake):
    fake("seq 100; echo out of luck >&2; exit 3")
    with pytest.raises(EngineFailedError, match=r"(?s)exit code 3.*\n100\nout of luck") as caught:
        run_hotpants(*small)
    assert caught.value.status == "engine_failed"
    assert "\n50\n" not in str(caught.value)


def test_killed(small, fake):
    fake("kill -9 $$")
    with pytest.raises(EngineFailedError, match="signal 9"):
        run_hotpants(*small)


def test_no_output(small, fake):
    fake("echo SUCCESS")
    with pytest.raises(EngineFailedError, match=r"(?s)no difference image.*SUCCESS"):
        run_hotpants(*small)


def test_not_a_program(small, tmp_path):
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x00\x01")
    broken.chmod(0o755)
    with pytest.raises(EngineFailedError, match="cannot be started"):
        run_hotpants(*small, HotpantsOptions(program=str(broken)))


def test_what_it_is_given(fake, tmp_path):
    fake(f'cp *.fits {tmp_path}; echo "$@"; exit 1')
    science, template = field(1, 2.2, saturate=500.0), field(2, 1.6)
    bad = np.zeros(SHAPE, bool)
    bad[10, 20] = True
    science = science.replace(
        image=np.where(bad, np.nan, science.image), mask=Mask.empty(SHAPE).with_plane("BAD", bad)
    )
    template = template.replace(
        variance=np.where(bad.T, np.nan, template.variance),
        mask=Mask.empty(SHAPE).with_plane("CR", bad),
    )
    with pytest.raises(EngineFailedError) as caught:
        run_hotpants(science, template, HotpantsOptions(order=1, extra=("-ft", "12")))
    words = str(caught.value).splitlines()[-1].split()
    value = dict(pairwise(words))
    assert (value["-c"], value["-n"], value["-ko"]) == ("t", "i", "1")
    assert words[-2:] == ["-ft", "12"]
    # Negative pixels are valid, and so is everything up to saturation.
    assert float(value["-il"]) < np.nanmin(science.image) < 0
    assert float(value["-tl"]) < template.image.min() < 0
    assert float(value["-iu"]) == 500.0
    assert float(value["-tu"]) > template.image.max()
    assert float(value["-iuk"]) == 450.0
    # 2.5 and 6 times the larger FWHM; half, one and two times the matching width of 1.51 px.
    assert (value["-r"], value["-rss"]) == ("13", "31")
    widths = np.array(words[words.index("-ng") + 2 :][:6], float)
    assert list(widths[::2]) == [6, 4, 2]
    np.testing.assert_allclose(widths[1::2], 1.51 * np.array([0.5, 1, 2]), rtol=0.01)
    planes = {p.stem: fits.getdata(p) for p in tmp_path.glob("?_*.fits")}
    assert all(np.isfinite(plane).all() for plane in planes.values())
    np.testing.assert_array_equal(planes["i_mask"], np.where(bad, 0x81, 0))
    np.testing.assert_array_equal(planes["t_mask"], np.where(bad.T, 0x81, 0))
    np.testing.assert_allclose(planes["i_noise"], 1.0)


@pytest.mark.parametrize("extra", [("-nrx", "3"), ("-C", "i"), ("-oki", "k.fits")])
def test_arguments_that_change_the_meaning(extra):
    with pytest.raises(ValueError, match=f"set by skydelta: {extra[0]}"):
        HotpantsOptions(extra=extra)


def test_widths_and_degrees_must_agree():
    with pytest.raises(ValueError, match="2 Gaussian widths but 3 degrees"):
        HotpantsOptions(sigmas=(1.0, 2.0))


@pytest.fixture(scope="module")
def scene():
    return make_scene(640, n_transients=0)


@pytest.fixture(scope="module")
def result(scene):
    return run_hotpants(scene.science, scene.template)


@needs_hotpants
def test_no_star():
    blank = [make_exposure(white_noise(SHAPE, seed)) for seed in (1, 2)]
    with pytest.raises(EngineFailedError, match="no star"):
        run_hotpants(*blank)


@needs_hotpants
class TestPair:
    def test_shapes(self, scene, result):
        assert result.image.shape == result.lost.shape == result.noise.shape == (640, 640)
        assert result.image.dtype == result.noise.dtype == np.float32
        assert result.kernels.shape[0] == result.kernel_x.size == 25
        assert result.kernels.shape[1] == result.kernels.shape[2]
        assert result.kernels.shape[1] % 2 == 1
        assert result.order == 2
        assert 0 < result.cpu_seconds < 60
        assert re.search("SUCCESS", result.log)

    def test_image_is_what_the_kernels_say(self, scene, result):
        straight = residuals(scene, result)
        assert straight.max() < 0.02 * np.median(result.noise[~result.lost])
        assert np.all(residuals(scene, result, flipped=True) > 3 * straight)

    def test_exact_without_variation(self, scene):
        result = run_hotpants(scene.science, scene.template, HotpantsOptions(order=0))
        assert residuals(scene, result).max() < 1e-3

    def test_kernel_sum(self, scene, result):
        sums = result.kernels.sum(axis=(1, 2))
        assert np.ptp(sums) < 1e-6 * scene.flux_scale
        assert sums.mean() == pytest.approx(scene.flux_scale, rel=5e-3)

    def test_noise(self, result):
        pull = (result.image / np.where(result.lost, 1, result.noise))[~result.lost]
        assert 1.4826 * np.median(np.abs(pull - np.median(pull))) == pytest.approx(1, abs=0.05)

    def test_lost(self, scene, result):
        half = result.kernels.shape[1] // 2
        assert result.lost[:half].all()
        assert result.lost[:, -half:].all()
        assert result.lost[scene.science.mask.any("SAT")].all()
        assert result.lost.mean() < 0.2
        assert not result.image[result.lost].any()
        assert np.isfinite(result.image).all()

    def test_stars(self, scene, result):
        assert 10 < len(result.stars) < 50
        image = scene.template.image
        at_peak = [
            image[j, i] == image[j - 1 : j + 2, i - 1 : i + 2].max()
            for i, j in result.stars.astype(int)
        ]
        assert np.mean(at_peak) > 0.8
