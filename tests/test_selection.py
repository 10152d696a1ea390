"""Selections as dia_pipe's --id has them."""

import pytest

from skydelta.errors import TableError
from skydelta.selection import Selection


@pytest.mark.parametrize(
    ("value", "held"),
    [
        (3, [3]),
        ("3", [3]),
        ("1..5", [1, 2, 3, 4, 5]),
        ("1..9:2", [1, 3, 5, 7, 9]),
        ("1^3^7", [1, 3, 7]),
        ("0^4..6^9", [0, 4, 5, 6, 9]),
        ([2, "4..5"], [2, 4, 5]),
        (["1", "8"], [1, 8]),
        (None, list(range(10))),
        ("null", list(range(10))),
        ([], list(range(10))),
    ],
)
def test_numbers(value, held):
    selection = Selection.of(visit=value)
    assert [n for n in range(10) if selection.holds("visit", n)] == held
    assert selection.holds("detector", 123)


def test_words_and_patches():
    selection = Selection.of(band="r^i", patch=["0,1", "(2, 3)"])
    assert [b for b in "ugrizy" if selection.holds("band", b)] == ["r", "i"]
    assert selection.holds("patch", (0, 1))
    assert selection.holds("patch", (2, 3))
    assert not selection.holds("patch", (1, 0))
    assert Selection.of(patch=[4, 5]).named("patch") == [(4, 5)]
    assert Selection.of(patch="0,0^1,1").named("patch") == [(0, 0), (1, 1)]


def test_values_named_one_by_one():
    assert Selection.of(visit="7^3").named("visit") == [3, 7]
    assert Selection.of(visit="7^1..3").named("visit") is None
    assert Selection.of().named("visit") is None


def test_a_large_range_costs_nothing():
    assert Selection.of(visit="0..9999999999999").holds("visit", 2024110800263)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("visit", "5..1"),
        ("visit", "a"),
        ("visit", -1),
        ("visit", 1.5),
        ("visit", "1..5:0"),
        ("visit", "1^"),
        ("visit", True),
        ("band", "i/z"),
        ("patch", "7"),
        ("patch", [[1, 2, 3]]),
        ("patch", [[1, "a"]]),
    ],
)
def test_what_cannot_be_understood_is_named(key, value):
    with pytest.raises(TableError, match=rf"{key} .* cannot be understood .* 1\.\.9:2"):
        Selection.of(**{key: value})
