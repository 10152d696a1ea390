"""Hosts, places and fluxes of what is injected, and the exposures that stand for a survey."""

from dataclasses import dataclass

import numpy as np
import pytest
from scenes import gaussian, make_exposure, star_field, white_noise

from skydelta.efficiency.draw import Depth, draw_injections, generator
from skydelta.efficiency.hosts import find_hosts
from skydelta.efficiency.options import EfficiencyOptions, NoRoomError, spread
from skydelta.efficiency.placement import grid_values, place
from skydelta.photocalib import PhotoCalib

SHAPE = (400, 400)
STARS = np.array([80.0, 300.0, 200.0]), np.array([90.0, 110.0, 310.0])


def template(*, lit=True, **fields):
    """Three hosts of FWHM 7 px on blank sky."""
    image = white_noise(SHAPE, 3)
    if lit:
        image += star_field(SHAPE, *STARS, [3e4, 6e4, 2e4], 3.0)
    return make_exposure(image, 1.0, **fields)


def depth(sigma=10.0, *, scale=2.0, **fields):
    exposure = make_exposure(np.zeros(SHAPE), 1.0, photo_calib=PhotoCalib(scale), **fields)
    exposure = exposure.replace(meta={"TMPSCALE": 0.5})
    return Depth(exposure, np.full(SHAPE, sigma, np.float32))


def everywhere():
    return np.ones(SHAPE, bool)


def test_hosts_are_the_templates_sources():
    hosts = find_hosts(template(), everywhere())
    order = np.argsort(hosts.y)
    assert hosts.x[order] == pytest.approx([80, 300, 200], abs=1)
    assert hosts.y[order] == pytest.approx([90, 110, 310], abs=1)


def test_saturated_stars_are_no_hosts():
    saturated = np.zeros(SHAPE, bool)
    saturated[105:116, 295:306] = True
    plain = template()
    masked = plain.replace(mask=plain.mask.with_plane("SAT", saturated))
    assert sorted(find_hosts(masked, everywhere()).x) == pytest.approx([80, 200], abs=1)


def test_offsets_follow_the_light_of_the_host():
    """The mean square distance from a Gaussian host of width s is 2 s^2."""
    hosts = find_hosts(template(), everywhere())
    x, y, host = hosts.draw(30000, np.random.default_rng(1))
    square = (x - hosts.x[host]) ** 2 + (y - hosts.y[host]) ** 2
    assert square.mean() == pytest.approx(2 * 3.0**2, rel=0.06)
    # Every host is as likely, whatever its brightness.
    assert np.bincount(host) / 30000 == pytest.approx(np.full(3, 1 / 3), abs=0.02)


def test_surface_brightness_is_that_of_the_light_at_the_place():
    hosts = find_hosts(template(), everywhere())
    model = gaussian(SHAPE, 300.0, 110.0, 3.0, 6e4)
    expected = model[109:112, 302:305].mean()
    got = hosts.surface_brightness(np.array([303.2]), np.array([109.8]))
    assert got == pytest.approx(expected, rel=0.02)


def test_sources_keep_their_distance_and_stay_on_usable_pixels():
    usable = everywhere()
    usable[:, 200:] = False
    hosts = find_hosts(template(), usable)
    places = place(hosts, usable, 60, on_hosts=0.5, separation=15.0, rng=np.random.default_rng(2))
    assert np.rint(places.x).max() < 200
    dx, dy = (np.abs(a[:, None] - a) + 1e3 * np.eye(len(places)) for a in (places.x, places.y))
    assert np.maximum(dx, dy).min() > 14.0
    assert 0 < np.count_nonzero(places.host >= 0) <= 30


def test_positions_fill_their_pixels():
    hosts = find_hosts(template(lit=False), everywhere())
    places = place(
        hosts, everywhere(), 600, on_hosts=0.0, separation=2.0, rng=np.random.default_rng(4)
    )
    for at in (places.x, places.y):
        phase = at - np.rint(at)
        assert phase.mean() == pytest.approx(0, abs=0.05)
        assert phase.std() == pytest.approx(1 / np.sqrt(12), rel=0.08)


def test_no_usable_pixel_is_an_error_that_says_so():
    with pytest.raises(NoRoomError, match="no usable pixel"):
        draw_injections(
            template(),
            Depth(depth().exposure, np.full(SHAPE, np.inf)),
            4.0,
            EfficiencyOptions(),
            generator(1, 1, 2, 3, "i"),
        )


def drawn(*, sky=None, **choices):
    choices = {"density": 300.0, "separation": 3.0} | choices
    return draw_injections(
        sky if sky is not None else template(),
        depth(),
        4.0,
        EfficiencyOptions(**choices),
        generator(1, 1, 500001, 0, "i"),
    )


def test_expected_snr_is_on_the_grid():
    columns, notes = drawn(snr=(3.0, 5.0, 10.0), on_hosts=0.3)
    values, number = np.unique(np.round(columns["counts"] / 10.0, 6), return_counts=True)
    assert values.tolist() == [3.0, 5.0, 10.0]
    assert np.ptp(number) <= 2
    assert columns["flux"] == pytest.approx(2.0 * columns["counts"])
    assert notes == () or "no room" in notes[0]


def test_magnitudes_are_on_the_grid():
    columns, _ = drawn(magnitudes=(22.0, 23.5))
    assert np.unique(np.round(columns["mag"], 6)).tolist() == [22.0, 23.5]
    assert columns["flux"] == pytest.approx(10 ** ((31.4 - columns["mag"]) / 2.5))


def test_negative_fraction():
    columns, _ = drawn(negative_fraction=0.25)
    share = np.mean(columns["counts"] < 0)
    assert share == pytest.approx(0.25, abs=0.02)
    assert np.array_equal(columns["counts"] < 0, columns["flux"] < 0)


def test_hosted_sources_know_their_host():
    columns, _ = drawn()
    hosted = columns["on_host"]
    assert hosted.any()
    assert not hosted.all()
    for name in ("host_x", "host_separation", "host_surface_brightness"):
        assert np.isfinite(columns[name][hosted]).all()
        assert np.isnan(columns[name][~hosted]).all()
    separation = np.hypot(columns["x"] - columns["host_x"], columns["y"] - columns["host_y"])
    assert columns["host_separation"][hosted] == pytest.approx(0.2 * separation[hosted], rel=1e-3)
    # 0.5 nJy a count on pixels of 0.04 square arcsec.
    light = find_hosts(template(), everywhere()).surface_brightness(columns["x"], columns["y"])
    expected = 31.4 - 2.5 * np.log10(light[hosted] * 0.5 / 0.04)
    assert columns["host_surface_brightness"][hosted] == pytest.approx(expected, abs=2e-3)


def test_a_template_without_light_leaves_random_places_and_a_note():
    columns, notes = drawn(sky=template(lit=False))
    assert not columns["on_host"].any()
    assert "no host" in notes[0]


def test_a_grid_is_used_evenly_on_hosts_and_off():
    places = place(
        find_hosts(template(), everywhere()),
        everywhere(),
        40,
        on_hosts=0.5,
        separation=2.0,
        rng=np.random.default_rng(8),
    )
    values = grid_values(places, [1, 2, 3, 4], np.random.default_rng(9))
    for some in (places.host >= 0, places.host < 0):
        assert np.ptp(np.unique(values[some], return_counts=True)[1]) <= 1


@dataclass(frozen=True)
class Row:
    band: str
    key: int


def test_exposures_are_spread_over_the_survey_and_its_bands():
    rows = [Row("r" if k % 4 else "i", k) for k in range(100)]
    chosen = spread(rows, 8, lambda row: True)
    assert [row.band for row in chosen].count("i") == 2
    red = [row.key for row in chosen if row.band == "r"]
    assert min(np.diff(red)) > 10
    assert spread(rows[:3], 8, lambda row: True) == sorted(rows[:3], key=lambda row: row.band)


def test_exposures_without_coadds_are_taken_only_if_there_are_no_others():
    rows = [Row("r", k) for k in range(6)]
    assert {row.key % 2 for row in spread(rows, 3, lambda row: row.key % 2)} == {1}
    assert len(spread(rows, 3, lambda row: False)) == 3
