"""The examples that have an answer, run as their configurations say."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

RA, DEC = 318.1080, -66.0157
"""deg; the point source on the central galaxy of the DECam example (shared/data/README.md)."""

VISITS = (804001, 804002, 804003, 804004, 804005)


@pytest.fixture(scope="module")
def run_example(snakemake, house, shared_data, tmp_path_factory):
    def run(name, *targets):
        return snakemake(
            *targets,
            *("--configfile", house / "config" / "examples" / name / "config.yaml"),
            *("--config", f"data={shared_data / name}"),
            directory=tmp_path_factory.mktemp(name),
        )

    return run


@pytest.fixture(scope="module")
def decam(run_example):
    return run_example("decam_sfft_i", "results/catalogue/diaSources.parquet")


@pytest.fixture(scope="module")
def source(decam):
    """Rows of the known source by column, in the order of the visits."""
    catalogue = pq.read_table(decam.results / "catalogue" / "diaSources.parquet").to_pandas()
    east = (catalogue["ra"] - RA) * np.cos(np.radians(DEC))
    distance = 3600 * np.hypot(east, catalogue["dec"] - DEC)
    return catalogue.assign(distance=distance)[distance < 1.0].sort_values("visit")


def test_known_source_is_found_in_every_exposure(source):
    assert tuple(source["visit"]) == VISITS
    assert source["distance"].max() < 0.5
    assert (source["snr"] > 4).all()  # with three or four stars most of the error is the kernel's


def test_known_source_is_positive(source):
    assert (source["psfFlux"] > 0).all()
    assert not source["isNegative"].any()
    assert not source["isDipole"].any()


def test_known_source_has_one_flux(source):
    flux, weight = source["psfFlux"], source["psfFluxErr"] ** -2.0
    flux, weight = flux.astype(float), weight.astype(float)
    mean = np.average(flux, weights=weight)
    chi2 = (weight * (flux - mean) ** 2).sum()
    assert stats.chi2.sf(chi2, len(flux) - 1) > 0.01  # five exposures: 2 a degree is one in ten


def test_fallback_of_the_kernel_is_said(decam):
    statuses = decam.statuses().values()
    assert len(statuses) == len(VISITS)
    for status in statuses:
        assert status["status"] == "ok"
        assert status["kernel_order"] == 0
        assert status["kernel_order_requested"] == 2
        assert any(note.startswith("kernel order lowered from 2 to 0") for note in status["notes"])


def test_zero_point_comes_through_the_kernel(decam):
    for status in decam.statuses().values():
        assert status["zero_point_source"] == "kernel sum"
        assert status["zero_point"] == pytest.approx(25 + 2.5 * np.log10(status["kernel_sum"]))


def test_image_without_wcs_says_what_to_do(run_example):
    run = run_example("eaba_eso085", "results/status/00000005-Clear-det000.json")
    status = json.loads((run.results / "status" / "00000005-Clear-det000.json").read_text())
    assert status["status"] == "no_wcs"
    assert status["stage"] == "template"
    assert "aligned_eso085-030-005.fits.gz" in status["message"]
    assert "solve its astrometry" in status["message"]
