import csv
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from skydelta.io.native import read_native
from skydelta.io.wcs import wcs_from_header
from skydelta.simulate import simulate_survey
from skydelta.simulate.observe import TRUTH_COLUMNS

OPTIONS = {"shape": (256, 256), "patch_inner": 250, "patch_border": 30, "seed": 21}


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return simulate_survey(tmp_path_factory.mktemp("survey"), **OPTIONS)


def rows_of(path):
    with path.open() as lines:
        return list(csv.DictReader(lines))


def read(table, row):
    with fits.open(table.parent / row["path"]) as hdul:
        return read_native(hdul)


def test_same_seed_same_bytes(survey, tmp_path):
    again = simulate_survey(tmp_path, **OPTIONS)
    root = survey.exposures.parent
    files = sorted(p.relative_to(root) for p in root.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert all((root / f).read_bytes() == (tmp_path / f).read_bytes() for f in files)
    assert again.truth.exists()


def test_tables_have_their_columns(survey):
    exposures, coadds = rows_of(survey.exposures), rows_of(survey.coadds)
    assert list(exposures[0]) == ["visit", "detector", "band", "path"]
    assert list(coadds[0]) == ["tract", "patch", "band", "path"]
    assert len(exposures) == 4
    assert len({r["visit"] for r in exposures}) == 2
    assert len({r["detector"] for r in exposures}) == 2
    assert {r["band"] for r in exposures} == {"r", "i"}
    assert "0,0" in {r["patch"] for r in coadds}
    assert not any(Path(r["path"]).is_absolute() for r in exposures + coadds)


def test_truth_covers_every_exposure(survey):
    truth = Table.read(survey.truth, format="ascii.csv")
    assert list(truth.columns) == list(TRUTH_COLUMNS)
    pairs = {(r["visit"], r["detector"], r["band"]) for r in truth}
    assert len(pairs) == 4
    difference = truth["science_flux_nJy"] - truth["template_flux_nJy"]
    assert np.allclose(truth["flux_nJy"], difference, atol=1e-3)


def test_an_event_has_one_identity_in_all_exposures(survey):
    truth = Table.read(survey.truth, format="ascii.csv")
    assert max(np.unique(truth["object_id"], return_counts=True)[1]) >= 2
    for group in truth.group_by("object_id").groups:
        assert np.ptp(group["ra"]) < 1e-7
        assert len(set(group["kind"])) == 1


def test_exposures_carry_what_the_stages_need(survey):
    for row in rows_of(survey.exposures):
        exposure = read(survey.exposures, row)
        assert exposure.band == row["band"]
        assert exposure.meta["VISIT"] == int(row["visit"])
        assert exposure.gain == pytest.approx(1.5)
        assert exposure.exptime == pytest.approx(30.0)
        assert np.isfinite(exposure.mjd)
        assert np.isfinite(exposure.saturate)
        assert exposure.psf.data.shape == (49, 41, 41)
        assert exposure.wcs.sip is not None


def test_zero_points_differ(survey):
    zero_points = [
        read(survey.exposures, r).photo_calib.zero_point for r in rows_of(survey.exposures)
    ]
    assert len({round(z, 6) for z in zero_points}) == 2  # one per visit


def test_truth_lies_where_the_wcs_says(survey):
    truth = Table.read(survey.truth, format="ascii.csv")
    off = []
    for row in rows_of(survey.exposures):
        exposure = read(survey.exposures, row)
        mine = truth[
            (truth["visit"] == int(row["visit"])) & (truth["detector"] == int(row["detector"]))
        ]
        x, y = exposure.wcs.all_world2pix(mine["ra"], mine["dec"], 0)
        off.extend(200 * np.hypot(x - mine["x"], y - mine["y"]))
    assert 3 < np.sqrt(np.mean(np.square(off))) < 20


def test_patches_share_their_overlap(survey):
    rows = {(r["patch"], r["band"]): r for r in rows_of(survey.coadds)}
    left, right = (read(survey.coadds, rows[p, "i"]) for p in ("0,0", "1,0"))
    for plane in ("image", "variance"):
        a, b = getattr(left, plane)[:, -60:], getattr(right, plane)[:, :60]
        assert np.array_equal(a, b, equal_nan=True)
    assert np.array_equal(left.mask.array[:, -60:], right.mask.array[:, :60])
    sky = left.wcs.all_pix2world(250.0, 10.0, 0)
    assert right.wcs.all_world2pix(*sky, 0) == pytest.approx((0.0, 10.0), abs=1e-6)


def test_psfs_are_continuous_from_patch_to_patch(survey):
    rows = {(r["patch"], r["band"]): r for r in rows_of(survey.coadds)}
    left, right = (read(survey.coadds, rows[p, "i"]) for p in ("0,0", "1,0"))
    a, b = left.psf.stamp(270.0, 100.0), right.psf.stamp(20.0, 100.0)
    assert np.abs(a - b).max() < 1e-3 * a.max()


def test_every_exposure_is_covered_by_several_patches(survey):
    rows = [r for r in rows_of(survey.coadds) if r["band"] == "r"]
    headers = [fits.getheader(survey.coadds.parent / r["path"], "MASK") for r in rows]
    masks = [fits.getdata(survey.coadds.parent / r["path"], "MASK") for r in rows]
    for row in rows_of(survey.exposures):
        wcs = read(survey.exposures, row).wcs
        x, y = (a.ravel() for a in np.meshgrid(np.arange(0, 256, 5), np.arange(0, 256, 5)))
        sky = wcs.all_pix2world(x, y, 0)
        hits = []
        for header, mask in zip(headers, masks, strict=True):
            px, py = np.round(wcs_from_header(header).all_world2pix(*sky, 0)).astype(int)
            ny, nx = mask.shape
            inside = (px >= 0) & (px < nx) & (py >= 0) & (py < ny)
            no_data = mask[py.clip(0, ny - 1), px.clip(0, nx - 1)] & (1 << header["MP_NO_DATA"])
            hits.append(inside & (no_data == 0))
        assert np.all(np.any(hits, axis=0))
        assert np.sum(np.any(hits, axis=1)) >= 2


def test_no_data_beyond_the_survey(survey):
    masks = [read(survey.coadds, r).mask for r in rows_of(survey.coadds)]
    fraction = np.mean([m.any("NO_DATA").mean() for m in masks])
    assert 0.1 < fraction < 0.9


def test_unknown_band_is_refused(tmp_path):
    with pytest.raises(ValueError, match="out of ugrizy, got"):
        simulate_survey(tmp_path, bands=("r", "K"))
