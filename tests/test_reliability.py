"""The reliability score: its trees, its model file, and what it makes of known sources."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from scenes import gaussian_stamp, make_exposure, star_field, white_noise

from skydelta.boosted_trees import BoostedTrees
from skydelta.detect import DetectOptions, detect
from skydelta.io.sources import read_sources, write_sources
from skydelta.measure import MeasureOptions, measure
from skydelta.reliability import MODEL_FILE, ReliabilityModel, shipped_model
from skydelta.reliability_features import FEATURES, MISSING, reliability_features

SHAPE = (400, 400)
SIGMA = 1.9
NORM = np.sqrt((gaussian_stamp(SIGMA) ** 2).sum())
BLIND = DetectOptions(cosmic_ray_sigma=None, streak_sigma=None, halos=False)
"""Artefacts are found as sources."""


def places(step=50, seed=0):
    rng = np.random.default_rng(seed)
    y, x = (a.ravel() for a in np.mgrid[40:380:step, 40:380:step])
    return x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, x.size)


def scored(change, *, seed=1, template=None, options=BLIND):
    """Columns of what is found where `change` was added to the science image."""
    blank = np.zeros(SHAPE)
    template = blank if template is None else template
    noise = white_noise(SHAPE, seed)
    difference = make_exposure(change + noise, 1.0, sigma=SIGMA)
    science = make_exposure(template + change + noise, 1.0, sigma=SIGMA)
    reference = make_exposure(template + 0.1 * white_noise(SHAPE, 99), 0.01, sigma=SIGMA)
    found = detect(difference, options=options)
    return measure(difference, science, reference, found, kernel_sum=1.0), difference


class TestTrees:
    """Two trees of depth 2 with known answers."""

    MODEL = BoostedTrees.of(
        {
            "bias": 0.5,
            "feature": [[0, 1, 1], [1, 0, 0]],
            "threshold": [[0.0, -1.0, 1.0], [2.0, 5.0, 5.0]],
            "value": [[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]],
        }
    )

    @pytest.mark.parametrize(
        ("sample", "total"),
        [
            ((-1.0, -2.0), 0.5 + 1 + 10),
            ((-1.0, 0.0), 0.5 + 2 + 10),
            ((1.0, 0.0), 0.5 + 3 + 10),
            ((6.0, 3.0), 0.5 + 4 + 40),
            ((0.0, -1.0), 0.5 + 1 + 10),  # at a threshold: left
        ],
    )
    def test_log_odds(self, sample, total):
        assert self.MODEL.log_odds([sample])[0] == pytest.approx(total)
        assert self.MODEL.probability([sample])[0] == pytest.approx(1 / (1 + np.exp(-total)))

    def test_samples_do_not_see_each_other(self):
        samples = np.random.default_rng(3).normal(0, 3, (200, 2))
        one_by_one = [self.MODEL.log_odds(s[None])[0] for s in samples]
        assert self.MODEL.log_odds(samples) == pytest.approx(one_by_one)

    def test_no_samples(self):
        assert self.MODEL.probability(np.zeros((0, 2))).shape == (0,)

    @pytest.mark.parametrize(
        "broken", [{"threshold": [[0.0, 1.0]]}, {"value": [[1.0, 2.0, 3.0]]}, {"feature": [[0, 1]]}]
    )
    def test_trees_of_the_wrong_shape_are_refused(self, broken):
        good = {
            "bias": 0,
            "feature": [[0, 1, 1]],
            "threshold": [[0, 0, 0]],
            "value": [[1, 2, 3, 4]],
        }
        with pytest.raises(ValueError, match="inner nodes"):
            BoostedTrees.of(good | broken)


class TestModelFile:
    def content(self):
        return resources.files("skydelta").joinpath("data", MODEL_FILE).read_text()

    def test_is_that_of_the_code(self):
        content = json.loads(self.content())
        assert tuple(content["features"]) == FEATURES
        assert f"reliability_v{content['version']}.json" == MODEL_FILE
        assert shipped_model().version == content["version"]
        assert (Path(__file__).parents[1] / content["made_by"]).exists()

    def test_is_small(self):
        assert len(self.content()) < 200_000

    def test_of_other_features_is_refused(self):
        content = json.loads(self.content())
        content["features"] = content["features"][::-1]
        with pytest.raises(ValueError, match="train it again"):
            ReliabilityModel.of(content)

    def test_is_documented(self):
        text = (Path(__file__).parents[1] / "docs" / "reliability.md").read_text()
        assert [name for name in FEATURES if f"`{name}`" not in text] == []


class TestScores:
    def test_clean_transients_are_real(self):
        x, y = places()
        snr = np.geomspace(8, 300, x.size)
        columns, _ = scored(star_field(SHAPE, x, y, snr / NORM, SIGMA))
        assert len(columns["reliability"]) == pytest.approx(x.size, abs=2)
        assert np.median(columns["reliability"]) > 0.9
        assert (columns["reliability"] > 0.5).mean() > 0.95

    def test_transients_on_stars_are_real(self):
        x, y = places()
        stars = star_field(SHAPE, x + 2.0, y, np.full(x.size, 200.0), SIGMA)
        columns, _ = scored(
            star_field(SHAPE, x, y, np.full(x.size, 20 / NORM), SIGMA), template=stars
        )
        assert np.median(columns["reliability"]) > 0.9

    def test_single_hot_pixels_are_not(self):
        x, y = places()
        image = np.zeros(SHAPE)
        image[np.rint(y).astype(int), np.rint(x).astype(int)] = 60.0
        columns, _ = scored(image)
        assert len(columns["reliability"]) >= x.size - 2
        assert np.median(columns["reliability"]) < 0.05
        assert (columns["reliability"] < 0.3).mean() > 0.95

    def test_tracks_are_not(self):
        image = np.zeros(SHAPE)
        for k, (x, y) in enumerate(zip(*places(), strict=True)):
            along = np.arange(0, 3 + k % 6, 0.5)
            angle = k * np.pi / 25
            rows = np.rint(y + along * np.sin(angle)).astype(int)
            image[rows, np.rint(x + along * np.cos(angle)).astype(int)] = 30.0
        columns, _ = scored(image)
        assert np.median(columns["reliability"]) < 0.1
        assert (columns["reliability"] < 0.3).mean() > 0.9

    def test_misplaced_stars_are_not(self):
        x, y = places()
        flux = np.full(x.size, 2000.0)
        stars = star_field(SHAPE, x, y, flux, SIGMA)
        moved = star_field(SHAPE, x + 0.3, y, flux, SIGMA)
        columns, _ = scored(moved - stars, template=stars)
        assert len(columns["reliability"]) > 30
        assert np.median(columns["reliability"]) < 0.3

    def test_sky_sources_have_none(self):
        x, y = places(100)
        image = star_field(SHAPE, x, y, np.full(x.size, 20 / NORM), SIGMA) + white_noise(SHAPE, 5)
        exposure = make_exposure(image, 1.0, sigma=SIGMA)
        found = detect(exposure, sky_seed=1, options=DetectOptions(sky_sources=3000))
        columns = measure(exposure, exposure, exposure, found, kernel_sum=1.0)
        sky = columns["sky_source"]
        assert sky.sum() > 3
        assert (np.isnan(columns["reliability"]) == sky).all()
        assert set(columns["reliabilityVersion"]) == {shipped_model().version}

    @pytest.mark.parametrize("count", [0, 9])
    def test_survive_the_source_file(self, tmp_path, count):
        x, y = (a[:count] for a in places(120))
        columns, _ = scored(star_field(SHAPE, x, y, np.full(count, 30 / NORM), SIGMA))
        write_sources(tmp_path / "a.fits", columns)
        back = read_sources(tmp_path / "a.fits")
        assert (back["reliability"] == columns["reliability"]).all()
        assert list(back["reliabilityVersion"]) == list(columns["reliabilityVersion"])

    def test_can_be_left_out(self):
        exposure = make_exposure(white_noise(SHAPE, 1), 1.0, sigma=SIGMA)
        options = MeasureOptions(reliability=False)
        columns = measure(exposure, exposure, exposure, detect(exposure), options=options)
        assert not [name for name in columns if name.startswith("reliability")]

    def test_nothing_detected(self):
        columns, _ = scored(np.zeros(SHAPE), options=DetectOptions(threshold=30.0))
        assert columns["reliability"].shape == columns["reliabilityVersion"].shape == (0,)
        assert columns["reliability"].dtype == np.float32


class TestFeatures:
    def test_know_neither_place_nor_unit(self):
        """Moved by whole pixels and in other counts, a source has the same features."""
        x, y = places(100)
        image = star_field(SHAPE, x, y, np.full(x.size, 100 / NORM), SIGMA) + white_noise(SHAPE, 2)
        tables = []
        for factor, move in ((1.0, 0), (50.0, 7)):
            pixels = np.roll(factor * image, move, axis=(0, 1))
            exposure = make_exposure(pixels, factor**2, sigma=SIGMA)
            columns = measure(exposure, exposure, exposure, detect(exposure), kernel_sum=1.0)
            keep = np.abs(columns["detect_score"]) > 50
            tables.append(reliability_features(exposure, columns, 1.0)[keep])
        assert len(tables[0]) == len(tables[1]) == x.size
        tables = [t[np.argsort(t[:, FEATURES.index("wide")])] for t in tables]
        assert tables[1] == pytest.approx(tables[0], abs=2e-2)

    def test_of_a_point_source(self):
        """Growth of a Gaussian: 1 - exp(-4 ln 2 r^2) within r FWHM, peak 4 ln 2 / pi per FWHM^2."""
        image = star_field(SHAPE, [200.0], [200.0], [1e6], SIGMA) + 1e-3 * white_noise(SHAPE, 1)
        exposure = make_exposure(image, 1.0, sigma=SIGMA)
        columns = measure(exposure, exposure, exposure, detect(exposure), kernel_sum=1.0)
        row = reliability_features(exposure, columns, 1.0)[0]
        value = dict(zip(FEATURES, row, strict=True))
        assert value["core"] == pytest.approx(0.5, abs=0.03)
        assert value["wide"] == pytest.approx(1 - 2**-6.25, abs=0.02)
        assert value["peak"] == pytest.approx(4 * np.log(2) / np.pi, rel=0.03)
        assert value["size"] == pytest.approx(0.0, abs=0.02)
        assert value["elongation"] == pytest.approx(0.0, abs=0.02)
        assert value["negative"] == 0.0
        assert value["usable"] == 1.0
        assert value["origin"] == pytest.approx(1.0, abs=0.01)

    def test_unknown_psf_is_missing_not_a_failure(self):
        exposure = make_exposure(white_noise(SHAPE, 1), 1.0, sigma=SIGMA)
        x, y = places(100)
        image = star_field(SHAPE, x, y, np.full(x.size, 100 / NORM), SIGMA)
        exposure = make_exposure(image + white_noise(SHAPE, 1), 1.0, sigma=SIGMA)
        columns = measure(exposure, exposure, exposure, detect(exposure), kernel_sum=1.0)
        columns["base_SdssShape_xx"][0] = np.nan
        table = reliability_features(exposure, columns, 1.0)
        assert np.isfinite(table).all()
        assert table[0, FEATURES.index("size")] == np.float32(MISSING)
