import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydelta.photocalib import NJY_ZEROPOINT, PhotoCalib, nanojansky_to_magnitude


def test_tutorial_magnitude():
    """The DESC tutorial's own numbers (afw PhotoCalib), to the last digit it prints."""
    magnitude, error = nanojansky_to_magnitude(443148.4787702015, 1989.637060356218)
    assert float(magnitude) == 17.283626842982756
    assert f"{error:.17f}" == "0.00487471151148300"


def test_scale_and_zero_point():
    calib = PhotoCalib.from_zero_point(27.0, 0.01)
    assert calib.zero_point == pytest.approx(27.0, abs=1e-13)
    assert calib.to_magnitude(1.0) == pytest.approx(27.0, abs=1e-13)
    # 0.01 mag is a relative error of 0.01 ln(10) / 2.5.
    assert calib.scale_err / calib.scale == pytest.approx(0.01 * np.log(10) / 2.5)
    assert PhotoCalib(1.0).zero_point == NJY_ZEROPOINT


@given(st.floats(10, 35), st.floats(1e-3, 1e9))
def test_flux_and_magnitude_agree(zero_point, counts):
    calib = PhotoCalib.from_zero_point(zero_point)
    magnitude = calib.to_magnitude(counts)
    assert magnitude == pytest.approx(zero_point - 2.5 * np.log10(counts), abs=1e-9)
    assert 10 ** ((NJY_ZEROPOINT - magnitude) / 2.5) == pytest.approx(calib.to_nanojansky(counts))


def test_negative_flux_keeps_its_nanojansky():
    calib = PhotoCalib(2.0)
    flux, error = calib.to_nanojansky([-5.0, 0.0, 5.0], [1.0, 1.0, 1.0])
    assert flux.tolist() == [-10.0, 0.0, 10.0]
    assert error.tolist() == [2.0, 2.0, 2.0]
    magnitude, magnitude_error = calib.to_magnitude([-5.0, 0.0, 5.0], [1.0, 1.0, 1.0])
    assert np.isnan(magnitude[:2]).all()
    assert np.isnan(magnitude_error[:2]).all()
    assert np.isfinite(magnitude[2])


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_is_positive(scale):
    with pytest.raises(ValueError, match="positive and finite, got"):
        PhotoCalib(scale)
