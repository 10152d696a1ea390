import numpy as np
import pytest

from skydelta.mask import Mask
from skydelta.spans import PLANE_DTYPE, pixels_of, runs, spans_of, with_spans


@pytest.fixture
def where():
    return np.random.default_rng(1).random((40, 30)) < 0.4


def test_round_trip(where):
    mask = with_spans(Mask.empty(where.shape), spans_of("STREAK", where))
    assert np.array_equal(mask.any("STREAK"), where)
    assert not (mask.array[~where]).any()


def test_pixels_come_once(where):
    rows, columns, _ = pixels_of(spans_of("HALO", where))
    assert len(rows) == where.sum()
    assert where[rows, columns].all()


def test_runs_do_not_go_around_the_edge():
    where = np.zeros((3, 4), bool)
    where[0, 2:], where[1, :2] = True, True
    spans = spans_of("CR", where)
    assert spans[["y", "x0", "x1"]].tolist() == [(0, 2, 3), (1, 0, 1)]


def test_groups_end_runs():
    y, x0, x1, first = runs(np.array([3, 4, 5, 6]), 100, np.array([1, 1, 2, 2]))
    assert (x0.tolist(), x1.tolist()) == ([3, 5], [4, 6])
    assert (first.tolist(), y.tolist()) == ([0, 2], [0, 0])


def test_other_planes_and_the_mask_itself_stay(where):
    before = Mask.empty(where.shape).with_plane("SAT", ~where)
    after = with_spans(before, spans_of("CR", where))
    assert np.array_equal(after.any("SAT"), ~where)
    assert not before.any("CR").any()


def test_none():
    mask = Mask.empty((5, 5))
    assert not with_spans(mask, np.zeros(0, PLANE_DTYPE)).array.any()
    assert len(spans_of("CR", np.zeros((5, 5), bool))) == 0
