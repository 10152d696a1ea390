"""What a second start does again: what changed, what depends on it, and nothing else."""

import os
import shutil
import time

import pytest
from astropy.io import fits

from skydelta.cli import main

STAGES = ("template", "subtract", "decorrelate", "detect", "measure", "calibrate")
JOINT = {"catalogue": 1, "summary": 1, "report": 1}
"""Jobs of the whole survey that any changed exposure brings about."""

R, I = ("00500001", "r"), ("00500002", "i")  # noqa: E741 (bands)


def from_stage(first, n=2):
    """Jobs of the tiny survey from a stage on, for n exposures."""
    return dict.fromkeys(STAGES[STAGES.index(first) :], n) | JOINT


def files_of(run, visit, band):
    """The products of an exposure by the beginning of their names."""
    folder = run / "results" / "deepDiff" / f"v{visit}-f{band}"
    return {path.name.split("_")[0]: path for path in folder.iterdir()}


def test_nothing_changed(planned, tiny_run, tiny_config):
    assert planned(tiny_run.folder, tiny_config) == {}


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({"template": {"min_coverage": 0.2}}, from_stage("template")),
        ({"subtract": {"stars": {"min_snr": 25.0}}}, from_stage("subtract")),
        ({"detect": {"threshold": 6.0}}, from_stage("detect")),
        ({"measure": {"stamp_fwhm": 2.0}}, from_stage("measure")),
        ({"calibrate": {"zero_point_error": True}}, from_stage("calibrate")),
        ({"report": {"max_pictures": 3}}, {"report": 1}),
        ({"overlap": {"margin_px": 11}}, {"overlap": 1, "report": 1}),
        ({"efficiency": {"realisations": 7}}, {"report": 1}),  # it lists the whole configuration
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_changed_option_reruns_only_its_stage_and_later(
    planned, tiny_run, tiny_config, config_file, change, jobs
):
    # The report shows the configuration, so it is made again with any change.
    assert planned(tiny_run.folder, tiny_config, config_file(change)) == jobs


@pytest.fixture
def edited(house, tmp_path):
    """A copy of the package with text added to a module."""

    def edit(module, text):
        package = shutil.copytree(house / "src" / "skydelta", tmp_path / "skydelta")
        with (package / f"{module}.py").open("a") as stream:
            stream.write(text)
        return package

    return edit


EDIT = "\nEDITED = True\n"


@pytest.mark.parametrize(
    ("module", "text", "jobs"),
    [
        ("detect", EDIT, from_stage("detect")),
        ("report/page", EDIT, {"report": 1}),
        ("upkeep/summary", EDIT, {"summary": 1}),
        ("upkeep/verify", EDIT, {}),
        ("measure", "\n# a comment changes nothing\n", {}),
    ],
    ids=["detect", "report", "summary", "no stage's", "comment"],
)
def test_edited_module_reruns_only_the_stages_that_use_it(
    planned, tiny_run, tiny_config, edited, module, text, jobs
):
    assert planned(tiny_run.folder, tiny_config, package=edited(module, text)) == jobs


def test_edited_module_is_seen_by_the_command(snakemake, tiny_run, tiny_config, edited):
    env = {"PYTHONPATH": str(edited("measure", EDIT).parent)}
    run = snakemake("-n", "--configfile", tiny_config, directory=tiny_run.folder, env=env.items())
    assert run.jobs == from_stage("measure")


def test_touched_files_rerun_nothing(planned, copied_run, tiny_config):
    """Snakemake compares the content of files up to 1 MB; touched larger ones count as changed."""
    touched = [copied_run / "demo" / f"{name}.csv" for name in ("exposures", "coadds", "truth")]
    touched += [path for r in (R, I) for path in files_of(copied_run, *r).values()]
    touched = [path for path in touched if path.stat().st_size < 1_000_000]
    assert {path.name.split("_")[0] for path in touched} >= {"footprints", "sources", "diaSrc"}
    for path in touched:
        os.utime(path)
    assert planned(copied_run, tiny_config) == {}


@pytest.fixture(scope="module")
def own(tiny_run, snakemake, tiny_config, tmp_path_factory):
    """The demo as a survey of the user's own: images and tables elsewhere, all of it done."""
    folder = tmp_path_factory.mktemp("own") / "copy"
    shutil.copytree(tiny_run.folder, folder)
    (folder / "demo").rename(folder / "images")
    tables = [folder / "images" / f"{name}.csv" for name in ("exposures", "coadds")]
    paths = dict(zip(("exposures", "coadds"), map(str, tables), strict=True))
    given = [f"{name}={path}" for name, path in paths.items()]
    snakemake("--touch", "--configfile", tiny_config, "--config", *given, directory=folder)
    return folder, paths


@pytest.fixture
def kept(own):
    """Files that a test changes, put back with their dates."""
    before = {}

    def keep(path):
        before[path] = path.read_bytes(), path.stat().st_mtime_ns
        return path

    yield keep
    for path, (content, date) in before.items():
        path.write_bytes(content)
        os.utime(path, ns=(date, date))


def exposures_in(jobs):
    """(visit, band) of the jobs of exposures."""
    return {(w["visit"], w["band"]) for rule, w in jobs if rule in STAGES}


def test_a_table_of_ones_own_has_nothing_to_do(planned, own, tiny_config):
    folder, tables = own
    assert planned(folder, tiny_config, config=tables) == {}


def test_new_exposure_in_the_table_is_done_alone(planned, own, tiny_config, kept):
    folder, tables = own
    table = kept(folder / "images" / "exposures.csv")
    row = table.read_text().splitlines()[-1]
    table.write_text(table.read_text() + row.replace("500002", "500009", 1) + "\n")
    jobs = planned(folder, tiny_config, config=tables, details=True)
    assert exposures_in(jobs) == {("00500009", "i")}
    assert sorted(rule for rule, _ in jobs) == sorted([*STAGES, *JOINT, "overlap"])


def test_replaced_coadd_redoes_only_the_exposures_under_it(planned, own, tiny_config, kept):
    folder, tables = own
    coadd = kept(next((folder / "images" / "coadds").glob("*_r.fits")))
    with fits.open(coadd, mode="update", memmap=False) as hdul:
        hdul["IMAGE"].data[5, 5] += 1.0
    jobs = planned(folder, tiny_config, config=tables, details=True)
    assert exposures_in(jobs) == {R}
    assert sorted(rule for rule, _ in jobs) == sorted([*STAGES, *JOINT])


def test_replaced_exposure_is_done_alone(planned, own, tiny_config, kept):
    folder, tables = own
    image = kept(next((folder / "images" / "exposures").glob("*_i_*.fits")))
    image.write_bytes(image.read_bytes())
    os.utime(image, (time.time() + 5, time.time() + 5))
    jobs = planned(folder, tiny_config, config=tables, details=True)
    assert exposures_in(jobs) == {I}


@pytest.mark.parametrize(
    ("prefix", "stage"),
    [("template", "template"), ("sources", "measure")],
)
def test_corrupted_product_is_found_and_made_again(
    planned, copied_run, tiny_config, prefix, stage, capsys
):
    """One flipped bit: a plain start does not see it, `skydelta verify --delete` does."""
    path = files_of(copied_run, *R)[prefix]
    content, date = bytearray(path.read_bytes()), path.stat().st_mtime_ns
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(date, date))
    assert planned(copied_run, tiny_config) == {}
    results = str(copied_run / "results")
    assert main(["verify", results]) == 1
    printed = capsys.readouterr().out
    assert f"{path}: HDU " in printed
    assert "SUM is wrong" in printed
    assert path.exists()
    assert main(["verify", "--delete", results]) == 0
    assert not path.exists()
    jobs = planned(copied_run, tiny_config, details=True)
    assert exposures_in(jobs) == {R}
    expected = [*STAGES[STAGES.index(stage) :], *JOINT]
    assert sorted(rule for rule, _ in jobs) == sorted(expected)


@pytest.mark.slow
def test_what_is_made_again_is_the_same(snakemake, copied_run, tiny_run, tiny_config):
    path = files_of(copied_run, *R)["footprints"]
    path.write_bytes(path.read_bytes()[:-2880])
    leftover = path.with_name(f".{path.name}.77.part")
    leftover.write_bytes(b"half")
    results = copied_run / "results"
    assert main(["verify", "--delete", str(results)]) == 0
    snakemake("--configfile", tiny_config, directory=copied_run)
    assert not leftover.exists()
    assert main(["verify", str(results)]) == 0
    for here in (p for p in results.rglob("*") if p.is_file()):
        assert here.read_bytes() == (tiny_run.results / here.relative_to(results)).read_bytes()
