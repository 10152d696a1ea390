"""Matching of detections to injected sources, and the figures drawn from it."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table
from scenes import make_exposure

from skydelta.configuration import completed
from skydelta.dia_source import COLUMNS as CATALOGUE
from skydelta.dia_source import empty_catalogue
from skydelta.efficiency.columns import COLUMNS, INJECTED, typed
from skydelta.efficiency.draw import Depth
from skydelta.efficiency.recovery import recover
from skydelta.efficiency.results import exposure_row, joined, measure_efficiency
from skydelta.efficiency.statistics import (
    BIN_COLUMNS,
    binned,
    bins,
    edges_of,
    false_detections,
    flux_figures,
    summary_row,
)
from skydelta.errors import TooFewStarsError
from skydelta.io.outcome import write_failure
from skydelta.io.recovered import (
    Outcome,
    read_outcome,
    recovered_exposure,
    write_ecsv,
    write_outcome,
)

SHAPE = (200, 200)
FWHM = 4.0


def injected(x, y, counts, on_host=False):
    n = len(x)
    counts = np.asarray(counts, float)
    values = {c.name: np.full(n, np.nan) for c in INJECTED if c.dtype == "f8"}
    values |= {"injection": np.arange(n), "x": x, "y": y, "counts": counts, "flux": 2 * counts}
    values |= {"mag": 31.4 - 2.5 * np.log10(np.abs(2 * counts)), "on_host": np.full(n, on_host)}
    return typed(values, INJECTED)


def catalogue(x, y, flux, error=10.0, **columns):
    """DiaSources at given places; all flags down."""
    n = len(x)
    out = {
        c.name: np.full(n, "i", dtype=object) if c.dtype == "U" else np.zeros(n, c.dtype)
        for c in CATALOGUE
    }
    flux = np.asarray(flux, float)
    out |= {"x": np.asarray(x, float), "y": np.asarray(y, float), "psfFlux": flux}
    out |= {"psfFluxErr": np.full(n, error), "detectScore": flux / error}
    out |= {"diaSourceId": np.arange(1, n + 1), "isNegative": flux < 0}
    return out | {name: np.asarray(values) for name, values in columns.items()}


def depth(sigma=5.0):
    plane = np.full(SHAPE, sigma, np.float32)
    plane[:, 190:] = np.inf
    return Depth(make_exposure(np.zeros(SHAPE)), plane)


def recovered(sources, found, known=None):
    known = empty_catalogue() if known is None else known
    return recover(sources, found, known, depth(), FWHM, radius=1.0)


def test_matching_is_one_to_one_and_takes_the_nearest():
    sources = injected([50.0, 53.0], [50.0, 50.0], [50.0, 50.0])
    result = recovered(sources, catalogue([52.0], [50.0], [100.0])).columns
    assert result["found"].tolist() == [False, True]
    assert result["dx"][1] == pytest.approx(-1.0)
    assert result["dia_source_id"].tolist() == [0, 1]


def test_pull_and_expected_snr():
    result = recovered(injected([50.0], [50.0], [50.0]), catalogue([50.2], [49.9], [112.0])).columns
    assert result["pull"][0] == pytest.approx((112.0 - 100.0) / 10.0)
    assert result["snr_expected"][0] == pytest.approx(50.0 / 5.0)
    assert result["clean"][0]


def test_a_detection_of_the_other_sign_is_none():
    sources = injected([50.0, 100.0], [50.0, 50.0], [50.0, -50.0])
    result = recovered(sources, catalogue([50.0, 100.0], [50.0, 50.0], [-100.0, -100.0]))
    assert result.columns["found"].tolist() == [False, True]
    assert result.numbers["n_new"] == 1


def test_known_sources_are_neither_false_nor_found():
    """One injected source on a known one, one detection of another known one."""
    known = catalogue([51.0, 120.0], [50.0, 120.0], [100.0, 100.0])
    sources = injected([50.0, 80.0], [50.0, 80.0], [50.0, 50.0])
    found = catalogue([51.0, 80.0, 120.3, 150.0], [50.0, 80.0, 120.0, 20.0], [100.0] * 4)
    result = recovered(sources, found, known)
    assert result.columns["observable"].tolist() == [False, True]
    assert result.numbers["n_new"] == 1  # that at (150, 20)
    assert result.numbers["n_lost"] == 0
    assert result.numbers["n_known"] == 2


def test_known_sources_that_disappear_are_counted_unless_hidden():
    known = catalogue([60.0, 120.0], [50.0, 120.0], [100.0, 100.0])
    result = recovered(injected([50.0], [50.0], [50.0]), empty_catalogue(), known)
    assert result.numbers["n_lost"] == 1  # (120, 120): (60, 50) is within 3 FWHM of the injected


def test_unusable_pixels_are_not_observable():
    result = recovered(injected([195.0, 50.0], [50.0, 50.0], [50.0, 50.0]), empty_catalogue())
    assert result.columns["observable"].tolist() == [False, True]
    assert result.columns["snr_expected"].tolist() == [0.0, 10.0]
    assert result.numbers["area"] == pytest.approx(190 * 200 * (0.2 / 3600) ** 2, rel=1e-3)


def test_flags_and_dipoles_are_found_but_not_clean():
    sources = injected([50.0, 80.0, 110.0], [50.0, 50.0, 50.0], [50.0] * 3)
    found = catalogue(
        [50.0, 80.0, 110.0],
        [50.0] * 3,
        [100.0] * 3,
        isDipole=[False, True, False],
        pixelFlags_saturated=[True, False, False],
    )
    result = recovered(sources, found).columns
    assert result["found"].all()
    assert result["clean"].tolist() == [False, False, True]
    assert result["flags"].tolist() == ["pixelFlags_saturated", "", ""]


def test_positions_that_are_not_finite_match_nothing():
    found = catalogue([np.nan, 50.0], [50.0, 50.0], [100.0, 100.0])
    result = recovered(injected([50.0], [50.0], [50.0]), found)
    assert result.columns["dia_source_id"].tolist() == [2]


@pytest.fixture
def sample():
    """Sources of known completeness: those of S/N 10 all found, of S/N 4 half of them."""
    n = 40
    x = np.tile(np.arange(10, 190, 18.0), 4)
    y = np.repeat(np.arange(20, 100, 20.0), 10)
    counts = np.where(np.arange(n) % 2, 50.0, 20.0)
    sources = injected(x, y, counts)
    seen = (counts > 30) | (np.arange(n) % 4 == 0)
    found = catalogue(x[seen], y[seen], 2 * counts[seen] * 1.1, error=20.0)
    recovery = recovered(sources, found)
    names = {"method": "m", "visit": 1, "detector": 0, "band": "i", "realisation": 1}
    whole = {k: np.full(n, v, dtype=object) for k, v in names.items()} | recovery.columns
    ok = {"status": "ok", "stage": "", "message": ""}
    return Outcome({**names, **ok, **recovery.numbers}, typed(whole, COLUMNS))


def test_bins_are_those_of_the_grid(sample):
    edges = edges_of(sample.columns, "snr_expected", [4, 10])
    rows = bins(sample.columns, "snr_expected", edges)
    assert [row["n"] for row in rows] == [20, 20]
    assert [row["completeness"] for row in rows] == [0.5, 1.0]
    assert rows[0]["completeness_low"] < 0.5 < rows[0]["completeness_high"]
    assert rows[1]["flux_bias"] == pytest.approx(0.1)
    assert rows[1]["pull_mean"] == pytest.approx(0.1 * 100.0 / 20.0)


def test_false_rate_is_per_square_degree(sample):
    status = sample.status | {"n_new": 3}
    (row,) = false_detections([status, status, {"status": "no_overlap", "band": "i"}], ["m"])
    assert row["n_new"] == 6
    assert row["false_rate"] == pytest.approx(6 / (2 * sample.status["area"]))


def test_flux_figures_of_fading_sources_have_the_same_sign():
    sources = injected([50.0], [50.0], [-50.0])
    columns = recovered(sources, catalogue([50.0], [50.0], [-110.0])).columns
    figures = flux_figures(columns)
    assert figures["flux_bias"] == pytest.approx(0.1)
    assert figures["pull_mean"] == pytest.approx(1.0)


def test_summary_counts_what_is_left_out(sample):
    columns = dict(sample.columns)
    columns["observable"] = np.arange(40) >= 4
    row = summary_row(columns, method="m", band="all", hosts="all")
    assert (row["n"], row["n_unobservable"]) == (36, 4)
    assert np.isfinite(row["m50"])


def test_outcome_is_read_as_it_was_written(sample, tmp_path):
    write_outcome(tmp_path / "o.parquet", sample)
    again = read_outcome(tmp_path / "o.parquet")
    assert again.status == sample.status
    for name, values in sample.columns.items():
        assert np.array_equal(again.columns[name], values, equal_nan=values.dtype.kind == "f"), name


def test_a_failed_exposure_is_left_out_with_its_reason(tmp_path):
    """The reason of the main chain, its stage without the suffix of the efficiency's rules."""
    marker = tmp_path / "injected.fits"
    write_failure(marker, TooFewStarsError("2 stars, need 3"), "subtract_efficiency")
    paths = dict.fromkeys(("catalogue", "known", "diffexp"), tmp_path / "not written")
    outcome = recovered_exposure(
        {"method": "m", "visit": 1, "detector": 0, "band": "i", "realisation": 1},
        statuses=(),
        injected=marker,
        match_radius=1.0,
        min_good_weight=0.5,
        **paths,
    )
    assert outcome.status["status"] == "too_few_stars"
    assert outcome.status["stage"] == "subtract"
    assert outcome.status["message"] == "2 stars, need 3"
    assert len(outcome.columns["x"]) == 0
    row = exposure_row(outcome)
    assert (row["n_injected"], row["n_found"]) == (0, 0)


def test_nothing_recovered_makes_tables_without_rows(tmp_path):
    columns = joined([])
    assert binned(columns, ["m"]) == []
    row = summary_row(columns, method="m", band="all", hosts="all")
    assert row["n"] == 0
    assert np.isnan(row["m50"])
    write_ecsv(tmp_path / "t.ecsv", [], BIN_COLUMNS)
    assert len(Table.read(tmp_path / "t.ecsv")) == 0


def test_tables_carry_units_and_meanings(sample, tmp_path):
    write_ecsv(tmp_path / "t.ecsv", binned(sample.columns, ["m"]), BIN_COLUMNS)
    table = Table.read(tmp_path / "t.ecsv")
    assert set(table["quantity"]) == {"snr", "mag"}
    assert table["completeness"].description == "n_found / n"


FILES = ("injections", "summary", "bins", "false", "exposures", "page")


@pytest.mark.parametrize("found", ["none", "one", "all"])
def test_page_and_tables_of_few_sources(sample, tmp_path, found):
    """A handful of sources, of which none may be found, still make a page."""
    columns = {name: values[:6] for name, values in sample.columns.items()}
    hit = {"none": np.zeros(6, bool), "one": np.arange(6) == 1, "all": np.ones(6, bool)}[found]
    columns |= {"found": columns["found"] & hit, "clean": columns["clean"] & hit}
    write_outcome(tmp_path / "o.parquet", Outcome(sample.status, columns))
    output = SimpleNamespace(**{name: tmp_path / f"{name}.out" for name in FILES})
    config = completed({})
    measure_efficiency([tmp_path / "o.parquet"], output, methods={"m": {}}, config=config)
    page = output.page.read_text()
    assert "Completeness against S/N" in page
    assert "nan" not in page.lower().replace("lanczos_order", "")
    assert len(Table.read(output.summary, format="ascii.ecsv")) == 3
