"""LSST gen2 repositories: files by identifier, parents, coadds beside calexps."""

import numpy as np
import pytest
from gen2_layout import put, shifted

import skydelta
from skydelta.errors import CorruptFileError, MissingFileError, UnsupportedError
from skydelta.io.tracts_mapping import write_tracts_mapping
from skydelta.overlap import Overlap
from skydelta.path_templates import AmbiguousFileError
from skydelta.repository import Repository

ID = {"visit": 1013665, "detector": 79, "band": "i"}
PATCH = {"tract": 4639, "patch": (0, 0), "band": "i"}


@pytest.fixture
def calexps(tmp_path):
    """The repository of exposures."""
    root = tmp_path / "calexps"
    put(root, "calexp", **ID)
    put(root, "calexp", visit=1013665, detector=80, band="i", ra=shifted(-300))
    put(root, "calexp", visit=7, detector=3, band="r")
    return root


@pytest.fixture
def coadds(tmp_path):
    """The repository of coadds."""
    root = tmp_path / "coadds"
    put(root, "deepCoadd", **PATCH)
    put(root, "deepCoadd", **{**PATCH, "patch": (1, 0)}, ra=shifted(-320))
    put(root, "deepCoadd", **{**PATCH, "band": "r"})
    return root


def test_exposures_are_read_by_number(calexps):
    repo = skydelta.Repository(calexps)
    assert repo.exists("calexp", **ID)
    exposure = repo.get("calexp", visit=np.int64(1013665), detector=np.int32(79), filter="i")
    assert exposure.band == "i"
    assert exposure.shape == (60, 60)
    name = "calexp/01013665-i/R20/calexp_01013665-i-R20-S21-det079.fits"
    assert repo.path("calexp", **ID) == calexps / name


def test_band_may_be_left_out(calexps):
    repo = Repository(calexps)
    assert repo.data_id("calexp", visit=1013665, detector=79) == ID
    with pytest.raises(MissingFileError, match=r"name the band of .*it has no calexp in .*calexps"):
        repo.path("calexp", visit=8, detector=79)
    put(calexps, "calexp", **{**ID, "band": "z"})
    with pytest.raises(MissingFileError, match="it was taken in i, z"):
        repo.get("calexp", visit=1013665, detector=79)
    assert not repo.exists("calexp", visit=8, detector=79)


def test_coadds_beside_exposures(calexps, coadds):
    """As the tutorial opens two butlers."""
    repo = Repository(calexps, coadd=coadds)
    assert repo.path("deepCoadd", **PATCH) == coadds / "deepCoadd/i/4639/0,0.fits"
    assert repo.get("deepCoadd", tract=4639, patch="0,0", filter="i").shape == (60, 60)
    assert repo.get("calexp", **ID).shape == (60, 60)
    assert Repository(calexps, parents=[coadds]).exists("deepCoadd", **PATCH)
    assert Repository(calexps, parents=coadds).exists("deepCoadd", **PATCH)
    assert not Repository(calexps).exists("deepCoadd", **PATCH)


NESTED = """!RepositoryCfg_v1
_mapper: &id001 !!python/name:lsst.obs.lsst.imsim.ImsimMapper ''
_mapperArgs: {{}}
_parents:
- !RepositoryCfg_v1
  _mapper: *id001
  _mapperArgs: {{}}
  _parents: []
  _policy: null
  _root: {root}
  dirty: true
_policy: null
_root: null
dirty: true
"""


@pytest.mark.parametrize(
    "text",
    [
        "!RepositoryCfg_v1\n_parents: ['../coadds']\n_root: null\n",
        "!<RepositoryCfg_v1>\n_mapper: !!python/name:os.system ''\n_parents: ../coadds\n",
        "!RepositoryCfg_v1\n_parents:\n- file://{root}\n",
        "_parents: [{root}, /gone/elsewhere]\n",
        NESTED,
    ],
    ids=["relative", "one", "uri", "absolute and lost", "nested"],
)
def test_parents_of_the_configuration(calexps, coadds, text):
    (calexps / "repositoryCfg.yaml").write_text(text.format(root=coadds))
    repo = Repository(calexps)
    assert repo.get("deepCoadd", **PATCH).band == "i"
    assert [store.root.resolve() for store in repo.stores] == [calexps, coadds]


def test_nothing_that_a_configuration_names_is_made(calexps, tmp_path):
    mark = tmp_path / "mark"
    text = f"!RepositoryCfg_v1\n_mapper: !!python/object/apply:os.mkdir [{mark}]\n_parents: []\n"
    (calexps / "repositoryCfg.yaml").write_text(text)
    assert Repository(calexps).exists("calexp", **ID)
    assert not mark.exists()


@pytest.mark.parametrize(
    "text", ["a: [", "just text", "_parents: [[x]]", "_parents: &a [*a]", "\x00"]
)
def test_configurations_that_are_none(calexps, text):
    (calexps / "repositoryCfg.yaml").write_text(text)
    with pytest.raises(CorruptFileError, match=r"repositoryCfg\.yaml"):
        Repository(calexps)


def test_parent_links_are_followed_once(calexps, coadds):
    (calexps / "_parent").symlink_to("../coadds")
    (coadds / "_parent").symlink_to(calexps)
    repo = Repository(calexps)
    assert len(repo.stores) == 2
    assert repo.exists("deepCoadd", **PATCH)


def test_own_files_come_before_the_parents(calexps, coadds):
    put(calexps, "deepCoadd", **PATCH)
    assert Repository(calexps, coadd=coadds).path("deepCoadd", **PATCH).is_relative_to(calexps)
    repo = Repository(calexps, coadd=coadds)
    assert repo.path("deepCoadd", **{**PATCH, "patch": (1, 0)}).is_relative_to(coadds)


def test_visits_of_thirteen_digits(tmp_path):
    folder = tmp_path / "calexp/0000001013665-i/R20"
    path = put(tmp_path, "calexp", **ID)
    folder.mkdir(parents=True)
    padded = folder / "calexp_0000001013665-i-R20-S21-det079.fits"
    path.rename(padded)
    repo = Repository(tmp_path)
    assert repo.path("calexp", **ID) == padded
    assert repo.datasets("calexp", visit=1013665) == [ID]
    rubin = {"visit": 2024110800263, "detector": 94, "band": "i"}
    put(tmp_path, "calexp", **rubin)
    assert repo.datasets("calexp", detector="90..99") == [rubin]


def test_other_cameras(tmp_path):
    """Rafts of other names are found; two of them for one detector are not told apart."""
    folder = tmp_path / "calexp/00000012-g/RXX"
    folder.mkdir(parents=True)
    path = put(tmp_path, "calexp", visit=12, detector=79, band="g")
    path.rename(folder / "calexp_00000012-g-RXX-S00-det079.fits")
    put(tmp_path, "calexp", visit=12, detector=5, band="g").rename(
        folder / "calexp_00000012-g-RXX-S01-det205.fits"
    )
    repo = Repository(tmp_path)
    assert repo.get("calexp", visit=12, detector=79, band="g").band == "g"
    assert repo.exists("calexp", visit=12, detector=205)
    assert not repo.exists("calexp", visit=12, detector=206, band="g")
    with pytest.raises(MissingFileError, match=r"no calexp/\{visit:08d\}.* of visit 12"):
        repo.get("calexp", visit=12, detector=206, band="g")
    (folder / "calexp_00000012-g-RXX-S02-det079.fits").write_bytes(b"")
    with pytest.raises(AmbiguousFileError, match=r"holds 2 files of .*RXX-S00.*RXX-S02"):
        repo.path("calexp", visit=12, detector=79, band="g")


def test_missing_files_name_where_they_were_looked_for(calexps, coadds):
    repo = Repository(calexps, coadd=coadds)
    with pytest.raises(MissingFileError) as caught:
        repo.get("deepCoadd", tract=4639, patch=(5, 5), band="i")
    for root in (calexps, coadds):
        assert f"{root / 'deepCoadd/i/4639/5,5.fits'} does not exist" in str(caught.value)


def test_listing(calexps, coadds):
    repo = Repository(calexps, coadd=coadds)
    assert "deepCoadd_meas" in repo.datasets()
    assert [one["detector"] for one in repo.datasets("calexp")] == [3, 79, 80]
    assert repo.datasets("calexp", visit="1..10") == [{"visit": 7, "detector": 3, "band": "r"}]
    assert repo.datasets("calexp", detector="70..79") == [ID]
    assert repo.datasets("deepCoadd", filter="r") == [{**PATCH, "band": "r"}]
    assert repo.datasets("deepCoadd", patch="1,0") == [{**PATCH, "patch": (1, 0)}]
    assert repo.datasets("src") == []
    for one in repo.datasets("calexp"):
        assert repo.exists("calexp", **one)


def test_questions_that_cannot_be_answered(calexps):
    repo = Repository(calexps)
    with pytest.raises(ValueError, match="there is no dataset 'raw'; there are calexp"):
        repo.get("raw", **ID)
    with pytest.raises(ValueError, match=r"calexp is identified by .*: give detector"):
        repo.get("calexp", visit=1, band="i")
    with pytest.raises(ValueError, match="'ccd' is no part of an identifier"):
        repo.get("calexp", visit=1, ccd=3)
    with pytest.raises(MissingFileError, match="no results of skydelta"):
        repo.status(**ID)
    path = put(calexps, "calexpBackground", **ID)
    assert repo.path("calexpBackground", **ID) == path
    with pytest.raises(UnsupportedError, match="there is no reader"):
        repo.get("calexpBackground", **ID)
    with pytest.raises(MissingFileError, match=r"deepCoadd/skyMap\.pickle does not exist"):
        _ = repo.skymap


def test_damaged_exposure(calexps):
    repo = Repository(calexps)
    repo.path("calexp", **ID).write_bytes(b"SIMPLE but no FITS")
    with pytest.raises(CorruptFileError, match="det079"):
        repo.get("calexp", **ID)


def test_mapping_answers_as_in_the_tutorial(calexps, coadds, tmp_path):
    overlaps = [
        Overlap(1013665, 79, "i", 4639, (0, 0), 1.0),
        Overlap(1013665, 79, "i", 4640, (6, 0), 1.0),
        Overlap(9, 79, "i", 4639, (0, 0), 1.0),
    ]
    write_tracts_mapping(coadds / "tracts_mapping.sqlite3", overlaps)
    repo = Repository(calexps, coadd=coadds)
    assert repo.find_coadds(visit=1013665, detector=79) == [
        PATCH,
        {"tract": 4640, "patch": (6, 0), "band": "i"},
    ]
    found = repo.find_exposures(tract=4639, patch="0,0", filter="i")
    assert found == [{"visit": 9, "detector": 79, "band": "i"}, ID]
    write_tracts_mapping(tmp_path / "own.sqlite3", overlaps[2:])
    own = Repository(calexps, tracts_mapping=tmp_path / "own.sqlite3")
    assert own.find_exposures(tract=4639, patch=(0, 0)) == found[:1]


def test_headers_answer_where_there_is_no_mapping(calexps, coadds):
    repo = Repository(calexps, coadd=coadds)
    assert repo.find_coadds(visit=1013665, detector=79) == [PATCH]
    assert repo.find_coadds(visit=1013665, detector=80) == [{**PATCH, "patch": (1, 0)}]
    assert repo.find_exposures(tract=4639, patch=(0, 0)) == [
        {"visit": 7, "detector": 3, "band": "r"},
        ID,
    ]
    assert repo.find_exposures(tract=4639, patch=(0, 0), band="i") == [ID]
    with pytest.raises(MissingFileError, match="no sky map and no coadd in i: name a repository"):
        Repository(calexps).find_coadds(visit=1013665, detector=79)
    with pytest.raises(MissingFileError, match="no sky map and no coadd of tract 1, patch 2,3"):
        repo.find_exposures(tract=1, patch=(2, 3))


def test_results_beside_what_they_were_made_of(calexps, coadds, tmp_path):
    results = tmp_path / "results"
    (results / "status").mkdir(parents=True)
    (results / "status" / "01013665-i-det079.json").write_text('{"status": "ok"}')
    write_tracts_mapping(
        results / "overlaps" / "tracts_mapping.sqlite3", [Overlap(*ID.values(), 4639, (0, 0), 1.0)]
    )
    repo = Repository(results, parents=[calexps, coadds])
    assert repo.get("calexp", visit=1013665, detector=79).band == "i"
    assert repo.find_coadds(visit=1013665, detector=79) == [PATCH]
    assert repo.get("deepCoadd", **repo.find_coadds(visit=1013665, detector=79)[0]).band == "i"
    assert repo.status(visit=1013665, detector=79)["status"] == "ok"


def test_listing_touches_only_what_is_selected(calexps, monkeypatch):
    """One visit of many is found without listing the folders of the others."""
    listed = []
    original = skydelta.path_templates.os.listdir
    monkeypatch.setattr(
        skydelta.path_templates.os, "listdir", lambda path: listed.append(path) or original(path)
    )
    repo = Repository(calexps)
    repo.datasets("calexp", visit=7, band="r")
    assert [path.name for path in listed] == ["00000007-r", "R01"]
    listed.clear()
    assert repo.exists("calexp", **ID)
    assert not listed
