"""`skydelta status`: what the files of a run tell, whoever runs it."""

import os
import time
from types import SimpleNamespace

import pytest

from skydelta.cli import main
from skydelta.errors import MissingFileError
from skydelta.io.outcome import write_status
from skydelta.upkeep.commands import described
from skydelta.upkeep.progress import progress
from skydelta.upkeep.summary import reasons, sentence, write_summary
from skydelta.upkeep.tree import ExposureFiles

VISITS = range(1, 9)


def exposure(results, visit):
    return ExposureFiles(visit, 3, "z", results)


@pytest.fixture
def results(tmp_path):
    """Eight exposures: four ok, one failed, three to do; no run."""
    results = tmp_path / "results"
    (results / "overlaps").mkdir(parents=True)
    lines = ["visit,detector,band"] + [f"{visit},3,z" for visit in VISITS]
    (results / "overlaps" / "exposures.csv").write_text("\n".join(lines) + "\n")
    for visit in VISITS[:5]:
        outcome = "no_wcs" if visit == 5 else "ok"
        status = {"visit": visit, "detector": 3, "band": "z", "status": outcome, "message": "m"}
        write_status(exposure(results, visit).status, status)
    return results


LOG = """Building DAG of jobs...
Job stats:
job            count
-----------  -------
template           5
total             40

[{begun}]
Job 12: Template for visit 00000001 detector 003 band z
[{begun}]
Finished jobid: 12 (Rule: template)
1 of 40 steps (2%) done
Job 13: 39 of 40 steps are none of its business
10 of 40 steps (25%) done
"""


def write_log(results, seconds_ago, text=LOG):
    folder = results.parent / ".snakemake" / "log"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "2026-01-01T000000.0.snakemake.log"
    path.write_text(text.format(begun=time.ctime(time.time() - seconds_ago)))
    lock = results.parent / ".snakemake" / "locks" / "0.output.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text("results/x\n")
    return path


@pytest.fixture
def begin(results, monkeypatch):
    """Mark outputs as begun, by Snakemake's own hand."""
    from snakemake.persistence.file import FilePersistence

    monkeypatch.chdir(results.parent)
    settings = SimpleNamespace(max_checksum_file_size=0)
    marks = FilePersistence(dag=SimpleNamespace(workflow=SimpleNamespace(dag_settings=settings)))

    def begin(*paths):
        for path in paths:
            marks._mark_incomplete(str(path.relative_to(results.parent)), "4711")

    return begin


def log_of(results, stage, visit):
    path = results.parent / "logs" / stage / f"{exposure(results, visit).id}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_without_a_run(results, capsys):
    state = progress(results)
    assert (state.total, state.outcomes["ok"], state.failed, state.waiting) == (8, 4, 1, 3)
    assert state.run is None
    assert main(["status", "--list", str(results)]) == 1
    printed = capsys.readouterr().out
    assert "failed         1  no_wcs 1" in printed
    assert "00000005-z-det003: no_wcs" in printed


def test_exit_status(results):
    exposure(results, 5).status.unlink()
    assert main(["status", str(results)]) == 3
    for visit in VISITS[4:]:
        status = {"visit": visit, "detector": 3, "band": "z", "status": "ok"}
        write_status(exposure(results, visit).status, status)
    assert main(["status", str(results)]) == 0


def test_running_and_queued(results, begin):
    """An exposure of the same number as a long name; an old log is no sign that a job has begun."""
    six, seven = exposure(results, 6), exposure(results, 7)
    old = log_of(results, "subtract", 7)
    os.utime(old, (time.time() - 1000,) * 2)
    begin(six.product("measure"), seven.product("subtract"), seven.product("decorrelate"))
    begin(exposure(results, 1).catalogue, exposure(results, 1).status)  # done again
    os.utime(log_of(results, "measure", 6), (time.time() + 1,) * 2)
    state = progress(results)
    assert state.running == {six: "measure"}
    assert state.queued == [exposure(results, 1), seven]
    assert state.outcomes["ok"] == 3
    assert state.waiting == 1
    os.utime(log_of(results, "decorrelate", 7), (time.time() + 1,) * 2)
    assert progress(results).running == {six: "measure", seven: "decorrelate"}


def test_long_names_of_marks(results, begin):
    far = exposure(results, 10**40)
    begin(far.product("template"))
    assert progress(results).queued == [far]


def test_time_left(results):
    write_log(results, 100)
    run = progress(results).run
    assert (run.done, run.total, run.has_lock) == (10, 40, True)
    assert run.seconds_left == pytest.approx(300, abs=10)
    lines = described(progress(results), time.time())
    assert "10 of 40 jobs in 2 min, about 5 min left" in lines[-1]


def test_a_run_at_its_beginning(results):
    write_log(results, 1, LOG.split("Finished")[0])
    (results / "overlaps" / "exposures.csv").unlink()
    state = progress(results)
    assert (state.run.done, state.run.total, state.run.seconds_left) == (0, 40, None)


def test_a_dead_run_is_doubted(results):
    log = write_log(results, 5000)
    os.utime(log, (time.time() - 4000,) * 2)
    lines = described(progress(results), time.time())
    assert "no sign of life for 67 min" in lines[-1]
    assert "snakemake --unlock" in lines[-1]


def test_watching_ends_with_the_run(results, capsys):
    log = write_log(results, 100)
    (results.parent / ".snakemake" / "locks" / "0.output.lock").unlink()
    assert main(["status", "--watch", "1", str(results)]) == 1
    assert "ended early" in capsys.readouterr().out
    log.write_text(log.read_text() + "40 of 40 steps (100%) done\n")
    main(["status", str(results)])
    assert ", over" in capsys.readouterr().out


def test_the_summary_saves_opening_statuses(results):
    """A status is read again only if it is newer than the summary."""
    statuses = [exposure(results, visit).status for visit in VISITS[:5]]
    outcomes = write_summary(results / "status" / "summary.csv", statuses)
    assert outcomes == {"ok": 4, "no_wcs": 1}
    first, second = statuses[:2]
    for path, seconds in ((first, -100), (second, 100)):
        path.write_text("damaged")
        os.utime(path, (time.time() + seconds,) * 2)
    assert progress(results).outcomes == {"ok": 3, "no_wcs": 1, "unreadable_status": 1}


def test_a_folder_without_anything(tmp_path):
    with pytest.raises(MissingFileError):
        progress(tmp_path / "results")


def test_sentences():
    assert sentence({"ok": 3}) == "all 3 exposures are ok"
    outcomes = {"ok": 995, "no_wcs": 1, "too_few_stars": 3, "bad_psf": 1}
    assert sentence(outcomes) == (
        "995 of 1000 exposures are ok, 5 failed: too_few_stars 3, bad_psf 1, no_wcs 1"
    )
    assert reasons({"ok": 2}) == ""
