"""``skydelta compare``: methods side by side on a small simulated survey."""

import csv
import re
import shutil
from html import escape

import numpy as np
import pytest
import yaml

from skydelta import cli
from skydelta.compare import child, meter
from skydelta.compare.columns import FIGURES
from skydelta.compare.figures import FOUND_SNR
from skydelta.compare.method import MethodResult
from skydelta.compare.summary import summarise
from skydelta.compare.survey import Selection, find_targets
from skydelta.compare.truth import events_of, read_truth
from skydelta.compare.variants import BUILT_IN, UsageError, chosen_variants
from skydelta.configuration import ConfigError, completed, load_config, merged
from skydelta.errors import TableError
from skydelta.io.native import write_exposure
from skydelta.report.truth import SNR_EDGES
from skydelta.tables import ExposureRow

OWN = {
    "no decorrelation": {"decorrelate": {"enabled": False}},
    "absent": {"subtract": {"method": "hotpants", "hotpants": {"program": "no-such-program"}}},
}
METHODS = ["alard_lupton", "zogy", "no decorrelation", "absent"]
GOOD, BROKEN = "00000001-i-det000", "00000002-i-det000"
TIMES = {f.key for f in FIGURES if f.key.startswith("cpu_")} | {"peak_mb"}


@pytest.fixture(scope="module")
def survey(broad, tmp_path_factory):
    """A folder with tables: a simulated exposure, one that is no FITS file, the coadds, truth."""
    folder = tmp_path_factory.mktemp("survey")
    write_exposure(folder / "science.fits", broad.science)
    (folder / "broken.fits").write_text("this is not FITS")
    lines = ["visit,detector,band,path", "1,0,i,science.fits", "2,0,i,broken.fits"]
    (folder / "exposures.csv").write_text("\n".join(lines) + "\n")
    lines = ["tract,patch,band,path"]
    for tract, patch, coadd in broad.pair.coadds:
        name = f"coadd_{tract}_{patch[0]}_{patch[1]}.fits"
        write_exposure(folder / name, coadd)
        lines.append(f'{tract},"{patch[0]},{patch[1]}",i,{name}')
    (folder / "coadds.csv").write_text("\n".join(lines) + "\n")
    truth = broad.pair.truth.to_pandas().assign(visit=1, detector=0, band="i")
    truth.to_csv(folder / "truth.csv", index=False)
    (folder / "variants.yaml").write_text(yaml.safe_dump(OWN, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def compared(survey):
    """The folder of a comparison that made its own templates."""
    out = survey / "out"
    arguments = ["--exposures", survey / "exposures.csv", "--coadds", survey / "coadds.csv"]
    arguments += ["--truth", survey / "truth.csv", "--variants", survey / "variants.yaml"]
    assert run(*arguments, "--methods", *METHODS, "--keep", "-o", out) == 0
    return out


def run(*arguments):
    return cli.main(["compare", *map(str, arguments)])


def rows_of(folder):
    with open(folder / "comparison.csv", newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return {(int(row["visit"]), row["method"]): row for row in rows}


@pytest.mark.slow
def test_every_exposure_and_method_has_a_row(compared):
    rows = rows_of(compared)
    assert list(rows) == [(visit, method) for visit in (1, 2) for method in METHODS]
    assert [rows[1, m]["status"] for m in METHODS] == ["ok", "ok", "ok", "engine_missing"]
    assert {rows[2, m]["status"] for m in METHODS} == {"corrupt_file"}
    assert "no-such-program" in rows[1, "absent"]["message"]
    assert rows[1, "absent"]["stage"] == "subtract"
    assert rows[2, "zogy"]["stage"] == "prepare"
    assert list(rows[1, "zogy"]) == [f.key for f in FIGURES]


@pytest.mark.slow
def test_the_figures_are_those_of_the_chain(compared, broad):
    row = rows_of(compared)[1, "alard_lupton"]
    assert float(row["kernel_sum"]) == pytest.approx(broad.difference.flux_ratio, rel=1e-6)
    assert float(row["score_rms"]) == pytest.approx(broad.detections.score_rms, rel=1e-4)
    found = sum(int(row[f"n_{kind}"]) for kind in ("positive", "negative", "dipoles"))
    assert found == len(broad.detections.sources)
    assert float(row["noise_rms"]) == pytest.approx(1.0, abs=0.03)
    assert float(row["neighbour"]) == pytest.approx(0.0, abs=0.02)
    assert float(row["star_rms"]) == pytest.approx(1.0, abs=0.3)
    assert float(row["completeness"]) == int(row["n_found"]) / int(row["n_events"])
    assert float(row["completeness"]) > 0.9
    assert float(row["false_rate"]) == int(row["n_false"]) * 4096**2 / int(row["n_pixels"])
    steps = [float(row[f"cpu_{step}"]) for step in ("subtract", "decorrelate", "detect_measure")]
    assert float(row["cpu_total"]) == pytest.approx(sum(steps))
    assert min(steps) > 0
    assert 50 < float(row["peak_mb"]) < 3000


@pytest.mark.slow
def test_a_variant_changes_what_it_says(compared):
    rows = rows_of(compared)
    white, raw = (float(rows[1, m]["neighbour"]) for m in ("alard_lupton", "no decorrelation"))
    assert abs(raw) > 3 * abs(white)


@pytest.mark.slow
def test_the_page_holds_everything(compared):
    page = (compared / "comparison.html").read_text(encoding="utf-8")
    for name in (*METHODS, GOOD, BROKEN, "engine_missing", "corrupt_file", "no-such-program"):
        assert name in page
    for figure in FIGURES:
        assert escape(figure.meaning) in page
    # One gallery: science, template and three differences of at least three places.
    assert page.count('alt="cut-out"') >= 15
    assert page.count("<svg") == 3
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_difference_exposures_are_kept_and_scratch_is_not(compared, broad):
    from skydelta.io.products import read_image

    kept = compared / "differences" / f"diffexp_{GOOD}_alard_lupton.fits"
    np.testing.assert_allclose(read_image(kept).image, broad.decorrelated.exposure.image, atol=1e-2)
    assert sorted(p.name for p in compared.iterdir()) == [
        *("comparison.csv", "comparison.html", "differences", "logs", "templates"),
    ]


@pytest.mark.slow
def test_templates_of_a_run_are_used_again_with_the_same_result(compared, survey, capfd):
    """No table of coadds is needed then; all but the times is the same, whatever the order."""
    results = survey / "results"
    folder = results / "deepDiff" / "v00000001-fi"
    folder.mkdir(parents=True)
    shutil.copy(compared / "templates" / f"template_{GOOD}.fits", folder)
    out = survey / "again"
    tables = "--exposures", survey / "exposures.csv", "--results", results
    chosen = "--visit", 1, "--truth", survey / "truth.csv", "--methods", "zogy", "alard_lupton"
    assert run(*tables, *chosen, "--jobs", 2, "-o", out) == 0
    again, first = rows_of(out), rows_of(compared)
    assert list(again) == [(1, "zogy"), (1, "alard_lupton")]
    assert not (out / "templates").exists()
    for key, row in again.items():
        assert row["template"] == "the workflow's"
        same = row.keys() - TIMES - {"template"}
        assert {k: row[k] for k in same} == {k: first[key][k] for k in same}
    assert "zogy: ok" in capfd.readouterr().err


@pytest.mark.slow
def test_a_template_of_another_image_is_refused(compared, survey, broad):
    from skydelta.io.templates import read_template, write_template
    from skydelta.template import Template

    exposure, correlation = read_template(compared / "templates" / f"template_{GOOD}.fits")
    wcs = exposure.wcs.deepcopy()
    wcs.wcs.crpix = wcs.wcs.crpix + 40.0
    folder = survey / "elsewhere" / "deepDiff" / "v00000001-fi"
    folder.mkdir(parents=True)
    moved = Template(exposure.replace(wcs=wcs), np.ones(exposure.shape, np.int16), correlation)
    write_template(folder / f"template_{GOOD}.fits", moved)
    out = survey / "refused"
    tables = "--exposures", survey / "exposures.csv", "--results", survey / "elsewhere"
    assert run(*tables, "--visit", 1, "--methods", "zogy", "-o", out) == 0
    row = rows_of(out)[1, "zogy"]
    assert row["status"] == "bad_input"
    assert "elsewhere on the sky" in row["message"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "alard_luptn"], "did you mean alard_lupton?"),
        (["--visit", "77"], "no exposure"),
        (["--results", "no-such-folder"], "no-such-folder is no folder"),
        (["--config", "no-such.yaml"], "no-such.yaml cannot be read"),
    ],
)
def test_a_command_that_cannot_be_done_ends_with_status_2(survey, capsys, arguments, words):
    out = survey / "nothing"
    tables = ["--exposures", survey / "exposures.csv", "--coadds", survey / "coadds.csv"]
    assert run(*tables, *arguments, "-o", out) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("mine: {subtract: {basis: {kindd: delta}}}", "mine: subtract.basis"),
        ("mine: {detect: {threshold: 3}}", "'detect' is none of the sections"),
        ("mine: zogy", "must hold sections"),
        ("[1, 2]", "must hold keys and values"),
        ("{", "is not YAML"),
        ("", "holds no variant"),
        ("{'a b': {subtract: {}}, 'a:b': {subtract: {}}}", "give the same file names"),
    ],
)
def test_a_bad_file_of_variants_is_explained(survey, tmp_path, capsys, content, words):
    (tmp_path / "mine.yaml").write_text(content)
    tables = ["--exposures", survey / "exposures.csv", "--coadds", survey / "coadds.csv"]
    assert run(*tables, "--variants", tmp_path / "mine.yaml", "-o", tmp_path / "out") == 2
    assert words in capsys.readouterr().err


def test_the_demo_must_have_been_run(tmp_path, monkeypatch, capsys):
    from skydelta.compare import survey as module

    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run("-o", tmp_path / "out") == 1
    assert "run `snakemake` first" in capsys.readouterr().err


def test_the_demo_is_not_compared_in_the_folder_of_another_run(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "results" / "deepDiff" / "v00000009-fr"
    folder.mkdir(parents=True)
    (folder / "template_00000009-r-det000.fits").write_text("")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "exposures.csv").write_text("visit,detector,band,path\n1,0,r,a.fits\n")
    for name in ("coadds", "truth"):
        (tmp_path / "demo" / f"{name}.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    assert run("-o", tmp_path / "out") == 2
    assert "name the tables of that run" in capsys.readouterr().err


def test_all_built_in_variants_are_valid_and_differ():
    config = load_config()
    variants = chosen_variants(config, list(BUILT_IN))
    sections = [yaml.safe_dump(v.config["subtract"]) for v in variants]
    assert len(set(sections)) == len(sections)
    with pytest.raises(UsageError, match="unknown method"):
        chosen_variants(config, ["hotpant:"])


def test_variants_of_a_file_join_the_default_ones(survey):
    variants = chosen_variants(load_config(), None, survey / "variants.yaml")
    names = ["alard_lupton", "zogy", "sfft", "hotpants", *OWN]
    assert [v.name for v in variants] == names
    few = chosen_variants(load_config(), ["zogy"], survey / "variants.yaml")
    assert [v.name for v in few] == ["zogy", *OWN]
    few = chosen_variants(load_config(), ["absent", "zogy"], survey / "variants.yaml")
    assert [v.name for v in few] == ["absent", "zogy"]
    assert variants[4].config["decorrelate"] == {**variants[0].config["decorrelate"]} | {
        "enabled": False
    }


def test_defaults_are_those_that_snakemake_fills_in(tmp_path):
    from snakemake.utils import validate

    from skydelta.configuration import ROOT

    given = {"exposures": "e.csv", "subtract": {"fit": {"order": 1}}}
    ours, theirs = completed(given), merged(given, {})
    validate(theirs, str(ROOT / "workflow" / "schemas" / "config.schema.yaml"))
    assert ours == theirs
    assert given == {"exposures": "e.csv", "subtract": {"fit": {"order": 1}}}
    with pytest.raises(ConfigError, match=r"mine: subtract\.fit\.order"):
        completed({"subtract": {"fit": {"order": "two"}}}, "mine")


def test_a_selection_holds_what_it_names():
    row = ExposureRow(1, 3, "r", "a.fits")
    assert Selection().holds(row)
    assert Selection([1, 2], [3], ["r"]).holds(row)
    assert not Selection([1], [4]).holds(row)
    assert not Selection(bands=["i"]).holds(row)


def test_edges_are_sought_only_where_a_template_is_missing(survey):
    config = load_config()
    config |= {k: str(survey / f"{k}.csv") for k in ("exposures", "coadds")}
    targets, truth = find_targets(config, Selection(visits=[1]))
    assert truth is None
    assert targets[0].template is None
    assert targets[0].coadds


def test_truth_of_one_exposure(survey, tmp_path):
    truth = read_truth(survey / "truth.csv")
    here = events_of(truth, ExposureRow(1, 0, "i", "a.fits"))
    assert len(here["x"]) == len(truth["x"])
    assert len(events_of(truth, ExposureRow(1, 0, "r", "a.fits"))["x"]) == 0
    assert events_of(None, None) is None
    (tmp_path / "t.csv").write_text("visit,x\n1,2\n")
    with pytest.raises(TableError, match="lacks the columns detector, band, y"):
        read_truth(tmp_path / "t.csv")


def result(**row):
    return MethodResult({"status": "ok", **row}, {})


def test_a_summary_takes_medians_and_sums_of_what_is_ok():
    results = [result(noise_rms=r, n_positive=n) for r, n in ((1.0, 3), (1.2, 4), (1.3, None))]
    failed = MethodResult({"status": "too_few_stars", "noise_rms": 9.0}, {})
    row = summarise("mine", [*results, failed])
    assert row["noise_rms"] == 1.2
    assert row["n_positive"] == 7
    assert (row["done"], row["total"], row["status"]) == (3, 4, "ok, too_few_stars")


def test_a_summary_pools_events():
    def one(snr, found, n_false):
        details = {"event_snr": np.array(snr), "event_found": np.array(found)}
        details |= {"pulls": np.array([1.0, -1.0]), "ratios": np.array([1.1, 1.3])}
        return MethodResult({"status": "ok", "n_false": n_false, "n_pixels": 1024**2}, details)

    row = summarise("mine", [one([9.0, 10.0], [True, True], 1), one([30.0], [False], 2)])
    assert FOUND_SNR in SNR_EDGES
    assert row["completeness"] == pytest.approx(2 / 3)
    assert row["false_rate"] == pytest.approx(3 * 16 / 2)
    assert row["flux_bias"] == pytest.approx(0.2)
    assert row["pull_scatter"] == pytest.approx(1.0)


def test_a_process_that_dies_is_a_failure_with_its_last_words(tmp_path):
    """No task is a job of None: the process ends with a traceback."""
    failure = child.run_child(None, tmp_path / "logs" / "a.log", tmp_path / "scratch")
    assert failure.status == "crashed"
    assert "AttributeError" in failure.message
    assert "Traceback" in (tmp_path / "logs" / "a.log").read_text()


def test_cpu_time_is_that_of_the_step():
    clock = meter.Meter()
    with clock.measuring("sums"):
        sum(range(2_000_000))
    with pytest.raises(ValueError, match="no"), clock.measuring("failing"):
        raise ValueError("no")
    assert clock.seconds["sums"] > 0
    assert clock.seconds.keys() == {"sums"}
    assert clock.step == "failing"
    assert meter.peak_megabytes() > 20


def test_every_column_is_documented():
    from skydelta.configuration import ROOT

    documentation = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    assert [f.key for f in FIGURES if f"`{f.key}`" not in documentation] == []
    assert [name for name in BUILT_IN if f"`{name}`" not in documentation] == []
