from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from scenes import make_exposure

from skydelta.exposure import Exposure
from skydelta.mask import Mask


@pytest.mark.parametrize(
    ("image", "variance", "mask"),
    [((3, 4), (4, 3), (3, 4)), ((3, 4), (3, 4), (3, 5)), ((3,), (3,), (3,))],
)
def test_planes_must_agree(image, variance, mask):
    with pytest.raises(ValueError, match="of one shape, got"):
        Exposure(np.zeros(image), np.ones(variance), Mask.empty(mask), None)


def test_geometry():
    exposure = make_exposure(np.zeros((30, 40)))
    assert exposure.shape == (30, 40)
    assert exposure.bbox == (0, 0, 39, 29)


def test_changes_make_a_copy():
    exposure = make_exposure(np.zeros((3, 3)))
    other = exposure.replace(band="r").noted("one", "two").noted("three")
    assert (exposure.band, exposure.notes) == ("i", ())
    assert (other.band, other.notes) == ("r", ("one", "two", "three"))
    with pytest.raises(FrozenInstanceError):
        exposure.band = "z"
