import numpy as np
import pytest

from skydelta.cells import cell_medians, upsample


def test_plane_comes_back():
    """A linear plane is returned exactly between the outermost cell centres."""
    yy, xx = np.mgrid[:120, :160].astype(float)
    plane = 3 + 0.1 * xx - 0.2 * yy
    back = upsample(cell_medians(plane, None, 20, step=1), plane.shape)
    inner = slice(10, -10), slice(10, -10)
    np.testing.assert_allclose(back[inner], plane[inner], atol=1e-4)


def test_unusable_and_nan_pixels_do_not_count():
    plane = np.full((60, 60), 5.0)
    usable = np.ones((60, 60), bool)
    plane[:20], usable[:20] = 1e6, False
    plane[20:25] = np.nan
    assert cell_medians(plane, usable, 20) == pytest.approx(5.0)


def test_nothing_usable():
    assert np.isnan(cell_medians(np.ones((40, 40)), np.zeros((40, 40), bool), 20)).all()
