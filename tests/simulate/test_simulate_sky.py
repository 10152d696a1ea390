import numpy as np
import pytest

from skydelta.simulate.astrometry import tan_wcs
from skydelta.simulate.sky import make_events, make_static_sky, rng_for

SHAPE = (1024, 1024)
WCS = tan_wcs(55.0, -30.0, (511.5, 511.5))


@pytest.fixture(scope="module")
def static():
    return make_static_sky(4, WCS, SHAPE)


def test_faint_objects_outnumber_bright_ones(static):
    for source in static:
        mag = 31.4 - 2.5 * np.log10(source.flux["i"])
        assert np.sum(mag > 23) > np.sum(mag < 20)


def test_fainter_galaxies_are_smaller(static):
    _, galaxies = static
    bright = galaxies.flux["i"] > np.quantile(galaxies.flux["i"], 0.9)
    assert np.median(galaxies.radius[bright]) > 1.3 * np.median(galaxies.radius[~bright])


def test_density(static):
    stars, galaxies = static
    arcmin2 = (1264 * 0.2 / 60) ** 2
    assert stars.ra.size == pytest.approx(30 * arcmin2, rel=0.01)
    assert galaxies.ra.size == pytest.approx(40 * arcmin2, rel=0.01)


@pytest.fixture(scope="module")
def events(static):
    return make_events(4, WCS, SHAPE, 60, static[1], {"r": 80.0, "i": 100.0})


def test_events_of_all_kinds(events):
    kinds = {(k, bool(h >= 0)) for k, h in zip(events.kind, events.host, strict=True)}
    assert kinds == {
        ("transient", True),
        ("transient", False),
        ("fading", True),
        ("fading", False),
        ("variable", False),
    }


def test_signs_of_events(events):
    change, template = events.change["i"], events.template_flux["i"]
    assert np.all(change[events.kind == "transient"] > 0)
    assert np.all(template[events.kind == "transient"] == 0)
    assert np.all(change[events.kind == "fading"] < 0)
    assert np.unique(np.sign(change[events.kind == "variable"])).size == 2


def test_science_flux_is_never_negative(events):
    assert np.all(events.science_flux("r", rng_for(1)) >= 0)


def test_sizes_of_changes_span_the_range(events):
    snr = np.sort(np.abs(events.change["i"])) / 100.0
    assert snr[0] < 5
    assert snr[-1] > 300
    assert events.change["r"] == pytest.approx(0.8 * events.change["i"])


def test_hosts_are_near(events, static):
    _, galaxies = static
    on = events.host >= 0
    host = events.host[on]
    east = (events.ra[on] - galaxies.ra[host]) * np.cos(np.radians(events.dec[on]))
    off = 3600 * np.hypot(east, events.dec[on] - galaxies.dec[host])
    assert np.all(off < 0.1 + 3.5 * galaxies.radius[host])


def test_events_are_apart(events):
    east = np.subtract.outer(events.ra, events.ra) * np.cos(np.radians(-30))
    distance = 3600 * np.hypot(east, np.subtract.outer(events.dec, events.dec))
    assert np.min(distance[~np.eye(60, dtype=bool)]) > 4.0


def test_no_events():
    _, galaxies = make_static_sky(4, WCS, (64, 64))
    events = make_events(4, WCS, (64, 64), 0, galaxies, {"i": 100.0})
    assert events.ra.size == 0
    assert events.science_flux("i", rng_for(1)).size == 0


def test_streams_are_independent_of_each_other():
    assert rng_for(1, "stars").random() == rng_for(1, "stars").random()
    assert rng_for(1, "stars").random() != rng_for(1, "galaxies").random()
