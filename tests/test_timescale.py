import numpy as np
import pytest

from skydelta.timescale import time_scale, to_tai


@pytest.mark.parametrize(
    ("scale", "mjd", "seconds"),
    [
        # TAI - UTC: IERS Bulletin C. TT - TAI = 32.184 s, TAI - GPS = 19 s by definition.
        ("UTC", 57752.999, 36.0),
        ("UTC", 57754.0, 37.0),
        ("UTC", 60000.25, 37.0),
        ("UT1", 60000.25, 37.0),
        ("TT", 60000.25, -32.184),
        ("GPS", 60000.25, 19.0),
        ("TAI", 60000.25, 0.0),
    ],
)
def test_seconds_to_tai(scale, mjd, seconds):
    assert (to_tai(mjd, scale) - mjd) * 86400 == pytest.approx(seconds, abs=2e-6)


def test_barycentric_time_is_terrestrial_time_within_2_ms():
    assert abs(to_tai(60000.25, "TDB") - to_tai(60000.25, "TT")) * 86400 < 0.002


def test_no_time_stays_none():
    assert np.isnan(to_tai(np.nan, "UTC"))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({}, ("UTC", "FITS default")),
        ({"TIMESYS": " tai "}, ("TAI", "TIMESYS")),
        ({"TIMESYS": ("TAI", "scale")}, ("TAI", "TIMESYS")),
        ({"TIMESYS": "TT(BIPM2004)"}, ("TT", "TIMESYS")),
        ({"TIMESYS": "LOCAL"}, ("UTC", "TIMESYS LOCAL unknown")),
    ],
)
def test_scale_of_a_header(header, expected):
    assert time_scale(header) == expected
