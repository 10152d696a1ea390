"""The place nearest to one where a PSF is not known."""

from dataclasses import dataclass

import numpy as np
import pytest
from scenes import gaussian_psf

from skydelta.local_psf import reference_place, unknown_boxes
from skydelta.psf import GridPsf, sample_psf
from skydelta.psf_places import nearest_known


@dataclass(frozen=True)
class RightOf(GridPsf):
    """Known where x > edge only."""

    edge: float = 100.0

    def has_inputs(self, x, y):
        return np.atleast_1d(x) > self.edge

    def stamps(self, x, y):
        assert self.has_inputs(x, y).all()
        return super().stamps(x, y)


def right_of(edge):
    stamp = gaussian_psf(2.0).stamp(0, 0)
    return RightOf(np.zeros(1), np.zeros(1), stamp[None], edge)


def test_nearest_place():
    x, y, distance = nearest_known(right_of(100.0), [130.0, 63.0, 99.9], [5.0, 7.0, 9.0])
    np.testing.assert_allclose(distance, [0.0, 37.0, 0.1], atol=0.2)
    np.testing.assert_allclose(x, [130.0, 100.0, 100.0], atol=0.2)
    assert np.all(x > 100)
    np.testing.assert_allclose(y, [5.0, 7.0, 9.0], atol=4.0)


def test_nowhere():
    x, y, distance = nearest_known(right_of(1e6), [10.0], [20.0])
    assert (x[0], y[0], distance[0]) == (10.0, 20.0, 0.0)


def test_sampled_psf_says_where_it_is_not_known(caplog):
    sampled = sample_psf(right_of(40.0), (100, 100), n=3)
    assert sampled.data.shape[0] == 9
    assert "at 3 of 9 nodes" in caplog.text
    assert "at most 40 px away" in caplog.text


def test_psfs_are_known_everywhere():
    x, _, distance = nearest_known(gaussian_psf(2.0), [1.0, 2.0], [3.0, 4.0])
    assert distance.max() == 0
    assert x == pytest.approx([1.0, 2.0])


def test_local_psf_is_void_without_inputs():
    """Tiles left of the edge have no PSF; the reference place lies right of it."""
    shape = (400, 400)
    psf = right_of(320.0)
    assert reference_place(psf, shape)[0] > 320
    unknown = unknown_boxes(psf, shape)
    assert unknown
    assert all(0.5 * (x0 + x1 - 1) <= 320 for _, _, x0, x1 in unknown)
