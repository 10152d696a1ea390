import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydelta.mask import MAX_BIT, PLANES, UNUSABLE, Mask, add_planes


def test_empty():
    mask = Mask.empty((3, 4))
    assert mask.array.dtype == np.int32
    assert not mask.any(*PLANES).any()


def test_planes_by_name():
    mask = Mask.empty((2, 2)).with_plane("SAT", np.array([[True, False], [False, False]]))
    mask = mask.with_plane("CR", np.array([[True, True], [False, False]]))
    assert mask.any("SAT").tolist() == [[True, False], [False, False]]
    assert mask.any("SAT", "CR").tolist() == [[True, True], [False, False]]
    assert mask.array[0, 0] == (1 << PLANES["SAT"]) | (1 << PLANES["CR"])


def test_a_plane_the_mask_lacks_is_empty():
    mask = Mask(np.full((2, 2), -1, np.int32), {"SAT": 0})
    assert mask.bits("CR") == 0
    assert not mask.any("CR").any()
    assert mask.bits("SAT", "SAT") == 1


def test_arguments_stay_as_they_are():
    mask = Mask.empty((2, 2))
    changed = mask.with_plane("STREAK", np.ones((2, 2), bool))
    assert not mask.array.any()
    assert "STREAK" not in mask.planes
    assert changed.any("STREAK").all()


@given(st.permutations(sorted(PLANES)))
def test_canonical_keeps_every_plane(names):
    """Whatever bits a file gives its planes, they are found by name afterwards."""
    rng = np.random.default_rng(len(names))
    file_planes = {name: bit for bit, name in enumerate([*names, "STREAK"])}
    mask = Mask(rng.integers(0, 1 << len(file_planes), (6, 7)).astype(np.int32), file_planes)
    canonical = mask.canonical()
    for name in file_planes:
        assert np.array_equal(canonical.any(name), mask.any(name))
    assert {name: canonical.planes[name] for name in PLANES} == PLANES


def test_no_bit_left():
    planes = {f"P{k}": k for k in range(MAX_BIT + 1)}
    with pytest.raises(ValueError, match="no free mask bit for plane 'MORE': 31 planes"):
        add_planes(planes, ["MORE"])


def test_lowest_free_bit():
    assert add_planes({"A": 0, "B": 2}, ["C", "A", "D"]) == {"A": 0, "B": 2, "C": 1, "D": 3}


def test_highest_bit_is_not_the_sign():
    planes = add_planes({f"P{k}": k for k in range(MAX_BIT)}, ["LAST"])
    mask = Mask(np.zeros((1, 1), np.int32), planes).with_plane("LAST", np.ones((1, 1), bool))
    assert mask.array[0, 0] > 0
    assert mask.any("LAST").all()


def test_unusable_planes_exist():
    assert set(UNUSABLE) <= set(PLANES)
