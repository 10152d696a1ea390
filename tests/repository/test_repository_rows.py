"""What the workflow takes from repositories: exposures by selection, coadds under them."""

import numpy as np
import pytest
from gen2_layout import RA, put, shifted

from skydelta.errors import TableError
from skydelta.io.tracts_mapping import write_tracts_mapping
from skydelta.overlap import Overlap
from skydelta.repository import Repository, rows
from skydelta.repository.rows import chosen_coadds, chosen_exposures, open_repositories

ALL = dict.fromkeys(("visit", "detector", "band", "tract", "patch"))


@pytest.fixture
def root(tmp_path):
    """Two visits of three detectors side by side, and a row of coadds under them and beyond."""
    root = tmp_path / "rerun"
    for visit, band in ((11, "i"), (12, "r")):
        for k in range(3):
            put(root, "calexp", visit=visit, detector=k, band=band, ra=shifted(-100 * k))
    for k in range(6):
        put(root, "deepCoadd", tract=4, patch=(k, 0), band="i", ra=shifted(-100 * k))
    return root


def keys(exposures):
    return [row.key for row in exposures]


@pytest.mark.parametrize(
    ("select", "found"),
    [
        ({"visit": 11}, [(11, 0, "i"), (11, 1, "i"), (11, 2, "i")]),
        ({"visit": "11..12", "detector": "1^2"}, [(11, 1), (11, 2), (12, 1), (12, 2)]),
        ({"band": "r", "detector": [0]}, [(12, 0, "r")]),
        ({"visit": "11", "detector": "2", "band": "i"}, [(11, 2, "i")]),
        ({"visit": "1..99:11", "detector": 1}, [(12, 1, "r")]),
    ],
)
def test_selection(root, select, found):
    exposures = chosen_exposures(Repository(root), {**ALL, **select})
    assert [key[: len(found[0])] for key in keys(exposures)] == found
    assert all(row.path.endswith(".fits") for row in exposures)


def test_named_exposures_are_there_even_if_their_files_are_not(root):
    repo = Repository(root)
    named = {**ALL, "visit": "11^12", "detector": [1, 5], "band": "i^r"}
    assert keys(chosen_exposures(repo, named)) == [
        (11, 1, "i"),
        (11, 5, "i"),
        (12, 1, "r"),
        (12, 5, "r"),
    ]
    alone = chosen_exposures(repo, {**ALL, "visit": 99, "detector": 79, "band": "i"})
    assert alone[0].path == str(repo.path("calexp", visit=99, detector=79, band="i"))
    ranged = {**ALL, "visit": "11", "detector": "1..9", "band": "i"}
    assert keys(chosen_exposures(repo, ranged)) == [(11, 1, "i"), (11, 2, "i")]


def test_nothing_selected_says_what_there_is(root):
    with pytest.raises(TableError) as caught:
        chosen_exposures(Repository(root), {**ALL, "visit": 99, "detector": 3})
    message = str(caught.value)
    assert "no exposure (calexp) of visit 99, detector 3 in " in message
    assert "visit-detector-band 11-0-i, 11-1-i" in message


def section(calexp, coadd=None, mapping=None):
    return {"calexp": calexp, "coadd": coadd, "tracts_mapping": mapping}


def test_headers_where_nothing_else_tells(root):
    repo = open_repositories(section(root))
    exposures = chosen_exposures(repo, {**ALL, "visit": 11, "detector": 0})
    found, footprints = chosen_coadds(repo, "deepCoadd", ALL, exposures)
    assert len(found) == 6
    assert not footprints
    some, _ = chosen_coadds(repo, "deepCoadd", {**ALL, "patch": "1,0^2,0"}, exposures)
    assert [row.patch for row in some] == [(1, 0), (2, 0)]
    with pytest.raises(TableError, match=r"no coadd under the exposures of tract 5.*4-0,0"):
        chosen_coadds(repo, "deepCoadd", {**ALL, "tract": 5}, exposures)
    with pytest.raises(TableError, match=r"deepCoadd-results/.*: nothing"):
        chosen_coadds(repo, "deepCoadd_calexp", ALL, exposures)


def test_mapping_tells_which_coadds_to_look_for(root, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_all_coadds", lambda *_: pytest.fail("all coadds were listed"))
    mapping = tmp_path / "m.sqlite3"
    overlaps = [Overlap(11, 0, "i", 4, (k, 0), 1.0) for k in (0, 1, 9)]
    write_tracts_mapping(mapping, overlaps)
    repo = open_repositories(section(root, mapping=mapping))
    exposures = chosen_exposures(repo, {**ALL, "visit": 11, "detector": 0})
    found, _ = chosen_coadds(repo, "deepCoadd", ALL, exposures)
    assert [row.patch for row in found] == [(0, 0), (1, 0)]


def test_exposures_beside_all_coadds_are_no_error(root, tmp_path, caplog):
    repo = open_repositories(section(root))
    exposures = chosen_exposures(repo, {**ALL, "visit": 12})
    assert chosen_coadds(repo, "deepCoadd", ALL, exposures) == ([], {})
    assert "no coadd under the exposures" in caplog.text


class TestSkyMap:
    """Coadds of a real sky map's geometry, beside thousands that are not looked at."""

    @pytest.fixture
    def skymap(self):
        skymap = pytest.importorskip("skydelta.skymap")
        return skymap.RingsSkyMap(skymap.CONFIGURATIONS["DC2"])

    @pytest.fixture
    def repo(self, root, skymap, monkeypatch):
        monkeypatch.setattr(Repository, "skymap", property(lambda _: skymap))
        return Repository(root)

    def test_nearest_coadd_of_the_tutorial(self, repo):
        found = repo.nearest_coadd(57.076576, -31.143652)
        assert found == {"tract": 4639, "patch": (0, 0)}

    def test_patches_under_an_exposure(self, repo, skymap):
        found = repo.find_coadds(visit=11, detector=0)
        tract = skymap.find_tract(RA, -30.0)
        x, y = tract.find_patch(RA, -30.0).index
        assert {"tract": tract.id, "patch": (x, y), "band": "i"} in found

    def test_only_the_patches_under_the_exposures_are_looked_for(
        self, root, repo, skymap, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(rows, "_all_coadds", lambda *_: pytest.fail("all coadds listed"))
        exposures = chosen_exposures(repo, {**ALL, "visit": 11, "detector": 0})
        under = repo.find_coadds(visit=11, detector=0)
        paths = [put(root, "deepCoadd", **one) for one in under]
        for _ in range(2):  # the second time from the cache
            found, footprints = chosen_coadds(
                repo, "deepCoadd", ALL, exposures, cache=tmp_path / "cache"
            )
            assert [row.path for row in found] == sorted(map(str, paths))
        assert set(footprints) == set(map(str, paths))
        scale = next(iter(footprints.values())).pixel_scale
        assert np.degrees(scale) * 3600 == pytest.approx(0.2, rel=1e-3)

    def test_exposures_on_a_patch(self, repo):
        patch = repo.nearest_coadd(RA, -30.0)
        found = repo.find_exposures(**patch, band="i")
        assert {"visit": 11, "detector": 0, "band": "i"} in found
        assert repo.find_exposures(tract=100, patch=(0, 0)) == []
