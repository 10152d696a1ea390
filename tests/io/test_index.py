"""Tables from folders, and the command that makes them."""

import shutil

import numpy as np
import pytest
from astropy.io import fits

from skydelta import __version__, cli
from skydelta.errors import TableError
from skydelta.io.index import index_folders, kind_of, write_tables
from skydelta.lsst.gen2 import DATASETS
from skydelta.tables import read_coadds, read_exposures


def image(path, **cards):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = fits.Header()
    for key, value in cards.items():
        header[key] = value
    fits.writeto(path, np.zeros((4, 4), np.float32), header)
    return path


@pytest.mark.parametrize(
    ("name", "kind", "of"),
    [
        ("c4d_1_oow_z_ls9.N3.fits.gz", "weight", "c4d_1_ooi_z_ls9.N3.fits.gz"),
        ("c4d_1_ood_z_ls9.N3.fits.gz", "mask", "c4d_1_ooi_z_ls9.N3.fits.gz"),
        ("c4d_1_ooi_z_ls9-N3-psfex.fits.gz", "psf", "c4d_1_ooi_z_ls9.N3.fits.gz"),
        ("a.weight.fits", "weight", "a.fits"),
        ("a_wht.fits.fz", "weight", "a.fits"),
        ("a.mask.fits", "mask", "a.fits"),
        ("a.psf", "psf", "a.fits"),
        ("a-psf.fits", "psf", "a.fit"),
    ],
)
def test_side_files_are_told_by_name(tmp_path, name, kind, of):
    assert kind_of(tmp_path / name) == (kind, kind_of(tmp_path / of)[1])
    assert kind_of(tmp_path / of)[0] == "image"
    assert kind_of(tmp_path / "notes.txt")[0] is None


def test_tables_can_be_read_back(tmp_path, capsys):
    image(tmp_path / "in/a.fits", EXPNUM=12, CCDNUM=3, FILTER="i DECam SDSS c0003")
    image(tmp_path / "in/a.weight.fits")
    image(tmp_path / "in/deep/b.fits", VISIT=13, DETECTOR=4, FILTER="r")
    image(tmp_path / "coadds/i/4639/2,3.fits", FILTER="i")
    image(tmp_path / "coadds/card.fits", FILTER="i", TRACT=7, PATCH="(1, 2)")
    arguments = ["index", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    assert cli.main([*arguments, "--coadds", str(tmp_path / "coadds")]) == 0
    exposures = read_exposures(tmp_path / "out/exposures.csv")
    assert [row.key for row in exposures] == [(12, 3, "i"), (13, 4, "r")]
    assert exposures[0].weight == str(tmp_path / "in/a.weight.fits")
    assert exposures[1].weight is None
    coadds = read_coadds(tmp_path / "out/coadds.csv")
    assert [row.key for row in coadds] == [(7, (1, 2), "i"), (4639, (2, 3), "i")]
    assert "2 images" in capsys.readouterr().out


def test_lsst_repositories(tmp_path):
    """Names tell all that headers of afw files may not; catalogues and the like are no images."""
    root = tmp_path / "rerun"
    calexp = {"visit": 1013665, "detector": 79, "band": "i"}
    patch = {"tract": 4639, "patch": (0, 0), "band": "i"}
    kept = [image(root / DATASETS["calexp"].path(calexp), FILTER="i_sim_1.4", DETSER="x")]
    for name in ("calexpBackground", "src", "deepDiff_differenceExp", "deepDiff_matchedExp"):
        image(root / DATASETS[name].path(calexp))
    for name in ("deepCoadd_calexp", "deepCoadd_det", "deepCoadd_meas"):
        image(root / DATASETS[name].path(patch))
    other = image(root / DATASETS["deepCoadd_calexp"].path({**patch, "patch": (1, 0)}))
    image(root / DATASETS["deepCoadd_directWarp"].path({**patch, "visit": 1013665}))
    kept.append(image(root / DATASETS["deepCoadd"].path(patch)))
    index = index_folders([root], [root])
    assert index.exposures == [{**calexp, "path": str(kept[0])}]
    assert {row["patch"]: row["path"] for row in index.coadds} == {
        "0,0": str(kept[1]),
        "1,0": str(other),
    }
    assert index.notes == [
        "patches that are there as deepCoadd and deepCoadd_calexp are taken as deepCoadd"
    ]
    for path in write_tables(tmp_path / "out", index):
        (read_exposures if path.name == "exposures.csv" else read_coadds)(path)


def test_detectors_by_name(tmp_path):
    image(tmp_path / "a.fits", VISIT=1, DETNAME="R20_S21", FILTER="i")
    afw = {"AR_HDU": 5, "EXPID": 17080, "IDNUM": 17}
    image(tmp_path / "calexp_17_i-det080.fits", **afw, DETSER="1_53", FILTER="i")
    rows = index_folders([tmp_path]).exposures
    assert [(row["visit"], row["detector"]) for row in rows] == [(1, 79), (17, 80)]


def test_missing_cards_are_numbered_and_said(tmp_path):
    for name in ("a", "b"):
        image(tmp_path / f"{name}.fits", FILTER="r", VISIT=5, CCDNUM=1)
    image(tmp_path / "c.fits")
    index = index_folders([tmp_path], [tmp_path])
    keys = {(row["visit"], row["detector"], row["band"]) for row in index.exposures}
    assert keys == {(5, 1, "r"), (6, 1, "r"), (7, 0, "unknown")}
    assert [row["patch"] for row in index.coadds] == ["0,0", "1,0", "2,0"]
    assert any("numbered 6" in note for note in index.notes)


def test_unreadable_files_are_left_out(tmp_path):
    image(tmp_path / "good.fits", VISIT=1, DETECTOR=1, FILTER="i")
    (tmp_path / "bad.fits").write_bytes(b"no FITS")
    index = index_folders([tmp_path])
    assert len(index.exposures) == 1
    assert any("bad.fits" in note for note in index.notes)


def test_failures_end_with_a_message(tmp_path, capsys):
    with pytest.raises(TableError):
        index_folders([tmp_path / "nowhere"])
    assert cli.main(["index", str(tmp_path), "-o", str(tmp_path)]) == 1
    assert "no image" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert __version__ in capsys.readouterr().out


def test_real_hsc_exposure(shared_data, tmp_path):
    """Its EXPID is visit * 200 + detector; EXP-ID names the visit alone."""
    shutil.copy(shared_data / "lsst_format" / "REAL_obs_base_calexp_HSC.fits.gz", tmp_path)
    row = index_folders([tmp_path]).exposures[0]
    assert (row["visit"], row["detector"], row["band"]) == (904010, 4, "300")


def test_real_folder(shared_data):
    index = index_folders([shared_data / "decam_legacypipe_tc4"])
    assert len(index.exposures) == 9
    assert not index.notes
    assert all(row["psf"] and row["weight"] and row["mask"] for row in index.exposures)
    assert {"visit": 431608, "detector": 34, "band": "z"}.items() <= index.exposures[0].items()
