import numpy as np
import pytest
from scenes import make_exposure, star_field, white_noise

from skydelta.artefacts.streaks import Streak, find_streaks, streak_spans
from skydelta.simulate.trails import draw_trail

SHAPE = (512, 640)
FWHM, BETA = 4.5, 3.5


def sky(seed=1, **trail):
    image = white_noise(SHAPE, seed)
    if trail:
        draw_trail(image, fwhm=FWHM, beta=BETA, **trail)
    return make_exposure(image, 1.0)


def distance(streak, x, y, angle):
    """Largest distance of the streak's ends from a line."""
    ends = np.array([[streak.x0, streak.y0], [streak.x1, streak.y1]]) - (x, y)
    return np.abs(ends[:, 1] * np.cos(angle) - ends[:, 0] * np.sin(angle)).max()


@pytest.mark.parametrize("peak", [1.0, 20.0, 1000.0])
@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 4, 1.4, np.pi / 2, 2.5])
def test_trails_of_all_angles_are_followed(angle, peak):
    exposure = sky(x=330.0, y=250.0, angle=angle, peak=peak)
    exposure = exposure.replace(variance=(1 + 0.5 * np.maximum(exposure.image, 0)).astype("f4"))
    streaks = find_streaks(exposure)
    assert len(streaks) == 1
    assert distance(streaks[0], 330.0, 250.0, angle) < (3.0 if peak == 1 else 2.0)
    ends = np.hypot(streaks[0].x1 - streaks[0].x0, streaks[0].y1 - streaks[0].y0)
    assert ends > 0.85 * min(
        SHAPE[1] / abs(np.cos(angle) + 1e-9), SHAPE[0] / abs(np.sin(angle) + 1e-9)
    )


def test_faint_trails():
    """0.4 sigma a pixel on 500 px of length, which the eye does not see."""
    found = [find_streaks(sky(seed, x=330.0, y=250.0, angle=0.9, peak=0.4)) for seed in range(5)]
    assert sum(len(f) == 1 for f in found) >= 4


def test_a_trail_in_the_template_is_negative():
    exposure = sky(x=330.0, y=250.0, angle=0.9, peak=3.0)
    (streak,) = find_streaks(exposure.replace(image=-exposure.image))
    assert streak.significance < -8


def test_width_grows_with_brightness():
    widths = [
        find_streaks(sky(x=330.0, y=250.0, angle=0.9, peak=peak))[0].half_width
        for peak in (1.0, 30.0, 1000.0)
    ]
    assert FWHM <= widths[0] < widths[1] < widths[2] < 40


def test_part_of_a_trail():
    image = np.zeros(SHAPE)
    draw_trail(image, 330.0, 250.0, 0.9, 3.0, FWHM, BETA)
    image[:250] = 0.0
    (streak,) = find_streaks(make_exposure(image + white_noise(SHAPE, 3), 1.0))
    assert min(streak.y0, streak.y1) == pytest.approx(250, abs=60)
    assert max(streak.y0, streak.y1) > 480


def test_two_trails():
    exposure = sky(x=330.0, y=250.0, angle=0.9, peak=3.0)
    draw_trail(exposure.image, 200.0, 250.0, 2.6, 2.0, FWHM, BETA)
    streaks = find_streaks(exposure)
    assert len(streaks) == 2
    assert abs(streaks[0].significance) > abs(streaks[1].significance)


def test_sky_stars_and_rows_of_stars_have_none():
    rng = np.random.default_rng(4)
    for seed in range(5):
        stars = star_field(
            SHAPE, rng.uniform(0, 640, 60), rng.uniform(0, 512, 60), rng.uniform(-900, 900, 60), 2.0
        )
        assert find_streaks(make_exposure(white_noise(SHAPE, seed) + stars, 1.0)) == []
    row = star_field(SHAPE, np.arange(20, 640, 80), np.full(8, 250.0), np.full(8, 3000.0), 2.0)
    assert find_streaks(make_exposure(white_noise(SHAPE, 9) + row, 1.0)) == []


def test_excluded_pixels_do_not_count():
    exposure = sky(x=330.0, y=250.0, angle=0.0, peak=5.0)
    excluded = np.zeros(SHAPE, bool)
    excluded[230:271] = True
    assert find_streaks(exposure, excluded=excluded) == []


def test_images_too_small_for_lines_have_none():
    assert find_streaks(make_exposure(white_noise((100, 90), 1), 1.0)) == []


@pytest.mark.parametrize("angle", [0.0, 0.7, np.pi / 2, 2.2])
def test_spans_are_the_pixels_within_the_half_width(angle):
    c, s = np.cos(angle), np.sin(angle)
    streak = Streak(100 - 60 * c, 80 - 60 * s, 100 + 60 * c, 80 + 60 * s, 6.0, 10.0)
    where = np.zeros((160, 200), bool)
    for y, x0, x1 in zip(*streak_spans(streak, where.shape), strict=True):
        where[y, x0 : x1 + 1] = True
    yy, xx = np.mgrid[:160, :200]
    across = np.abs((yy - 80) * c - (xx - 100) * s)
    along = np.abs((yy - 80) * s + (xx - 100) * c)
    margin = 1e-9
    assert where[(across < 6 - margin) & (along < 66 - margin)].all()
    assert not where[(across > 6 + margin) | (along > 66 + margin)].any()


def test_traces_that_change_no_flux_are_left_alone():
    """A faint column defect, seen over 1600 px only, crosses good sources."""
    image = white_noise((1600, 640), 3)
    image[:, 300:302] -= 0.35
    assert find_streaks(make_exposure(image, 1.0)) == []
    image[:, 300:302] -= 3.0
    assert len(find_streaks(make_exposure(image, 1.0))) == 1
