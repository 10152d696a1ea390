import numpy as np
import pytest

from skydelta.artefacts.radon import line_sums


def test_a_line_adds_up_in_one_element():
    """A line drawn as the transform draws it: all its pixels in one sum, few in any other."""
    n, x0, lean = 32, 5, 11
    image = np.zeros((n, 40))
    image[np.arange(n), np.rint(x0 + lean * np.arange(n) / (n - 1)).astype(int)] = 1
    sums = line_sums(image)
    assert sums.shape == (2 * n - 1, 40 + 2 * n - 2)
    row, column = np.unravel_index(sums.argmax(), sums.shape)
    assert abs(row - (n - 1) - lean) <= 1
    assert abs(column - (n - 1) - x0) <= 1
    assert sums.max() >= 0.8 * n


@pytest.mark.parametrize("lean", [-7, 0, 7])
def test_vertical_and_leaning_lines_of_both_sides(lean):
    n, x0 = 16, 12
    image = np.zeros((n, 30))
    image[np.arange(n), np.rint(x0 + lean * np.arange(n) / (n - 1)).astype(int)] = 1
    row, column = np.unravel_index(line_sums(image).argmax(), (2 * n - 1, 30 + 2 * n - 2))
    assert abs(row - (n - 1) - lean) <= 1
    assert abs(column - (n - 1) - x0) <= 1


def test_every_lean_holds_all_pixels_once():
    image = np.random.default_rng(1).normal(size=(16, 21))
    sums = line_sums(image)
    assert sums.sum(axis=1) == pytest.approx(np.full(31, image.sum()))


def test_rows_must_be_a_power_of_two():
    with pytest.raises(ValueError, match="power of two, got 12"):
        line_sums(np.zeros((12, 8)))
