import copy
from pathlib import Path

import pytest
import yaml
from gen2_layout import put
from scenes import make_exposure, tan_wcs, white_noise

from skydelta.configuration import merged
from skydelta.errors import MissingFileError, TableError
from skydelta.fingerprint import modules_of
from skydelta.io.native import write_exposure
from skydelta.survey import demo_table, load_survey, located, simulation_options

CONFIG = yaml.safe_load(
    (Path(__file__).resolve().parents[1] / "config" / "config.yaml").read_text()
)
SHAPE = (60, 60)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Two exposures and two coadds, one of each far away, in tables; the folder is entered."""
    monkeypatch.chdir(tmp_path)
    for name, ra in (("e1", 55.0), ("e2", 80.0), ("c1", 55.0), ("c2", 120.0)):
        wcs = tan_wcs(SHAPE, ra=ra)
        write_exposure(tmp_path / f"{name}.fits", make_exposure(white_noise(SHAPE, 0), wcs=wcs))
    (tmp_path / "exposures.csv").write_text(
        "visit,detector,band,path\n1,4,i,e1.fits\n2,4,i,e2.fits\n"
    )
    (tmp_path / "coadds.csv").write_text(
        'tract,patch,band,path\n9,"0,0",i,c1.fits\n9,"1,0",i,c2.fits\n'
    )
    chosen = copy.deepcopy(CONFIG)
    chosen |= {"exposures": "exposures.csv", "coadds": "coadds.csv"}
    return chosen


def test_edges_follow_the_sky(config, tmp_path):
    survey = load_survey({**config, **located(config, [tmp_path])})
    assert not survey.simulated
    assert [Path(c.path).name for c in survey.edges[1, 4, "i"]] == ["c1.fits"]
    assert not survey.edges.get((2, 4, "i"))
    assert survey.exposure(1, 4, "i").path.endswith("e1.fits")
    assert survey.exposure("1", "4", "i") is survey.exposure(1, 4, "i")
    with pytest.raises(KeyError):
        survey.exposure(3, 4, "i")


def test_paths_are_made_absolute(config, tmp_path):
    paths = located(config, ["/nowhere", tmp_path])
    assert paths["exposures"] == str(tmp_path.resolve() / "exposures.csv")
    assert paths["overlap"]["margin_px"] == config["overlap"]["margin_px"]


def test_missing_table(config, tmp_path):
    config["coadds"] = "gone.csv"
    with pytest.raises(TableError, match=r"coadds: gone\.csv does not exist in .*correct it"):
        located(config, [tmp_path])


def test_first_folder_wins(config, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "exposures.csv").write_text("")
    assert located(config, [other, tmp_path])["exposures"] == str(other.resolve() / "exposures.csv")


def test_braces(config, tmp_path):
    (tmp_path / "exposures.csv").write_text("visit,detector,band,path\n1,4,i,{x}.fits\n")
    with pytest.raises(TableError, match="rename the file"):
        load_survey({**config, **located(config, [tmp_path])})


class TestRepository:
    """Repositories in place of tables."""

    @pytest.fixture
    def chosen(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for detector in (79, 80):
            put(tmp_path / "calexps", "calexp", visit=1013665, detector=detector, band="i")
        for name in ("deepCoadd", "deepCoadd_calexp"):
            put(tmp_path / "coadds", name, tract=4639, patch=(0, 0), band="i")
        chosen = copy.deepcopy(CONFIG)
        chosen["repository"] |= {"calexp": "calexps", "coadd": "coadds"}
        return chosen

    def test_edges(self, chosen, tmp_path):
        chosen["repository"]["select"] |= {"visit": "1013665", "detector": "79..80"}
        paths = located(chosen, [tmp_path])
        assert paths["exposures"] == paths["coadds"] == ""
        assert paths["repository"]["calexp"] == str(tmp_path / "calexps")
        survey = load_survey({**chosen, **paths})
        assert not survey.simulated
        assert set(survey.edges) == {(1013665, 79, "i"), (1013665, 80, "i")}
        coadds = survey.edges[1013665, 79, "i"]
        assert [row.path for row in coadds] == [str(tmp_path / "coadds/deepCoadd/i/4639/0,0.fits")]

    def test_other_coadds(self, chosen, tmp_path):
        chosen["repository"]["coadd_dataset"] = "deepCoadd_calexp"
        survey = load_survey({**chosen, **located(chosen, [tmp_path])})
        assert survey.coadds[0].path.endswith("calexp-i-4639-0,0.fits")

    def test_table_of_exposures_beside_a_repository_of_coadds(self, chosen, tmp_path):
        put(tmp_path, "calexp", visit=5, detector=79, band="i").rename(tmp_path / "e.fits")
        (tmp_path / "e.csv").write_text("visit,detector,band,path\n5,1,i,e.fits\n")
        chosen["repository"]["calexp"] = "null"  # as it comes from the command line
        chosen["exposures"] = "e.csv"
        survey = load_survey({**chosen, **located(chosen, [tmp_path])})
        assert len(survey.edges[5, 1, "i"]) == 1

    def test_repository_of_exposures_beside_a_table_of_coadds(self, chosen, tmp_path):
        path = "coadds/deepCoadd/i/4639/0,0.fits"
        (tmp_path / "c.csv").write_text(f'tract,patch,band,path\n1,"0,0",i,"{path}"\n')
        chosen["repository"]["coadd"] = None
        chosen["coadds"] = "c.csv"
        survey = load_survey({**chosen, **located(chosen, [tmp_path])})
        assert [row.tract for row in survey.edges[1013665, 80, "i"]] == [1]

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"exposures": "e.csv"}, "exposures are given twice, in e.csv and repository.calexp"),
            ({"coadds": "c.csv"}, "coadds are given twice, in c.csv and repository.coadd"),
            ({"repository": {"calexp": None}}, "coadds only: give repository.calexp, or a table"),
            ({"repository": {"calexp": "gone"}}, "repository.calexp: gone does not exist in"),
            ({"repository": {"tracts_mapping": "m.db"}}, "repository.tracts_mapping: m.db does"),
        ],
    )
    def test_contradictions(self, chosen, tmp_path, change, says):
        with pytest.raises(TableError, match=says):
            located(merged(chosen, change), [tmp_path])

    def test_folder_without_data(self, chosen, tmp_path):
        (tmp_path / "empty").mkdir()
        chosen["repository"]["calexp"] = "empty"
        with pytest.raises(MissingFileError, match=r"empty .* is no LSST gen2 repository"):
            load_survey({**chosen, **located(chosen, [tmp_path])})


def test_overlaps_do_not_depend_on_what_reads_images():
    """An edit in a reader or a stage must not find all the overlaps anew."""
    root = Path(__file__).resolve().parents[1]
    modules = modules_of(root / "workflow" / "scripts" / "overlap.py")
    assert "skydelta.repository.rows" in modules
    assert not {"skydelta.repository.readers", "skydelta.detect", "skydelta.io.reader"} & set(
        modules
    )


class TestDemo:
    @pytest.fixture
    def demo(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        chosen = copy.deepcopy(CONFIG)
        chosen["simulate"] |= {"shape": [256, 256], "n_visits": 2, "bands": ["i"]}
        return chosen

    def test_is_known_before_it_is_made(self, demo, tmp_path):
        survey = load_survey({**demo, **located(demo, [tmp_path])})
        assert survey.simulated
        assert len(survey.exposures) == 2 * len(demo["simulate"]["detectors"])
        assert all(survey.edges[row.key] for row in survey.exposures)
        assert not list(tmp_path.glob("**/*.fits"))
        assert {row.path for row in survey.exposures} <= set(survey.footprints)

    def test_plan_is_kept(self, demo, tmp_path):
        first = load_survey({**demo, **located(demo, [tmp_path])})
        again = load_survey({**demo, **located(demo, [tmp_path])})
        assert first == again

    def test_names(self, demo):
        assert demo_table(demo, "truth") == "demo/truth.csv"
        options = simulation_options(demo["simulate"])
        assert "outdir" not in options
        assert options["shape"] == (256, 256)
