import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from engine_scene import make_scene, residuals
from scenes import make_exposure, white_noise
from scipy.signal import fftconvolve

from skydelta.engines import EngineFailedError, EngineMissingError
from skydelta.engines.sfft import SfftOptions, run_sfft
from skydelta.errors import TooFewStarsError

needs_sfft = pytest.mark.skipif(find_spec("sfft") is None, reason="the package sfft is missing")

QUICK = SfftOptions(order=1, half=8)


@pytest.fixture(scope="module")
def blank():
    return [make_exposure(white_noise((200, 200), seed)) for seed in (1, 2)]


@pytest.fixture(scope="module")
def scene():
    return make_scene(512, star_density=20, n_transients=0)


@pytest.fixture(scope="module")
def result(scene):
    return run_sfft(scene.science, scene.template, QUICK)


def test_missing_package(blank, monkeypatch):
    monkeypatch.setitem(sys.modules, "sfft", None)
    monkeypatch.setitem(sys.modules, "sfft.sfftcore.SFFTConfigure", None)
    with pytest.raises(EngineMissingError, match=r"pip install 'skydelta\[sfft\]'") as caught:
        run_sfft(*blank)
    assert caught.value.status == "engine_missing"


@needs_sfft
def test_no_star(blank):
    with pytest.raises(TooFewStarsError, match="none of 0 stars"):
        run_sfft(*blank)


@needs_sfft
def test_stars_at_the_edge_do_not_serve(blank):
    with pytest.raises(TooFewStarsError, match="none of 2 stars"):
        run_sfft(*blank, stars=[(3.0, 100.0), (100.0, 198.0)])


@needs_sfft
def test_its_own_complaints(blank):
    with pytest.raises(EngineFailedError, match="KerPolyOrder should be") as caught:
        run_sfft(*blank, SfftOptions(order=7, max_change=None), stars=[(100.0, 100.0)])
    assert caught.value.status == "engine_failed"


@needs_sfft
@pytest.mark.slow
class TestPair:
    def test_shapes(self, result):
        assert result.image.shape == result.lost.shape == (512, 512)
        assert result.image.dtype == np.float32
        assert result.noise is None
        assert result.kernels.shape == (25, 17, 17)
        assert result.order == 1
        assert 0 < result.cpu_seconds < 60

    def test_image_is_what_the_kernels_say(self, scene, result):
        straight = residuals(scene, result)
        assert np.median(straight) < 0.02 * np.sqrt(np.nanmedian(scene.science.variance))
        assert np.all(residuals(scene, result, flipped=True) > 3 * straight)

    def test_exact_where_the_kernel_belongs_to_the_template_pixel(self, scene):
        """K0 conv T + Kx conv (x T) + Ky conv (y T), from the kernels at three corners."""
        options = replace(QUICK, subtract_sky=False)
        result = run_sfft(scene.science, scene.template, options)
        ny, nx = result.image.shape
        places = zip(result.kernel_x, result.kernel_y, strict=True)
        corner = dict(zip(places, result.kernels, strict=True))
        constant = corner[0, 0]
        along_x = (corner[nx - 1, 0] - constant) / (nx - 1)
        along_y = (corner[0, ny - 1] - constant) / (ny - 1)
        yy, xx = np.mgrid[:ny, :nx]
        template = scene.template.image.astype(float)
        matched = sum(
            fftconvolve(template * factor, kernel, mode="same")
            for factor, kernel in ((1, constant), (xx, along_x), (yy, along_y))
        )
        left = (scene.science.image - matched - result.image)[~result.lost]
        assert np.std(left) < 1e-3
        assert np.ptp(left) < 1e-2

    def test_kernel_sum(self, scene, result):
        sums = result.kernels.sum(axis=(1, 2))
        assert np.ptp(sums) < 1e-6 * scene.flux_scale
        assert sums.mean() == pytest.approx(scene.flux_scale, rel=0.01)

    def test_lost(self, scene, result):
        assert result.lost[:8].all()
        assert result.lost[:, -8:].all()
        assert result.lost[scene.science.mask.any("SAT")].all()
        assert result.lost.mean() < 0.2
        assert not result.image[result.lost].any()
        assert np.isfinite(result.image).all()

    def test_chosen_stars(self, scene, result):
        chosen = result.stars[::2]
        other = run_sfft(scene.science, scene.template, QUICK, stars=chosen)
        assert 0 < len(other.stars) <= len(chosen)
        assert {tuple(s) for s in other.stars} <= {tuple(s) for s in chosen}

    def test_prints_into_the_log(self, scene, capsys):
        import numba

        setter = numba.set_num_threads
        result = run_sfft(scene.science, scene.template, QUICK)
        assert capsys.readouterr().out == ""
        assert "SFFT SUBTRACTION" in result.log
        # sfft overwrites this function with a number.
        assert numba.set_num_threads is setter
