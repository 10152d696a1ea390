import numpy as np
import pytest
from scenes import make_exposure, star_field, white_noise

from skydelta.detect import DetectOptions, detect
from skydelta.detections import mask_with_planes
from skydelta.mask import Mask
from skydelta.measure import measure
from skydelta.sky_sources import identity_seed

SHAPE = (600, 600)
MANY = DetectOptions(sky_sources=100 * 47)


def field(seed=1, **fields):
    rng = np.random.default_rng(7)
    stars = star_field(SHAPE, rng.uniform(20, 580, 30), rng.uniform(20, 580, 30), [400.0] * 30, 2.0)
    return make_exposure(stars + white_noise(SHAPE, seed), 1.0, **fields)


def test_are_empty_apart_and_last():
    where = np.zeros(SHAPE, bool)
    where[:, :200] = True
    exposure = field(mask=Mask.empty(SHAPE).with_plane("BAD", where))
    detections = detect(exposure, sky_seed=1, options=MANY)
    sources = detections.sources
    real = detect(exposure, options=MANY).sources
    sky = sources[sources["is_sky"]]
    assert len(sky) > 50
    assert np.array_equal(sources["x"][: len(real)], real["x"])
    assert not sources["is_sky"][: len(real)].any()
    assert sky["x"].min() > 203
    assert np.abs(sky["score"]).max() < 5
    distance = np.hypot(sky["x"][:, None] - real["x"], sky["y"][:, None] - real["y"])
    assert distance.min() > 7
    own = np.hypot(*(sky[a][:, None] - sky[a] for a in "xy")) + 1e3 * np.eye(len(sky))
    assert own.min() > 10
    assert len(np.unique(sky["footprint"])) == len(sky)
    assert not np.isin(sky["footprint"], real["footprint"]).any()
    assert set(detections.spans["footprint"]) == set(sources["footprint"])


def test_same_exposure_same_places():
    one, two, other = (
        detect(field(seed), sky_seed=s).sources
        for seed, s in (
            (1, identity_seed(5, "i", 3)),
            (1, identity_seed(5, "i", 3)),
            (1, identity_seed(5, "i", 4)),
        )
    )
    assert np.array_equal(one["x"], two["x"])
    assert not np.array_equal(one["x"][one["is_sky"]], other["x"][other["is_sky"]])


def test_flux_pulls_have_unit_scatter():
    """The built-in check of the errors, over its own standard error of 0.04."""
    pulls = []
    for seed in range(3):
        exposure = field(seed)
        detections = detect(exposure, sky_seed=seed, options=MANY)
        columns = measure(exposure, exposure, exposure, detections)
        sky = columns["sky_source"]
        flux, error = (columns[f"base_PsfFlux_instFlux{e}"][sky] for e in ("", "Err_noise"))
        pulls.append(flux / error)
        # Measured where they were put: a free position would climb the noise.
        assert np.array_equal(
            columns["base_NaiveCentroid_x"][sky],
            detections.sources["x"][detections.sources["is_sky"]],
        )
    pulls = np.concatenate(pulls)
    assert len(pulls) > 200
    assert np.std(pulls) == pytest.approx(1.0, abs=0.15)
    assert abs(np.mean(pulls)) < 0.25


def test_are_not_detected_pixels():
    detections = detect(field(), sky_seed=1, options=MANY)
    mask = mask_with_planes(field().mask, detections)
    sky = detections.sources[detections.sources["is_sky"]]
    at = np.rint(sky["y"]).astype(int), np.rint(sky["x"]).astype(int)
    assert not mask.any("DETECTED", "DETECTED_NEGATIVE")[at].any()
    assert mask.any("DETECTED").any()


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 5), (4700, 101)])
def test_number_goes_with_the_area(count, expected):
    detections = detect(field(), sky_seed=1, options=DetectOptions(sky_sources=count))
    number = detections.sources["is_sky"].sum()
    assert number == expected if count < 4700 else 0.6 * expected < number <= expected


def test_no_empty_sky():
    mask = Mask.empty(SHAPE).with_plane("BAD", np.ones(SHAPE, bool))
    assert len(detect(field(mask=mask), sky_seed=1).sources) == 0
