"""Matching of detections with the truth, and completeness."""

import numpy as np
import pytest

from skydelta.report.truth import completeness, magnitude_edges, match_truth


def test_match_truth_takes_the_closest_pair_first():
    # Detection 0 lies nearer to event 1, which leaves detection 1 for event 0.
    match = match_truth([10.0, 11.5], [5.0, 5.0], [11.2, 8.5], [5.0, 5.0])
    assert match.tolist() == [1, 0]


def test_match_truth_is_one_to_one():
    match = match_truth([10.0, 10.5], [5.0, 5.0], [10.1], [5.0])
    assert match.tolist() == [0, -1]


def test_match_truth_respects_the_radius():
    assert match_truth([0.0], [0.0], [2.1], [0.0]).tolist() == [-1]
    assert match_truth([0.0], [0.0], [2.1], [0.0], radius=2.2).tolist() == [0]


@pytest.mark.parametrize(("events", "detections"), [(0, 3), (3, 0), (0, 0)])
def test_match_truth_of_nothing(events, detections):
    at = np.arange(events, dtype=float)
    found = np.arange(detections, dtype=float)
    assert (match_truth(at, at, found, found) == -1).all()


def test_match_truth_ignores_positions_that_are_not_finite():
    match = match_truth([1.0, 9.0], [1.0, 9.0], [np.nan, 9.0], [1.0, 9.0])
    assert match.tolist() == [-1, 1]


def test_completeness_counts_in_half_open_bins_and_drops_empty_ones():
    value = [1.0, 2.0, 2.5, 7.0, 99.0]
    found = [False, True, False, True, True]
    curve = completeness(value, found, [0, 2, 3, 5, 10])
    assert curve.total.tolist() == [1, 2, 1]
    assert curve.found.tolist() == [0, 1, 1]
    np.testing.assert_allclose(curve.centre, [1.0, 2.25, 7.0])
    np.testing.assert_allclose(curve.fraction, [0.0, 0.5, 1.0])
    assert (curve.low <= curve.fraction + 1e-12).all()
    assert (curve.high >= curve.fraction - 1e-12).all()
    # Half of two: centre 1/2, half width sqrt(1/8 + 1/16) / (3/2).
    assert curve.high[1] == pytest.approx(0.5 + np.sqrt(3 / 16) / 1.5)


def test_magnitude_edges_hold_all_values():
    values = np.array([21.0, 23.7, np.inf])
    edges = magnitude_edges(values)
    assert edges[0] <= 21.0
    assert edges[-1] > 23.7
