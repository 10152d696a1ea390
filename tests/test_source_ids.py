from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skydelta.source_ids import (
    MAX_BANDS,
    NoIdError,
    band_number,
    check_ids,
    dia_source_ids,
    unpack_id,
)

_DAYS = st.integers(0, 2**14 - 1).map(lambda n: date(2015, 1, 1) + timedelta(days=n))
RUBIN_VISITS = st.builds(
    lambda day, n: int(f"{day:%Y%m%d}") * 100_000 + n, _DAYS, st.integers(0, 99_999)
)
VISITS = st.one_of(st.integers(0, 2**31 - 1), RUBIN_VISITS)
EXPOSURES = st.tuples(VISITS, st.integers(0, 511), st.integers(0, MAX_BANDS - 1))


@given(EXPOSURES, EXPOSURES)
def test_unique_over_visits_detectors_and_bands(one, other):
    ids, others = dia_source_ids(*one, 3), dia_source_ids(*other, 3)
    assert ids.dtype == np.int64
    assert (ids > 0).all()
    assert len({*ids, *others}) == (3 if one == other else 6)


@given(EXPOSURES)
def test_inverse(exposure):
    back = unpack_id(dia_source_ids(*exposure, 2))
    assert [tuple(int(v) for v in row[:3]) for row in zip(*back, strict=True)] == [exposure] * 2
    assert back.counter.tolist() == [1, 2]


def test_inverse_of_one_number():
    one = unpack_id(int(dia_source_ids(2026041500123, 188, 3, 9)[-1]))
    assert (int(one.visit), int(one.detector), int(one.band), int(one.counter)) == (
        2026041500123,
        188,
        3,
        9,
    )


def test_one_visit_in_two_bands():
    assert not set(dia_source_ids(7, 0, 2, 100)) & set(dia_source_ids(7, 0, 3, 100))


def test_fuller_exposures_do_not_run_into_the_next():
    last = dia_source_ids(5, 7, 31, 2**17 - 1)[-1]
    assert last < dia_source_ids(5, 8, 0, 1)[0]
    assert dia_source_ids(5, 511, 31, 2**17 - 1)[-1] < dia_source_ids(6, 0, 0, 1)[0]


def test_the_highest_id_fits_into_63_bits():
    last_day = date(2015, 1, 1) + timedelta(days=2**14 - 1)
    ids = dia_source_ids(int(f"{last_day:%Y%m%d}") * 100_000 + 99_999, 511, 31, 2**17 - 1)
    assert ids[-1] <= np.iinfo(np.int64).max
    assert (np.diff(ids) == 1).all()


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ((2**31, 0, 0, 1), f"visit {2**31}"),
        ((-1, 0, 0, 1), "visit -1"),
        ((2014123100001, 0, 0, 1), "2015 to 2059"),
        ((2026023000001, 0, 0, 1), "2015 to 2059"),
        ((0, 512, 0, 1), "detector 512"),
        ((0, 0, 32, 1), "band number 32"),
        ((0, 0, 0, 2**17), r"raise detect\.threshold"),
    ],
)
def test_what_does_not_fit(numbers, says):
    with pytest.raises(NoIdError, match=says):
        dia_source_ids(*numbers)


def test_bands_are_numbered_by_their_place():
    assert [band_number(b, ("u", "g", "VR")) for b in ("u", "VR")] == [0, 2]
    with pytest.raises(NoIdError, match=r"band 'r' has no number .*u, g"):
        band_number("r", ("u", "g"))


def test_the_exposure_table_is_checked_at_once():
    rows = [
        SimpleNamespace(visit=1, detector=2, band="g"),
        SimpleNamespace(visit=1, detector=600, band="g"),
    ]
    check_ids(rows[:1], ["u", "g"])
    with pytest.raises(NoIdError, match="detector 600"):
        check_ids(rows, ["u", "g"])
