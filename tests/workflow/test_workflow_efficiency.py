"""`snakemake efficiency` on the tiny survey, from injected sources to the page."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.table import Table

from skydelta.compare.variants import BUILT_IN
from skydelta.configuration import ConfigError, completed
from skydelta.efficiency.columns import COLUMNS

FEW = {"efficiency": {"density": 300.0, "separation": 5.0, "snr": [3, 4.5, 5, 5.5, 7, 12, 30]}}
"""About 40 sources on each exposure of 384 x 384 px."""

STAGES = ("subtract", "decorrelate", "detect", "measure", "calibrate")


@pytest.fixture(scope="module")
def survey(tiny_run, tmp_path_factory):
    """A finished survey of one's own: others count the products of the shared one."""
    folder = tmp_path_factory.mktemp("efficiency") / "run"
    shutil.copytree(tiny_run.folder, folder)
    return folder


@pytest.fixture(scope="module")
def configured(tiny_config, config_file):
    """Configuration files of the tiny survey with choices over them."""
    return lambda choices: (tiny_config, config_file(choices))


@pytest.fixture(scope="module")
def run(snakemake, survey, configured):
    return snakemake("efficiency", "--configfile", *configured(FEW), directory=survey)


def main_products(results):
    """Time and content of what the main chain wrote, by path under results/."""
    files = {str(p.relative_to(results)): p for p in results.rglob("*") if p.is_file()}
    return {
        name: (path.stat().st_mtime_ns, path.read_bytes())
        for name, path in files.items()
        if not name.startswith("efficiency")
    }


@pytest.mark.slow
def test_only_the_injected_exposures_are_processed(run, tiny_run):
    each = {f"{stage}_efficiency": 2 for stage in STAGES}
    assert run.jobs == {"inject": 2, "recover": 2, "efficiency": 1, **each}
    before = main_products(tiny_run.results)
    assert len(before) > 15
    assert main_products(run.results) == before


@pytest.mark.slow
def test_table_of_injections(run):
    table = pq.read_table(run.results / "efficiency" / "injections.parquet")
    assert table.column_names == [c.name for c in COLUMNS]
    assert table.schema.field("flux").metadata[b"unit"] == b"nJy"
    rows = {name: table[name].to_numpy() for name in table.column_names}
    assert 50 < len(rows["x"]) < 90
    assert 0.2 < rows["on_host"].mean() < 0.7
    seen = rows["observable"]
    assert seen.mean() > 0.8
    assert rows["found"][seen & (rows["snr_expected"] > 10)].mean() > 0.9
    assert rows["found"][seen & (rows["snr_expected"] < 3.5)].mean() < 0.5
    bright = seen & rows["clean"] & (rows["snr_expected"] > 6)
    assert np.abs(rows["pull"][bright].mean()) < 4 / np.sqrt(bright.sum())
    assert rows["pull"][bright].std() == pytest.approx(1.0, abs=0.4)


@pytest.mark.slow
def test_summary_tables(run):
    folder = run.results / "efficiency"
    summary = Table.read(folder / "efficiency.ecsv")
    assert set(summary["band"]) == {"all", "i", "r"}
    assert set(summary["hosts"]) == {"all", "hosted", "hostless"}
    whole = summary[(summary["band"] == "all") & (summary["hosts"] == "all")][0]
    assert 4.3 < whole["snr50"] < 5.7
    assert whole["m50_error"] < 0.5
    bins = Table.read(folder / "efficiency_bins.ecsv")
    assert set(bins["quantity"]) == {"snr", "mag", "host_surface_brightness"}
    assert np.all(bins["completeness_low"] <= bins["completeness"])
    exposures = Table.read(folder / "exposures.ecsv")
    assert list(exposures["status"]) == ["ok", "ok"]
    false = Table.read(folder / "false_detections.ecsv")
    assert false["area"].unit == "deg2"
    assert exposures["area"].sum() == pytest.approx(false["area"][0])


@pytest.mark.slow
def test_page_has_the_figures_and_needs_no_network(run):
    page = (run.results / "efficiency.html").read_text()
    for words in ("Completeness against S/N", "On and off hosts", "Flux errors", "per deg²"):
        assert words in page
    assert page.count("<svg") >= 7
    assert 'src="http' not in page


@pytest.mark.slow
def test_logs_are_clean(run):
    folder = run.folder / "logs"
    names = ("*efficiency*/**/*.log", "inject/**/*.log", "recover/**/*.log", "efficiency.log")
    logs = [path for name in names for path in folder.glob(name)]
    assert len(logs) == 2 * 7 + 1
    for path in logs:
        text = path.read_text()
        assert " ERROR " not in text, path
        assert "Warning" not in text, path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({}, {}),
        ({"match_radius": 0.8}, {"recover": 2, "efficiency": 1}),
        (
            {"realisations": 2},
            {"inject": 2, "recover": 2, "efficiency": 1, **{f"{s}_efficiency": 2 for s in STAGES}},
        ),
    ],
    ids=["nothing", "matching", "realisation"],
)
def test_changed_option_reruns_what_depends_on_it(snakemake, run, configured, change, jobs):
    files = configured({"efficiency": FEW["efficiency"] | change})
    assert snakemake("-n", "efficiency", "--configfile", *files, directory=run.folder).jobs == jobs


@pytest.mark.slow
def test_failed_exposures_are_left_out_with_their_reason(snakemake, tiny_run, configured, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run.folder, folder)
    one = {"efficiency": FEW["efficiency"] | {"exposures": 1}}
    files = configured(one | {"detect": {"max_fraction": 1e-6}})
    run = snakemake("efficiency", "--configfile", *files, directory=folder)
    exposures = Table.read(run.results / "efficiency" / "exposures.ecsv")
    assert list(exposures["status"]) == ["bad_subtraction"]
    assert list(exposures["stage"]) == ["detect"]
    assert "above 5.0 sigma" in exposures["message"][0]
    assert pq.read_table(run.results / "efficiency" / "injections.parquet").num_rows == 0
    assert "bad_subtraction" in (run.results / "efficiency.html").read_text()


def test_the_survey_itself_injects_nothing(snakemake, tiny_config, tmp_path):
    run = snakemake("-n", "--configfile", tiny_config, directory=tmp_path)
    assert not [name for name in run.jobs if "efficiency" in name or name in ("inject", "recover")]


def test_efficiency_alone_runs_the_main_chain_it_needs(snakemake, tiny_config, tmp_path):
    jobs = snakemake("-n", "efficiency", "--configfile", tiny_config, directory=tmp_path).jobs
    assert jobs["template"] == jobs["calibrate"] == jobs["calibrate_efficiency"] == 2
    assert "report" not in jobs


def test_methods_run_side_by_side_on_the_same_injections(snakemake, configured, tmp_path):
    """The configured method's uninjected run is the main chain; the other one has its own."""
    choices = {"methods": ["alard_lupton", "zogy"], "realisations": 3, "exposures": 1}
    files = configured({"efficiency": choices})
    jobs = snakemake("-n", "efficiency", "--configfile", *files, directory=tmp_path).jobs
    assert jobs["template"] == jobs["subtract"] == 1
    assert jobs["inject"] == 3
    assert jobs["subtract_efficiency"] == 3 + 3 + 1
    assert jobs["recover"] == 3 * 2


def test_methods_are_those_of_compare(root):
    schema = yaml.safe_load((root / "workflow/schemas/config.schema.yaml").read_text())
    known = schema["properties"]["efficiency"]["properties"]["methods"]["items"]["enum"]
    assert known == list(BUILT_IN)


@pytest.mark.parametrize(
    "change",
    [
        {"density": 0},
        {"exposures": 0},
        {"realisations": 0},
        {"snr": []},
        {"snr": [0.1]},
        {"magnitudes": [45.0]},
        {"magnitudes": []},
        {"on_hosts": 1.2},
        {"methods": ["hotpant"]},
        {"realizations": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_choices_that_inject_nothing_are_refused(change):
    with pytest.raises(ConfigError, match="efficiency"):
        completed({"efficiency": change})
